"""Where the maps of networks lie, on drawn pedestrians, whose parts and attributes are known.

`coverage` measures a network on pairs of one person, of two look-alikes and of two strangers; `stored` and
`viewpoint` sum up what runs have kept of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from reidlib.data import layout
from reidlib.data.pixels import pixels
from reidlib.data.splits import Benchmark, Split, joined
from reidlib.data.synthetic import BODY_PARTS, PARTS, named_world, read_manifest, visible_differences
from reidlib.data.synthetic.settings import DEFAULT_LAYOUT
from reidlib.evaluation.protocols import interval
from reidlib.maps import MAPS, Layer, in_figure
from reidlib.models import ReIDModel
from reidlib.models.base import model_input
from reidlib.store import Trial

TABLE = "coverage"  # what a run keeps it as
PAIRS = ("same", "look-alike", "stranger")
REGIONS = ("person", "bag", "skin", "difference", "difference within the person")  # the last one as in `on_regions`
REFERENCE_HEADS = {"area": "even map", "centre": "Gaussian", "untrained": "random weights"}
REFERENCES = tuple(REFERENCE_HEADS)
TURNS = {"up to 60°": 60, "60° to 120°": 120, "120° to 180°": 180}  # between two headings, upper ends
CHUNK = 50  # pairs that go through a network together

_GARMENT, _LEGS, _HEAD = ("torso", "arm"), ("thigh", "shin"), ("face", "hair")
PARTS_OF = {  # where an attribute shows; "face" is the whole head but for hair and hats that stand out from it
    **dict.fromkeys(("upper", "upper_colour", "upper_accent", "pattern"), _GARMENT),
    **dict.fromkeys(("inner_colour", "open_front", "scarf", "scarf_colour"), ("torso",)),
    **dict.fromkeys(("lower", "lower_colour", "lower_pattern"), _LEGS),
    **dict.fromkeys(("hair", "hair_colour", "hat", "hat_colour"), _HEAD),
    **dict.fromkeys(("shoe_colour", "boots"), ("shoe",)),
    **dict.fromkeys(("bag", "bag_colour"), ("bag",)),
    "skin": ("face", "hand"),
    "beard": ("face",),
    "sleeve": ("arm",),
}


@dataclass(frozen=True, eq=False)
class Scenes:
    """P test pairs of drawn images, and the truth about the N images in them.

    pairs: (P, 2) into split. kinds: (P,), of PAIRS. groups: (P,), look-alike groups of the first images. parts: one
    (H, W) map an image. yaws: (N,) radians. differing: for each pair the parts that its people's attributes tell apart.
    """

    split: Split
    pairs: np.ndarray
    kinds: np.ndarray
    groups: np.ndarray
    parts: tuple[np.ndarray, ...]
    yaws: np.ndarray
    differing: tuple[frozenset[int], ...]

    @property
    def turns(self) -> np.ndarray:
        """(P,) the angle between both headings, in [0, pi]."""
        apart = np.abs(np.subtract(*self.yaws[self.pairs].T)) % (2 * np.pi)
        return np.minimum(apart, 2 * np.pi - apart)

    def regions(self, image: int | None, size: tuple[int, int]) -> Tensor:
        """The regions (person, bag, skin, difference) on one image of each pair, or on either: (4, P, H, W) bool."""
        if image is None:
            return self.regions(0, size) | self.regions(1, size)
        chosen = self.pairs[:, image]
        shown = [Image.fromarray(self.parts[at]).resize(size[::-1], Image.Resampling.NEAREST) for at in chosen]
        parts = np.stack([np.asarray(part) for part in shown])
        head = (parts == PARTS.index("face")) & (np.cos(self.yaws[chosen]) > 0)[:, None, None]  # not from behind
        differing = [np.isin(part, list(which)) for part, which in zip(parts, self.differing, strict=True)]
        skin = head | (parts == PARTS.index("hand"))
        found = np.isin(parts, BODY_PARTS), parts == PARTS.index("bag"), skin, np.stack(differing)
        return torch.from_numpy(np.stack(found))


def drawn(benchmark: Benchmark) -> Path | None:
    """The folder of a drawn benchmark, where a manifest names its images; None where there is none."""
    image = benchmark.query.paths[0]
    for folder in image.parents:
        if image.relative_to(folder).as_posix() in layout.manifest(folder).get("images", ()):
            return folder
    return None


@lru_cache(maxsize=2)  # several rows are measured on the same images
def scenes(benchmark: Benchmark, pairs: int, seed: int, kinds: tuple[str, ...] = PAIRS) -> Scenes:
    """Test pairs across cameras: of `pairs` random queries, each with a random image of every one of `kinds` there is.

    The pairs of a kind are the same whichever others are asked for. ValueError where the benchmark is not a drawn one.
    """
    folder = drawn(benchmark)
    if folder is None:
        raise ValueError(f"{benchmark.name}: parts are known of drawn images only; give plaza, campus or harbour")
    manifest, rng = read_manifest(folder), np.random.default_rng(seed)
    query, gallery = benchmark.query, benchmark.gallery
    found, of_kind = [], []
    for index in np.sort(rng.permutation(np.flatnonzero(benchmark.matched))[:pairs]):
        elsewhere = (gallery.camera_ids != query.camera_ids[index]) & (gallery.person_ids > 0)
        own, group = gallery.person_ids == query.person_ids[index], gallery.groups == query.groups[index]
        for kind, wanted in zip(PAIRS, (own, group & ~own, ~group), strict=True):
            choice = np.flatnonzero(elsewhere & wanted)
            if len(choice):
                other = rng.choice(choice)
                if kind in kinds:
                    found.append((index, len(query) + other))
                    of_kind.append(kind)
    used, compact = np.unique(found, return_inverse=True)
    split = joined("test pairs", query, gallery).take(used)
    numbers = compact.reshape(-1, 2)
    domain, size, number, preset = (manifest[name] for name in ("domain", "size", "world", "preset"))
    world = named_world(domain, size, number, preset, manifest.get("layout", DEFAULT_LAYOUT))
    people, parts, yaws = [], [], []
    for path in split.paths:
        entry = manifest["images"][path.relative_to(folder).as_posix()]
        box = {"labeled": entry["labeled"], "partial": entry["partial"]}
        image = world.render(entry["subject"], entry["camera"], entry["index"], **box)
        people.append(world.identity(entry["subject"]))
        parts.append(image.parts)
        yaws.append(image.yaw)
    differing = []
    for a, b in numbers:
        names = visible_differences(people[a], people[b])
        differing.append(frozenset(PARTS.index(part) for name in names for part in PARTS_OF[name]))
    groups = split.groups[numbers[:, 0]]
    return Scenes(split, numbers, np.array(of_kind), groups, tuple(parts), np.array(yaws), tuple(differing))


def on_regions(energy: Tensor, regions: Tensor) -> Tensor:
    """Shares (P, 5) of maps (P, H, W) on `regions` (4, P, H, W); NaN where one is not seen, or a map has no energy.

    The fifth is the share on the difference, of what is on the person.
    """
    shares = torch.stack([(energy * region).sum((1, 2)) for region in regions], 1) / energy.sum((1, 2))[:, None]
    shares[~regions.any(3).any(2).T] = torch.nan
    return torch.cat([shares, shares[:, 3:] / shares[:, :1]], 1)


def coverage(
    model: ReIDModel,
    benchmark: Benchmark,
    untrained: ReIDModel | None = None,
    *,
    pairs: int = 100,
    kinds: Sequence[str] = PAIRS,
    seed: int = 0,
    device: str = "cpu",
) -> pd.DataFrame:
    """What share of every map lies on each region: a row a map, pair and region, both images of a pair averaged.

    pairs: of each of `kinds`. Columns: `map`; `pair`, its kind; `region`, of REGIONS; `share` of the map's energy
    (squared response). For comparison `area`, the share of an even map of the same reach, `centre`, of a Gaussian amid
    that reach, a quarter of its sides wide, and `untrained`, of the same network with other weights. `yaw`: radians
    between both headings. `shift`, `shift_untrained`: how far the map's centre of mass moves from one image to the
    other, in heights of the image. `group`: of look-alikes. "person" is body, clothes and bag; "skin" hands and faces;
    "difference" the parts that tell both people apart. What is not seen has no row. ValueError: a benchmark that is
    not drawn, a model without such maps.
    """
    if type(model) not in MAPS:
        names = ", ".join(sorted(kind.__name__ for kind in MAPS))
        raise ValueError(f"{type(model).__name__} has no maps of image pairs to measure; these have: {names}")
    truth = scenes(benchmark, pairs, seed, tuple(kinds))
    layers, others = (None if net is None else layers_of(net, truth, device) for net in (model, untrained))
    assert layers is not None
    seen = {image: truth.regions(image, model.image_size) for image in {layer.image for layer in layers}}
    shares: dict[str, list[Tensor]] = {}
    middles: dict[str, list[Tensor]] = {}
    for number, layer in enumerate(layers):
        initial = others[number].energy if others is not None else torch.full_like(layer.energy, torch.nan)
        flat = layer.reach.float().expand_as(layer.energy)
        maps = layer.energy, flat, gaussian(layer.reach) * flat, initial
        regions = seen[layer.image] & layer.reach
        shares.setdefault(layer.name, []).append(torch.stack([on_regions(energy, regions) for energy in maps]))
        middles.setdefault(layer.name, []).append(torch.stack([middle(layer.energy), middle(initial)]))
    of_pair = pd.DataFrame({"pair": truth.kinds, "yaw": truth.turns, "group": truth.groups})
    rows = []
    for name, found in shares.items():
        values = torch.stack(found).nanmean(0).flatten(1).numpy()  # (4, P * 5)
        frame = of_pair.loc[of_pair.index.repeat(len(REGIONS))].assign(map=name, region=REGIONS * len(of_pair))
        for column, value in zip(("share", *REFERENCES), values, strict=True):
            frame[column] = value
        moved = torch.full((2, len(of_pair)), torch.nan)
        if len(middles[name]) == 2:
            moved = torch.linalg.vector_norm(middles[name][0] - middles[name][1], dim=2) / model.image_size[0]
        for column, way in zip(("shift", "shift_untrained"), moved, strict=True):
            frame[column] = way.repeat_interleave(len(REGIONS)).numpy()
        rows.append(frame.dropna(subset="share"))
    order = ["map", "pair", "region", "share", *REFERENCES, "yaw", "shift", "shift_untrained", "group"]
    return pd.concat(rows, ignore_index=True)[order].round(4)


def map_on_person(model: ReIDModel, benchmark: Benchmark, *, pairs: int = 50, device: str = "cpu") -> float:
    """Mean share on the person of the map `reidlib.maps.in_figure`, over pairs of one person.

    NaN of models without one and where the images are not drawn.
    """
    name = in_figure(model)
    if not name or drawn(benchmark) is None:
        return float("nan")
    found = coverage(model, benchmark, pairs=pairs, kinds=("same",), device=device)
    return float(found.share[(found["map"] == name) & (found.region == "person")].mean())


@torch.inference_mode()
def layers_of(model: ReIDModel, truth: Scenes, device: str = "cpu") -> list[Layer]:
    """All maps of the pairs."""
    model = model.to(device).eval()
    images = pixels(truth.split, model.image_size)
    parts = []
    for at in range(0, len(truth.pairs), CHUNK):
        chosen = truth.pairs[at : at + CHUNK].T
        parts.append(MAPS[type(model)](model, *(model_input(images[rows], device) for rows in chosen)))
    return [
        Layer(layer.name, layer.image, torch.cat([part[number].energy for part in parts]), layer.reach)
        for number, layer in enumerate(parts[0])
    ]


def gaussian(reach: Tensor) -> Tensor:
    """(H, W), in the middle of where `reach` is true, a quarter of its height high and of its width wide."""
    falls = []
    for along in (1, 0):
        where = reach.any(along).nonzero()[:, 0].float()
        distance = (torch.arange(reach.shape[1 - along]) - where.mean()) / (len(where) / 4)
        falls.append((-distance.square() / 2).exp())
    return falls[0][:, None] * falls[1]


def middle(energy: Tensor) -> Tensor:
    """Centres of mass (P, 2), row and column, of maps (P, H, W)."""
    total = energy.sum((1, 2))
    places = (torch.arange(side, dtype=energy.dtype) for side in energy.shape[1:])
    return torch.stack([energy.sum(2 - axis) @ place / total for axis, place in enumerate(places)], 1)


def with_maps(trials: Sequence[Trial]) -> list[Trial]:
    """Those of the trials whose maps have been measured."""
    return [trial for trial in trials if trial.run and trial.run.table(TABLE) is not None]


def stored(trials: Sequence[Trial]) -> pd.DataFrame | None:
    """Mean shares a map, kind of pair and region over the trials that have been measured; None where none has.

    Columns: `map`, `pair`, `region`, `share` with its 95 % interval (`low`, `high`; NaN for a single group), which
    resamples whole look-alike groups, the means `area`, `centre` and `untrained`, and for each of these
    `over_area` ..., whether the share is "above" it, "below" it or "not told apart", by the interval of the
    difference pair by pair; `pairs`, `trials`.
    """
    measured = _measured(trials)
    if measured is None:
        return None
    rows = []
    for (name, pair, region), found in measured.groupby(["map", "pair", "region"], sort=False):
        row = {"map": name, "pair": pair, "region": region, "share": found.share.mean()}
        row |= dict(zip(("low", "high"), interval(found.share, found.cluster), strict=True))
        row |= {reference: found[reference].mean() for reference in REFERENCES}
        row |= {f"over_{reference}": _word(found.share - found[reference], found.cluster) for reference in REFERENCES}
        rows.append(row | {"pairs": len(found), "trials": found.trial.nunique()})
    return pd.DataFrame(rows)


def against_references(
    summary: pd.DataFrame, regions: Sequence[str], maps: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """In how many kinds of pairs shares lie clearly above or below each reference, as text: a line a map and region.

    summary: of `stored`. maps: label -> a part of the names of all maps that are counted together under it; None is
    every map by itself.
    """
    name, lines = summary["map"], {}
    groups = {label: name.str.contains(text, regex=False) for label, text in (maps or {}).items()}
    for label, of_map in (groups or {one: name == one for one in name.unique()}).items():
        for region in regions:
            chosen = summary[of_map & (summary.region == region)]
            if len(chosen):
                counts = {head: _counted(chosen[f"over_{key}"]) for key, head in REFERENCE_HEADS.items()}
                lines[f"{label}: {region}"] = {"mean share": f"{chosen.share.mean():.2f}"} | counts
    return pd.DataFrame.from_dict(lines, orient="index")


def _counted(words: pd.Series) -> str:
    return f"{(words == 'above').sum()} above, {(words == 'below').sum()} below (of {len(words)})"


def viewpoint(trials: Sequence[Trial]) -> pd.DataFrame | None:
    """How far maps move between two images of one person, by the angle between both headings.

    Columns: `map`, `turn`, `shift` in heights of the image with its interval (`low`, `high`), `untrained`, `pairs`.
    None where no trial has been measured, or no map lies on one image alone.
    """
    measured = _measured(trials)
    if measured is None:
        return None
    one = measured[(measured.pair == "same") & (measured.region == "person")].dropna(subset="shift")
    turn = pd.cut(np.degrees(one.yaw), [0, *TURNS.values()], labels=list(TURNS), include_lowest=True)
    rows = []
    for name, of_map in one.groupby("map", sort=False):
        for label, found in of_map.groupby(turn, observed=True):
            row = {"map": name, "turn": label, "shift": found["shift"].mean()}
            row |= dict(zip(("low", "high"), interval(found["shift"], found.cluster), strict=True))
            rows.append(row | {"untrained": found.shift_untrained.mean(), "pairs": len(found)})
    return pd.DataFrame(rows) if rows else None


def _measured(trials: Sequence[Trial]) -> pd.DataFrame | None:
    """The tables of all trials, with their number and a `cluster` for each look-alike group of each trial."""
    tables = [trial.run.table(TABLE) for trial in trials if trial.run]
    found = [table.assign(trial=number) for number, table in enumerate(tables) if table is not None]
    if not found:
        return None
    measured = pd.concat(found, ignore_index=True)
    return measured.assign(cluster=measured.groupby(["trial", "group"]).ngroup())


def _word(differences: pd.Series, clusters: pd.Series) -> str:
    low, high = interval(differences.astype(float), clusters)
    return "above" if low > 0 else "below" if high < 0 else "not told apart"
