"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
