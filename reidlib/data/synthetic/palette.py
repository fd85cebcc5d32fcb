"""Named colours in sRGB, 0 to 1, and how often each domain wears them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

Colour = tuple[float, float, float]
Name = TypeVar("Name")

COLOURS: dict[str, Colour] = {
    "black": (0.07, 0.07, 0.08),
    "charcoal": (0.17, 0.17, 0.19),
    "grey": (0.42, 0.43, 0.44),
    "lightgrey": (0.68, 0.68, 0.68),
    "white": (0.90, 0.90, 0.88),
    "navy": (0.09, 0.12, 0.25),
    "blue": (0.14, 0.28, 0.58),
    "sky": (0.48, 0.66, 0.82),
    "denim": (0.22, 0.30, 0.43),
    "lightdenim": (0.45, 0.54, 0.65),
    "teal": (0.08, 0.40, 0.42),
    "green": (0.15, 0.42, 0.20),
    "olive": (0.32, 0.32, 0.17),
    "lime": (0.58, 0.74, 0.25),
    "khaki": (0.62, 0.54, 0.38),
    "beige": (0.80, 0.73, 0.60),
    "brown": (0.34, 0.22, 0.14),
    "tan": (0.58, 0.42, 0.27),
    "red": (0.68, 0.10, 0.12),
    "maroon": (0.36, 0.07, 0.12),
    "orange": (0.86, 0.44, 0.10),
    "yellow": (0.90, 0.78, 0.20),
    "pink": (0.88, 0.55, 0.64),
    "magenta": (0.70, 0.15, 0.45),
    "purple": (0.36, 0.20, 0.48),
}
# fmt: off
CLOTHES = ("black", "white", "grey", "navy", "charcoal", "lightgrey", "blue", "red", "sky", "green", "maroon",
           "beige", "olive", "brown", "pink", "teal", "purple", "orange", "yellow", "khaki", "magenta", "lime")
UPPER_SHARES = {
    "plaza": (16, 15, 9, 8, 5, 5, 6, 6, 5, 4, 2, 3, 2, 2, 4, 2, 2, 2, 3, 2, 2, 1),
    "campus": (24, 4, 12, 14, 13, 3, 5, 4, 1, 3, 4, 3, 6, 6, 1, 1, 2, 1, 1, 4, 1, 1),
    "harbour": (9, 10, 8, 11, 6, 6, 8, 7, 7, 4, 3, 4, 3, 3, 3, 5, 2, 4, 5, 3, 2, 2),
}
ACCENT_SHARES = (9, 16, 6, 8, 3, 5, 7, 9, 5, 5, 3, 4, 3, 3, 5, 4, 4, 5, 6, 3, 3, 3)
BAG_SHARES = (26, 5, 9, 9, 7, 3, 7, 8, 2, 4, 3, 4, 3, 9, 4, 3, 3, 3, 2, 4, 3, 1)
LOWER = ("black", "denim", "navy", "charcoal", "lightdenim", "khaki", "grey", "white", "brown", "beige", "olive",
         "blue", "red", "pink")
LOWER_SHARES = {
    "plaza": (24, 20, 10, 8, 10, 7, 6, 5, 2, 3, 2, 4, 1, 2),
    "campus": (28, 26, 12, 12, 5, 6, 5, 1, 3, 2, 3, 1, 1, 0),
    "harbour": (16, 20, 12, 7, 10, 9, 7, 5, 4, 5, 4, 5, 2, 1),
}
# fmt: on
INNER = {"white": 10, "grey": 5, "black": 6, "red": 3, "sky": 3, "beige": 3, "navy": 3, "yellow": 2, "green": 2}
SHOES = {
    "black": 30, "white": 24, "brown": 10, "grey": 10, "red": 5, "navy": 5, "tan": 5, "blue": 4, "yellow": 2, "pink": 3,
}  # fmt: skip
SKIN: dict[Colour, float] = {
    (0.94, 0.78, 0.68): 22,
    (0.88, 0.70, 0.57): 26,
    (0.80, 0.61, 0.46): 22,
    (0.66, 0.47, 0.34): 14,
    (0.49, 0.33, 0.24): 9,
    (0.33, 0.22, 0.17): 7,
}
HAIR: dict[Colour, float] = {
    (0.05, 0.045, 0.04): 30,
    (0.11, 0.075, 0.055): 24,
    (0.21, 0.13, 0.08): 18,
    (0.36, 0.23, 0.13): 11,
    (0.66, 0.50, 0.28): 9,
    (0.50, 0.20, 0.09): 3,
    (0.60, 0.60, 0.60): 5,
}


def choose(rng: np.random.Generator, shares: Mapping[Name, float] | Sequence[tuple[Name, float]]) -> Name:
    """One of the names, drawn in proportion to its share."""
    pairs = list(shares.items()) if isinstance(shares, Mapping) else list(shares)
    bounds = list(accumulate(share for _, share in pairs))
    return pairs[bisect_right(bounds, rng.random() * bounds[-1])][0]


def dye(rng: np.random.Generator, colour: Colour, spread: float = 0.035) -> Colour:
    """`colour` with an own shade: no two garments of one colour are quite alike."""
    value = np.asarray(colour)
    value = value * (1 + rng.normal(0, 1.6 * spread)) + rng.normal(0, spread, 3) * (0.25 + value)
    return as_colour(value)


def as_colour(value: np.ndarray) -> Colour:
    red, green, blue = (round(float(v), 4) for v in np.clip(value, 0.02, 0.97))
    return red, green, blue


def rgb(colour: Colour, factor: float = 1.0) -> np.ndarray:
    """The colour as (3, 1, 1) float32, darkened or lightened by `factor`."""
    return (np.array(colour, np.float32) * np.float32(factor)).reshape(3, 1, 1)


def any_cloth(rng: np.random.Generator, shares: Sequence[float] | None = None) -> Colour:
    """A garment colour, dyed; every colour equally often without `shares`."""
    weights = shares or (1,) * len(CLOTHES)
    return dye(rng, COLOURS[choose(rng, list(zip(CLOTHES, weights, strict=True)))])
