"""CUHK01 and VIPeR: hand-drawn boxes of two cameras, split at random by the number of the split.

CUHK01 (Li et al. 2012): `campus/0001001.png`, person and image, of which 1 and 2 are of camera 1, 3 and 4 of camera 2.
"""

from pathlib import Path

import numpy as np

from reidlib.data.layout import Layout, find, images, labelled, look_alikes, read_names, some
from reidlib.data.splits import Benchmark, Split, draw_people, two_views

CUHK01 = Layout("CUHK01", "CUHK01, cuhk01", ("cuhk01",), (("campus/",),))


def load_cuhk01(root: str | Path, split: int, tested: int | None = 100) -> Benchmark:
    """The benchmark in or below `root`: `tested` people to test and the others to train, drawn by `split`.

    tested: 100 of 971, a third where there are fewer than 300; None is half of them, 486. ValueError names people
    without an image in either camera, and files of another name.
    """
    everybody = _everybody(root)
    count = len(everybody.identities)
    name, number = ("cuhk01-486", count - count // 2) if tested is None else ("cuhk01", min(tested, count // 3))
    return random_split(name, everybody, number, split)


def load_cuhk01_all(root: str | Path) -> Benchmark:
    """All 971 people, to train on or to test with. Errors as `load_cuhk01`."""
    everybody = _everybody(root)
    _check_views("cuhk01-all", everybody)
    return two_views("cuhk01-all", everybody, everybody)


def _everybody(root: str | Path) -> Split:
    found = find(root, CUHK01)
    files = images(found.parts[0])
    people, shots = read_names(files, r"(\d{4})(\d{3})\.", "0001001.png (person 1, image 1)").T
    return labelled("train", files, people, 1 + (shots - 1) // 2, look_alikes(found.folder))


def random_split(name: str, everybody: Split, tested: int, seed: int) -> Benchmark:
    """Test images of `tested` people, whole look-alike groups, and training images of all others, drawn by `seed`.

    ValueError names people who are not in both of cameras 1 and 2.
    """
    _check_views(name, everybody)
    return two_views(name, *draw_people(everybody, tested, seed))


def _check_views(name: str, everybody: Split) -> None:
    if everybody.person_ids.min() < 1:
        raise ValueError(f"{name}: there is a person 0; people are numbered from 1")
    for camera in (1, 2):
        there = everybody.person_ids[everybody.camera_ids == camera]
        lacking = np.setdiff1d(everybody.person_ids, there).tolist()
        if lacking:
            raise ValueError(
                f"{name}: {len(lacking)} people have no image of camera {camera}, such as {some(lacking)};"
                " unpack the archive again"
            )
    other = sorted({*everybody.camera_ids.tolist()} - {1, 2})
    if other:
        raise ValueError(f"{name}: there are images of camera {some(other)}; it has cameras 1 and 2")
