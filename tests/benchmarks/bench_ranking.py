"""Ranking at Market-1501's size (3,368 queries, 19,732 gallery images) against torchreid's evaluators.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_ranking.py [--torchreid-checkout DIR] [--queries 150]

python:  torchreid's `eval_market1501`, from the installed package or the checkout, on `--queries` queries, scaled.
cython:  torchreid's `evaluate_cy`, from a checkout in which `python setup.py build_ext --inplace` was run in
         `torchreid/metrics/rank_cylib`, with this environment's NumPy.
ours:    `reidlib.evaluation.rank`.
CPU seconds, one process, the peers and ours in turn; the fastest of the repeats counts. Identities and cameras are
drawn with Market-1501's counts; features are a centre per identity plus noise. Peers know no junk, so all follow
`market1501-no-junk`.
"""

import argparse
import importlib.util
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from reidlib.evaluation import rank

QUERIES, GALLERY, IDENTITIES, CAMERAS, JUNK, DISTRACTORS = 3368, 19732, 750, 6, 3819, 2798
DIMENSIONS = 256
BLOCK = 128
NOISE = {"strong": 1.6, "middle": 2.0, "weak": 4.0}
GOALS = {
    ("strong", "cython"): 40,
    ("weak", "cython"): 15,
    ("strong", "python"): 500,
    ("distances + ranking", "cython"): 8,
}
PROTOCOL = "market1501-no-junk"


def labels(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Query and gallery identities, query and gallery cameras; a person is asked for once a camera at most."""
    people = draw.integers(1, IDENTITIES + 1, GALLERY - JUNK - DISTRACTORS)
    gallery = draw.permutation(np.concatenate([people, np.full(JUNK, -1), np.zeros(DISTRACTORS, int)]))
    pairs = draw.permutation(IDENTITIES * CAMERAS)[:QUERIES]
    return pairs // CAMERAS + 1, gallery, pairs % CAMERAS + 1, draw.integers(1, CAMERAS + 1, GALLERY)


def features(ids: np.ndarray, centres: np.ndarray, noise: float, draw: np.random.Generator) -> np.ndarray:
    """(N, 256) float32 unit vectors; junk and distractors have centres of their own."""
    own = np.where(ids[:, None] > 0, centres[ids], draw.normal(size=(len(ids), DIMENSIONS)))
    found = own + noise * draw.normal(size=own.shape)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def module(path: Path) -> ModuleType:
    """A Python file or extension, loaded without importing the package around it."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its Cython form is not installed
        spec.loader.exec_module(found)
    return found


def torchreid_files(name: str, checkout: Path | None) -> list[Path]:
    """The files of that name in the installed torchreid and in the checkout."""
    installed = importlib.util.find_spec("torchreid")
    roots = [Path(path) for path in (installed.submodule_search_locations or [])] if installed else []
    roots += [checkout] if checkout else []
    return [file for root in roots for file in sorted(root.rglob(name))]


def peers(checkout: Path | None) -> dict[str, Callable[..., Any]]:
    """torchreid's evaluators that are at hand: (distances, ids, ids, cameras, cameras) -> (cmc, mAP)."""
    found: dict[str, Callable[..., Any]] = {}
    for file in torchreid_files("metrics/rank.py", checkout)[:1]:
        found["python"] = partial(module(file).eval_market1501, max_rank=50)
    if checkout:
        built = sorted(checkout.rglob("rank_cylib/rank_cy*.so"))
        if not built:
            raise SystemExit(
                f"{checkout} holds no built rank_cy*.so; run `python setup.py build_ext --inplace` in rank_cylib"
            )
        found["cython"] = partial(module(built[0]).evaluate_cy, max_rank=50)
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def peak_mb(work: Callable[[], Any]) -> float:
    """Largest memory held beyond what was there before, in MB of 10^6 bytes."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def report(case: str, ours: float, others: dict[str, float], note: str) -> None:
    line = f"{case:20s} ours {ours:7.3f} s"
    for name, seconds in others.items():
        goal = GOALS.get((case, name))
        line += f"   {name} {seconds:6.2f} s = {seconds / ours:5.0f}x" + (f" (goal {goal}x)" if goal else "")
    print(f"{line}   {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid-checkout", type=Path)
    parser.add_argument("--queries", type=int, default=150, help="queries the Python evaluator is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    others = peers(arguments.torchreid_checkout)
    if not others:
        print("torchreid is not installed and no --torchreid-checkout was given: timing ours alone")
    draw = np.random.default_rng(0)
    known = labels(draw)
    few = slice(arguments.queries)
    centres = draw.normal(size=(IDENTITIES + 1, DIMENSIONS))
    print(f"{QUERIES} queries, {GALLERY} gallery images; NumPy {np.__version__}; CPU seconds")

    for name, noise in NOISE.items():
        asked, images = (features(ids, centres, noise, draw) for ids in known[:2])
        distance = 1 - asked @ images.T
        runs: dict[str, Callable[[], Any]] = {"ours": partial(rank, distance, *known, PROTOCOL)}
        if "cython" in others:
            runs["cython"] = partial(others["cython"], distance, *known)
        best, results = dict.fromkeys(runs, np.inf), {}
        for _ in range(arguments.repeats):
            for key, work in runs.items():
                seconds, results[key] = timed(work)
                best[key] = min(best[key], seconds)
        ours = best.pop("ours")
        note = f"mAP {results['ours'].mean_ap:.4f}"
        if "cython" in others:
            note += f", cython's differs by {abs(results['cython'][1] - results['ours'].mean_ap):.0e}"
        if "python" in others:
            part = (distance[few], known[0][few], known[1], known[2][few], known[3])
            seconds, (_, mean_ap) = timed(partial(others["python"], *part))
            best["python"] = seconds * QUERIES / arguments.queries
            note += f", python's by {abs(mean_ap - rank(*part, PROTOCOL).mean_ap):.0e}"
        report(name, ours, best, note)
        if name == "strong":
            strong = asked, images

    asked, images = strong

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, QUERIES, BLOCK):
            similarity = asked[start : start + BLOCK] @ images.T
            yield np.subtract(1, similarity, out=similarity)

    def in_blocks() -> Any:
        return rank(blocks(), *known, PROTOCOL)

    def whole() -> Any:
        return others["cython"](1 - asked @ images.T, *known)

    best_ours = min(timed(in_blocks)[0] for _ in range(arguments.repeats))
    both = {"cython": min(timed(whole)[0] for _ in range(arguments.repeats))} if "cython" in others else {}
    note = f"peak memory: ours {peak_mb(in_blocks):.0f} MB"
    if "cython" in others:
        note += f", cython {peak_mb(whole):.0f} MB"
    report("distances + ranking", best_ours, both, note)


if __name__ == "__main__":
    main()
