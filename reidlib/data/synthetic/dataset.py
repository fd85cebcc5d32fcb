"""Write a synthetic world to disk in a dataset's layout, with a manifest of everything true about it."""

import errno
import io
import json
import multiprocessing.spawn
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image
from tqdm.auto import tqdm

from reidlib.data.folders import cores
from reidlib.data.layout import MANIFEST
from reidlib.data.synthetic.layouts import LAYOUTS
from reidlib.data.synthetic.plan import Plan, PlannedImage
from reidlib.data.synthetic.render import World
from reidlib.data.synthetic.settings import (
    BENCHMARK_VERSION,
    DEFAULT_LAYOUT,
    DOMAINS,
    Knobs,
    Rig,
    knobs,
    world_seed,
)
from reidlib.files import whole
from reidlib.names import choose

DRAWN = ".drawn"  # where images lie until they are packed
FORMATS = {".png": "PNG", ".bmp": "BMP"}
CHUNK = 64  # images a worker draws at a time, at least: whole people
FEW = 600  # images up to which starting workers costs more than it saves


def named_world(domain: str, size: str, world: int = 0, preset: str = "default", layout: str = DEFAULT_LAYOUT) -> World:
    """The world of a named data set. ValueError for unknown names, with the nearest valid one."""
    choose("domain", domain, DOMAINS)
    choose("layout", layout, LAYOUTS)
    choose("size", size, LAYOUTS[layout].sizes)
    settings = knobs(preset)
    if not isinstance(world, int) or isinstance(world, bool) or world < 0:
        raise ValueError(f"world {world!r} is not a number of a world: give 0, 1, 2, ...")
    return World(domain, world_seed(domain, size, world, layout), settings, LAYOUTS[layout].rig)


