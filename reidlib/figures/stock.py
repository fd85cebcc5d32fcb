"""What the run store holds: how many runs of those wanted, and how long trainings took."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reidlib.figures.look import BLUE, GREY, PALE, SKY, VERMILLION, WIDTH


def stock(counts: pd.DataFrame, minutes: pd.DataFrame) -> Figure:
    """On the left a bar a paper, runs there and missing; on the right every training's minutes, by system.

    counts: columns `done`, `incomplete` and `missing`, by paper. minutes: columns `system` and `minutes`, a line a run;
    may be empty.
    """
    systems = list(minutes["system"].drop_duplicates())
    height = 0.26 * max(len(counts), len(systems)) + 1.0
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))

    places = np.arange(len(counts))
    ends = pd.Series(0, counts.index)
    for name, style in (
        ("done", {"color": BLUE}),
        ("incomplete", {"color": SKY}),
        ("missing", {"color": PALE, "edgecolor": GREY, "hatch": "///"}),
    ):
        left.barh(places, counts[name], left=ends.to_numpy(), height=0.7, label=name, **style)
        ends = ends + counts[name]
    for y, end, missing in zip(places, ends, counts["missing"], strict=True):
        text = f"{end - missing} of {end}"
        left.annotate(text, (end, y), (4, 0), textcoords="offset points", va="center", size=8)
    left.set_yticks(places, list(counts.index))
    left.set(xlabel="runs", xlim=(0, 1.3 * max(1, *ends)))
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)

    for place, system in enumerate(systems):
        values = minutes.loc[minutes["system"] == system, "minutes"].to_numpy(float)
        right.plot(values, np.full(len(values), place), "o", color=BLUE, markersize=5, alpha=0.6, mew=0)
        right.plot(np.median(values), place, "|", color=VERMILLION, markersize=13, mew=2)
    right.plot([], [], "o", color=BLUE, markersize=5, label="a run")
    right.plot([], [], "|", color=VERMILLION, markersize=11, mew=2, label="median")
    right.set_yticks(range(len(systems)), systems)
    right.set(xlabel="training (minutes)", ylim=(-0.6, max(1, len(systems)) - 0.4))
    right.set_xlim(left=-0.03 * max(minutes["minutes"].max(), 1) if len(minutes) else 0)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    for axes in (left, right):
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure
