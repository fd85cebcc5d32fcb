"""Evaluation and search from features at the sizes of Market-1501, of MSMT17, and of a million images.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_scale.py [--million 1000000] [--folder DIR] [--record CSV]

market, msmt: `rank` of the row blocks of `feature_distances`, 2,048-dimensional float16 features from a memory-mapped
              file, labels of one person a camera or more: distances, CMC, mAP, mINP.
million:      the ten nearest and the ranks of all matches of 100 queries in a gallery of `--million` images.
faiss:        the same search through FAISS's indexes at growing effort, if FAISS is installed, and its recall of the
              exact ten nearest. --record writes the table that the book draws.
CPU seconds, one process; memory is the largest held beyond the features, their file and a FAISS index. A feature is a
person's point in 64 dimensions with noise, mapped linearly into 2,048, with noise, as a unit vector.
"""

import argparse
import importlib.util
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.evaluation import rank
from reidlib.evaluation.search import Index, feature_distances, recall, search
from reidlib.run import device_name

DIMENSIONS, INTRINSIC, DEPTH = 2048, 64, 10
SIZES = {"market": (3368, 19732, 750, 6), "msmt": (11659, 82161, 3060, 15)}  # queries, gallery, people, cameras
MEMORY_GOAL = 150  # MB
INDEXES = {"IVF1024,SQfp16": (1, 2, 4, 8, 16, 32, 64), "PCA128,IVF1024,Flat": (1, 4, 16, 64)}


def drawn(path: Path, count: int, people: int, cameras: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`count` float16 features in a memory-mapped file, with identities and cameras."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((people + 1, INTRINSIC), dtype=np.float32)
    mapping = draw.standard_normal((INTRINSIC, DIMENSIONS), dtype=np.float32) / INTRINSIC**0.5
    ids, cams = draw.integers(1, people + 1, count), draw.integers(1, cameras + 1, count)
    file = np.memmap(path, np.float16, "w+", shape=(count, DIMENSIONS))
    for start in range(0, count, 10_000):
        rows = slice(start, min(count, start + 10_000))
        points = centres[ids[rows]] + 1.0 * draw.standard_normal((rows.stop - start, INTRINSIC), dtype=np.float32)
        found = points @ mapping + 0.3 * draw.standard_normal((len(points), DIMENSIONS), dtype=np.float32)
        file[rows] = found / np.linalg.norm(found, axis=1, keepdims=True)
    file.flush()
    return np.memmap(path, np.float16, "r", shape=(count, DIMENSIONS)), ids, cams


def measured(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """(CPU seconds, MB of 10^6 bytes at most, result)"""
    tracemalloc.start()
    start = time.process_time()
    result = work()
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6, result


def evaluated(name: str, file: np.ndarray, ids: np.ndarray, cams: np.ndarray, queries: int) -> None:
    asked = np.array(file[:queries])
    gallery, labels = file[queries:], (ids[:queries], ids[queries:], cams[:queries], cams[queries:])
    seconds, peak, found = measured(lambda: rank(feature_distances(asked, gallery), *labels))
    rate = 2 * queries * len(gallery) * DIMENSIONS / seconds / 1e9
    print(
        f"{name:8s} {queries:6,} x {len(gallery):9,}: {seconds:6.1f} s ({rate:.0f} GFLOP/s), {peak:4.0f} MB"
        f" (goal {MEMORY_GOAL} MB), mAP {found.mean_ap:.3f}",
        flush=True,
    )


def searched(file: np.ndarray, queries: int, record: Path | None) -> None:
    asked, gallery = np.array(file[:queries]), file[queries:]
    seconds, peak, exact = measured(lambda: search(asked, gallery, DEPTH))
    print(
        f"search   {queries:6,} x {len(gallery):9,}: {seconds:6.1f} s, {peak:4.0f} MB, exact, {DEPTH} nearest",
        flush=True,
    )
    if importlib.util.find_spec("faiss") is None:
        print("FAISS is not installed (pip install faiss-cpu): no approximate search")
        return
    common = {"gallery": len(gallery), "dimensions": DIMENSIONS, "queries": queries}
    common |= {"device": device_name("cpu"), "faiss": version("faiss-cpu"), "date": date.today().isoformat()}
    rows = [{"index": "exact", "effort": "", "recall": 1.0, "milliseconds": 1e3 * seconds / queries, **common}]
    for description, probes in INDEXES.items():
        start = time.process_time()
        index = Index(gallery, description)
        built = time.process_time() - start
        for count in probes:
            effort = f"nprobe={count}"
            start = time.process_time()
            found = index.search(asked, DEPTH, effort)
            milliseconds = 1e3 * (time.process_time() - start) / queries
            share = recall(found, exact)
            rows.append(
                {"index": description, "effort": effort, "recall": share, "milliseconds": milliseconds, **common}
            )
            print(
                f"{description:20s} {effort:10s} {milliseconds:8.2f} ms a query, recall {share:.3f}"
                f" (built in {built:.0f} s)",
                flush=True,
            )
        del index
    if record:
        pd.DataFrame(rows).round({"recall": 4, "milliseconds": 3}).to_csv(record, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", type=int, default=1_000_000, help="gallery images of the last part; 0 for none")
    parser.add_argument("--queries", type=int, default=100, help="queries of the last part")
    parser.add_argument("--folder", type=Path, help="where the features are written; default: a temporary folder")
    parser.add_argument("--record", type=Path, help="a CSV file for the recall of FAISS's indexes")
    parser.add_argument("--only", choices=[*SIZES, "million"], help="one part")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder, "features.f16")
        for name, (queries, gallery, people, cameras) in SIZES.items():
            if arguments.only in (None, name):
                evaluated(name, *drawn(path, queries + gallery, people, cameras), queries)
        if arguments.million and arguments.only in (None, "million"):
            count = arguments.million + arguments.queries
            needed = 2 * DIMENSIONS * count
            if shutil.disk_usage(folder).free < needed:
                raise SystemExit(f"{needed / 1e9:.0f} GB are needed in {folder}; give --folder or a smaller --million")
            file, ids, cams = drawn(path, count, arguments.million // 20, 6)
            evaluated("million", file, ids, cams, arguments.queries)
            searched(file, arguments.queries, arguments.record)


if __name__ == "__main__":
    main()
