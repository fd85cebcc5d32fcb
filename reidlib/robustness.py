"""Which method breaks on what: a trained network on the same people, drawn anew with more or less of one nuisance.

`robustness` measures a network on drawn images; `curves`, `losses`, `change` and `at` sum up what runs have kept of it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import hypergeom
from tqdm import tqdm

from reidlib.coverage import drawn
from reidlib.data.splits import Benchmark
from reidlib.data.synthetic import named_world, read_manifest
from reidlib.evaluation.protocols import interval
from reidlib.models import ReIDModel
from reidlib.models.base import tiles
from reidlib.recipe import SEEN
from reidlib.store import Run

TABLE = "robustness"  # what a run keeps it as
PLAIN = "default"  # the setting that all others change in one thing
NUISANCES = {  # knob -> strengths, from the kindest to the worst, PLAIN's among them
    "jitter": (0.0, 1.0, 1.5, 2.0),
    "occlusion": (0.0, 0.2, 0.5, 0.8),
    "lookalike": (0.0, 0.4, 0.8, 1.0),
    "colour": (0.0, 1.1, 1.65, 2.2),
    "low_resolution": (0.0, 0.8, 1.6, 2.4),
}
USUAL = {"jitter": 1.0, "occlusion": 0.2, "lookalike": 0.8, "colour": 1.1, "low_resolution": 0.8}  # of PLAIN
SETTINGS = (
    PLAIN,
    *(f"{name}={value:g}" for name, values in NUISANCES.items() for value in values if value != USUAL[name]),
)
OF = {"trained": (PLAIN, *SEEN), "robustness": SETTINGS, "figures": SETTINGS}  # of what a row keeps (`Row.keep`)
GALLERY = 100  # people in a gallery, unless their number is what changes
GALLERIES = (10, 25, 50, 100, 200)
PEOPLE = 200  # that are asked for, at most
ROWS = 32  # images that are encoded, and queries whose distances are computed, together

Shot = tuple[int, int, int, bool, bool]  # what `World.render` draws: person, camera, index, labeled, partial


def can_measure(benchmark: Benchmark) -> bool:
    """Whether the images can be drawn anew: those of plaza or campus in Market-1501's layout can."""
    folder = drawn(benchmark)
    return folder is not None and "layout" not in read_manifest(folder)


def people_of(benchmark: Benchmark) -> pd.DataFrame:
    """A random query of each test person, and a random image of theirs by another camera: a row a person.

    Columns: `person`, `group`, `query` and `gallery`, rows of these splits. Of more than PEOPLE the first ones, whose
    look-alikes are among them.
    """
    rng, query, gallery = np.random.default_rng(0), benchmark.query, benchmark.gallery
    rows = []
    for person in np.unique(query.person_ids[benchmark.matched])[:PEOPLE]:
        index = rng.permutation(np.flatnonzero((query.person_ids == person) & benchmark.matched))[0]
        others = (gallery.person_ids == person) & (gallery.camera_ids != query.camera_ids[index])
        rows.append((person, query.groups[index], index, rng.choice(np.flatnonzero(others))))
    return pd.DataFrame(rows, columns=["person", "group", "query", "gallery"])


@lru_cache(maxsize=len(SETTINGS))  # one world's, for the several networks that are measured on it
def _images(domain: str, size: str, world: int, setting: str, shots: tuple[Shot, ...], progress: bool) -> np.ndarray:
    """The images of `shots` with that setting, (N, H, W, 3) uint8."""
    scene = named_world(domain, size, world, setting)
    bar = tqdm(shots, desc=setting, unit="image", disable=not progress, leave=False)
    return np.stack([scene.render(*of, labeled=labeled, partial=partial).pixels for *of, labeled, partial in bar])


