"""MSMT17, version 1 (`train`, `test`) and 2 (`mask_train_v2`, `mask_test_v2`, faces blurred), with their four lists.

Wei et al. 2018. A line of a list is `0000/0000_000_01_0303morning_0008_0.jpg 0`: an image, whose third number is the
camera, and its person.
"""

import re
from pathlib import Path

import numpy as np

from reidlib.data.layout import Layout, find, labelled, look_alikes, some
from reidlib.data.splits import Benchmark, joined

MSMT17 = Layout(
    "MSMT17",
    "MSMT17_V1, MSMT17_V2, MSMT17",
    ("msmt",),
    (
        ("train/", "mask_train_v2/"),
        ("test/", "mask_test_v2/"),
        *((f"list_{name}.txt",) for name in ("train", "val", "query", "gallery")),
    ),
)
_LINE = re.compile(r"(\S*?\d+_\d+_(\d+)_[^\s/]*)\s+(\d+)\s*")


def load_msmt17(root: str | Path) -> Benchmark:
    """The benchmark in or below `root`: `list_train` and `list_val` together, of the same people, are training.

    People are numbered from 0 in training and again in the test set; here from 1, test people after those of
    training. ValueError names lines that are not understood, FileNotFoundError images that are listed and not there.
    """
    found = find(root, MSMT17)
    train, test, *lists = found.parts
    groups = look_alikes(found.folder)
    (train_files, people, cameras), (val_files, val_people, val_cameras), *asked = (
        _read(path, folder) for path, folder in zip(lists, (train, train, test, test), strict=True)
    )
    first = 1 + max(people.max(), val_people.max(), 0)
    query, gallery = (
        labelled(name, files, 1 + first + people, cameras, groups)
        for name, (files, people, cameras) in zip(("query", "gallery"), asked, strict=True)
    )
    training = joined(
        "train",
        labelled("train", train_files, 1 + people, cameras, groups),
        labelled("val", val_files, 1 + val_people, val_cameras, groups),
    )
    return Benchmark("msmt17", training, query, gallery)


def _read(path: Path, folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """(files, people, cameras) of a list."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    matches = [_LINE.fullmatch(line) for line in lines]
    strange = [repr(line) for line, match in zip(lines, matches, strict=True) if match is None]
    if strange or not lines:
        what = f"cannot read an image, its camera and its person from {some(strange, 3)}" if lines else "is empty"
        raise ValueError(
            f"{path} {what}; lines look like 0000/0000_000_01_0303morning_0008_0.jpg 0 (camera 1, person 0):"
            " unpack the archive again"
        )
    files = [folder / match[1] for match in matches if match]
    gone = [file.relative_to(folder) for file in files if not file.is_file()]
    if gone:
        raise FileNotFoundError(
            f"{folder} lacks {len(gone)} of the {len(files)} images in {path.name}, such as {gone[0]}; unpack the"
            " archive again"
        )
    people, cameras = np.array([(int(match[3]), int(match[2])) for match in matches if match], np.int64).T
    return files, people, cameras
