"""Which images a synthetic data set holds: what all layouts share, and Market-1501's plan.

Who is on which side of a split, who is seen by which camera, and under what file name. The other layouts are planned in
`layouts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from reidlib.data.splits import DISTRACTOR, JUNK, adding_up
from reidlib.data.synthetic.settings import CAMERAS, GROUP, SIZES, STRANGERS, Stream, generator

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"  # Market-1501's folders
FEWEST_CAMERAS = 2
SMALLEST_GROUP = 6  # sides of any size are sums of group sizes, which multiples of 8 alone would not allow


@dataclass(frozen=True)
class PlannedImage:
    """One file: the label it carries, and what `World.render` draws for it.

    `label` is `subject` for people, 0 for a distractor and -1 for junk.
    """

    file: str  # below the data set's folder
    label: int
    subject: int
    camera: int
    index: int
    labeled: bool = False
    partial: bool = False

    def entry(self) -> dict[str, Any]:
        """The image as the manifest holds it, `file` being its key."""
        return {name: value for name, value in asdict(self).items() if name != "file"}


@dataclass(frozen=True)
class Plan:
    """What a data set holds."""

    images: list[PlannedImage]
    people: dict[int, tuple[int, str]]  # by the person id that the loader gives: who is drawn, and the split
    texts: dict[str, bytes] = field(default_factory=dict)  # further files, whole
    testsets: list[np.ndarray] = field(default_factory=list)  # CUHK03's: (people, 2), camera pair and person


def cast(rng: np.random.Generator, sides: Mapping[str, int], first_group: int = 1) -> list[tuple[int, str]]:
    """(person drawn, side) of everybody, sides of exactly those sizes.

    Groups of 6 to 8 look-alikes on one side each, in random order: `GROUP` numbers a group, the last ones unused.
    """
    groups = [
        (side, int(members))
        for side, people in sides.items()
        if people
        for members in share_out(rng, people, max(1, round(people / 7)), SMALLEST_GROUP, GROUP)
    ]
    return [
        (GROUP * (first_group + place) + member, groups[chosen][0])
        for place, chosen in enumerate(rng.permutation(len(groups)))
        for member in range(groups[chosen][1])
    ]


def whole_groups(rng: np.random.Generator, groups: Sequence[int], people: int) -> list[int]:
    """Random people (positions in `groups`, ascending), `people` of them exactly, who are whole groups.

    groups: the group of each. ValueError where no groups add up to that number.
    """
    numbers, sizes = np.unique(np.asarray(groups), return_counts=True)
    order = rng.permutation(len(numbers))
    found = adding_up(sizes[order], people)
    if found is None:
        raise ValueError(f"no whole groups have {people} people together: give another number")
    chosen = set(numbers[order[found]].tolist())
    return [position for position, group in enumerate(groups) if int(group) in chosen]


def numbered(people: list[tuple[int, str]], start: int = 1) -> dict[int, tuple[int, str]]:
    """People by the person id that the loader gives them, from `start`."""
    return dict(enumerate(people, start))


def on_side(people: Mapping[int, tuple[int, str]], side: str) -> list[int]:
    """The person ids of one side of the split."""
    return [number for number, (_, where) in people.items() if where == side]


def plan_images(seed: int, domain: str, size: str) -> list[PlannedImage]:
    """All images of a data set, in the order of their folders and people.

    Counts are exactly those of `SIZES[size]`; people are seen by 2 to 6 cameras, and every test person has one
    query per camera, as in Market-1501.
    """
    counts = SIZES[size]
    rng = generator(seed, Stream.PLAN, domain)
    train = range(counts.first_person, counts.first_test_person)
    test = range(counts.first_test_person, counts.last_person + 1)
    people_per_query = counts.query / counts.test_people
    train_views = views(rng, train, round(people_per_query * counts.train_people))
    test_views = views(rng, test, counts.query)
    images = _images(TRAIN, train_views, share_out(rng, counts.train, len(train_views), 1))
    gallery_counts = share_out(rng, counts.gallery, len(test_views), 1)
    for (person, camera), index in zip(test_views, gallery_counts, strict=True):
        file = _file(QUERY, person, camera, int(index))
        images.append(PlannedImage(file, person, person, camera, int(index), labeled=True))
    images += _images(GALLERY, test_views, gallery_counts)
    return images + _distractors(rng, counts.distractors) + _junk(rng, counts.junk, test)


def views(
    rng: np.random.Generator, people: Sequence[int], total: int, cameras: int = CAMERAS, most: int = CAMERAS
) -> list[tuple[int, int]]:
    """Which person is seen by which cameras, at least 2 and at `most`: `total` (person, camera) pairs."""
    numbers = share_out(rng, total, len(people), FEWEST_CAMERAS, most)
    return [
        (person, int(camera) + 1)
        for person, number in zip(people, numbers, strict=True)
        for camera in np.sort(rng.permutation(cameras)[:number])
    ]


def share_out(rng: np.random.Generator, total: int, places: int, fewest: int, most: int | None = None) -> np.ndarray:
    """Random whole numbers of `fewest` to `most`, one per place, that add up to `total` exactly."""
    most = most or max(fewest, 2 * total // places)
    return settle(rng, rng.integers(fewest, most + 1, places), total, fewest, most)


def settle(rng: np.random.Generator, shares: np.ndarray, total: int, fewest: int, most: int) -> np.ndarray:
    """`shares` moved by as little as makes them add up to `total`, each within `fewest` to `most`."""
    shares = shares.copy()
    while (missing := total - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        movable = np.flatnonzero(shares < most if step > 0 else shares > fewest)
        if not len(movable):
            raise ValueError(f"{total} cannot be shared out over {len(shares)} places of {fewest} to {most}")
        shares[rng.permutation(movable)[: abs(missing)]] += step
    return shares


def _images(folder: str, views: list[tuple[int, int]], counts: np.ndarray) -> list[PlannedImage]:
    return [
        PlannedImage(_file(folder, person, camera, index), person, person, camera, index)
        for (person, camera), number in zip(views, counts, strict=True)
        for index in range(int(number))
    ]


def _distractors(rng: np.random.Generator, number: int) -> list[PlannedImage]:
    """People who are in no split, every other one badly cut."""
    cameras = rng.integers(1, CAMERAS + 1, number)
    return [
        PlannedImage(
            file=f"{GALLERY}/0000_c{camera}s{1 + i % 6}_{i:06d}_00.jpg",
            label=DISTRACTOR,
            subject=STRANGERS + i,
            camera=int(camera),
            index=0,
            partial=i % 2 == 1,
        )
        for i, camera in enumerate(cameras)
    ]


def _junk(rng: np.random.Generator, number: int, test: Sequence[int]) -> list[PlannedImage]:
    """Bad boxes: of test people, and one in four of a stranger."""
    cameras = rng.integers(1, CAMERAS + 1, number)
    people = rng.integers(test[0], test[-1] + 1, number)
    return [
        PlannedImage(
            file=f"{GALLERY}/-1_c{camera}s{1 + i % 6}_{i:06d}_00.jpg",
            label=JUNK,
            subject=2 * STRANGERS - 1 - i if i % 4 == 3 else int(person),
            camera=int(camera),
            index=i,
            partial=True,
        )
        for i, (camera, person) in enumerate(zip(cameras, people, strict=True))
    ]


def _file(folder: str, person: int, camera: int, index: int) -> str:
    """Market-1501's names: person, camera, sequence, frame, box."""
    frame = (person * 3571 + camera * 7919) % 90_000 + 25 * index
    return f"{folder}/{person:04d}_c{camera}s{1 + index // 4}_{frame:06d}_{1 + index % 4:02d}.jpg"