@torch.inference_mode()
def robustness(
    model: ReIDModel,
    benchmark: Benchmark,
    settings: Sequence[str] = SETTINGS,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> pd.DataFrame:
    """How many wrong images are at least as near to a query as the right one, in each of `settings`: a row a person.

    One query and one gallery image of every test person (`people_of`), the same in every setting but for what is
    changed. Columns: `person`, `group` of look-alikes and the settings. ValueError: a benchmark that is not drawn in
    Market-1501's layout.
    """
    folder = drawn(benchmark)
    if folder is None or not can_measure(benchmark):
        raise ValueError(f"{benchmark.name}: only plaza and campus in Market-1501's layout are drawn anew")
    people, manifest = people_of(benchmark), read_manifest(folder)
    paths = [benchmark.query.paths[row] for row in people["query"]]
    paths += [benchmark.gallery.paths[row] for row in people["gallery"]]
    entries = [manifest["images"][path.relative_to(folder).as_posix()] for path in paths]
    fields = ("subject", "camera", "index", "labeled", "partial")
    shots = tuple(tuple(entry[field] for field in fields) for entry in entries)
    world = (manifest["domain"], manifest["size"], manifest["world"])
    found = people[["person", "group"]].copy()
    model = model.to(device).eval()
    for setting in tqdm(settings, desc="robustness", unit="setting", disable=not progress, leave=False):
        images = _resized(_images(*world, setting, shots, progress), model.image_size)
        encoded = model.encode_all(images, ROWS)
        query, gallery = encoded[: len(people)], encoded[len(people) :]
        distance = torch.cat([model.distance(query[rows], gallery) for rows in tiles(len(query), ROWS)]).cpu()
        own = distance.diagonal()[:, None]
        found[setting] = (distance <= own).sum(1).numpy() - 1
    return found


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (N, H, W, 3) at a network's size, (N, 3, h, w), as `reidlib.data.pixels` resizes files."""
    if images.shape[1:3] != size:
        resized = (Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR) for image in images)
        images = np.stack([np.asarray(image) for image in resized])
    return images.transpose(0, 3, 1, 2)


def rank1(nearer: pd.Series, gallery: int = GALLERY) -> pd.Series:
    """The chance of each query to be answered rightly, over all galleries of that many people that hold its own.

    nearer: wrong images at least as near as the right one, among all people but one. Exact: none of them may be
    among the `gallery` - 1 that are drawn. At most as many people as there are.
    """
    others = len(nearer) - 1
    return pd.Series(hypergeom.pmf(0, others, nearer, min(gallery - 1, others)), nearer.index)


def curves(run: Run) -> pd.DataFrame | None:
    """Rank-1 of a run as one thing changes, where it was measured; None where it was not at all.

    Columns: `knob`, of NUISANCES or "gallery"; `value`, its strength, or people in the gallery; `rank1`, a fraction,
    with its 95 % interval over look-alike groups (`low`, `high`).
    """
    table = run.table(TABLE)
    if table is None:
        return None
    rows = []
    for knob, values in NUISANCES.items():
        for value in values:
            setting = PLAIN if value == USUAL[knob] else f"{knob}={value:g}"
            if setting in table:
                rows.append((knob, value, *_mean(rank1(table[setting]), table["group"])))
    for people in (number for number in GALLERIES if number <= len(table)):
        rows.append(("gallery", people, *_mean(rank1(table[PLAIN], people), table["group"])))
    return pd.DataFrame(rows, columns=["knob", "value", "rank1", "low", "high"])


def change(run: Run, setting: str, other: Run, instead: str) -> tuple[float, float, float] | None:
    """Rank-1 of `run` in a setting minus that of `other` in another one, by person, with its 95 % interval.

    None where one of them was not measured there. ValueError: two runs measured on different people.
    """
    first, second = run.table(TABLE), other.table(TABLE)
    if first is None or second is None or setting not in first or instead not in second:
        return None
    if list(first["person"]) != list(second["person"]):
        raise ValueError(f"{run.name} and {other.name} were measured on different people")
    return _mean(rank1(first[setting]) - rank1(second[instead]), first["group"])


def losses(run: Run) -> pd.DataFrame | None:
    """What every nuisance costs a run: rank-1 at its worst minus rank-1 without it; None where it was not measured.

    Columns: `knob`, `kept`, the share of the rank-1 without it; `change` (a fraction, below 0 is a loss) with its
    interval (`low`, `high`).
    """
    rows = []
    for knob, values in NUISANCES.items():
        kindest, worst = (f"{knob}={value:g}" for value in (values[0], values[-1]))
        found = change(run, worst, run, kindest)
        if found is not None:
            before = rank1(run.table(TABLE)[kindest]).mean()  # type: ignore[index]
            rows.append((knob, 1 + found[0] / before if before else np.nan, *found))
    return pd.DataFrame(rows, columns=["knob", "kept", "change", "low", "high"]) if rows else None


def at(runs: Mapping[float, Run]) -> pd.DataFrame:
    """Rank-1 of several runs in PLAIN; those that have not been measured are left out.

    runs: by a number, such as the people they were trained on. Columns: `value`, that number; `rank1`, `low`, `high`.
    """
    rows = []
    for value, run in sorted(runs.items()):
        table = run.table(TABLE)
        if table is not None:
            rows.append((value, *_mean(rank1(table[PLAIN]), table["group"])))
    return pd.DataFrame(rows, columns=["value", "rank1", "low", "high"])


def _mean(values: pd.Series, groups: pd.Series) -> tuple[float, float, float]:
    """A mean and its 95 % interval, NaN where there is one group."""
    return float(values.mean()), *interval(values, groups)
