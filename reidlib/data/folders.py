"""Where generated data and caches go when nothing else is said, and files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    """The nearest folder at or above the current one with a `pyproject.toml`; the current one if none has."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)


def default_root() -> Path:
    """Where datasets are: `$REIDLIB_DATA`, or `build/data` in the project."""
    return Path(os.environ.get("REIDLIB_DATA") or project_root() / "build" / "data").expanduser()


def default_cache() -> Path:
    """Where decoded images are kept: `$REIDLIB_CACHE`, or `build/cache` in the project."""
    return Path(os.environ.get("REIDLIB_CACHE") or project_root() / "build" / "cache").expanduser()


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sync(path: Path) -> None:
    """Have a file's bytes on the disk before a rename makes them count."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path, synced: bool = True) -> Iterator[Path]:
    """Another path beside it to write to: the file at `path` is replaced when that is complete, or stays as it was.

    synced: outlast a power cut too, which takes milliseconds a file.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield part
        if synced:
            sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Say in one sentence that `what` could not be written to the cache, and what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise OSError(
            error.errno,
            f"{what} could not be written: {error.strerror}; free space or point REIDLIB_CACHE elsewhere",
            str(folder),
        ) from None
