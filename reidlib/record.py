"""A run's `run.json`: written in one step, with digests that show damage, and where a number comes from."""

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from reidlib.files import whole

FORMAT = 1  # of `run.json`; a reader refuses others


class DamagedRunError(ValueError):
    """A run whose files are not what `run.json` says."""


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path, notes: dict[str, str] | None = None) -> None:
    """Tensors of any layout and device as one safetensors file.

    OSError with the system's number, as from any other file, where it cannot be written.
    """
    # Plain layout, each tensor its own memory: safetensors takes nothing else.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    try:
        save_file(plain, path, notes)
    except SafetensorError as error:  # words a full disk as "... (os error 28)"
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), str(error)) from None
        raise


def digest(path: Path) -> dict[str, Any]:
    """Length and SHA-256 of a file."""
    with open(path, "rb") as file:
        hashed = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": hashed.hexdigest()}


def _record_digest(record: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json` with the digest of its own content, replacing the old one in one step."""
    record["digest"] = _record_digest(json.loads(json.dumps(record)))
    with whole(folder / "run.json") as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """A run's `run.json`. DamagedRunError says what is wrong with it."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise DamagedRunError("run.json is missing") from None
    except ValueError as error:
        raise DamagedRunError(f"run.json is not readable as JSON: {error}") from None
    if not isinstance(record, dict) or record.get("digest") != _record_digest(record):
        raise DamagedRunError("run.json has changed since it was written")
    if record.get("format") != FORMAT or not {"fingerprint", "recipe", "evaluations", "files"} <= set(record):
        raise DamagedRunError(f"run.json is not of format {FORMAT}, which this version of reidlib reads")
    return record


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a number."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    with suppress(PackageNotFoundError):
        found["reidlib"] = version("reidlib")
    return found


@cache
def commit() -> str | None:
    """The checkout's git commit, `+` appended where tracked files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
