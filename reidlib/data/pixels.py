"""Every image decoded and resized once, into one memory-mapped file; a few, without one."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps
from tqdm import tqdm

from reidlib.data.folders import cores, default_cache, writing
from reidlib.data.splits import Split

FEW = 200  # images that are decoded in a second, so that figures need leave no file each
_CHUNK_BYTES = 32 << 20
_MIN_SIDE_PX = 8


REMEDY = "extract it again from the dataset's archive or, where it was generated, delete it and load the dataset again"


def read_image(path: Path, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """One image as (3, H, W) uint8 RGB: EXIF orientation applied, grey, palette and CMYK converted, 16 bits to 8.

    image_size: (height, width) in pixels it is resized to (bilinear); its own where None. ValueError names a file
    that is empty, truncated, no image, or no crop of a person; FileNotFoundError one that is not there.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
            upright = upright.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is not there; {REMEDY}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        empty = path.is_file() and path.stat().st_size == 0
        what = "is empty" if empty else f"cannot be decoded ({error})"
        raise ValueError(f"{path} {what}; {REMEDY}") from None
    w, h = upright.size
    if min(w, h) < _MIN_SIDE_PX or w > 2 * h:
        raise ValueError(f"{path} is {w} pixels wide and {h} high, no crop of a standing person; {REMEDY}")
    if image_size is not None and (h, w) != image_size:
        upright = upright.resize(image_size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(upright).transpose(2, 0, 1)


def pixels(
    split: Split,
    image_size: tuple[int, int] = (128, 64),
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """The split's images as a read-only uint8 array (N, 3, H, W), in the split's order, memory-mapped unless few.

    image_size: (height, width) in pixels. cache: folder of the array files (default: `default_cache()`, and no file
    for fewer than `FEW` images). workers: decoding threads (default: all cores). Two processes asking at once decode
    once; a file of the wrong size or shape is rebuilt; interrupted or on a full disk, nothing is left behind.
    ValueError names the images that cannot be decoded, FileNotFoundError one that is gone.
    """
    height, width = image_size
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise ValueError(f"image_size {image_size!r} must be (height, width), both positive whole pixels")
    if workers is not None and workers < 1:
        raise ValueError(f"workers {workers!r}: decoding takes one thread or more")
    if not len(split):
        return np.empty((0, 3, height, width), np.uint8)
    if cache is None and len(split) < FEW:
        few = np.concatenate(list(_decoded(split, image_size, workers or cores())))
        few.flags.writeable = False
        return few
    folder = Path(cache).expanduser() if cache is not None else default_cache()
    # The digest names the images; order and modification times tell a reordered or repaired copy apart.
    state = "".join(f"{path}\0{time}\n" for path, (_, time) in zip(split.paths, split.stats(), strict=True))
    stem = f"{split.digest[:16]}-{hashlib.sha256(state.encode()).hexdigest()[:8]}-{height}x{width}.npy"
    target, shape = folder / stem, (len(split), 3, height, width)
    with writing(f"decoded images ({np.prod(shape) / 1e6:.0f} MB)", folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not _sound(target, shape):
            with FileLock(f"{target}.lock"):
                if not _sound(target, shape):
                    _build(split, target, shape, workers or cores())
    return np.asarray(np.load(target, mmap_mode="r", allow_pickle=False))


def _sound(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is an uint8 array of that shape, complete to the byte."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return False
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
    except (OSError, ValueError):
        return False
    whole = path.stat().st_size == start + int(np.prod(shape))
    return found == shape and dtype == np.uint8 and not fortran and whole


def _decoded(split: Split, size: tuple[int, int], workers: int) -> Iterator[np.ndarray]:
    """The images in portions (B, 3, H, W), decoded in threads (Pillow lets go of the interpreter lock), in order."""
    step = max(1, _CHUNK_BYTES // (3 * size[0] * size[1]))
    bad: list[str] = []

    def one(path: Path) -> np.ndarray | None:
        try:
            return read_image(path, size)
        except ValueError as error:
            bad.append(str(error))
            return None

    with (
        ThreadPoolExecutor(workers) as pool,
        warnings.catch_warnings(action="ignore"),  # Pillow's remarks on odd metadata and palettes
        tqdm(total=len(split), desc=f"decode {split.name}", unit="image", delay=1, disable=None) as bar,
    ):
        for start in range(0, len(split), step):
            images = list(pool.map(one, split.paths[start : start + step]))
            if not bad:
                yield np.ascontiguousarray(np.stack([image for image in images if image is not None]))
            bar.update(len(images))
    if bad:
        first, *others = sorted(bad)
        more = f" (so are {len(others)} more, such as {others[0].split(' ', 1)[0]})" if others else ""
        raise ValueError(first + more)


def _build(split: Split, target: Path, shape: tuple[int, ...], workers: int) -> None:
    """Write the images in order, and rename when complete."""
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for images in _decoded(split, (shape[2], shape[3]), workers):
                file.write(images.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
