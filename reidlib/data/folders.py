"""Where generated data and caches go when nothing else is said, and what a machine allows: cores, writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    """The nearest checkout of this project at or above the current folder, else the one that this code lies in.

    The current folder where there is neither.
    """
    here = Path.cwd()
    places = (here, *here.parents, Path(__file__).parents[2])
    return next((folder for folder in places if (folder / "data" / "paper_values.csv").is_file()), here)


def default_root() -> Path:
    """Where datasets are: `$REIDLIB_DATA`, or `build/data` in the project."""
    return Path(os.environ.get("REIDLIB_DATA") or project_root() / "build" / "data").expanduser()


def default_cache() -> Path:
    """Where decoded images are kept: `$REIDLIB_CACHE`, or `build/cache` in the project."""
    return Path(os.environ.get("REIDLIB_CACHE") or project_root() / "build" / "cache").expanduser()


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def writing(what: str, folder: Path, variable: str = "REIDLIB_CACHE") -> Iterator[None]:
    """Say in one sentence that `what` could not be written to `folder`, which `variable` moves, and what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise OSError(
            error.errno,
            f"{what} could not be written: {error.strerror}; free space or point {variable} elsewhere",
            str(folder),
        ) from None
