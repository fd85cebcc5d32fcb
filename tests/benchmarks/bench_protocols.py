"""The numbers that torchreid's evaluators print, and ours for the same distances: not a matter of speed.

    python tests/benchmarks/bench_protocols.py [--torchreid-checkout DIR]

market:   `eval_market1501` on a gallery from which junk (-1) was taken out first, as torchreid's loader does, and on
          the gallery as it is, where it counts junk as wrong answers.
cuhk03:   `eval_cuhk03`, one gallery image a person, drawn ten times for each query without a seed, beside our draws:
          the same up to chance, whose size the line gives. Its mAP is of the whole gallery, not of the drawn ones.
reranked: `eval_market1501` of `re_ranking`, and ours of `rerank`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_ranking import module, torchreid_files

from reidlib.evaluation import PROTOCOLS, rank, rerank

QUERIES, GALLERY, PEOPLE, CAMERAS, DIMENSIONS = 600, 4000, 100, 2, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid-checkout", type=Path)
    arguments = parser.parse_args()
    found = [torchreid_files(name, arguments.torchreid_checkout) for name in ("metrics/rank.py", "utils/rerank.py")]
    if not all(found):
        raise SystemExit("torchreid is not installed; install it or give --torchreid-checkout DIR")
    peer, again = (module(files[0]) for files in found)

    draw = np.random.default_rng(0)
    ids = np.concatenate([draw.integers(1, PEOPLE + 1, QUERIES), draw.integers(-1, PEOPLE + 1, GALLERY)])
    cams = draw.integers(1, CAMERAS + 1, len(ids))
    centres = draw.normal(size=(PEOPLE + 2, DIMENSIONS))
    features = centres[ids] + 1.2 * draw.normal(size=(len(ids), DIMENSIONS))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    whole = np.maximum(1 - features @ features.T, 0)
    np.fill_diagonal(whole, 0)
    gallery = np.arange(QUERIES, len(ids))
    counted = gallery[ids[gallery] != -1]
    people = gallery[ids[gallery] > 0]

    def labels(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return ids[:QUERIES], ids[columns], cams[:QUERIES], cams[columns]

    def line(name: str, theirs: tuple[float, float], ours: tuple[float, float], note: str = "") -> None:
        scores = "   ".join(
            f"{who} rank-1 {100 * rank1:6.3f} mAP {100 * mean_ap:6.3f}"
            for who, (rank1, mean_ap) in (("torchreid", theirs), ("ours", ours))
        )
        print(f"{name:24s} {scores}   {note}")

    for name, columns, protocol in (
        ("market, junk taken out", counted, "market1501"),
        ("market, junk counted", gallery, "market1501-no-junk"),
    ):
        cmc, mean_ap = peer.eval_market1501(whole[:QUERIES, columns], *labels(columns), max_rank=50)
        got = rank(whole[:QUERIES, gallery], *labels(gallery), protocol)
        line(name, (cmc[0], mean_ap), (got.cmc[0], got.mean_ap))

    np.random.seed(0)  # noqa: NPY002  (torchreid draws from the global state)
    cmc, mean_ap = peer.eval_cuhk03(whole[:QUERIES, people], *labels(people), max_rank=50)
    shot = rank(whole[:QUERIES, people], *labels(people), replace(PROTOCOLS["single-shot"], draws=10))
    hits = shot.frame().assign(hit=shot.first_hit < 1).groupby("query").hit
    error = np.sqrt((hits.var(ddof=0) / hits.size()).sum()) / QUERIES * np.sqrt(2)
    note = f"their rank-1 differ by {abs(cmc[0] - shot.cmc[0]) / error:.1f} standard errors of the draws"
    line("cuhk03, one image each", (cmc[0], mean_ap), (shot.cmc[0], shot.mean_ap), note)

    blocks = whole[:QUERIES, :QUERIES], whole[:QUERIES, counted], whole[np.ix_(counted, counted)]
    roots = [np.sqrt(part) for part in blocks]
    theirs = again.re_ranking(roots[1], roots[0], roots[2])
    ours = rerank(*blocks)
    cmc, mean_ap = peer.eval_market1501(theirs, *labels(counted), max_rank=50)
    got = rank(ours, *labels(counted))
    note = f"distances differ by at most {abs(ours - theirs).max():.0e}"
    line("reranked", (cmc[0], mean_ap), (got.cmc[0], got.mean_ap), note)


if __name__ == "__main__":
    main()
