"""Colours, marks and sizes that all figures share."""

import matplotlib
import seaborn as sns

# Okabe and Ito (2008): colour-blind readers tell these apart.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
GREY, PALE = "#767676", "#E4E4E4"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("", (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (8, 2), (3, 1, 1, 1, 1, 1), (2, 3))
WIDTH = 7.2  # inches: the text column of the book, and of a printed page


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
