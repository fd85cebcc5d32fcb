"""k-reciprocal re-ranking against torchreid's `re_ranking`, and at Market-1501's size, one thread.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_reranking.py [--torchreid-checkout DIR] [--dimensions 256]

torchreid: its `re_ranking` of whole matrices, at 1,000 queries and 6,000 gallery images.
ours:      `rerank` of the same matrices, and `reranked` of the features, whose distances it computes in blocks.
market:    `reranked` of the features of 3,368 queries and 19,732 gallery images, whose square matrix would take 2 GB.
CPU seconds, one process, the fastest of the repeats; a feature is a person's centre plus noise. torchreid squares what
it is given, so it gets the roots of our distances.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_ranking import module, peak_mb, timed, torchreid_files

from reidlib.evaluation import rerank
from reidlib.evaluation.reranking import reranked

RATIO_GOAL, SECONDS_GOAL, MEMORY_GOAL, ERROR_GOAL = 10, 10, 1000, 1e-6


def crowd(count: int, people: int, dimensions: int) -> np.ndarray:
    """(N, D) float32 unit vectors."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((people, dimensions), dtype=np.float32)
    found = centres[draw.integers(0, people, count)] + 1.6 * draw.standard_normal((count, dimensions), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def streamed(features: np.ndarray, queries: int) -> Iterator[np.ndarray]:
    def distance(rows: slice, columns: slice | np.ndarray) -> np.ndarray:
        product = features[rows] @ features[columns].T
        return np.subtract(1, product, out=product)

    return reranked(distance, queries, len(features) - queries)


def best(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    runs = [timed(work) for _ in range(repeats)]
    return min(seconds for seconds, _ in runs), runs[0][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid-checkout", type=Path)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    features, queries = crowd(7000, 300, arguments.dimensions), 1000
    whole = np.maximum(1 - features @ features.T, 0)
    np.fill_diagonal(whole, 0)
    parts = whole[:queries, :queries], whole[:queries, queries:], whole[queries:, queries:]
    ours, found = best(lambda: rerank(*parts), arguments.repeats)
    blocks, again = best(lambda: np.concatenate(list(streamed(features, queries))), arguments.repeats)
    line = f"1000 x 6000    ours {ours:.2f} s, {blocks:.2f} s with the distances"
    files = torchreid_files("utils/rerank.py", arguments.torchreid_checkout)
    if files:
        peer = module(files[0]).re_ranking
        roots = [np.sqrt(part) for part in parts]
        seconds, expected = timed(partial(peer, roots[1], roots[0], roots[2]))
        error = max(abs(found - expected).max(), abs(again - expected).max())
        line += f"   torchreid {seconds:.2f} s = {seconds / ours:.1f}x (goal {RATIO_GOAL}x)"
        line += f"   differs by {error:.0e} (goal {ERROR_GOAL:.0e})"
    else:
        line += "   torchreid is not installed and no --torchreid-checkout was given: timing ours alone"
    print(line, flush=True)

    features = crowd(3368 + 19732, 1500, arguments.dimensions)
    seconds, _ = timed(lambda: sum(len(block) for block in streamed(features, 3368)))
    peak = peak_mb(lambda: sum(len(block) for block in streamed(features, 3368)))
    print(
        f"3368 x 19732   ours {seconds:.2f} s with the distances in {arguments.dimensions} dimensions"
        f" (goal {SECONDS_GOAL} s), {peak:.0f} MB beyond the features (goal {MEMORY_GOAL} MB)"
    )


if __name__ == "__main__":
    main()
