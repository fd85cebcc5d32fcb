"""How hard the drawn benchmark is, and whether it is valid: the numbers in `data/difficulty.csv`.

    python -m reidlib.difficulty --presets easy default hard --worlds 0 1 --out data/difficulty.csv

For every preset and world: two descriptors that learn nothing and a small network trained from scratch; what
a random order scores; the same rankers on images from which the person was erased, which must be at chance;
and an oracle that reads attributes instead of pixels.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reidlib.data import default_root, load, project_root
from reidlib.data.pixels import pixels
from reidlib.data.splits import Benchmark, Split
from reidlib.data.synthetic import (
    BENCHMARK_VERSION,
    DOMAINS,
    PRESETS,
    SIZES,
    Identity,
    named_world,
    read_manifest,
    visible_attributes,
)
from reidlib.data.synthetic.identity import COLOUR_DIFFERENCE
from reidlib.evaluation import Evaluation, rank
from reidlib.files import whole
from reidlib.models import ReIDModel, build
from reidlib.objectives import IdentityObjective
from reidlib.recipe import Optimiser, Recipe, Sampling, Schedule
from reidlib.run import device_name
from reidlib.training import Pixels, fit

COLUMNS = (
    *("preset", "domain", "size", "world", "seed", "method", "rank1", "mean_ap", "queries", "gallery"),
    *("seconds", "device", "date", "benchmark_version"),
)
KEY = ["preset", "domain", "size", "world", "seed", "method"]
# Five epochs instead of the ten or more that would saturate it: a run stays under a minute on one core.
SMALL_CNN = Recipe(
    system="smallcnn",
    objective="identity",
    sampling=Sampling("identities", people=16, images=4),
    augment=(("flip", 0.5), ("translate", 0.05), ("erase", 0.4)),
    optimiser=Optimiser("adamw", lr=2.5e-3, weight_decay=5e-4),
    schedule=Schedule("cosine", warmup=0.2),
    validations=1,
)
EPOCHS = 5
CLOTHES = (
    *("upper", "upper_colour", "upper_accent", "inner_colour", "pattern", "open_front", "sleeve"),
    *("lower", "lower_colour", "lower_pattern"),
)


def chance(benchmark: Benchmark, *, across: bool = False) -> tuple[float, float]:
    """Expected (rank-1, mAP) of a random order of the gallery, exactly, over the queries with a match.

    With m matches among n candidates rank-1 is m / n, and the average precision is expected to be
    (H_n + (m - 1) / (n - 1) (n - H_n)) / n, H_n the n-th harmonic number. across: as `across_cameras`.
    """
    query, gallery = benchmark.query, benchmark.gallery
    first, precision = [], []
    for person, camera in zip(query.person_ids, query.camera_ids, strict=True):
        own, here = gallery.person_ids == person, gallery.camera_ids == camera
        drop = (gallery.person_ids == -1) | (here if across else own & here)
        n, m = int((~drop).sum()), int((own & ~drop).sum())
        if m:
            harmonic = float((1 / np.arange(1, n + 1)).sum())
            first.append(m / n)
            precision.append((harmonic + (m - 1) / max(n - 1, 1) * (n - harmonic)) / n)
    return float(np.mean(first)), float(np.mean(precision))


def score(distance: np.ndarray, benchmark: Benchmark) -> Evaluation:
    """Distances (Q, G) by Market-1501's rule."""
    query, gallery = benchmark.query, benchmark.gallery
    return rank(distance, query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids)


def across_cameras(distance: np.ndarray, benchmark: Benchmark) -> tuple[float, float]:
    """(rank-1, mAP) when each query is ranked against the images of all other cameras.

    Against the whole gallery, a ranker of backgrounds finds its own camera's images first, all of them wrong
    answers, and falls below chance; what a background gives away would be hidden.
    """
    query, gallery = benchmark.query, benchmark.gallery
    parts = []
    for camera in np.unique(query.camera_ids):
        rows, columns = query.camera_ids == camera, gallery.camera_ids != camera
        if np.isin(query.person_ids[rows], gallery.person_ids[columns]).any():
            ids, cameras = (query.person_ids[rows], gallery.person_ids[columns]), gallery.camera_ids[columns]
            parts.append(rank(distance[rows][:, columns], *ids, query.camera_ids[rows], cameras))
    together = Evaluation.join(parts)
    return float(together.cmc[0]), together.mean_ap


