"""What decides a synthetic world: domains, sizes, knobs and the named random streams.

Every random number comes from a generator keyed by (world seed, stream, domain, ...), so that an image is the
same in any order, from any number of processes and under any hash seed.
"""

import hashlib
import math
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np

from reidlib.names import choose

BENCHMARK_VERSION = "1"  # any change to what is drawn raises it
# A street in summer by day; a campus in winter at dusk; a quay in spring, for pre-training alone.
DOMAINS = ("plaza", "campus", "harbour")
INSTALLATIONS = {"plaza": 0.0, "campus": 1.0, "harbour": -0.4}  # of a domain's cameras, in units of `Knobs.shift`
CAMERAS = 6  # of a world, unless its layout has others
GROUP = 8  # people in a look-alike group
IMAGE_SIZE = (128, 64)  # height, width in pixels, as Market-1501's boxes
STRANGERS = 1_000_000  # person numbers from here on are in no data set: distractors
PASSERS_BY = 2_000_000  # and from here on, people in the background
DEFAULT_LAYOUT = "market1501"


@dataclass(frozen=True)
class Knobs:
    """How hard the images are; each is a strength, 0 switches it off, unless it says otherwise."""

    lookalike: float = 0.8  # share of people who dress like their group
    colour: float = 1.1  # spread of the cameras' colour, contrast and gamma
    view: float = 1.0  # spread of walking directions over cameras
    jitter: float = 1.0  # misplaced, mis-sized and truncated boxes
    occlusion: float = 0.20  # probability that something stands in front
    passer_by: float = 0.10  # probability of another person behind
    light: float = 0.6  # change of light between walks
    blur: float = 0.75
    noise: float = 0.014  # standard deviation of the sensor noise, share of full scale
    low_resolution: float = 0.8
    bag_down: float = 0.06  # probability that the bag was put down
    phone: float = 0.07  # probability of a hand at the ear
    head_turn: float = 0.35  # standard deviation, radians
    shift: float = 1.5  # distance of the campus installation from the plaza's; the others' is in proportion


SHARES = ("lookalike", "occlusion", "passer_by", "bag_down", "phone")  # knobs of at most 1
_DEFAULT = Knobs()
PRESETS = {
    "easy": replace(
        _DEFAULT,
        colour=0.35,
        view=0.35,
        jitter=0.4,
        occlusion=0.05,
        passer_by=0.0,
        light=0.4,
        blur=0.4,
        low_resolution=0.4,
    ),
    "default": _DEFAULT,
    "hard": replace(
        _DEFAULT,
        colour=1.5,
        jitter=1.5,
        occlusion=0.40,
        passer_by=0.25,
        light=1.5,
        blur=1.3,
        low_resolution=1.6,
    ),
}


def knobs(preset: str) -> Knobs:
    """The knobs of a preset's name: one of `PRESETS`, or the default ones with one changed, such as "jitter=2".

    ValueError names the nearest preset or knob, or says that the strength is none.
    """
    name, changed, text = preset.partition("=")
    if not changed:
        choose("preset", preset, PRESETS)
        return PRESETS[preset]
    choose("preset: knob", name, [field.name for field in fields(Knobs)])
    try:
        strength = float(text)
    except ValueError:
        strength = -1.0
    if not 0 <= strength < math.inf or (name in SHARES and strength > 1):
        most = " to 1" if name in SHARES else ""
        raise ValueError(f"preset {preset!r} gives {name} no strength: write a number from 0{most} after the =")
    return replace(_DEFAULT, **{name: strength})


@dataclass(frozen=True)
class Rig:
    """The cameras of a world and the boxes cut out of their frames."""

    cameras: int = CAMERAS
    directions: int = CAMERAS  # people walk past camera 1, 2, ... in this many directions, then again
    image_size: tuple[int, int] = IMAGE_SIZE  # height, width in pixels
    # A labeled and a detected box of one index show the same moment, placed differently around the person.
    same_shots: bool = False


@dataclass(frozen=True)
class Size:
    """Counts of one data set; `gallery` counts the images of test people, distractors and junk come on top.

    `first_person` puts the border between training and test people on a border of groups (`person // GROUP`).
    """

    train_people: int
    test_people: int
    train: int
    query: int
    gallery: int
    distractors: int
    junk: int
    first_person: int = GROUP

    @property
    def first_test_person(self) -> int:
        return self.first_person + self.train_people

    @property
    def last_person(self) -> int:
        return self.first_test_person + self.test_people - 1


SIZES = {
    "tiny": Size(16, 16, train=192, query=64, gallery=160, distractors=34, junk=47),
    "small": Size(200, 200, train=3450, query=900, gallery=3500, distractors=750, junk=1020),
    # Market-1501: 19,732 gallery files in all; its first group has 7 members (1 to 7), its last one 6.
    "market": Size(751, 750, train=12936, query=3368, gallery=13115, distractors=2798, junk=3819, first_person=1),
}


class Stream(IntEnum):
    """Independent sources of randomness of one world."""

    PERSON = 1
    PROTOTYPE = 2
    CAMERA = 3
    SITE = 4
    WALK = 5
    IMAGE = 6
    GRAIN = 7
    PLAN = 8
    OCCLUDER = 9


def generator(seed: int, stream: Stream, domain: str, *key: int) -> np.random.Generator:
    """The generator of one thing in one world; `key` are numbers >= 0 such as person, camera, index."""
    return np.random.default_rng([seed, int(stream), DOMAINS.index(domain), *key])


def world_seed(domain: str, size: str, world: int, layout: str = DEFAULT_LAYOUT) -> int:
    """The seed of a named world: other names never share people or cameras; presets do, to be comparable."""
    name = f"{domain}/{size}/{world}" + (f"/{layout}" if layout != DEFAULT_LAYOUT else "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
