"""Datasets by name: `load("plaza")` generates what is missing, `load("market1501", root=...)` reads what is there."""

import json
import os
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from reidlib.data.folders import default_cache, default_root, project_root
from reidlib.data.market1501 import find_market1501, load_market1501
from reidlib.data.splits import Benchmark, Split, hold_out, union, with_groups

DATASETS = ("market1501", "plaza", "campus")
SYNTHETIC = ("plaza", "campus")
COUNTERPARTS = {"market1501": "plaza", "dukemtmc": "campus"}  # real -> the synthetic world that stands in

__all__ = [
    "COUNTERPARTS",
    "DATASETS",
    "SYNTHETIC",
    "Benchmark",
    "Split",
    "default_cache",
    "default_root",
    "hold_out",
    "load",
    "project_root",
    "union",
]


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    split: int = 0,
    workers: int | None = None,
) -> Benchmark:
    """The benchmark of that name below `root` (default: `default_root()`).

    `plaza` and `campus` are generated where they are missing: `size`, `world` and `preset` say which, `workers`
    is the number of processes (default: all cores); people know their look-alike groups. Real datasets are only
    read. ValueError for an unknown name or split, FileNotFoundError for a dataset that is not there.
    """
    if name not in DATASETS:
        near = get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; {COUNTERPARTS[name]!r} is its synthetic counterpart" if name in COUNTERPARTS else ""
        meant = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"dataset {name!r} cannot be loaded{meant} (available: {', '.join(DATASETS)}{hint})")
    if split != 0:
        raise ValueError(f"{name} has one split, number 0; split {split} was asked for")
    top = Path(root).expanduser() if root is not None else default_root()
    if name in SYNTHETIC:
        from reidlib.data import synthetic  # the renderer is not needed to read real data

        folder = synthetic.make(name, size, top, world=world, preset=preset, workers=workers)
    else:
        folder = find_market1501(top)
        if root is None and (folder / "manifest.json").is_file():
            raise FileNotFoundError(
                f"no {name} in {top}, only generated data ({folder.name}); say where it is with root"
            )
    return _grouped(load_market1501(folder, name), folder / "manifest.json")


def _grouped(benchmark: Benchmark, manifest: Path) -> Benchmark:
    """The benchmark with look-alike groups from the manifest a synthetic one has; unchanged without."""
    if not manifest.is_file():
        return benchmark
    people = json.loads(manifest.read_text())["people"]
    groups = {int(person): int(entry["group"]) for person, entry in people.items()}
    train, query, gallery = (
        with_groups(part, groups) for part in (benchmark.train, benchmark.query, benchmark.gallery)
    )
    return replace(benchmark, train=train, query=query, gallery=gallery)
