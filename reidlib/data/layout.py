"""Finding a dataset under its usual names, and reading people and cameras from file names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reidlib.data.splits import Split

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
MANIFEST = "manifest.json"  # what a generated world knows of its people
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz")
_FAMILIES = ("market", "duke", "msmt", "cuhk03", "cuhknp", "cuhk01", "viper")  # none is taken for another
_SHOWN = 8


@dataclass(frozen=True)
class Layout:
    """What a dataset looks like on disk; names are compared without case, spaces and punctuation.

    usual: names its folder often has. family: what these begin with. needs: what the folder holds, each with its
    spellings; a name that ends in a slash is a folder's, and `..` leads up.
    """

    title: str
    usual: str
    family: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return _and([need[0] for need in self.needs])


@dataclass(frozen=True)
class Found:
    """Where a layout was found: its folder, and the path of each thing it needs, in order."""

    layout: Layout
    folder: Path
    parts: tuple[Path, ...]


def find(root: str | Path, *layouts: Layout) -> Found:
    """The first of `layouts` that is complete in `root`, one level below, or two below a folder of a usual name.

    Usual names go before others, and a folder named after another dataset is left alone. FileNotFoundError says
    what was looked for and what is there, ValueError where several would do.
    """
    top, title = Path(root).expanduser(), layouts[0].title
    if not top.is_dir():
        what = "is a file, not a folder" if top.exists() else "does not exist"
        raise FileNotFoundError(f"{title} was looked for in {top}, which {what}; give the folder it is in")
    listed: dict[Path, dict[str, Path]] = {}
    for layout in layouts:
        best: list[Found] = []
        for candidates in _candidates(top, layout):
            best = [found for folder in candidates if (found := _complete(folder, layout, listed))]
            if best:
                break
        if len(best) > 1:
            several = ", ".join(str(found.folder.relative_to(top)) for found in best)
            raise ValueError(f"{top} holds several datasets in {title}'s layout ({several}); give one of them")
        if best:
            return best[0]
    for layout in layouts:
        for folder in (folder for candidates in _candidates(top, layout) for folder in candidates):
            lacking = [need[0] for need in layout.needs if _resolve(folder, need, listed) is None]
            named = folder == top or _rank(folder, layout) < 2
            if len(lacking) < len(layout.needs) and (named or 2 * len(lacking) <= len(layout.needs)):
                raise FileNotFoundError(
                    f"{title} in {folder} lacks {_and(lacking)} (found {_listing(folder)}); add what is missing or"
                    " unpack the archive again"
                )
    packed = [path.name for path in top.iterdir() if path.suffix in _ARCHIVES and _rank(path, layouts[0]) < 2]
    remedy = f"unpack {packed[0]} first" if packed else "give the folder that holds them"
    raise FileNotFoundError(
        f"no {title} in {top}: looked for {', or for '.join(map(str, layouts))} there and below it"
        f" (usual names: {layouts[0].usual}), found {_listing(top)}; {remedy}"
    )


def _candidates(top: Path, layout: Layout) -> Iterator[list[Path]]:
    """Folders that may be the dataset's, the likeliest together."""
    first = {_plain(spelling.split("/")[0]) for need in layout.needs for spelling in need}
    yield [top]
    if _plain(top.name) in first:
        yield [top.parent]
    inside = _children(top)
    for rank in (0, 1, 2):
        of_rank = [path for path in inside if _rank(path, layout) == rank]
        yield of_rank
        if rank < 2:
            yield [deeper for path in of_rank for deeper in _children(path)]


def _rank(folder: Path, layout: Layout) -> int:
    """How likely a folder is a dataset's by its name: 0 and 1 if named so, 3 if named after another."""
    name = _plain(folder.name)
    if name.startswith(layout.family):
        return 0
    if any(word in name for word in layout.family):
        return 1
    return 3 if any(word in name for word in _FAMILIES) else 2


def _complete(folder: Path, layout: Layout, listed: dict[Path, dict[str, Path]]) -> Found | None:
    parts = tuple(filter(None, (_resolve(folder, need, listed) for need in layout.needs)))
    return Found(layout, folder, parts) if len(parts) == len(layout.needs) else None


def _resolve(folder: Path, spellings: Sequence[str], listed: dict[Path, dict[str, Path]]) -> Path | None:
    for spelling in spellings:
        here: Path | None = folder
        for step in spelling.rstrip("/").split("/"):
            if here is not None:
                here = here.parent if step == ".." else _entries(here, listed).get(_plain(step))
        if here is not None and (here.is_dir() if spelling.endswith("/") else here.is_file()):
            return here
    return None


def _entries(folder: Path, listed: dict[Path, dict[str, Path]]) -> dict[str, Path]:
    if folder not in listed:
        try:
            listed[folder] = {_plain(path.name): path for path in sorted(folder.iterdir()) if path.name[0] != "."}
        except OSError:  # not a folder, or not ours to read
            listed[folder] = {}
    return listed[folder]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _listing(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name[0] != ".")
    return some(names or ["nothing"], _SHOWN)


def some(names: Sequence[object], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def images(folder: Path) -> list[Path]:
    """The images in a folder by name, hidden files aside; FileNotFoundError where there is none."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.name[0] != ".")
    if not files:
        raise FileNotFoundError(f"{folder} holds no {', '.join(IMAGES)} image; unpack the archive again")
    return files


def read_names(files: Sequence[Path], pattern: str, example: str) -> np.ndarray:
    """(N, groups of `pattern`) whole numbers from the beginnings of the file names.

    example: a right name and what it says, for the ValueError that names the wrong ones.
    """
    matches = [re.match(pattern, path.name) for path in files]
    strange = [path.name for path, match in zip(files, matches, strict=True) if match is None]
    if strange:
        raise ValueError(
            f"{files[0].parent}: cannot read person and camera from {some(strange)}; names look like {example}:"
            " rename or remove these files"
        )
    return np.array([[int(part) for part in match.groups()] for match in matches if match], np.int64)


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What a generated world knows of its "people" and "images"; empty where there is nothing, or others' manifest."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        found = {}
    ours = isinstance(found, dict) and all(isinstance(found.get(name, {}), dict) for name in ("people", "images"))
    known = ours and all(isinstance(entry, dict) and "group" in entry for entry in found.get("people", {}).values())
    return found if known else {}


def look_alikes(folder: Path) -> dict[int, int]:
    """Each person's look-alike group, which a generated world's manifest knows; empty where there is none."""
    people = manifest(folder).get("people", {})
    return {int(person): int(entry["group"]) for person, entry in people.items()}


def labelled(
    name: str, files: Sequence[Path], people: np.ndarray, cameras: np.ndarray, groups: Mapping[int, int]
) -> Split:
    """A split of those images; people without a look-alike group are their own."""
    return Split(name, tuple(files), people, cameras, np.array([groups.get(p, p) for p in people.tolist()], np.int64))
