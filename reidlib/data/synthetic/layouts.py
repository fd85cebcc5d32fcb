"""Every dataset's layout: its counts, and which images are written under what names.

`market` sizes have the counts printed for the real dataset. Whole look-alike groups are on one side of every split
that is published with a dataset; where a dataset is split at random, sides of the printed sizes can be put together
from whole groups.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.data.synthetic import cuhk03
from reidlib.data.synthetic.plan import (
    DISTRACTOR,
    FEWEST_CAMERAS,
    GALLERY,
    QUERY,
    TRAIN,
    Plan,
    PlannedImage,
    cast,
    numbered,
    on_side,
    plan_images,
    share_out,
    views,
)
from reidlib.data.synthetic.settings import (
    CAMERAS,
    DEFAULT_LAYOUT,
    GROUP,
    SIZES,
    STRANGERS,
    Rig,
    Stream,
    generator,
)

ANY = "any"  # the split of people whom the loader puts on either side


@dataclass(frozen=True)
class Layout:
    """One dataset's files; `plan` takes the seed, the domain and the size's name."""

    rig: Rig
    sizes: dict[str, Any]
    plan: Callable[[int, str, str], Plan]
    texts: tuple[str, ...] = ()  # names of `Plan.texts`
    archive: str = ""  # the file the images are packed into
    pack: Callable[[Path, Path, Plan], None] | None = None  # (archive, folder of the drawn images, plan)


def _some_views(rng: np.random.Generator, people: list[int], total: int, cameras: int) -> list[tuple[int, int]]:
    """`views` of few cameras each, as in datasets with many."""
    return views(rng, people, total, cameras, min(cameras, 2 * -(-total // len(people)) - FEWEST_CAMERAS))


# -- Market-1501 -----------------------------------------------------------------------------------------------


def _market1501(seed: int, domain: str, size: str) -> Plan:
    counts = SIZES[size]
    people = {
        person: (person, "train" if person < counts.first_test_person else "test")
        for person in range(counts.first_person, counts.last_person + 1)
    }
    return Plan(plan_images(seed, domain, size), people)


# Distractors of an archive of their own, on top of Market-1501's.
FURTHER = {"tiny": 60, "small": 4_000, "market": 500_000}
BY_HAND, DISTRACTORS = "gt_bbox", "distractors_500k"


def _market1501_500k(seed: int, domain: str, size: str) -> Plan:
    """Market-1501 with `gt_bbox`, the test people's boxes drawn by hand in the same frames, and `distractors_500k`."""
    plan = _market1501(seed, domain, size)
    by_hand = [
        replace(image, file=f"{BY_HAND}/{image.file.split('/')[1]}", labeled=True)
        for image in plan.images
        if image.label > 0 and not image.file.startswith(TRAIN)
    ]
    number, first = FURTHER[size], STRANGERS + SIZES[size].distractors
    cameras = generator(seed, Stream.PLAN, domain, 1).integers(1, CAMERAS + 1, number)
    further = [
        PlannedImage(
            f"{DISTRACTORS}/{i:06d}.jpg", DISTRACTOR, subject=first + i, camera=int(camera), index=0, partial=i % 2 == 1
        )
        for i, camera in enumerate(cameras)
    ]
    return replace(plan, images=plan.images + by_hand + further)


# -- DukeMTMC-reID ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DukeSize:
    """`others` are in the gallery only, each under one camera."""

    train_people: int
    test_people: int
    others: int
    train: int
    query: int
    gallery: int


DUKE_SIZES = {
    "tiny": DukeSize(16, 16, 8, train=192, query=52, gallery=180),
    "small": DukeSize(200, 200, 116, train=4700, query=640, gallery=5030),
    "market": DukeSize(702, 702, 408, train=16522, query=2228, gallery=17661),
}
DUKE = Rig(cameras=8, image_size=(160, 80))


