"""Market-1501's folders: `bounding_box_train`, `query` and `bounding_box_test`, `0002_c1s1_000451_03.jpg`.

Zheng et al. 2015. The synthetic benchmarks are written in, and read back from, the same layout by default; other
datasets use the same folders with other file names.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from reidlib.data.layout import Found, Layout, find, images, labelled, look_alikes, read_names
from reidlib.data.splits import DISTRACTOR, JUNK, Benchmark, joined

FOLDERS = {"train": "bounding_box_train/", "query": "query/", "gallery": "bounding_box_test/"}
MULTI = "gt_bbox"  # hand-drawn boxes, for multi-query evaluation

MARKET1501 = Layout(
    "Market-1501",
    "Market-1501-v15.09.15, Market-1501, market1501",
    ("market",),
    tuple((folder,) for folder in FOLDERS.values()),
)
DISTRACTORS = Layout(
    "Market-1501+500k",
    MARKET1501.usual,
    MARKET1501.family,
    (
        *MARKET1501.needs,
        ("distractors_500k/", "distractors/", "500k/", "images/", "../distractors_500k/", "../distractors/"),
    ),
)
NAME, EXAMPLE = r"(-1|\d+)_c(\d+)s\d", "0002_c1s1_000451_03.jpg (person 2, camera 1)"


def read_folders(name: str, found: Found, pattern: str, example: str) -> Benchmark:
    """The benchmark in the three folders that `found` begins with, files sorted by name.

    Junk (-1) and distractors (0) stay in the gallery and are dropped from train and query.
    """
    groups = look_alikes(found.folder)
    splits = []
    for part, folder in zip(FOLDERS, found.parts, strict=False):
        files = images(folder)
        people, cameras = read_names(files, pattern, example).T
        split = labelled(part, files, people, cameras, groups)
        splits.append(split if part == "gallery" else split.take(~np.isin(split.person_ids, (JUNK, DISTRACTOR))))
    train, query, gallery = splits
    return Benchmark(name, train, query, gallery)


def load_market1501(root: str | Path, name: str = "market1501") -> Benchmark:
    """The benchmark in or below `root`; `multi` are the hand-drawn boxes of the query people where they are there.

    ValueError names files whose names say no person and camera; the pixels are checked when they are decoded.
    """
    found = find(root, MARKET1501)
    benchmark = read_folders(name, found, NAME, EXAMPLE)
    if not (found.folder / MULTI).is_dir():
        return benchmark
    files = images(found.folder / MULTI)
    people, cameras = read_names(files, NAME, EXAMPLE).T
    multi = labelled("multi", files, people, cameras, look_alikes(found.folder))
    return replace(benchmark, multi=multi.take(np.isin(people, benchmark.query.identities)))


def load_distractors(root: str | Path) -> Benchmark:
    """Market-1501 with the 500,000 further distractors in its gallery, all as person 0.

    A distractor's camera is 0 where its name says none: it matches nobody in any camera.
    """
    found = find(root, DISTRACTORS)
    benchmark = load_market1501(found.folder, "market1501-500k")
    files = images(found.parts[-1])
    cameras = np.array([int(match[1]) if (match := re.search(r"_c(\d+)", path.name)) else 0 for path in files])
    more = labelled("gallery", files, np.full(len(files), DISTRACTOR), cameras, {})
    return replace(benchmark, gallery=joined("gallery", benchmark.gallery, more))
