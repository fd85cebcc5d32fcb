"""On which regions of an image maps lie, beside what maps that know nothing have there."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reidlib.figures.look import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILLION, WIDTH

KINDS = {"same": (BLUE, "o"), "look-alike": (VERMILLION, "s"), "stranger": (GREEN, "^")}
PAIRS = {"same": "one person", "look-alike": "two look-alikes", "stranger": "two strangers"}
LINES: dict[str, tuple[str, Any]] = {
    "area": (GREY, (0, (1, 1))),
    "centre": (BLACK, (0, (4, 1.5))),
    "untrained": (PURPLE, "solid"),
}
REFERENCES = {"area": "an even map", "centre": "a Gaussian in the middle", "untrained": "random weights"}
ROW, COLUMNS = 0.15, 3  # inches a dot, panels side by side


def coverage(summary: pd.DataFrame) -> Figure:
    """Share of each map's energy on each region: a panel a region, a dot with its interval a kind of pair.

    summary: as `reidlib.coverage.stored` returns it. The short lines across a dot's row are its references.
    """
    missing = {"map", "pair", "region", "share", "low", "high"} - set(summary.columns)
    if missing or summary.empty:
        raise ValueError(f"a summary needs rows, and the columns {sorted(missing) or 'that it has'}; see `stored`")
    regions, maps = list(summary["region"].unique()), list(summary["map"].unique())
    columns, rows = min(COLUMNS, len(regions)), -(-len(regions) // COLUMNS)
    height = rows * (len(maps) * (len(KINDS) + 1) * ROW + 0.55) + 0.75
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, region in zip(panels.flat, regions, strict=False):
        _panel(axes, summary[summary["region"] == region], maps)
        axes.set_title(region)
    for axes in panels.flat[len(regions) :]:
        axes.set_axis_off()
    for axes in panels.flat[max(0, len(regions) - columns) : len(regions)]:
        axes.set_xlabel("share of the energy")
    shown = set(summary["pair"])
    handles = [
        Line2D([], [], color=colour, marker=mark, linewidth=2, markersize=4.5, label=PAIRS[kind])
        for kind, (colour, mark) in KINDS.items()
        if kind in shown
    ]
    handles += [
        Line2D([], [], color=colour, linestyle=line, linewidth=1.4, label=REFERENCES[name])
        for name, (colour, line) in LINES.items()
        if name in summary and summary[name].notna().any()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _panel(axes: Axes, found: pd.DataFrame, maps: Sequence[str]) -> None:
    """One region: the maps from top to bottom, the kinds of pairs below each other."""
    band = len(KINDS) + 1
    for number, name in enumerate(maps):
        of_map = found[found["map"] == name].set_index("pair")
        for row, (kind, (colour, mark)) in enumerate(KINDS.items()):
            if kind not in of_map.index:
                continue
            y, dot = number * band + row, of_map.loc[kind]
            for reference, (tint, line) in LINES.items():
                if pd.notna(at := dot.get(reference)):
                    axes.plot([at, at], [y - 0.5, y + 0.5], color=tint, linestyle=line, linewidth=1.4, gid=reference)
            axes.plot([dot["low"], dot["high"]], [y, y], color=colour, linewidth=2, gid="interval")
            axes.plot(dot["share"], y, mark, color=colour, markersize=4.5, gid=f"{name}, {kind}")
    axes.set_yticks([number * band + 1 for number in range(len(maps))], [name.replace(", ", ",\n") for name in maps])
    axes.set_ylim(len(maps) * band - 0.6, -1)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=4)