def make(
    domain: str,
    size: str,
    root: str | os.PathLike[str],
    *,
    world: int = 0,
    preset: str = "default",
    layout: str = DEFAULT_LAYOUT,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write the data set below `root`, as far as it is missing, and return its folder.

    `layout` names the dataset whose files it looks like; in each, people and cameras are others.
    The same bytes come from any number of `workers` (default: all cores), interrupted or not; a second process
    that asks for the same data set waits. ValueError for unknown names or a folder of another version, OSError
    where `root` cannot be written.
    """
    scene = named_world(domain, size, world, preset, layout)
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers} cannot work: give 1 or more processes, or None for all cores")
    top = Path(root).expanduser()
    folder = top / f"{domain}-{size}-w{world}-{preset}"
    settings: dict[str, Any] = {
        "version": BENCHMARK_VERSION,
        "domain": domain,
        "size": size,
        "world": world,
        "preset": preset,
        "image_size": list(scene.rig.image_size),
        "knobs": asdict(scene.knobs),
    }
    if layout != DEFAULT_LAYOUT:
        folder = folder.with_name(f"{folder.name}-{layout}")
        settings |= {"layout": layout}
    with _plain_errors(top):
        top.mkdir(parents=True, exist_ok=True)
        if _is_complete(folder, settings):
            return folder
        # A worker that imports its parent's unguarded script comes by here, and would wait for its parent's lock.
        multiprocessing.spawn.get_preparation_data("")  # RuntimeError in such an import
        with FileLock(top / f".{folder.name}.lock"):
            if not _is_complete(folder, settings):
                _write(folder, settings, scene, workers, progress)
    return folder


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Settings, people (`group`, `split`, `attributes`) and images (by file name) of a finished data set.

    FileNotFoundError where there is none.
    """
    path = Path(folder).expanduser() / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the folder that `make` returned")
    manifest: dict[str, Any] = json.loads(path.read_text())
    if not manifest["complete"]:
        raise FileNotFoundError(f"{folder} is unfinished: call `make` again, it goes on where it stopped")
    return manifest


def _write(folder: Path, settings: dict[str, Any], scene: World, workers: int | None, progress: bool) -> None:
    layout = LAYOUTS[settings.get("layout", DEFAULT_LAYOUT)]
    plan = layout.plan(scene.seed, scene.domain, settings["size"])
    archive, drawn = folder / layout.archive, folder / DRAWN if layout.archive else folder
    done = layout.archive and archive.is_file()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    _write_json(folder / MANIFEST, settings | {"complete": False})
    present = _files(drawn)
    missing = [image for image in plan.images if not done and image.file not in present]
    for parent in sorted({(drawn / image.file).parent for image in missing}):
        parent.mkdir(parents=True, exist_ok=True)
    with tqdm(
        total=len(plan.images),
        initial=len(plan.images) - len(missing),
        desc=folder.name,
        unit="image",
        disable=not progress,
    ) as bar:
        for number in _draw_all(drawn, scene, _chunks(missing), workers or cores()):
            bar.update(number)
    if layout.pack:
        if not done:
            archive.parent.mkdir(exist_ok=True)
            with whole(archive, synced=False) as part:
                layout.pack(part, drawn, plan)
        shutil.rmtree(drawn, ignore_errors=True)
    for name, text in plan.texts.items():
        _write_whole(folder / name, text)
    _write_json(folder / MANIFEST, settings | {"complete": True} | _truth(scene, plan))


def _truth(scene: World, plan: Plan) -> dict[str, Any]:
    people = {
        person: {"group": scene.group(subject), "split": split, "attributes": asdict(scene.identity(subject))}
        for person, (subject, split) in plan.people.items()
    }
    return {"people": people, "images": {image.file: image.entry() for image in plan.images}}


def _is_complete(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether every file is there. ValueError if the folder was written with other settings."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        raise ValueError(f"{folder / MANIFEST} is damaged: delete the folder, it is drawn again") from None
    other = [name for name, value in settings.items() if manifest.get(name) != value]
    if other:
        raise ValueError(
            f"{folder} was drawn with {other[0]} {manifest.get(other[0])!r}, now it would be"
            f" {settings[other[0]]!r}: delete the folder or give another root"
        )
    layout = LAYOUTS[manifest.get("layout", DEFAULT_LAYOUT)]
    if not manifest["complete"]:
        return False
    images = [layout.archive] if layout.archive else manifest["images"]
    return {*images, *layout.texts} <= _files(folder)


def _files(folder: Path) -> set[str]:
    """Names below a folder, as far as it exists."""
    return {
        name if where == str(folder) else f"{os.path.relpath(where, folder)}/{name}"
        for where, _, names in os.walk(folder)
        for name in names
    }


def _chunks(images: list[PlannedImage]) -> list[list[PlannedImage]]:
    """The images in portions of whole people, so that a worker makes up each person's looks once."""
    chunks: list[list[PlannedImage]] = []
    for _, of_person in groupby(images, key=lambda image: (image.file.split("/")[0], image.subject)):
        if not chunks or len(chunks[-1]) >= CHUNK:
            chunks.append([])
        chunks[-1].extend(of_person)
    return chunks


def _draw_all(folder: Path, scene: World, chunks: list[list[PlannedImage]], workers: int) -> Iterator[int]:
    """Draw the chunks in any order; yields the number of images written each time one is done."""
    if workers == 1 or sum(map(len, chunks)) <= FEW:
        for chunk in chunks:
            for image in chunk:
                _draw(folder, scene, image)
                yield 1
        return
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    try:
        jobs = [
            pool.submit(_draw_chunk, folder, scene.domain, scene.seed, scene.knobs, scene.rig, chunk)
            for chunk in chunks
        ]
        for job in as_completed(jobs):
            yield job.result()
    except BrokenProcessPool:
        raise RuntimeError(
            "a process that draws images ended early: free some memory, give workers=1, or call this from"
            ' below `if __name__ == "__main__":` if it is in a script'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=2)
def _world(domain: str, seed: int, knobs: Knobs, rig: Rig) -> World:
    return World(domain, seed, knobs, rig)


def _draw_chunk(folder: Path, domain: str, seed: int, knobs: Knobs, rig: Rig, chunk: list[PlannedImage]) -> int:
    for image in chunk:
        _draw(folder, _world(domain, seed, knobs, rig), image)
    return len(chunk)


def _draw(folder: Path, scene: World, image: PlannedImage) -> None:
    data = scene.jpeg(image.subject, image.camera, image.index, labeled=image.labeled, partial=image.partial)
    path = folder / image.file
    _write_whole(path, _lossless(data, FORMATS[path.suffix]) if path.suffix in FORMATS else data)


def _lossless(jpeg: bytes, kind: str) -> bytes:
    """A camera's JPEG image in a format that keeps its pixels."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.save(buffer, kind)
    return buffer.getvalue()


def _end_with_parent() -> None:
    """Let a worker end when the process that started it was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_whole(path, json.dumps(content, indent=None, separators=(",", ":")).encode())


def _write_whole(path: Path, data: bytes) -> None:
    with whole(path, synced=False) as part:
        part.write_bytes(data)


@contextmanager
def _plain_errors(root: Path) -> Iterator[None]:
    """Say in one sentence why nothing can be written below `root`."""
    advice = {
        errno.ENOSPC: "there is no space left: free some, and call again to go on",
        errno.EDQUOT: "the disk quota is used up: free some space, and call again to go on",
        errno.EROFS: "it is read-only: give another root",
        errno.EACCES: "this user may not write there: give another root",
        errno.EPERM: "this user may not write there: give another root",
        errno.ENOTDIR: "a part of that path is a file: give another root",
        errno.EEXIST: "a part of that path is a file: give another root",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        raise OSError(error.errno, f"cannot write the benchmark to {root}: {advice[error.errno]}") from error
