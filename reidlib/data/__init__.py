"""Datasets by name: `load("plaza")` generates what is missing, `load("market1501", root=...)` reads what is there."""

import os
from dataclasses import replace
from pathlib import Path

from reidlib.data import registry
from reidlib.data.folders import default_cache, default_root, project_root
from reidlib.data.splits import Benchmark, Split, hold_out, union
from reidlib.names import choose

SYNTHETIC = ("plaza", "campus", "harbour")
DATASETS = (*registry.DATASETS, *SYNTHETIC)


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    layout: str = "",
    split: int = 0,
    workers: int | None = None,
) -> Benchmark:
    """The benchmark of that name below `root` (default: `default_root()`), with split number `split`.

    `plaza`, `campus` and `harbour` are generated where they are missing: `size`, `world` and `preset` say which,
    `workers` is the number of processes (default: all cores); people know their look-alike groups. `layout` is the real
    dataset (default: "market1501") in whose files such a world is written, and by whose loader it is read. Real
    datasets are only read. ValueError for an unknown name or split, FileNotFoundError for a dataset that is not there.
    """
    choose("dataset", name, DATASETS)
    top = Path(root).expanduser() if root is not None else default_root()
    if name not in SYNTHETIC:
        if layout:
            raise ValueError(f"layout={layout!r} is for {', '.join(SYNTHETIC)}; {name} has its own")
        benchmark = _read(registry.DATASETS[name], top, split)
        if root is None and (benchmark.train.groups != benchmark.train.person_ids).any():  # as generated people have
            raise FileNotFoundError(f"no {name} in {top}, only generated data; say where it is with root")
        return benchmark
    from reidlib.data import synthetic  # the renderer is not needed to read real data

    real = registry.DATASETS[choose("layout", layout or "market1501", registry.DATASETS)]
    folder = synthetic.make(name, size, top, world=world, preset=preset, layout=real.layout, workers=workers)
    return replace(_read(real, folder, split), name=name)


def _read(dataset: registry.Dataset, root: Path, split: int) -> Benchmark:
    if not 0 <= split < dataset.splits:
        have = "one split, number 0" if dataset.splits == 1 else f"{dataset.splits} splits, from 0"
        raise ValueError(f"{dataset.name} has {have}; split {split} was asked for")
    return dataset.read(root, split)