def _dukemtmc(seed: int, domain: str, size: str) -> Plan:
    """`0001_c2_f0046182.jpg`: person, camera, frame. Every test person has one query per camera."""
    counts = DUKE_SIZES[size]
    rng = generator(seed, Stream.PLAN, domain)
    sides = {"train": counts.train_people, "test": counts.test_people, "other": counts.others}
    people = numbered(cast(rng, sides))

    def image(folder: str, person: int, camera: int, index: int) -> PlannedImage:
        frame = (person * 3571 + camera * 7919) % 300_000 + 120 * index
        file = f"{folder}/{person:04d}_c{camera}_f{frame:07d}.jpg"
        return PlannedImage(file, person, people[person][0], camera, index, labeled=True)

    per_person = counts.query / counts.test_people
    seen = {
        "train": _some_views(rng, on_side(people, "train"), round(per_person * counts.train_people), DUKE.cameras),
        "test": _some_views(rng, on_side(people, "test"), counts.query, DUKE.cameras),
        "other": [(person, int(rng.integers(1, DUKE.cameras + 1))) for person in on_side(people, "other")],
    }
    numbers = share_out(rng, counts.train, len(seen["train"]), 1)
    images = [image(TRAIN, *view, i) for view, n in zip(seen["train"], numbers, strict=True) for i in range(n)]
    numbers = share_out(rng, counts.gallery, counts.query + counts.others, 1)
    images += [image(QUERY, *view, int(n)) for view, n in zip(seen["test"], numbers, strict=False)]
    images += [
        image(GALLERY, *view, i)
        for view, n in zip(seen["test"] + seen["other"], numbers, strict=True)
        for i in range(n)
    ]
    return Plan(images, {n: (who, "train" if side == "train" else "test") for n, (who, side) in people.items()})


# -- MSMT17 ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MsmtSize:
    """`val` images are of training people, on top of `train`."""

    train_people: int
    test_people: int
    train: int
    val: int
    query: int
    gallery: int


MSMT_SIZES = {
    "tiny": MsmtSize(16, 24, train=150, val=12, query=84, gallery=190),
    "small": MsmtSize(128, 376, train=3719, val=292, query=1433, gallery=10102),
    "market": MsmtSize(1041, 3060, train=30248, val=2373, query=11659, gallery=82161),
}
MSMT = Rig(cameras=15, image_size=(256, 128))
MSMT_LISTS = ("train", "val", "query", "gallery")
MSMT_TIMES = ("0303morning", "0303noon", "0303afternoon", "0113morning")


