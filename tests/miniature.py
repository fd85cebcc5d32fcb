"""Hand-made folders of a few images, for the loaders' tests."""

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 48), (90, 60, 30)).save(buffer, kind)
    return buffer.getvalue()


KINDS = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
CONTENTS = {suffix: encoded(kind) for suffix, kind in KINDS.items()}


def write(folder: Path, files: Iterable[str]) -> Path:
    """The folder, with an image at each of those paths below it."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENTS[path.suffix])
    return folder
