"""Finished runs as one file, to carry from machine to machine."""

import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reidlib.files import whole
from reidlib.record import DamagedRunError
from reidlib.store import RunStore

MEMBER = re.compile(r"(\w+-[0-9a-f]{12})/([\w.]+)")
BLOCK, RECORD = 512, 20 * 512  # bytes: tar pads files to the one and archives to the other
WEIGHTS = "weights.safetensors"


def pack(store: RunStore, archive: Path, limit: int) -> str:
    """The runs in the store's own folder as a tar archive of at most `limit` bytes, and what it holds in a sentence.

    Where they do not fit, weights are left out, the largest first: tables, verdicts and curves do without them.
    ValueError where it does not fit even so, or where there is nothing to pack.
    """
    runs = [run for run in store.runs() if run.folder.parent == store.home]
    if not runs:
        raise ValueError(f"there are no runs in {store.home}; `reidlib keep` may have moved them to data/runs")
    files = [path for run in runs for path in sorted(run.folder.iterdir()) if MEMBER.fullmatch(_member(path))]
    left_out = []
    for path in sorted((path for path in files if path.name == WEIGHTS), key=lambda path: -path.stat().st_size):
        if _size(files) > limit:
            files.remove(path)
            left_out.append(path.parent.name)
    if _size(files) > limit:
        raise ValueError(
            f"{len(runs)} runs take {_size(files) / 2**20:.1f} MiB without weights, more than the"
            f" {limit / 2**20:g} MiB allowed: raise --size, or move some away with `reidlib keep NAME`"
        )
    if not archive.parent.is_dir():
        raise ValueError(f"{archive} cannot be written: there is no folder {archive.parent}")
    with whole(archive) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in files:
            info = tarfile.TarInfo(_member(path))  # no owner and no time: the same runs are the same bytes
            info.size = path.stat().st_size
            with open(path, "rb") as file:
                tar.addfile(info, file)
    without = f", without the weights of {', '.join(left_out)}" if left_out else ""
    return f"{len(runs)} runs in {archive}, {archive.stat().st_size / 2**20:.1f} MiB{without}"


def unpack(store: RunStore, archive: Path) -> Iterator[str]:
    """Take every run of an archive into the store's own folder, checked, and say so, a line each.

    A run that the store has stays as it is, and one that is damaged is named and left. FileNotFoundError where
    there is no file, ValueError where it is no such archive.
    """
    if not archive.exists():
        raise FileNotFoundError(f"there is no file {archive}; give one that `reidlib pack` wrote")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with tarfile.open(archive, "r") as tar:
                for member in tar:
                    content = tar.extractfile(member) if MEMBER.fullmatch(member.name) else None
                    if content is None:
                        raise ValueError(f"{archive} holds {member.name!r}, which is no file of a run")
                    path = Path(scratch) / member.name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content.read())
        except (tarfile.TarError, IsADirectoryError):
            raise ValueError(f"{archive} is no whole tar archive; give a file that `reidlib pack` wrote") from None
        for folder in sorted(Path(scratch).iterdir()):
            try:
                yield f"{folder.name}: {'taken over' if store.adopt(folder) else 'is here already, and stays'}"
            except DamagedRunError as error:
                yield f"{folder.name}: left, because it is damaged: {error}"


def _member(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _size(files: list[Path]) -> int:
    """Bytes of a tar archive of these files: a header each, contents in blocks, two empty blocks, whole records."""
    blocks = sum(1 + -(-path.stat().st_size // BLOCK) for path in files) + 2
    return -(-blocks * BLOCK // RECORD) * RECORD
