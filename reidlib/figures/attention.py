"""Attention of image pairs: maps laid over many images, and the profiles that are compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reidlib.figures.look import BLUE, GREY, VERMILLION, WIDTH
from reidlib.figures.pictures import _images, contact_sheet, covered

BETWEEN = 2  # pixels between the images of a pair


def attended(images: Any, maps: Mapping[str, Any], labels: Sequence[str] | None = None) -> Figure:
    """A line of image pairs, and below it one line for each network with its maps over them.

    images: (P, 2, H, W, 3) uint8, or channels first. maps: label of the line -> (P, 2, h, w), non-negative; colours of
    a pair run from 0 to the larger maximum of its two maps. labels: above each pair.
    """
    pairs = _images(images)
    lines = np.concatenate([pairs, *(covered(pairs, heat) for heat in maps.values())])
    white = np.full((*lines.shape[:1], lines.shape[2], BETWEEN, 3), 255, np.uint8)
    return contact_sheet(
        np.concatenate([lines[:, 0], white, lines[:, 1]], axis=2),
        columns=len(pairs),
        row_labels=["images", *maps],
        column_labels=labels,
        widest=1.4,
    )


def profiles(panels: Mapping[str, Sequence[Any]], threshold: float | None = None) -> Figure:
    """How high attention is in each row of an image: a panel a title, its two profiles drawn from top to bottom.

    panels: title -> (first, second), both (H,). threshold: where they are cut, a dotted line.
    """
    if not panels:
        raise ValueError("no profile was given; give at least one pair")
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axes, (title, pair) in zip(grid, panels.items(), strict=True):
        styles = ((BLUE, "-", "o", "first image"), (VERMILLION, "--", "s", "second image"))
        for profile, (colour, line, mark, label) in zip(pair, styles, strict=True):
            values = np.asarray(profile, float)
            height = (np.arange(len(values)) + 0.5) / len(values)
            axes.plot(values, height, line, color=colour, marker=mark, markersize=3.5, label=label)
        if threshold is not None:
            axes.axvline(threshold, color=GREY, linestyle=":", linewidth=1.2, label="threshold")
        axes.set(ylim=(1, 0), xlim=(-0.05, 1.05))
        axes.set_title(title, fontsize=8.5)
        if axes is not grid[0]:
            axes.set_yticklabels([])
    grid[0].set_ylabel("height, from the top (share)")
    figure.supxlabel("highest attention of the row (share of the map's maximum)", fontsize=9)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
