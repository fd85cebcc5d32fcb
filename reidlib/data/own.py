"""A user's own images, with people and cameras from their file names or from a table.

Beside the images lies one of two files. `pattern.txt` holds a line such as `{split}/{person}_c{camera}_*.jpg`, which
every image's path below the folder must match: a field reaches to the next character of the pattern, before a `*` it
is a number, and `*` is anything within a name. `labels.csv` holds a line an image: `path,person,camera`, or
`path,person,camera,split`; other images are left out.

Splits are called train, query, gallery and, if wanted, validation. Where none is stated, half of the people, drawn at
random, train; of the others, the first image in each camera is a query, and all images are the gallery, where a
query never counts as its own match. People and cameras that are whole numbers keep them, people from 1 upwards, with
0 for a distractor and -1 for junk in the gallery as in Market-1501; other labels, and numbers that do not fit into 64
bits, are numbered in their order.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reidlib.data.layout import IMAGES, Layout, find, labelled, look_alikes, some
from reidlib.data.splits import Benchmark, Split, draw_people, joined

PATTERN, TABLE = (Layout("dataset of your own", "any", (), ((name,),)) for name in ("pattern.txt", "labels.csv"))
PARTS = ("train", "query", "gallery", "validation")
SIDES = {"train": "training", "query": "the test set", "gallery": "the test set", "validation": "validation"}
Rows = list[tuple[Path, str, str, str]]  # image, person, camera, split or ""


def load_folders(root: str | Path) -> Benchmark:
    """The benchmark of the images in or below `root`, files in the order of the table or of their names.

    ValueError and FileNotFoundError name the line, file or label that is not understood, and say what would be.
    """
    try:
        found = find(root, TABLE, PATTERN)
    except FileNotFoundError:
        if not Path(root).expanduser().is_dir():
            raise
        raise FileNotFoundError(
            f"no labels.csv or pattern.txt in {root} or one level below; write one (data/README.md, Your own images)"
        ) from None
    rows = (_table if found.layout is TABLE else _matched)(found.parts[0], found.folder)
    files, people, cameras, parts = (list(column) for column in zip(*rows, strict=True))
    groups = look_alikes(found.folder)
    everything = labelled("train", files, _numbers(people, least=-1), _numbers(cameras, least=0), groups)
    stated = np.array(parts)
    if not stated[0]:
        return _divided(everything)
    _refuse_two_sides(found.parts[0], people, everything.person_ids, parts)
    train, query, gallery, validation = (everything.take(stated == part, part) for part in PARTS)
    for split in (train, query, validation):
        if (split.person_ids < 1).any():
            raise ValueError(
                f"{found.parts[0]}: person 0 or -1, a distractor or junk, is in {split.name}, not the gallery; number"
                " people from 1, or name them"
            )
    return Benchmark("folders", train, query, gallery, validation if len(validation) else None)


def _refuse_two_sides(source: Path, names: Sequence[str], numbers: np.ndarray, parts: Sequence[str]) -> None:
    """ValueError names the people, as they are called in `source`, who are on two sides of the split."""
    sides: dict[int, dict[str, str]] = {}  # person -> side -> the name there
    for name, number, part in zip(names, numbers.tolist(), parts, strict=True):
        if number > 0:
            sides.setdefault(number, {}).setdefault(SIDES[part], name)
    both = [of for of in sides.values() if len(of) > 1]
    if both:
        first, second = [side for side in dict.fromkeys(SIDES.values()) if side in both[0]][:2]
        name = both[0][first]
        who = f"person {name} is both"
        if len(both) > 1:
            who = f"{len(both):,} people are on two sides of the split, such as {name}"
        raise ValueError(f"{source}: {who} in {first} and in {second}; move all images of a person to one side")


def _divided(everything: Split) -> Benchmark:
    people = everything.take(everything.person_ids > 0)
    train, test = draw_people(people, len(people.identities) // 2, seed=0)
    cells = np.stack([test.person_ids, test.camera_ids], 1)
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    nobody = everything.take(everything.person_ids < 1)
    return Benchmark("folders", train, test.take(first, "query"), joined("gallery", test, nobody))


def _numbers(labels: Sequence[str], least: int) -> np.ndarray:
    """Labels as numbers: their own where all are numbers from `least` on, else from 1 in order, 0 and -1 aside."""
    if all(re.fullmatch(r"-?\d+", label) for label in labels):
        numbers = [int(label) for label in labels]
        if min(numbers) >= least and max(numbers) < 2**63:
            return np.array(numbers, np.int64)
    kept = {str(number): number for number in range(least, 1)}
    names = sorted(set(labels) - set(kept))
    number = kept | {name: place for place, name in enumerate(names, 1)}
    return np.array([number[label] for label in labels], np.int64)


def _text(path: Path) -> str:
    """A text file in UTF-8; ValueError says which is not."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text from byte {error.start} on; save it as UTF-8") from None


