"""What several tests look at: the text of a figure, the files of a folder."""

from pathlib import Path

import matplotlib.text
from matplotlib.figure import Figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes, of every file below."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
