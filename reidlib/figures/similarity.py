"""Where a network attends, and where it finds what it attended to (MLS Fig. 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke

from reidlib.figures.look import BLUE, GREEN, VERMILLION, WIDTH, bare
from reidlib.figures.pictures import _images, _map

PARTS: tuple[tuple[str, Any], ...] = ((BLUE, "solid"), (VERMILLION, (0, (4, 1.5))), (GREEN, (0, (1.2, 1.2))))
WAYS = ("parts of b, looked for in a", "parts of a, looked for in b")


def outline(axes: Axes, windows: Any, width: float, height: float) -> None:
    """Attended windows (n, 4, 2), corners as (x, y) in shares of an image of that size, over its axes.

    Parts differ in colour and in dashes; a white edge keeps them apart from the image.
    """
    for part, corners in enumerate(np.asarray(windows, float)):
        colour, line = PARTS[part % len(PARTS)]
        drawn = Polygon(
            corners * (width, height), fill=False, edgecolor=colour, linestyle=line, linewidth=1.6, gid=f"window {part}"
        )
        drawn.set_path_effects([withStroke(linewidth=3, foreground="white")])
        axes.add_patch(drawn)


def similarity_maps(
    images: Any,
    maps: Mapping[str, Any],
    windows: Any = None,
    *,
    parts: Sequence[str] = ("upper", "middle", "lower"),
    tops: Mapping[str, float] | None = None,
) -> Figure:
    """A pair, its attended windows, and a similarity map for each part and either way; a row for each level.

    images: (2, H, W, 3) uint8, or channels first. maps: level -> (2, n, h, w), first image a with the parts of b.
    windows: (2, levels, n, 4, 2) as `outline` takes them; None where nothing attends. parts: the names of the n parts.
    A map has the frame of its part's window. Colours run from 0 to the number beside the row: `tops`, which gives
    several figures one scale, or else the largest value of the level.
    """
    pair = _images(images)
    height, width = pair.shape[1:3]
    levels = {name: np.asarray(found, float) for name, found in maps.items()}
    counts = {found.shape[:2] for found in levels.values()}
    if counts != {(2, len(parts))}:
        raise ValueError(f"maps {[m.shape for m in levels.values()]} are not (2, {len(parts)}, h, w); name every part")
    columns = 2 + 2 * len(parts)
    tall = len(levels) * (WIDTH - 0.6) / (columns + 0.6) * height / width
    figure = Figure(figsize=(WIDTH, tall + 0.7), layout="constrained")
    ratios = [1, 1, *([0.15] + [1] * len(parts)) * 2]  # a gap before either way
    grid = figure.subplots(len(levels), len(ratios), squeeze=False, width_ratios=ratios)
    bare(grid)
    for row, (name, found) in enumerate(levels.items()):
        top = (tops or {}).get(name, float(found.max()))
        grid[row, 0].set_ylabel(f"{name}\n(0 to {top:.3g})")
        for image, axes in enumerate(grid[row, :2]):
            axes.imshow(pair[image], extent=(0, width, height, 0), interpolation="bilinear")
            if windows is not None:
                outline(axes, windows[image][row], width, height)
        for way, part in np.ndindex(2, len(parts)):
            axes = grid[row, 3 + way * (len(parts) + 1) + part]
            _map(axes, found[way, part], top, (height, width))
            colour, line = PARTS[part % len(PARTS)]
            axes.spines[:].set(visible=True, color=colour, linestyle=line, linewidth=1.8)
    for axes, letter in zip(grid[0], "ab", strict=False):
        axes.set_title(f"image {letter}", fontsize=8.5)
    for way, part in np.ndindex(2, len(parts)):
        above = f"{WAYS[way]}\n" if part == len(parts) // 2 else ""
        grid[0, 3 + way * (len(parts) + 1) + part].set_title(above + parts[part], fontsize=8.5)
    for axes in grid[:, [2, 3 + len(parts)]].flat:
        axes.set_axis_off()
    return figure