def _table(table: Path, folder: Path) -> Rows:
    """The rows of `labels.csv`, paths below its folder."""
    with io.StringIO(_text(table), newline="") as file:
        lines = csv.DictReader(file)
        columns = [name.strip() for name in lines.fieldnames or ()]
        lines.fieldnames = columns
        if not {"path", "person", "camera"} <= set(columns):
            raise ValueError(
                f"{table} has the columns {', '.join(columns) or 'none'}; its first line must be path,person,camera or"
                " path,person,camera,split"
            )
        names, seen, rows = ["path", "person", "camera", *(["split"] if "split" in columns else [])], set[str](), Rows()
        for line in lines:
            values = [(line[name] or "").strip() for name in names]
            path, person, camera, part = [*values, ""][:4]
            if "" in values:
                raise ValueError(
                    f"{table}, line {lines.line_num}: {names[values.index('')]} is empty; give every image a value"
                )
            if part and part not in PARTS:
                raise ValueError(f"{table}, line {lines.line_num}: split {part!r}; choose from {', '.join(PARTS)}")
            if path in seen:
                raise ValueError(f"{table}, line {lines.line_num}: {path} is listed twice; remove one of its lines")
            seen.add(path)
            rows.append((folder / path, person, camera, part))
    gone = [row[0] for row in rows if not row[0].is_file()]
    if gone or not rows:
        what = f"lists {len(gone)} images that are not there, such as {gone[0]}" if gone else "lists no image"
        raise FileNotFoundError(f"{table} {what}; paths are below {folder}")
    return rows


def _matched(pattern: Path, folder: Path) -> Rows:
    """The images below the folder, their labels read with the pattern."""
    text = _text(pattern).strip()
    expression = _expression(text, pattern)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGES and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
    names = [path.relative_to(folder).as_posix() for path in files]
    matches = [expression.fullmatch(name) for name in names]
    strange = [name for name, match in zip(names, matches, strict=True) if match is None]
    if strange:
        raise ValueError(
            f"{folder}: {some(strange)} do not match {text!r}; rename or remove them, or correct {pattern}"
        )
    if not files:
        raise FileNotFoundError(f"{folder} holds no {', '.join(IMAGES)} image beside {pattern.name}")
    found = [match.groupdict() for match in matches if match]
    rows = [
        (path, fields["person"], fields["camera"], fields.get("split") or "")
        for path, fields in zip(files, found, strict=True)
    ]
    other = [name for name, row in zip(names, rows, strict=True) if row[3] and row[3] not in PARTS]
    if other:
        raise ValueError(f"{folder}: no split of {some(other)} is one of {', '.join(PARTS)}, as {text!r} reads them")
    return rows


def _expression(text: str, source: Path) -> re.Pattern[str]:
    """The regular expression of a pattern with {person}, {camera}, perhaps {split}, and *."""
    pieces = re.split(r"(\{\w+\}|\*)", text)
    fields = [piece for piece in pieces if piece.startswith("{")]
    wrong = sorted(set(fields) - {"{person}", "{camera}", "{split}"})
    if wrong or len(fields) != len(set(fields)) or not {"{person}", "{camera}"} <= set(fields) or "\n" in text:
        raise ValueError(
            f"{source} says {text!r}; write one line with {{person}} and {{camera}} once each, such as"
            " {split}/{person}_c{camera}_*.jpg"
        )
    expression = ""
    for piece, after in zip(pieces, [*pieces[1:], "", ""], strict=False):
        if piece == "*":
            expression += "[^/]*"
        elif piece in fields:
            expression += f"(?P<{piece[1:-1]}>{rf'[^/{re.escape(after[0])}]+' if after else r'-?[0-9]+'})"
        else:
            expression += re.escape(piece)
    return re.compile(expression)
