"""CUHK03: 1,467 people, each under one of five pairs of cameras, boxes drawn by hand (`labeled`) or `detected`.

Li et al. 2014: `cuhk-03.mat` is HDF5 and holds, in MATLAB's transposed order, for either kind of box a cell per pair
of cameras with (10, people) images (3, width, height), five a camera and some of them empty, and 20 test sets of 100
people (pair, person). The classic protocol's 1,160/100/100 people are those of the first three pairs: the other two
came with a later release. Zhong et al. 2017: the new protocol's 767/700 people are in files of their own,
`cuhk03_new_protocol_config_labeled.mat`; copies already unpacked to Market-1501's folders go around as CUHK03-NP.

A person's number counts through the pairs, from 1, as in the new protocol; the cameras are 1 and 2 in every pair.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from reidlib.data.folders import default_cache, writing
from reidlib.data.layout import Found, Layout, find, labelled, look_alikes, some
from reidlib.data.market1501 import FOLDERS, read_folders
from reidlib.data.splits import Benchmark, Split, draw_people, two_views

if TYPE_CHECKING:
    import h5py

CLASSIC_PAIRS = 3
SET_ASIDE = 100 / 1260  # share of the people not tested that is for validation
SHOTS = 10  # of a person, five a camera
MAT, CONFIG = "cuhk-03.mat", "cuhk03_new_protocol_config_{}.mat"
INDEX = "images.txt"  # beside the extracted images: a name and its bytes a line

_USUAL, _FAMILY = "cuhk03_release, CUHK03, cuhk03", ("cuhk03", "cuhknp")
CLASSIC = Layout("CUHK03", _USUAL, _FAMILY, ((MAT,),))
SPLIT_FILE, UNPACKED = (
    {kind: Layout("CUHK03-NP", f"{_USUAL}, CUHK03-NP", _FAMILY, needs) for kind, needs in by_kind.items()}
    for by_kind in (
        {kind: ((MAT,), (CONFIG.format(kind), f"../{CONFIG.format(kind)}")) for kind in ("labeled", "detected")},
        {
            kind: tuple(tuple(f"{name}/{folder}" for name in names) for folder in FOLDERS.values())
            for kind, names in (("labeled", ("labeled", "labelled")), ("detected", ("detected",)))
        },
    )
)


def load_cuhk03(root: str | Path, kind: str, split: int) -> Benchmark:
    """The classic benchmark in or below `root`, with the published test set number `split` (from 0).

    kind: "labeled" or "detected". `validation` are 100 of the 1,260 people not tested, drawn by `split`. Images are
    extracted once, to the cache. ValueError says what is wrong with the file, OSError why nothing can be extracted.
    """
    found = find(root, CLASSIC)
    path = found.parts[0]
    with _open(path) as mat:
        tested = _test_set(path, mat, split)
    everybody, before = _everybody(found, kind)
    asked = np.isin(everybody.person_ids, [before[pair - 1] + person for pair, person in tested])
    rest = everybody.take(~asked & (everybody.person_ids <= before[CLASSIC_PAIRS]), "train")
    train, validation = draw_people(rest, round(SET_ASIDE * len(rest.identities)), split, "validation")
    return two_views(f"cuhk03-{kind}", train, everybody.take(asked, "test"), validation)


def load_cuhk03_all(root: str | Path, kind: str) -> Benchmark:
    """All 1,360 people of the classic release, to train on or to test with. Errors as `load_cuhk03`."""
    everybody, before = _everybody(find(root, CLASSIC), kind)
    classic = everybody.take(everybody.person_ids <= before[CLASSIC_PAIRS], "train")
    return two_views(f"cuhk03-{kind}-all", classic, classic)


def _everybody(found: Found, kind: str) -> tuple[Split, np.ndarray]:
    """All images of that kind, and how many people come before each pair of cameras."""
    path = found.parts[0]
    with _open(path) as mat:
        before = np.cumsum([0, *(cells.shape[1] for cells in _pairs(path, mat, kind))])
    folder = extract(path, kind)
    names = list(_index(folder))
    pairs, persons, cameras = np.array([[int(part) for part in name.split("_")[:3]] for name in names], np.int64).T
    files = [folder / name for name in names]
    return labelled(kind, files, before[pairs - 1] + persons, cameras, _groups(found)), before


def load_cuhk03_np(root: str | Path, kind: str) -> Benchmark:
    """The new protocol's benchmark in or below `root`: `cuhk-03.mat` and its split file, or the folders.

    kind: "labeled" or "detected". Errors as `load_cuhk03`.
    """
    name, found = f"cuhk03-np-{kind}", find(root, SPLIT_FILE[kind], UNPACKED[kind])
    if found.layout is UNPACKED[kind]:
        benchmark = read_folders(name, found, r"(\d+)_c(\d+)", "0001_c1_1.png (person 1, camera 1)")
        if not benchmark.gallery.person_ids.all():
            raise ValueError(
                f"{found.parts[2]} has a person 0; CUHK03-NP numbers people from 1: take the published copy"
            )
        return benchmark
    protocol = read_protocol(found.parts[1])
    folder = extract(found.parts[0], kind)
    there = _index(folder)
    gone = [file for file in protocol.files if file not in there]
    if gone:
        raise ValueError(
            f"{found.parts[1]} names {len(gone)} images that {found.parts[0]} lacks, such as {gone[0]}; take both from"
            " the same release"
        )
    everybody = labelled(
        kind, [folder / file for file in protocol.files], protocol.people, protocol.cameras, _groups(found)
    )
    train, query, gallery = (everybody.take(protocol.parts[part], part) for part in FOLDERS)
    return Benchmark(name, train, query, gallery)


@dataclass(frozen=True, eq=False)
class NewProtocol:
    """A split file: image names, (N,) people and cameras, and the rows of train, query and gallery (from 0)."""

    files: list[str]
    people: np.ndarray
    cameras: np.ndarray
    parts: dict[str, np.ndarray]


def read_protocol(path: Path) -> NewProtocol:
    """The contents of a `cuhk03_new_protocol_config_*.mat`; ValueError says what is wrong with it."""
    from scipy.io import loadmat

    keys = {"filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx"}
    try:
        mat: dict[str, Any] = loadmat(path)
        if lacking := sorted(keys - mat.keys()):
            raise LookupError(f"it lacks {', '.join(lacking)}")
        files = [str(np.ravel(cell)[0]) for cell in mat["filelist"].ravel()]
        people, cameras = (mat[key].ravel().astype(np.int64) for key in ("labels", "camId"))
        parts = {part: mat[f"{part}_idx"].ravel().astype(np.int64) - 1 for part in ("train", "query", "gallery")}
        if not len(files) == len(people) == len(cameras):
            raise LookupError(f"it has {len(files)} images, {len(people)} people and {len(cameras)} cameras for them")
        if not all(0 <= rows.min(initial=0) <= rows.max(initial=0) < len(files) for rows in parts.values()):
            raise LookupError(f"it has positions outside 1 to {len(files)}")
    except Exception as error:  # SciPy raises ValueError, TypeError, OSError, NotImplementedError, zlib.error, ...
        raise ValueError(
            f"{path} cannot be read as a split file ({_first_line(error)}); take it again from the new protocol's page"
        ) from None
    return NewProtocol(files, people, cameras, parts)


def extract(path: Path, kind: str) -> Path:
    """The folder, in the cache, of the file's images of that kind as PNG, named as in the new protocol.

    The first process that asks extracts them, others wait; interrupted or on a full disk, nothing is left behind.
    """
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode()).hexdigest()
    target = default_cache() / f"cuhk03-{key[:12]}" / kind
    if not _whole(target):
        with writing(f"the {kind} images of {path.name} ({state.st_size / 2e6:.0f} MB)", target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not _whole(target):
                    _extract(path, kind, target)
    return target


def _whole(folder: Path) -> bool:
    try:
        there = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
        return all(there.get(name) == size for name, size in _index(folder).items())
    except OSError:
        return False


def _index(folder: Path) -> dict[str, int]:
    lines = (folder / INDEX).read_text().splitlines()
    return {name: int(size) for name, size in (line.split() for line in lines)}


def _extract(path: Path, kind: str, target: Path) -> None:
    """Write to a folder beside, rename it when it is complete."""
    part = target.with_name(f"{kind}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        index = []
        with _open(path) as mat:
            pairs = _pairs(path, mat, kind)
            people = [(pair, person) for pair, cells in enumerate(pairs) for person in range(cells.shape[1])]
            for pair, person in tqdm(people, desc=f"extract {kind}", unit="person", delay=1, disable=None):
                for shot, cell in enumerate(pairs[pair][:, person]):
                    image = _image(path, mat, cell)
                    if image is not None:
                        name = f"{pair + 1}_{person + 1:03d}_{1 + shot // (SHOTS // 2)}_{shot + 1:02d}.png"
                        index.append(f"{name} {(part / name).write_bytes(_png(image))}\n")
        (part / INDEX).write_text("".join(index))
        shutil.rmtree(target, ignore_errors=True)  # one that images were lost from
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)  # four times as fast as the default, a fifth larger
    return buffer.getvalue()


# -- the HDF5 file ---------------------------------------------------------------------------------------------


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong inside as one sentence: a damaged file makes h5py raise nearly anything."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as CUHK03's ({_first_line(error)}); take {MAT} from the archive again"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _open(path: Path) -> "Iterator[h5py.File]":
    import h5py

    with _reading(path):
        if not h5py.is_hdf5(path):
            with path.open("rb") as file:
                head = file.read(8)
            kind = "empty" if not head else "MATLAB 5" if head == b"MATLAB 5" else "of another kind"
            raise LookupError(f"it is {kind}, not HDF5 as MATLAB 7.3 writes it")
        mat = h5py.File(path)
    with mat:
        with _reading(path):
            if lacking := sorted({"labeled", "detected", "testsets"} - set(mat)):
                raise LookupError(f"it lacks {', '.join(lacking)} and has {some(sorted(mat)) or 'nothing'}")
        yield mat


def _pairs(path: Path, mat: "h5py.File", kind: str) -> list[np.ndarray]:
    """A (10, people) array of references to images for each pair of cameras."""
    with _reading(path):
        pairs = [mat[cell][()] for cell in mat[kind][()].ravel()]
        for cells in pairs:
            if cells.ndim != 2 or len(cells) != SHOTS:
                raise LookupError(f"{kind!r} has a cell of shape {cells.shape}, not ({SHOTS}, people)")
        if len(pairs) < CLASSIC_PAIRS:
            raise LookupError(f"{kind!r} has {len(pairs)} pairs of cameras, not 5")
    return pairs


def _image(path: Path, mat: "h5py.File", cell: Any) -> np.ndarray | None:
    """(H, W, 3) uint8; None for an empty cell."""
    with _reading(path):
        data = mat[cell]
        if data.ndim != 3:
            return None
        if data.shape[0] != 3 or data.dtype != np.uint8:
            raise LookupError(f"an image has shape {data.shape} and type {data.dtype}, not (3, width, height) bytes")
        return np.ascontiguousarray(data[()].T)


def _test_set(path: Path, mat: "h5py.File", split: int) -> list[tuple[int, int]]:
    """(pair, person) of the people to test, both from 1."""
    with _reading(path):
        cells = mat["testsets"][()].ravel()
    if not 0 <= split < len(cells):
        raise ValueError(f"{path} has {len(cells)} test sets, from 0; split {split} was asked for")
    with _reading(path):
        people = mat[cells[split]][()]
        if people.ndim != 2 or len(people) != 2:
            raise LookupError(f"test set {split} has shape {people.shape}, not (2, people)")
        return [(int(pair), int(person)) for pair, person in people.T]


def _groups(found: Found) -> dict[int, int]:
    """A generated world's manifest lies where the split files do, perhaps above the archive's own folder."""
    return look_alikes(found.folder) or look_alikes(found.folder.parent)
