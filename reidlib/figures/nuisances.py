"""What breaks which method: a row of panels a nuisance, a column a family of methods, and the losses in one table."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reidlib.figures.look import BLACK, GREY, PALETTE, WIDTH, look

DODGE = 0.035  # between the methods of a panel, in steps of the x axis


def nuisance_curves(
    curves: Mapping[str, Mapping[str, pd.DataFrame]],
    knobs: Mapping[str, str],
    usual: Mapping[str, float],
    seen: Mapping[str, pd.DataFrame] | None = None,
) -> Figure:
    """Accuracy against every nuisance: a row of panels a knob, a column a family, a line with intervals a method.

    curves: family -> method -> a frame with the columns `knob`, `value`, `rank1`, `low`, `high` (fractions). knobs: the
    knob's name -> its axis label. usual: the strength that all else is measured at, a dotted line. seen: method ->
    frames of networks trained on the nuisance, drawn hollow at their strength. Strengths are evenly spaced.
    """
    if not any(curves.values()):
        raise ValueError("no method was measured; give at least one curve")
    families = [(family, methods) for family, methods in curves.items() if methods]
    figure = Figure(figsize=(WIDTH, 1.75 * len(knobs) + 0.9), layout="constrained")
    panels = figure.subplots(len(knobs), len(families), squeeze=False)
    for row, (knob, label) in zip(panels, knobs.items(), strict=True):
        for axes, (_, methods) in zip(row, families, strict=True):
            _panel(axes, knob, methods, usual, seen or {})
            axes.set_xlabel(label)
        row[0].set_ylabel("rank-1 (%)")
    for column, (family, methods) in enumerate(families):
        panels[0, column].set_title(family)
        handles = [
            Line2D([], [], label=name, color=one.colour, linestyle=one.line, marker=one.marker, markersize=5)
            for name, one in ((name, look(number)) for number, name in enumerate(methods))
        ]
        panels[-1, column].legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.38), ncols=2)
    return figure


def _panel(
    axes: Axes,
    knob: str,
    methods: Mapping[str, pd.DataFrame],
    usual: Mapping[str, float],
    seen: Mapping[str, pd.DataFrame],
) -> None:
    values = sorted({value for frame in methods.values() for value in frame.loc[frame["knob"] == knob, "value"]})
    for number, name in enumerate(methods):
        one = look(number)
        shift = DODGE * (number - (len(methods) - 1) / 2)
        for frames, face, joined in ((methods, one.colour, True), (seen, "white", False)):
            if name not in frames or knob not in set(frames[name]["knob"]):
                continue
            found = frames[name][frames[name]["knob"] == knob].sort_values("value")
            x = np.array([values.index(value) for value in found["value"]]) + shift
            middle, reach = 100 * found["rank1"], 100 * (found[["low", "high"]].sub(found["rank1"], axis=0)).abs()
            style: dict[str, Any] = {"ls": one.line if joined else "none", "lw": 1.3, "elinewidth": 0.9}
            axes.errorbar(
                x, middle, reach.T, color=one.colour, marker=one.marker, markersize=4.5, mfc=face, alpha=0.95, **style
            )
    if knob in usual and usual[knob] in values:
        axes.axvline(values.index(usual[knob]), color=GREY, linestyle=":", linewidth=1, zorder=0)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_ylim(bottom=0)


def losses(changes: Mapping[str, pd.DataFrame], knobs: Mapping[str, str]) -> Figure:
    """How many points each method loses to the worst of each nuisance: a panel a nuisance, a line a method.

    changes: method -> a frame with the columns `knob`, `change`, `low`, `high` (fractions). knobs: name -> title.
    """
    if not changes:
        raise ValueError("no method was measured; give at least one")
    figure = Figure(figsize=(WIDTH, 0.24 * len(changes) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(knobs), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (knob, title) in zip(panels, knobs.items(), strict=True):
        axes.axvline(0, color=BLACK, linewidth=0.8)
        for y, frame in enumerate(changes.values()):
            found = frame[frame["knob"] == knob].iloc[0]
            axes.plot([100 * found["low"], 100 * found["high"]], [y, y], color=PALETTE[0], linewidth=1.6)
            axes.plot(100 * found["change"], y, "o", color=PALETTE[0], markersize=4.5)
        axes.set_title(textwrap.fill(title, 16), fontsize=8.5)
        axes.grid(False, axis="y")
    panels[0].set_yticks(range(len(changes)), list(changes))
    panels[0].set_ylim(len(changes) - 0.5, -0.5)
    figure.supxlabel("change of rank-1 (points)", fontsize=9)
    return figure
