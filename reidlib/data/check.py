"""Is a dataset whole? Its counts against the printed ones, its files, and whether its splits keep apart.

What the loaders refuse (a folder that is missing, a name that says no person, a person on both sides, a test set in
which nothing can be scored) comes first: there is no benchmark to look at then.
"""

import hashlib
import io
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from reidlib.data import load, registry
from reidlib.data.folders import cores, default_root
from reidlib.data.layout import manifest, some
from reidlib.data.pixels import REMEDY, read_image
from reidlib.data.splits import DISTRACTOR, JUNK, Benchmark, Split

HERE, PRINTED = "here", "printed"
SIDES = {"query": "the test set", "gallery": "the test set"}  # other splits are sides of their own


@dataclass(frozen=True)
class Report:
    """What was found: a table as `counts` makes it (None where the loader refused), and sentences.

    problems: what must be mended before numbers mean anything. remarks: what is worth knowing.
    """

    title: str
    table: pd.DataFrame | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        table = [] if self.table is None else [self.table.to_string()]
        said = [*(f"- {remark}" for remark in self.remarks), *(f"PROBLEM: {problem}" for problem in self.problems)]
        return "\n".join([self.title, *table, *said, *([] if self.problems else ["no problem found"])])


def check(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    deep: bool = False,
    layout: str = "",
    **made: Any,
) -> Report:
    """The report on the dataset `name` in or below `root`; every file is read, with `deep` every image decoded too.

    layout, made: as `load` takes them, for drawn datasets. A dataset that is there and refused is a problem in the
    report; errors are raised as by `load` where the name is unknown or `root` is no folder.
    """
    top = Path(root).expanduser() if root is not None else default_root()
    real = registry.DATASETS.get(layout or name, registry.DATASETS["market1501"])
    try:
        benchmark, *_ = [load(name, root=root, layout=layout, split=split, **made) for split in range(real.splits)]
    except (ValueError, FileNotFoundError) as error:
        if name not in registry.DATASETS or layout or not top.is_dir():
            raise
        below = sorted(path for path in top.iterdir() if path.is_dir())
        return Report(f"{real.title} in {top}", None, tuple(_unfinished([top, *below], real.layout)) or (str(error),))
    table = counts(benchmark, real.published)
    paths = sorted({path for split in splits(benchmark).values() for path in split.paths})
    files = _read(paths, deep)
    remarks = [
        f"{benchmark.matched.sum():,} of {len(benchmark.query):,} queries have a match in another camera",
        f"{sum(not file.fault for file in files.values()):,} of {len(files):,} images can be"
        f" {'decoded' if deep else 'opened'}",
    ]
    if real.splits > 1:
        remarks.append(f"the counts are those of split 0 of {real.splits}; the others can be read too")
    if real.published is not None:
        remarks.append(str(real.published))
    unfinished = _unfinished(benchmark.query.paths[0].parents[:3], real.layout)
    problems = [*unfinished, *_faults(files), *_lost(benchmark), *_listed_twice(benchmark), *_few(benchmark)]
    if (benchmark.train.groups != benchmark.train.person_ids).any():
        if real.published is not None:
            remarks.append("the images are drawn; the printed counts are those of the real dataset")
    elif not unfinished and (different := _different(table)):
        problems.append(
            f"{', '.join(different)}: unpack the archive again (for images of your own in this layout the printed"
            " counts mean nothing)"
        )
    copies, harmless = _copies(benchmark, files)
    title = real.title if benchmark.name == real.name else f"{benchmark.name} in the layout of {real.title}"
    folder = os.path.commonpath([path.parent for path in paths])
    return Report(f"{title}: {folder}", table, (*problems, *copies), (*remarks, *harmless))


def splits(benchmark: Benchmark) -> dict[str, Split]:
    """Its splits by name, those that are there."""
    named = {name: getattr(benchmark, name) for name in ("train", "validation", "query", "gallery", "multi")}
    return {name: split for name, split in named.items() if split is not None}


def counts(benchmark: Benchmark, published: registry.Counts | None = None) -> pd.DataFrame:
    """People, images and cameras of each split and of all, here and as printed; text, empty where nothing is printed.

    Junk and distractors are no people, and have no say in the number of cameras.
    """
    parts = splits(benchmark)
    everybody = [split for name, split in parts.items() if name != "multi"]
    here = pd.DataFrame([_count([split]) for split in parts.values()] + [_count(everybody)], [*parts, "all"])
    columns: dict[tuple[str, str], Any] = {(what, HERE): here[what] for what in here}
    if published is not None:
        printed = pd.DataFrame(None, here.index, ["people", "images", "cameras"], dtype="Int64")
        for name, numbers in published.splits.items():
            printed.loc[name, ["people", "images"]] = numbers
        printed.loc["all", ["people", "cameras"]] = published.people, published.cameras
        if printed["images"].isna().all():  # else a sum that leaves out queries, or distractors
            printed.loc["all", "images"] = published.images
        columns |= {(what, PRINTED): printed.loc[here.index, what] for what in printed}
    order = sorted(columns, key=lambda column: list(here).index(column[0]))
    return pd.DataFrame({column: columns[column] for column in order}).map(
        lambda number: "" if pd.isna(number) else f"{number:,}"
    )


def _count(parts: Sequence[Split]) -> dict[str, int]:
    people, cameras = (np.concatenate([getattr(split, of) for split in parts]) for of in ("person_ids", "camera_ids"))
    return {
        "people": len(np.unique(people[people > 0])),
        "images": len({path for split in parts for path in split.paths}),
        "cameras": len(np.unique(cameras[people > 0])),
        "junk": int((people == JUNK).sum()),
        "distractors": int((people == DISTRACTOR).sum()),
    }


