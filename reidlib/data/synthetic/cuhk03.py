"""CUHK03's layout: two kinds of boxes of the same frames, 20 test sets, and the later 767/700 split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reidlib.data.synthetic import matlab
from reidlib.data.synthetic.plan import Plan, PlannedImage, cast, numbered, on_side, settle, share_out, whole_groups
from reidlib.data.synthetic.settings import GROUP, Rig, Stream, generator


@dataclass(frozen=True)
class Pair:
    """A pair of cameras; counts are of the (training, test) people of the 767/700 split."""

    people: tuple[int, int]
    labeled: tuple[int, int]  # images
    detected: tuple[int, int]


@dataclass(frozen=True)
class Cuhk03Size:
    """`test_people` are those of each of the 20 test sets, who are seen by the first three pairs of cameras."""

    pairs: tuple[Pair, ...]
    test_people: int


SIZES = {
    "tiny": Cuhk03Size(
        (
            Pair((8, 8), (77, 77), (77, 76)),
            Pair((8, 8), (78, 76), (77, 76)),
            Pair((8, 0), (76, 0), (77, 0)),
            Pair((0, 8), (0, 70), (0, 72)),
            Pair((8, 0), (70, 0), (70, 0)),
        ),
        test_people=8,
    ),
    "small": Cuhk03Size(
        (
            Pair((118, 112), (1146, 1086), (1146, 1086)),
            Pair((62, 58), (613, 570), (610, 572)),
            Pair((13, 8), (108, 69), (109, 69)),
            Pair((8, 8), (71, 69), (73, 68)),
            Pair((7, 6), (62, 50), (62, 50)),
        ),
        test_people=100,
    ),
    "market": Cuhk03Size(
        (
            Pair((427, 416), (4145, 4032), (4145, 4032)),
            Pair((229, 211), (2265, 2072), (2255, 2082)),
            Pair((49, 28), (408, 241), (409, 241)),
            Pair((34, 24), (302, 208), (308, 202)),
            Pair((28, 21), (248, 175), (248, 175)),
        ),
        test_people=100,
    ),
}
# Six cameras in five pairs; which pair has which is not published. Here pair n is seen by cameras n and n + 1.
RIG = Rig(image_size=(160, 60), same_shots=True)
SHOTS = 5  # at most, of a person by a camera
TESTSETS = 20
TEST_PAIRS = 3
ARCHIVE = "cuhk03_release/cuhk-03.mat"
CONFIG = "cuhk03_new_protocol_config_{}.mat"
BOXES = ("labeled", "detected")


def plan(seed: int, domain: str, size: str) -> Plan:
    """`labeled/1_001_1_01.png`: pair, person of the pair, view, shot (1 to 5 in view 1, 6 to 10 in view 2).

    Missing shots are the last ones of a view; both kinds of boxes are cut out of the same frames.
    """
    counts = SIZES[size]
    rng = generator(seed, Stream.PLAN, domain)
    people: dict[int, tuple[int, str]] = {}
    places: dict[int, tuple[int, int]] = {}  # camera pair and number in it, from 1
    shots: dict[str, dict[tuple[int, int], int]] = {boxes: {} for boxes in BOXES}
    for number, pair in enumerate(counts.pairs, 1):
        used = max((subject for subject, _ in people.values()), default=0) // GROUP
        new = numbered(cast(rng, dict(zip(("train", "test"), pair.people, strict=True)), used + 1), len(people) + 1)
        places |= {person: (number, place) for place, person in enumerate(new, 1)}
        people |= new
        for side, labeled, detected in zip(("train", "test"), pair.labeled, pair.detected, strict=True):
            seen = [(person, view) for person in on_side(new, side) for view in (1, 2)]
            if seen:
                by_hand = share_out(rng, labeled, len(seen), 2, SHOTS)
                found = settle(rng, by_hand, detected, 2, SHOTS)
                shots["labeled"] |= dict(zip(seen, by_hand.tolist(), strict=True))
                shots["detected"] |= dict(zip(seen, found.tolist(), strict=True))
    queries = {
        (person, view, int(rng.integers(min(shots[boxes][person, view] for boxes in BOXES))))
        for person in on_side(people, "test")
        for view in (1, 2)
    }
    images, texts = [], {}
    for boxes in BOXES:
        frames = [(p, view, i) for p in people for view in (1, 2) for i in range(shots[boxes][p, view])]
        names = [
            f"{places[p][0]}_{places[p][1]:03d}_{view}_{SHOTS * (view - 1) + i + 1:02d}.png" for p, view, i in frames
        ]
        images += [
            PlannedImage(f"{boxes}/{name}", p, people[p][0], places[p][0] + view - 1, i, labeled=boxes == "labeled")
            for name, (p, view, i) in zip(names, frames, strict=True)
        ]
        roles = ["train" if people[f[0]][1] == "train" else "query" if f in queries else "gallery" for f in frames]
        texts[CONFIG.format(boxes)] = matlab.new_protocol(
            names, [p for p, _, _ in frames], [view for _, view, _ in frames], roles
        )
    asked = [person for person in people if places[person][0] <= TEST_PAIRS]
    groups = [people[person][0] // GROUP for person in asked]
    testsets = [
        np.array([places[asked[position]] for position in whole_groups(rng, groups, counts.test_people)], float)
        for _ in range(TESTSETS)
    ]
    return Plan(images, people, texts, testsets)


def pack(archive: Path, drawn: Path, planned: Plan) -> None:
    """The drawn images of a plan as the one file that CUHK03 is published in."""
    matlab.write_cuhk03(archive, drawn, [image.file for image in planned.images], planned.testsets)
