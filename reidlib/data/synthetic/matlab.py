"""CUHK03's MATLAB files: the images in HDF5 (version 7.3), the 767/700 split in version 5."""

import io
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

USER_BLOCK = 512  # bytes in front of the HDF5 file, which hold the header
CELLS = 10  # shots of a person, 5 of each view
OVERHEAD = 1000  # bytes of a cell beside its image, at most
_TEXT_BYTES, _OFFSET_BYTES = 116, 8


def new_protocol(names: Sequence[str], people: Sequence[int], views: Sequence[int], roles: Sequence[str]) -> bytes:
    """A `cuhk03_new_protocol_config_*.mat` (Zhong et al. 2017): files, labels, cameras, and positions from 1.

    roles: "train", "query" or "gallery" of each image.
    """
    files = np.empty((len(names), 1), object)
    files[:, 0] = list(names)
    columns: dict[str, np.ndarray] = {
        "filelist": files,
        "labels": np.array(people, np.uint16)[:, None],
        "camId": np.array(views, np.uint8)[:, None],
    }
    for role in ("train", "query", "gallery"):
        positions = 1 + np.flatnonzero(np.array(roles) == role)
        columns[f"{role}_idx"] = positions.astype(np.uint16)[:, None]
    buffer = io.BytesIO()
    savemat(buffer, columns, do_compression=True)
    return _text("MATLAB 5.0 MAT-file") + buffer.getvalue()[_TEXT_BYTES:]  # without the date: same data, same bytes


def write_cuhk03(path: Path, drawn: Path, files: Sequence[str], testsets: Sequence[np.ndarray]) -> None:
    """`cuhk-03.mat`: `labeled` and `detected`, a cell per pair of cameras with (people, 10) images, and `testsets`.

    files: `labeled/1_001_1_01.png` (pair, person, view, shot) below `drawn`; a shot without a file is an empty cell.
    testsets: (people, 2), pair and person. What MATLAB writes by columns, HDF5 shows transposed.
    """
    present = set(files)
    pairs = max(_numbers(file)[0] for file in files)
    people = [max(_numbers(file)[1] for file in files if _numbers(file)[0] == pair + 1) for pair in range(pairs)]
    with Image.open(drawn / files[0]) as image:
        width, height = image.size
    _reserve(path, 3 * width * height * len(files) + OVERHEAD * 2 * CELLS * sum(people))
    with h5py.File(path, "w", userblock_size=USER_BLOCK) as mat:
        store = _Store(mat)
        for boxes in ("labeled", "detected"):
            cells = []
            for pair, number in enumerate(people, 1):
                names = [
                    [
                        f"{boxes}/{pair}_{person:03d}_{1 + shot // 5}_{shot + 1:02d}.png"
                        for person in range(1, number + 1)
                    ]
                    for shot in range(CELLS)
                ]
                shots = [
                    [store.image(drawn / name) if name in present else store.empty() for name in row] for row in names
                ]
                cells.append(store.cell(shots))
            store.cell([cells], boxes)
        store.cell([[store.matrix(testset) for testset in testsets]], "testsets")
    with path.open("r+b") as file:
        file.write(_text("MATLAB 7.3 MAT-file") + bytes(_OFFSET_BYTES) + b"\x00\x02IM")


def _reserve(path: Path, size: int) -> None:
    """OSError where there is no room for `size` bytes: HDF5 does not survive a disk that gets full."""
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(bytes(min(1 << 20, size - start)))


def _numbers(file: str) -> tuple[int, int]:
    """Pair and person of `labeled/1_001_1_01.png`."""
    pair, person, *_ = file.split("/")[1].split("_")
    return int(pair), int(person)


def _text(kind: str) -> bytes:
    return f"{kind}, drawn pedestrians in CUHK03's layout".ljust(_TEXT_BYTES).encode()


class _Store:
    """Values below `#refs#`, which cells point to."""

    def __init__(self, mat: h5py.File) -> None:
        self.mat, self.refs, self.numbers = mat, mat.create_group("#refs#"), count()

    def _keep(self, values: np.ndarray, kind: str, name: str = "", empty: bool = False) -> h5py.Reference:
        group = self.mat if name else self.refs
        data = group.create_dataset(name or f"v{next(self.numbers):06d}", data=values)
        data.attrs["MATLAB_class"] = np.bytes_(kind)
        if empty:
            data.attrs["MATLAB_empty"] = np.uint8(1)
        return data.ref

    def image(self, path: Path) -> h5py.Reference:
        with Image.open(path) as image:
            return self._keep(np.asarray(image).T, "uint8")  # (3, W, H)

    def empty(self) -> h5py.Reference:
        return self._keep(np.zeros(2, np.uint64), "double", empty=True)  # its size, 0 x 0

    def matrix(self, values: np.ndarray) -> h5py.Reference:
        return self._keep(values.T, "double")

    def cell(self, references: list[list[h5py.Reference]], name: str = "") -> h5py.Reference:
        return self._keep(np.array(references, h5py.ref_dtype), "cell", name)