def _different(table: pd.DataFrame) -> list[str]:
    """Every count that is not the printed one, in words."""
    return [
        f"{name} has {table.loc[name, (what, HERE)]} {what} where {printed} are printed"
        for what in ("people", "images", "cameras")
        if (what, PRINTED) in table
        for name, printed in table[what, PRINTED].items()
        if printed and printed != table.loc[name, (what, HERE)]
    ]


# -- files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """fault: what is wrong with it, or nothing. digest: of its bytes."""

    fault: str = ""
    digest: bytes = b""


def _read(paths: Sequence[Path], deep: bool) -> dict[Path, _File]:
    def one(path: Path) -> _File:
        try:
            data = path.read_bytes()
            if not data:
                return _File("empty")
            with Image.open(io.BytesIO(data)):  # its header
                pass
        except FileNotFoundError:
            return _File("missing")
        except Exception:  # OSError of the disk; of a damaged header Pillow raises nearly anything
            return _File("unreadable")
        try:
            if deep:
                read_image(path)
        except ValueError as error:
            return _File("no crop of a standing person" if "no crop" in str(error) else "damaged")
        return _File(digest=hashlib.blake2b(data, digest_size=16).digest())

    with (
        ThreadPoolExecutor(cores()) as pool,
        warnings.catch_warnings(action="ignore"),  # Pillow's remarks on odd metadata and palettes
        tqdm(total=len(paths), desc="decode" if deep else "read", unit="image", delay=1, disable=None) as bar,
    ):
        found = {}
        for path, file in zip(paths, pool.map(one, paths), strict=True):
            found[path] = file
            bar.update()
    return found


def _faults(files: dict[Path, _File]) -> list[str]:
    by_fault = defaultdict(list)
    for path, file in files.items():
        if file.fault:
            by_fault[file.fault].append(path)
    return [f"{_number(paths)} {fault}: {some(paths, 3)}; {REMEDY}" for fault, paths in by_fault.items()]


def _number(paths: Sequence[Path]) -> str:
    return "a file is" if len(paths) == 1 else f"{len(paths):,} files are"


def _lost(benchmark: Benchmark) -> list[str]:
    """Images that a drawn dataset's manifest lists and that are gone."""
    for folder in benchmark.query.paths[0].parents[:3]:
        if listed := manifest(folder).get("images"):
            gone = [name for name in listed if not (folder / name).is_file()]
            return [f"{folder} lacks {len(gone):,} of its {len(listed):,} images: {some(gone, 3)}"] if gone else []
    return []


def _unfinished(folders: Sequence[Path], layout: str) -> list[str]:
    """The first of the folders that was being drawn in that layout when it was interrupted."""
    for folder in folders:
        made = manifest(folder)
        if made.get("complete") is False and "domain" in made and made.get("layout", "market1501") == layout:
            return [f"{folder}: this drawn copy is unfinished; call the same `data make` again"]
    return []


def _few(benchmark: Benchmark) -> list[str]:
    """Splits with too few people to train: two with two images each make pairs, and as many are held out."""
    least, why = (4, ", because two are held out") if benchmark.validation is None else (2, "")
    problems = []
    for split in (benchmark.train, *([] if benchmark.validation is None else [benchmark.validation])):
        _, images = np.unique(split.person_ids[split.person_ids > 0], return_counts=True)
        if (found := int((images > 1).sum())) < least:
            problems.append(
                f"people with two images each: {split.name} has {found}, and training needs at least {least}{why}; add"
                " some"
            )
    return problems


# -- copies ----------------------------------------------------------------------------------------------------


def _listed_twice(benchmark: Benchmark) -> list[str]:
    problems = []
    for name, split in splits(benchmark).items():
        twice = [path for path, times in Counter(split.paths).items() if times > 1]
        if twice:
            problems.append(f"{name}: {_number(twice)} listed more than once: {some(twice, 3)}; remove the other lines")
    return problems


def _copies(benchmark: Benchmark, files: dict[Path, _File]) -> tuple[list[str], list[str]]:
    """(problems, remarks) on files of the same bytes: an image is of one side of the split, person and camera."""
    labels: dict[Path, tuple[str, int, int]] = {}
    for name, split in splits(benchmark).items():
        if name != "multi":  # which has the queries again
            for path, person, camera in zip(split.paths, split.person_ids, split.camera_ids, strict=True):
                labels[path] = SIDES.get(name, name), int(person), int(camera)
    alike = defaultdict(list)
    for path in labels:
        if not files[path].fault:
            alike[files[path].digest].append(path)
    kinds = ("on both sides of the split", "under two people", "under two cameras", "there twice")
    found = defaultdict(list)
    for paths in alike.values():
        if len(paths) > 1:
            differs = [len({labels[path][place] for path in paths}) > 1 for place in range(3)]
            found[kinds[[*differs, True].index(True)]].append(" = ".join(map(str, paths)))
    said = {
        kind: f"{'an image is' if len(found[kind]) == 1 else f'{len(found[kind]):,} images are'} {kind}:"
        f" {some(found[kind], 3)}"
        for kind in kinds
        if kind in found
    }
    harmless = [said.pop(kinds[-1])] if kinds[-1] in said else []
    return [f"{sentence}; remove the wrong copy" for sentence in said.values()], harmless
