"""What drawn people wear, as numbers of classes: what trunks learn first, in place of ImageNet's classes."""

from typing import Any

import numpy as np

from reidlib.data.splits import Split
from reidlib.data.synthetic import Identity, read_manifest, visible_attributes
from reidlib.data.synthetic.identity import BAGS, HAIR_STYLES, HATS, LOWER_PATTERNS, LOWERS, PATTERNS, UPPERS
from reidlib.data.synthetic.palette import COLOURS, HAIR, SKIN

HIDDEN = -1  # the class of an attribute that nobody can see, such as the colour of a hat that is not worn
CHOICES: dict[str, tuple[Any, ...]] = {
    "upper": UPPERS,
    "pattern": tuple(PATTERNS),
    "lower": (*LOWERS, "bare"),
    "lower_pattern": tuple(LOWER_PATTERNS),
    "hair": HAIR_STYLES,
    "hat": HATS,
    "bag": BAGS,
    **dict.fromkeys(("beard", "open_front", "boots", "scarf"), (False, True)),
}
PALETTES: dict[str, np.ndarray] = {  # (colours, 3); a dyed colour counts as the nearest of these
    **dict.fromkeys(
        ("upper_colour", "upper_accent", "lower_colour", "shoe_colour", "bag_colour", "hat_colour"),
        np.array(list(COLOURS.values())),
    ),
    "hair_colour": np.array(list(HAIR)),
    "skin": np.array(list(SKIN)),
}
CLASSES = {name: len(known) for name, known in {**CHOICES, **PALETTES}.items()}  # how many of each attribute


def attributes(split: Split) -> np.ndarray:
    """(identities, len(CLASSES)) int64: the classes of the split's people in the order of their ids, or HIDDEN.

    ValueError where the images are not drawn in Market-1501's layout.
    """
    try:
        people = read_manifest(split.paths[0].parents[1])["people"]
    except FileNotFoundError:
        raise ValueError(
            f"{split.name}: attributes are known of people drawn in Market-1501's layout only; give harbour"
        ) from None
    return np.array([_classes(people[str(person)]["attributes"]) for person in split.identities.tolist()], np.int64)


def _classes(whole: dict[str, Any]) -> list[int]:
    seen = visible_attributes(Identity(**whole))
    return [HIDDEN if seen[name] is None else _number(name, seen[name]) for name in CLASSES]


def _number(name: str, value: Any) -> int:
    if name in CHOICES:
        return CHOICES[name].index(value)
    return int(np.square(PALETTES[name] - value).sum(1).argmin())
