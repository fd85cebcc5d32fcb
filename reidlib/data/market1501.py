"""Market-1501's folders: `bounding_box_train`, `query` and `bounding_box_test`, `0002_c1s1_000451_03.jpg`.

Zheng et al. 2015. The synthetic benchmarks are written in, and read back from, the same layout.
"""

import os
import re
from pathlib import Path

import numpy as np

from reidlib.data.splits import DISTRACTOR, JUNK, Benchmark, Split

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
SPELLINGS = "Market-1501-v15.09.15, Market-1501, market1501"
_NAME = re.compile(r"(-1|\d+)_c(\d+)")
_IMAGES = {".jpg", ".jpeg", ".png"}


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except PermissionError:
        return []


def find_market1501(root: str | os.PathLike[str]) -> Path:
    """The folder that holds the three splits: `root` itself, or one level below under any name, or two levels
    below under Market-1501's usual names. FileNotFoundError says what was looked for and what is there."""
    top = Path(root).expanduser()
    if not top.is_dir():
        what = "is a file, not a folder" if top.exists() else "does not exist"
        raise FileNotFoundError(f"Market-1501 was looked for in {top}, which {what}; give the folder it is in")

    def named(path: Path) -> bool:
        return re.sub(r"[\W_]", "", path.name.lower()).startswith("market")

    inside = sorted(_children(top), key=lambda path: not named(path))
    candidates = [top, *inside, *(deeper for path in inside if named(path) for deeper in _children(path))]
    complete = [path for path in candidates if all((path / name).is_dir() for name in FOLDERS.values())]
    if complete:
        usual = [path for path in complete if path == top or named(path) or named(path.parent)]
        if not usual and len(complete) > 1:
            several = ", ".join(path.name for path in complete)
            raise ValueError(f"{top} holds several datasets in Market-1501's layout ({several}); give one of them")
        return (usual or complete)[0]
    partial = [path for path in candidates if any((path / name).is_dir() for name in FOLDERS.values())]
    if partial:
        lacking = [name for name in FOLDERS.values() if not (partial[0] / name).is_dir()]
        there = ", ".join(path.name for path in _children(partial[0]))
        raise FileNotFoundError(
            f"Market-1501 in {partial[0]} lacks {' and '.join(lacking)} (found {there}); unpack the archive again"
        )
    names = sorted(path.name + "/" * path.is_dir() for path in top.iterdir()) or ["nothing"]
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise FileNotFoundError(
        f"no Market-1501 in {top}: looked for the folders {', '.join(FOLDERS.values())} there and below it"
        f" (usual names: {SPELLINGS}), found {found}; give the folder that holds them"
    )


def _read(folder: Path, name: str) -> Split:
    files = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in _IMAGES and not path.name.startswith(".")
    )
    if not files:
        raise FileNotFoundError(f"{folder} holds no .jpg or .png image; unpack the archive again")
    matches = [_NAME.match(path.name) for path in files]
    strange = [path.name for path, match in zip(files, matches, strict=True) if match is None]
    if strange:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise ValueError(
            f"{folder}: cannot read person and camera from {', '.join(strange[:5])}{more}; names look like"
            " 0002_c1s1_000451_03.jpg (person 2, camera 1): rename or remove these files"
        )
    labels = np.array([[int(part) for part in match.groups()] for match in matches if match], np.int64)
    split = Split(name, tuple(files), labels[:, 0], labels[:, 1], labels[:, 0])
    return split if name == "gallery" else split.take(~np.isin(split.person_ids, (JUNK, DISTRACTOR)))


def load_market1501(root: str | os.PathLike[str], name: str = "market1501") -> Benchmark:
    """The benchmark in `root` (see `find_market1501`), files sorted by name.

    Junk (-1) and distractors (0) stay in the gallery and are dropped from train and query. ValueError names
    files whose names say no person and camera; the pixels are checked when they are decoded.
    """
    folder = find_market1501(root)
    return Benchmark(name, **{split: _read(folder / below, split) for split, below in FOLDERS.items()})
