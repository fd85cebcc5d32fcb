"""Who people are: body, clothes and bags, sampled in look-alike groups without twins."""

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from reidlib.data.synthetic import palette
from reidlib.data.synthetic.palette import COLOURS, Colour, any_cloth, as_colour, choose, dye
from reidlib.data.synthetic.settings import GROUP, Stream, generator


@dataclass(frozen=True)
class Identity:
    """Everything about one person that stays the same from image to image; lengths are shares of the height."""

    person: int
    group: int
    # body
    feminine: bool
    height_m: float
    build: float  # 1 is average girth
    belly: float
    leg_length: float
    shoulder: float  # half-width
    hip: float  # half-width
    skin: Colour
    hair: str
    hair_colour: Colour
    beard: bool
    hat: str
    hat_colour: Colour
    bobble: bool
    # upper garment
    upper: str
    upper_colour: Colour
    upper_accent: Colour
    inner_colour: Colour
    sleeve: float  # 0 none, 1 to the wrist
    pattern: str
    pattern_pitch: float
    pattern_phase: float  # radians
    pattern_size: float
    round_print: bool
    open_front: bool
    zipped: bool
    hem: float  # below the hips
    looseness: float
    # lower garment, shoes, accessories
    lower: str
    lower_colour: Colour
    lower_accent: Colour
    lower_pattern: str
    shoe_colour: Colour
    sole_colour: Colour
    boots: bool
    bag: str
    bag_colour: Colour
    bag_accent: Colour
    bag_size: float
    scarf: bool
    scarf_colour: Colour
    belt: bool
    # gait
    stride: float  # radians of the thigh
    arm_swing: float  # radians
    lean: float


# How often a member of a look-alike group copies an attribute of the group's prototype.
COPIED = {
    "upper": 0.85, "upper_colour": 0.90, "upper_accent": 0.90, "inner_colour": 0.80, "pattern": 0.80,
    "open_front": 0.80, "zipped": 0.80, "lower": 0.85, "lower_colour": 0.90, "lower_accent": 0.80,
    "lower_pattern": 0.80, "hair": 0.45, "hair_colour": 0.45, "hat": 0.50, "hat_colour": 0.70, "bag": 0.35,
    "bag_colour": 0.50, "shoe_colour": 0.35, "skin": 0.45, "feminine": 0.80, "scarf": 0.60,
}  # fmt: skip
DRESS_CUT = ("sleeve", "hem")  # go with the upper garment
MINIMUM_DIFFERENCES = 2
COLOUR_DIFFERENCE = 0.30  # summed over channels; a re-dyed copy differs by about 0.03


def sample_group(seed: int, domain: str, group: int, lookalike: float) -> dict[int, Identity]:
    """The people `GROUP * group` and following; any two differ in `MINIMUM_DIFFERENCES` visible attributes.

    A person who looks too much like an earlier member is drawn again from a counter.
    """
    prototype = _sample(generator(seed, Stream.PROTOTYPE, domain, group), domain)
    members: dict[int, Identity] = {}
    for person in range(GROUP * group, GROUP * (group + 1)):
        for attempt in count():
            rng = generator(seed, Stream.PERSON, domain, person, attempt)
            traits = _sample(rng, domain)
            if rng.random() < lookalike:
                traits = _dress_like(traits, prototype, rng)
            candidate = Identity(person=person, group=group, **traits)
            if all(len(visible_differences(candidate, m)) >= MINIMUM_DIFFERENCES for m in members.values()):
                members[person] = candidate
                break
    return members


def visible_attributes(who: Identity) -> dict[str, Any]:
    """Attributes an observer could tell people apart by, hidden ones (hair under a hijab) left out."""
    covered = who.hat in ("hijab", "hood")
    seen: dict[str, Any] = {
        "skin": who.skin,
        "hair": None if covered else who.hair,
        "hair_colour": None if covered or who.hair == "bald" else who.hair_colour,
        "hat": who.hat,
        "hat_colour": who.hat_colour if who.hat not in ("none", "hood") else None,
        "beard": who.beard,
        "upper": who.upper,
        "upper_colour": who.upper_colour,
        "upper_accent": who.upper_accent if who.pattern != "plain" else None,
        "inner_colour": who.inner_colour if who.open_front else None,
        "pattern": who.pattern,
        "open_front": who.open_front,
        "sleeve": round(who.sleeve, 1),
        "lower": who.lower,
        "lower_colour": who.lower_colour if who.lower != "bare" else None,
        "lower_pattern": who.lower_pattern if who.lower not in ("bare", "skirt", "longskirt") else None,
        "shoe_colour": who.shoe_colour,
        "boots": who.boots,
        "bag": who.bag,
        "bag_colour": who.bag_colour if who.bag not in ("none", "shoppingbag") else None,
        "scarf": who.scarf,
        "scarf_colour": who.scarf_colour if who.scarf else None,
    }
    return seen


