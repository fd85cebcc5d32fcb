"""Maps of image pairs: one map over its images (MidLevel's Fig. 3), and what every stage of a network answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from reidlib.figures.look import WIDTH, bare
from reidlib.figures.pictures import COVER, _images, _map

PANEL = 1.05  # inches wide, of one image
IMAGES = ("probe", "gallery")


def paired_maps(images: Any, maps: Any, labels: Sequence[str]) -> Figure:
    """One row a pair: probe and gallery, each bare and below its map, both maps on one scale, from 0 to their largest.

    images: (P, 2, H, W, 3) uint8, or channels first; maps: (P, 2, h, w), non-negative. labels: one a pair.
    """
    pairs, heats = _images(images), np.asarray(maps, float)
    wanted = (len(labels), 2)
    if pairs.ndim != 5 or heats.ndim != 4 or pairs.shape[:2] != wanted or heats.shape[:2] != wanted:
        raise ValueError(
            f"images {pairs.shape}, maps {heats.shape} and {len(labels)} labels do not belong together; give"
            " (P, 2, H, W, 3), (P, 2, h, w) and a label a pair"
        )
    figure, grid = _grid(pairs, 4, aside=1.2)
    for row, pair, heat, label in zip(grid, pairs, heats, labels, strict=True):
        top = float(heat.max())
        for column, (image, one) in enumerate(zip(pair, heat, strict=True)):
            _bare(row[2 * column], image)
            _bare(row[2 * column + 1], image)
            _map(row[2 * column + 1], one, top, image.shape, "inferno", COVER)
        row[0].set_ylabel(f"{label}\n0 to {top:.2g}")
    for axes, title in zip(grid[0], ("probe", "its map", "gallery", "its map"), strict=True):
        axes.set_title(title)
    over_white = 1 - COVER + COVER * colormaps["inferno"](np.linspace(0, 1, 256))[:, :3]
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(over_white))
    label = "share of the row's largest value (colours over white)"
    figure.colorbar(scale, ax=list(grid.flat), label=label, pad=0.02, aspect=25)
    return figure


def pair_stages(images: Any, stages: Mapping[str, Any], labels: Sequence[str]) -> Figure:
    """One row a pair: probe and gallery, then what each stage of a pair network answers (MidLevel, Fig. 2).

    images: (P, 2, H, W, 3) uint8, or channels first. stages: name -> non-negative maps, (P, 2, h, w) of either image
    or (P, h, w) of the pair. All maps of a stage share a scale, from 0 to the number below them. labels: one a pair.
    """
    pairs = _images(images)
    panels: list[tuple[str, np.ndarray, float]] = []
    for name, given in stages.items():
        maps = np.asarray(given, float)
        if len(maps) != len(pairs) or maps.ndim not in (3, 4) or (maps.ndim == 4 and maps.shape[1] != 2):
            raise ValueError(f"stage {name!r} has shape {maps.shape}; give ({len(pairs)}, 2, h, w) or (..., h, w)")
        each = [(f"{name},\n{one}", maps[:, i]) for i, one in enumerate(IMAGES)] if maps.ndim == 4 else [(name, maps)]
        panels += [(title, one, float(maps.max())) for title, one in each]
    figure, grid = _grid(pairs, 2 + len(panels), aside=0.4)
    for index, (row, label) in enumerate(zip(grid, labels, strict=True)):
        for axes, image in zip(row, pairs[index], strict=False):
            _bare(axes, image)
        for axes, (_, maps, top) in zip(row[2:], panels, strict=True):
            _map(axes, maps[index], top, pairs.shape[2:])
        row[0].set_ylabel(label)
    for axes, title in zip(grid[0], (*IMAGES, *(title for title, _, _ in panels)), strict=True):
        axes.set_title(title, fontsize=7.5)
    for axes, (_, _, top) in zip(grid[-1][2:], panels, strict=True):
        axes.set_xlabel(f"0 to {top:.2g}", fontsize=7, labelpad=2)
    return figure


def _grid(pairs: np.ndarray, columns: int, aside: float) -> tuple[Figure, np.ndarray]:
    """A figure with one row a pair, and its axes; `aside` inches are kept for labels."""
    rows, _, height, width = pairs.shape[:4]
    each = min(PANEL, (WIDTH - aside) / columns)
    figure = Figure(figsize=(columns * each + aside, rows * each * height / width + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    bare(grid)
    return figure, grid


def _bare(axes: Axes, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    axes.imshow(image, interpolation="bilinear", extent=(0, width, height, 0))
