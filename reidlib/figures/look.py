"""Colours, marks and sizes that all figures share."""

from typing import NamedTuple

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito (2008): colour-blind readers tell these apart.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
GREY, PALE = "#767676", "#E4E4E4"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (8, 2), (3, 1, 1, 1, 1, 1), (2, 3))
WIDTH = 7.2  # inches: the text column of the book, and of a printed page


class Look(NamedTuple):
    """How one of several lines is drawn."""

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def line(self) -> tuple[float, tuple[float, ...]]:
        """The dashes as Matplotlib's `linestyle`."""
        return 0.0, self.dashes


def look(number: int) -> Look:
    """What the `number`-th of several lines looks like; where colours begin anew, each meets another mark and dash."""
    other = number + number // len(PALETTE)
    dashes = tuple(map(float, DASHES[other % len(DASHES)]))
    return Look(PALETTE[number % len(PALETTE)], MARKERS[other % len(MARKERS)], dashes)


def one_panel(height: float) -> tuple[Figure, Axes]:
    """A figure of the page's width, that many inches high, with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def bare(grid: np.ndarray) -> None:
    """No ticks, lines or frames on any of these axes, which show pictures."""
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)


def style() -> None:
    """Settings for every figure of the book, and SVG as the notebooks' picture format."""
    sns.set_theme(context="paper", style="ticks", palette=PALETTE)
    matplotlib.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.labelsize": 9,
            "axes.titlesize": 9.5,
            "legend.fontsize": 8.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": PALE,
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "legend.frameon": False,
            "figure.dpi": 200,  # of the photographs inside an SVG
            "figure.facecolor": "white",
            "svg.hashsalt": "reidlib",  # the same figure is the same file
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})
    except (ImportError, AttributeError):  # not in a notebook
        pass