@torch.inference_mode()
def distances(model: ReIDModel, query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(Q, G) distances between uint8 images (N, 3, H, W)."""
    model.eval()
    return model.distance(model.encode_all(query), model.encode_all(gallery)).numpy()


def train(split: Split, images: np.ndarray, seed: int) -> ReIDModel:
    """The small network after EPOCHS passes over the images (N, 3, H, W)."""
    steps = max(1, EPOCHS * len(split) // 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build("smallcnn", identities=len(split.identities), image_size=tuple(images.shape[2:]))
    recipe = replace(SMALL_CNN, steps=steps, seed=seed)
    fit(IdentityObjective(model), recipe, Pixels(split, images), progress=False)
    return model.eval()


def attributes(manifest: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What an observer could see of the test people, by person id, from a benchmark's manifest."""
    return {
        int(person): visible_attributes(Identity(**entry["attributes"]))
        for person, entry in manifest["people"].items()
        if entry["split"] == "test"
    }


def erase(manifest: dict[str, Any], split: Split) -> np.ndarray:
    """The split's images (N, 3, H, W) uint8 drawn again without the person: street, occluder, light and noise stay."""
    world = named_world(manifest["domain"], manifest["size"], manifest["world"], manifest["preset"])
    images = []
    for path in split.paths:
        entry = manifest["images"][f"{path.parent.name}/{path.name}"]
        box = {"labeled": entry["labeled"], "partial": entry["partial"]}
        drawn = world.render(entry["subject"], entry["camera"], entry["index"], erase_person=True, **box)
        images.append(drawn.pixels.transpose(2, 0, 1))
    return np.ascontiguousarray(images)


def differences(people: Sequence[dict[str, Any]], names: Sequence[str]) -> np.ndarray:
    """(P, P) in how many of `names` two people differ; colours from `COLOUR_DIFFERENCE` on, as an observer sees it."""
    count = np.zeros((len(people), len(people)), int)
    for name in names:
        values = [person[name] for person in people]
        colours = [isinstance(value, (list, tuple)) for value in values]
        kinds = {repr(value): number for number, value in enumerate(values)}
        code = np.array([-1 if colour else kinds[repr(value)] for value, colour in zip(values, colours, strict=True)])
        rgb = np.array([value if colour else (0, 0, 0) for value, colour in zip(values, colours, strict=True)], float)
        apart = np.abs(rgb[:, None] - rgb[None]).sum(-1) > COLOUR_DIFFERENCE
        count += (code[:, None] != code[None]) | apart
    return count


def oracle(people: dict[int, dict[str, Any]], benchmark: Benchmark, names: Sequence[str], seed: int = 0) -> Evaluation:
    """The ranking of someone who reads attributes: by how many of `names` differ, equals in random order.

    people: attributes by person id. benchmark: without distractors and junk, who have no attributes there.
    """
    known = np.unique(benchmark.gallery.person_ids)
    table = differences([people[person] for person in known.tolist()], names)
    rows = np.searchsorted(known, benchmark.query.person_ids)
    columns = np.searchsorted(known, benchmark.gallery.person_ids)
    ties = np.random.default_rng(seed).random((len(rows), len(columns)))
    return score(table[rows][:, columns] + 0.5 * ties, benchmark)


def nearest_twins(people: dict[int, dict[str, Any]]) -> np.ndarray:
    """(P,) in how many visible attributes each person differs from whoever is most like them."""
    table = differences(list(people.values()), list(next(iter(people.values()))))
    np.fill_diagonal(table, np.iinfo(int).max)
    return table.min(axis=1)


def measure(
    domain: str,
    size: str,
    world: int,
    preset: str,
    seeds: Sequence[int],
    erased: bool,
    root: Path,
    *,
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """All rows of one world at one preset; `erased` adds those on person-erased images."""
    benchmark = load(domain, root=root, size=size, world=world, preset=preset, workers=workers)
    whole = {part: pixels(getattr(benchmark, part)) for part in ("train", "query", "gallery")}
    shared = {"preset": preset, "domain": domain, "size": size, "world": world, "queries": int(benchmark.matched.sum())}
    rows: list[dict[str, Any]] = []

    def add(method: str, scores: tuple[float, float], seconds: float, data: Benchmark, seed: int = 0) -> None:
        numbers = {"rank1": round(scores[0], 4), "mean_ap": round(scores[1], 4), "seconds": round(seconds, 1)}
        rows.append({**shared, "seed": seed, "method": method, "gallery": len(data.gallery), **numbers})
        print(
            f"{preset:8} world {world} {method:24} rank-1 {scores[0]:.3f} mAP {scores[1]:.3f}  {seconds:.0f} s",
            flush=True,
        )

    def ranked(model: ReIDModel) -> tuple[float, float]:
        got = score(distances(model, whole["query"], whole["gallery"]), benchmark)
        return float(got.cmc[0]), got.mean_ap

    add("chance", chance(benchmark), 0, benchmark)
    for name, label in (("pixels", "raw pixels"), ("histogram", "histogram")):
        began = time.perf_counter()
        add(label, ranked(build(name)), time.perf_counter() - began, benchmark)
    for seed in seeds:
        began = time.perf_counter()
        model = train(benchmark.train, whole["train"], seed)
        add("small CNN", ranked(model), time.perf_counter() - began, benchmark, seed)

    manifest = read_manifest(root / f"{domain}-{size}-w{world}-{preset}")
    tested = without_strangers(benchmark)
    people = attributes(manifest)
    for label, names in (("oracle, all attributes", list(next(iter(people.values())))), ("oracle, clothes", CLOTHES)):
        got = oracle(people, tested, names)
        add(label, (float(got.cmc[0]), got.mean_ap), 0, tested)
    if erased:
        add("chance, erased", chance(tested, across=True), 0, tested)
        images = {part: erase(manifest, getattr(tested, part)) for part in ("train", "query", "gallery")}

        def blind(model: ReIDModel) -> tuple[float, float]:
            return across_cameras(distances(model, images["query"], images["gallery"]), tested)

        add("histogram, erased", blind(build("histogram")), 0, tested)
        for seed in seeds[:1]:
            began = time.perf_counter()
            model = train(tested.train, images["train"], seed)
            add("small CNN, erased", blind(model), time.perf_counter() - began, tested, seed)
    return rows


def without_strangers(benchmark: Benchmark) -> Benchmark:
    """The benchmark with a gallery of test people only."""
    return replace(benchmark, gallery=benchmark.gallery.take(benchmark.gallery.person_ids > 0))


def save(rows: Sequence[dict[str, Any]], path: Path) -> pd.DataFrame:
    """Put the rows into the CSV at `path`, in place of older ones of the same key; the file is never partial."""
    stamp = {"device": device_name("cpu"), "date": date.today().isoformat(), "benchmark_version": BENCHMARK_VERSION}
    table = pd.DataFrame([{**row, **stamp} for row in rows], columns=list(COLUMNS))
    if path.exists():
        table = pd.concat([pd.read_csv(path, dtype={"benchmark_version": str}), table])
    order = {"preset": list(PRESETS).index, "domain": DOMAINS.index, "size": list(SIZES).index}
    table = table.drop_duplicates(KEY, keep="last").sort_values(
        ["preset", "domain", "size", "world"], key=lambda column: column.map(order.get(column.name, int)), kind="stable"
    )
    with whole(path) as part:
        table.to_csv(part, index=False)
    return table


def read(path: Path | None = None) -> pd.DataFrame:
    """The measured rows (default: the project's `data/difficulty.csv`); FileNotFoundError says how to measure them."""
    path = path or project_root() / "data" / "difficulty.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; measure it with `python -m reidlib.difficulty --out {path}`")
    return pd.read_csv(path, dtype={"benchmark_version": str})


def summary(measured: pd.DataFrame, methods: Sequence[str], size: str = "small") -> pd.DataFrame:
    """Mean ± standard deviation over runs, percent: a row a method, rank-1 and mAP by preset; sources as notes."""
    chosen = measured[measured["method"].isin(methods) & (measured["size"] == size)]
    presets = [preset for preset in PRESETS if preset in set(chosen["preset"])]
    columns = pd.MultiIndex.from_product([presets, ["rank-1", "mAP"]])
    table = pd.DataFrame("not run", index=list(methods), columns=columns)
    for (preset, method), runs in chosen.groupby(["preset", "method"]):
        for name, label in (("rank1", "rank-1"), ("mean_ap", "mAP")):
            values = 100 * runs[name]
            spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
            table.loc[method, (preset, label)] = f"{values.mean():.1f}{spread}"
    notes = ["Percent; mean ± standard deviation over the runs, which differ in world and seed."]
    for (domain, device, version), runs in chosen.groupby(["domain", "device", "benchmark_version"]):
        dates, worlds = sorted(set(runs["date"])), runs.groupby("preset")["world"].nunique()
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        many = ", ".join(f"{worlds[preset]} {preset}" for preset in presets if preset in worlds)
        notes.append(f"{domain}, size {size}, worlds: {many}; drawing {version}; measured {when} on {device}.")
    table.attrs["notes"] = notes
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; each world is written as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), default=["easy", "default", "hard"])
    parser.add_argument("--domain", choices=DOMAINS, default=DOMAINS[0])
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--worlds", nargs="+", type=int, default=[0, 1], help="worlds measured at every preset")
    parser.add_argument(
        "--seeds", nargs="*", type=int, default=[0], help="trainings of the small network a world; may be none"
    )
    parser.add_argument("--erased", action="store_true", help="also measure person-erased images")
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: all cores)")
    parser.add_argument("--root", type=Path, default=None, help="where images are (default: build/data)")
    parser.add_argument("--out", type=Path, default=Path("data/difficulty.csv"))
    chosen = parser.parse_args(arguments)
    for preset in chosen.presets:
        for world in chosen.worlds:
            where = (chosen.domain, chosen.size, world, preset)
            root = chosen.root or default_root()
            save(measure(*where, chosen.seeds, chosen.erased, root, workers=chosen.workers), chosen.out)


if __name__ == "__main__":
    main()