def _msmt17(seed: int, domain: str, size: str) -> Plan:
    """`train/0000/0000_000_01_0303morning_0008_0.jpg`: person (from 0 in train and in test), number, camera, time,
    frame, box; `list_train.txt` and the others hold a file and its person a line."""
    counts = MSMT_SIZES[size]
    rng = generator(seed, Stream.PLAN, domain)
    train = cast(rng, {"train": counts.train_people})
    test = cast(rng, {"test": counts.test_people}, first_group=train[-1][0] // GROUP + 1)
    people = numbered(train + test)
    first_test = counts.train_people + 1
    per_person = counts.query / counts.test_people
    train_views = _some_views(rng, on_side(people, "train"), round(per_person * counts.train_people), MSMT.cameras)
    test_views = _some_views(rng, on_side(people, "test"), counts.query, MSMT.cameras)
    train_numbers = share_out(rng, counts.train + counts.val, len(train_views), 1)
    test_numbers = share_out(rng, counts.query + counts.gallery, len(test_views), 2)
    images: list[PlannedImage] = []
    for folder, seen, numbers in (("train", train_views, train_numbers), ("test", test_views, test_numbers)):
        number_of = Counter[int]()
        for (person, camera), number in zip(seen, numbers, strict=True):
            name = f"{person - (first_test if folder == 'test' else 1):04d}"
            for index in range(number):
                time = MSMT_TIMES[(person + camera + index // 4) % len(MSMT_TIMES)]
                frame = f"{number_of[person]:03d}_{camera:02d}_{time}_{25 * index + 8:04d}_{index % 2}"
                file = f"{folder}/{name}/{name}_{frame}.jpg"
                images.append(PlannedImage(file, person, people[person][0], camera, index))
                number_of[person] += 1
    movable = [image.file for image in images if image.label < first_test and image.file.split("_")[1] != "000"]
    val = {movable[place] for place in rng.permutation(len(movable))[: counts.val]}
    lists: dict[str, list[str]] = {name: [] for name in MSMT_LISTS}
    for image in images:
        folder, file = image.file.split("/", 1)
        if folder == "train":
            name = "val" if image.file in val else "train"
        else:
            name = "query" if image.index == 0 else "gallery"
        lists[name].append(f"{file} {int(file[:4])}\n")
    texts = {f"list_{name}.txt": "".join(lines).encode() for name, lines in lists.items()}
    return Plan(images, people, texts)


# -- CUHK01 and VIPeR ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cuhk01Size:
    """People in three parts: the first tests in 871/100, the first two in 485/486."""

    parts: tuple[int, int, int]


CUHK01_SIZES = {
    "tiny": Cuhk01Size((8, 8, 16)),
    "small": Cuhk01Size((100, 50, 150)),
    "market": Cuhk01Size((100, 386, 485)),
}
VIPER_SIZES = {"tiny": (16, 16), "small": (100, 100), "market": (316, 316)}  # people in two halves
# Camera 1 sees people from the front or back, camera 2 from a side.
CUHK01 = Rig(cameras=2, directions=4, image_size=(160, 60))
VIPER = Rig(cameras=2, directions=4, image_size=(128, 48))


def _unsplit(rng: np.random.Generator, parts: Sequence[int]) -> dict[int, tuple[int, str]]:
    """People whom the loader splits at random; parts of those sizes are whole groups in one way at least."""
    named = {str(part): people for part, people in enumerate(parts)}
    return numbered([(subject, ANY) for subject, _ in cast(rng, named)])


def _cuhk01(seed: int, domain: str, size: str) -> Plan:
    """`campus/0001001.png`: person, and image 1 to 4, the first two of camera 1."""
    people = _unsplit(generator(seed, Stream.PLAN, domain), CUHK01_SIZES[size].parts)
    images = [
        PlannedImage(f"campus/{person:04d}{shot + 1:03d}.png", person, subject, shot // 2 + 1, shot % 2, labeled=True)
        for person, (subject, _) in people.items()
        for shot in range(4)
    ]
    return Plan(images, people)


def _viper(seed: int, domain: str, size: str) -> Plan:
    """`cam_a/001_0.bmp`, `cam_b/001_90.bmp`: person and the camera's main viewing angle in degrees."""
    people = _unsplit(generator(seed, Stream.PLAN, domain), VIPER_SIZES[size])
    images = [
        PlannedImage(f"cam_{'ab'[camera]}/{person:03d}_{90 * camera}.bmp", person, subject, camera + 1, 0, labeled=True)
        for person, (subject, _) in people.items()
        for camera in (0, 1)
    ]
    return Plan(images, people)


# -- a user's own folders --------------------------------------------------------------------------------------

OWN_NAMES, OWN_PATTERN = {TRAIN: "train", QUERY: "query", GALLERY: "gallery"}, "pattern.txt"


def _folders(seed: int, domain: str, size: str) -> Plan:
    """`train/0008_c1s1_044406_01.jpg`, with a file that says how people and cameras are read from the names."""
    plan = _market1501(seed, domain, size)
    images = []
    for image in plan.images:
        folder, file = image.file.split("/")
        images.append(replace(image, file=f"{OWN_NAMES[folder]}/{file}"))
    return replace(plan, images=images, texts={OWN_PATTERN: b"{split}/{person}_c{camera}s*.jpg\n"})


LAYOUTS = {
    DEFAULT_LAYOUT: Layout(Rig(), SIZES, _market1501),
    "market1501-500k": Layout(Rig(same_shots=True), FURTHER, _market1501_500k),
    "dukemtmc": Layout(DUKE, DUKE_SIZES, _dukemtmc),
    "msmt17": Layout(MSMT, MSMT_SIZES, _msmt17, tuple(f"list_{name}.txt" for name in MSMT_LISTS)),
    "cuhk03": Layout(
        cuhk03.RIG,
        cuhk03.SIZES,
        cuhk03.plan,
        tuple(cuhk03.CONFIG.format(boxes) for boxes in cuhk03.BOXES),
        cuhk03.ARCHIVE,
        cuhk03.pack,
    ),
    "cuhk01": Layout(CUHK01, CUHK01_SIZES, _cuhk01),
    "viper": Layout(VIPER, VIPER_SIZES, _viper),
    "folders": Layout(Rig(), SIZES, _folders, (OWN_PATTERN,)),
}