def visible_differences(first: Identity, second: Identity) -> list[str]:
    """The visible attributes in which two people differ; colours count from `COLOUR_DIFFERENCE` on."""
    other = visible_attributes(second)
    return [name for name, value in visible_attributes(first).items() if _differs(value, other[name])]


def _differs(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return sum(abs(x - y) for x, y in zip(a, b, strict=True)) > COLOUR_DIFFERENCE
    return bool(a != b)


def _dress_like(own: dict[str, Any], prototype: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """`own` traits with most of the clothes of the group's prototype, each re-dyed a little."""
    copied = {name for name, share in COPIED.items() if rng.random() < share}
    if "upper" in copied:
        copied |= set(DRESS_CUT)
        if "dress" in (own["upper"], prototype["upper"]):
            copied.add("lower")  # a dress decides the lower garment
    elif "dress" in (own["upper"], prototype["upper"]):
        copied.discard("lower")
    traits = dict(own)
    for name in sorted(copied):
        value = prototype[name]
        if isinstance(value, tuple):
            value = as_colour(np.asarray(value) + rng.normal(0, 0.012, 3))
        traits[name] = value
    for name in ("pattern_pitch", "pattern_size"):
        if traits["pattern"] == prototype["pattern"]:
            traits[name] = round(prototype[name] * float(np.exp(rng.normal(0, 0.12))), 4)
    traits["beard"] = traits["beard"] and not traits["feminine"]
    return traits


def _sample(rng: np.random.Generator, domain: str) -> dict[str, Any]:
    """Traits of one person, without any look-alike."""
    feminine = bool(rng.random() < 0.5)
    winter = domain == "campus"
    traits: dict[str, Any] = {"feminine": feminine}
    traits |= _body(rng, feminine)
    traits |= _head(rng, domain, feminine, winter)
    traits |= _upper(rng, domain, feminine, winter)
    traits |= _lower(rng, domain, feminine, winter, dress=traits["upper"] == "dress")
    traits |= _accessories(rng, feminine, winter)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in traits.items()}


def _body(rng: np.random.Generator, feminine: bool) -> dict[str, Any]:
    return {
        "height_m": float(np.clip(rng.normal(1.64 if feminine else 1.76, 0.07), 1.46, 1.98)),
        "build": float(np.clip(rng.normal(1.0, 0.11), 0.80, 1.32)),
        "belly": float(max(0, rng.normal(0, 0.35))),
        "leg_length": float(rng.normal(0.50, 0.012)),
        "shoulder": float((0.106 if feminine else 0.122) * rng.normal(1, 0.04)),
        "hip": float((0.092 if feminine else 0.084) * rng.normal(1, 0.05)),
        "skin": dye(rng, choose(rng, palette.SKIN), 0.02),
        "stride": float(np.clip(rng.normal(0.42, 0.07), 0.22, 0.62)),
        "arm_swing": float(np.clip(rng.normal(0.40, 0.13), 0.08, 0.75)),
        "lean": float(rng.normal(0.02, 0.03)),
    }


HATS = ("cap", "beanie", "hijab", "hood", "none")
HAIR_STYLES = ("short", "crop", "bald", "bob", "long", "ponytail", "bun", "afro")


def _head(rng: np.random.Generator, domain: str, feminine: bool, winter: bool) -> dict[str, Any]:
    worn = (9.0, 13.0 if winter else 1.0, 4.0 if feminine else 0.0, 6.0 if winter else 0.0)
    hats = dict(zip(HATS, (*worn, 100 - sum(worn)), strict=True))
    shares = (4, 1, 0.2, 16, 30, 22, 10, 4) if feminine else (46, 24, 9, 5, 4, 2, 1, 5)
    return {
        "hair": choose(rng, list(zip(HAIR_STYLES, shares, strict=True))),
        "hair_colour": dye(rng, choose(rng, palette.HAIR), 0.015),
        "beard": bool(rng.random() < 0.22 and not feminine),
        "hat": choose(rng, hats),
        "hat_colour": any_cloth(rng, palette.UPPER_SHARES[domain]),
        "bobble": bool(rng.random() < 0.5),
    }


UPPERS = ("tshirt", "polo", "shirt", "hoodie", "jacket", "coat", "tank", "dress")
UPPER_KINDS = {  # (feminine, winter): shares of UPPERS
    (True, True): (6, 2, 6, 9, 16, 18, 0, 2),
    (True, False): (30, 8, 10, 5, 6, 1, 7, 9),
    (False, True): (5, 2, 8, 15, 22, 13, 0, 0),
    (False, False): (38, 13, 16, 7, 8, 1, 3, 0),
}
PATTERNS = {
    "plain": 40, "hstripe": 9, "vstripe": 3, "plaid": 7, "dots": 4, "logo": 16, "yoke": 5, "raglan": 6,
    "backprint": 5, "camo": 2, "band": 6,
}  # fmt: skip


def _upper(rng: np.random.Generator, domain: str, feminine: bool, winter: bool) -> dict[str, Any]:
    kind = choose(rng, list(zip(UPPERS, UPPER_KINDS[feminine, winter], strict=True)))
    sleeve = {"tank": 0.0, "tshirt": 0.52, "polo": 0.50}.get(kind, 1.0)
    if kind == "dress" and not winter:
        sleeve = 0.5 if rng.random() < 0.5 else 0.0
    elif kind == "shirt" and not winter and rng.random() < 0.35:
        sleeve = 0.55
    hem = {"coat": (0.16, 0.30), "dress": (0.22, 0.36)}.get(kind, (0.015, 0.06))
    colour, accent = any_cloth(rng, palette.UPPER_SHARES[domain]), any_cloth(rng, palette.ACCENT_SHARES)
    while sum(abs(a - b) for a, b in zip(colour, accent, strict=True)) < 0.45:
        accent = any_cloth(rng)
    pattern = choose(rng, PATTERNS)
    if kind == "coat" and rng.random() < 0.75:
        pattern = "plain"
    open_front = bool(kind in ("jacket", "coat", "shirt") and rng.random() < 0.45)
    return {
        "upper": kind,
        "sleeve": sleeve,
        "upper_colour": colour,
        "upper_accent": accent,
        "inner_colour": dye(rng, COLOURS[choose(rng, palette.INNER)]),
        "pattern": pattern,
        "pattern_pitch": float(rng.uniform(0.75, 1.5)),
        "pattern_phase": float(rng.uniform(0, 2 * np.pi)),
        "pattern_size": float(rng.uniform(0.8, 1.35)),
        "round_print": bool(rng.random() < 0.5),
        "open_front": open_front,
        "zipped": bool(kind in ("jacket", "coat", "hoodie") and not open_front and rng.random() < 0.6),
        "hem": float(rng.uniform(*hem)),
        "looseness": float(rng.uniform(1.0, 1.14) + (0.07 if kind in ("coat", "jacket", "hoodie") else 0)),
    }


LOWERS = ("trousers", "wide", "slim", "shorts", "skirt", "longskirt")
LOWER_KINDS = {  # (feminine, winter): shares of LOWERS
    (True, True): (10, 4, 22, 1, 4, 1),
    (True, False): (8, 3, 16, 14, 10, 3),
    (False, True): (26, 6, 14, 1, 0, 0),
    (False, False): (20, 4, 10, 22, 0, 0),
}


LOWER_PATTERNS = {"plain": 66, "side": 8, "fade": 12, "check": 4, "cuff": 8}


def _lower(rng: np.random.Generator, domain: str, feminine: bool, winter: bool, dress: bool) -> dict[str, Any]:
    kind = choose(rng, list(zip(LOWERS, LOWER_KINDS[feminine, winter], strict=True)))
    if dress:
        kind = "slim" if winter else "bare"
    name = choose(rng, list(zip(palette.LOWER, palette.LOWER_SHARES[domain], strict=True)))
    return {
        "lower": kind,
        "lower_colour": dye(rng, COLOURS[name], 0.03),
        "lower_accent": any_cloth(rng, palette.UPPER_SHARES["plaza"]),
        "lower_pattern": choose(rng, LOWER_PATTERNS),
    }


BAGS = ("none", "backpack", "shoulder_left", "shoulder_right", "crossbody", "tote", "handbag", "shoppingbag")


def _accessories(rng: np.random.Generator, feminine: bool, winter: bool) -> dict[str, Any]:
    shares = (38, 34 if winter else 22, 5, 5, 8, 5 if feminine else 2, 8 if feminine else 2, 5)
    return {
        "shoe_colour": dye(rng, COLOURS[choose(rng, palette.SHOES)]),
        "sole_colour": dye(rng, COLOURS["white" if rng.random() < 0.5 else "black"]),
        "boots": bool(rng.random() < (0.30 if winter else 0.07)),
        "bag": choose(rng, list(zip(BAGS, shares, strict=True))),
        "bag_colour": any_cloth(rng, palette.BAG_SHARES),
        "bag_accent": any_cloth(rng),
        "bag_size": float(rng.uniform(0.82, 1.22)),
        "scarf": bool(rng.random() < (0.16 if winter else 0.02)),
        "scarf_colour": any_cloth(rng),
        "belt": bool(rng.random() < 0.18),
    }
