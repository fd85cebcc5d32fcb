"""What a benchmark can tell: printed against measured effects, who is hard, where scores vary from."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from reidlib.figures.look import BLACK, BLUE, GREY, PALE, VERMILLION, WIDTH, look, one_panel

BESIDE = ((9, 6), (9, -6), (-9, 6), (-9, -6), (0, 10), (0, -10))  # a mark, where its name may stand, in points
LIGHT = 0.55  # share of a colour scale from which its cells take black letters


def printed_against_measured(orderings: pd.DataFrame, named: Sequence[str] = ()) -> Figure:
    """Each ordering a mark with its interval: its printed difference across, logarithmic, the measured one up.

    orderings: columns `family`, `printed` (above 0), `mean`, `low`, `high` (points), and a name as index; those whose
    name is in `named` carry it. The shaded half is where the measured order is not the printed one. ValueError where
    there are none.
    """
    if orderings.empty:
        raise ValueError("nothing was measured; give at least one ordering")
    figure, axes = one_panel(4.3)
    for number, (family, found) in enumerate(orderings.groupby("family", sort=False)):
        colour, marker, _ = look(number)
        reach = np.abs(found[["low", "high"]].to_numpy().T - found["mean"].to_numpy())
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5.5, "ls": "none", "elinewidth": 0.9}
        axes.errorbar(found["printed"], found["mean"], reach, label=str(family), alpha=0.85, **style)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    low = min(axes.get_ylim()[0], -1)
    axes.axhspan(low, 0, color=PALE, alpha=0.6, linewidth=0, zorder=0)
    left, right = 0.8 * orderings["printed"].min(), 1.25 * orderings["printed"].max()
    same = np.geomspace(left, right, 100)
    axes.plot(same, same, color=GREY, linestyle=":", linewidth=1.2, label="measured as printed")
    axes.set_xscale("log")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if left <= tick <= right]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="difference as printed, on real data (points)", ylabel="difference measured here (points)")
    axes.set(xlim=(left, right), ylim=(low, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    _name(figure, axes, orderings[orderings.index.isin(named)])
    return figure


def _name(figure: Figure, axes: Axes, marks: pd.DataFrame) -> None:
    """The names of marks beside them, each where it hides the fewest of those already there."""
    figure.draw_without_rendering()  # only then is known where a mark lies
    taken: list[np.ndarray] = []  # centres of names, in points
    for name, one in marks.iterrows():
        at = axes.transData.transform((one["printed"], one["mean"])) * 72 / figure.dpi
        hidden = []
        for offset in BESIDE:
            apart = np.abs(np.reshape(taken, (-1, 2)) - (at + offset))
            hidden.append(int(((apart[:, 0] < 12) & (apart[:, 1] < 8)).sum()))
        offset = BESIDE[int(np.argmin(hidden))]
        taken.append(at + offset)
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 7.5}
        axes.annotate(str(name), (one["printed"], one["mean"]), offset, **style)


def right_by_how_many(counts: Sequence[int], expected: Sequence[float]) -> Figure:
    """How many people 0, 1, ... of the methods are right about: bars, beside what errors of their own would give.

    counts: (M + 1,) people. expected: (M + 1,) people, were the methods' errors independent.
    """
    figure, axes = one_panel(2.8)
    x = np.arange(len(counts))
    axes.bar_label(axes.bar(x, counts, color=BLUE, width=0.8, label="observed"), fontsize=8, padding=1)
    axes.plot(x, expected, "D--", color=VERMILLION, mfc="white", ms=5, lw=1.2, label="if their errors were independent")
    axes.set(xlabel="methods that find the person", ylabel="people", xticks=x)
    axes.grid(False, axis="x")
    axes.margins(y=0.12)
    axes.legend(loc="upper right")
    return figure


def heat_map(
    values: pd.DataFrame, *, limits: tuple[float, float], label: str, decimals: int = 2, xlabel: str = ""
) -> Figure:
    """A table as colours with its numbers written in; missing cells stay white.

    values: any. limits: of the colour scale, which `label` names.
    """
    figure, axes = one_panel(0.3 * len(values) + 1.5)
    cells = np.ma.masked_invalid(values.to_numpy(float))
    image = axes.imshow(cells, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    for y, x in np.ndindex(cells.shape):
        if not np.ma.is_masked(cells[y, x]):
            bright = (cells[y, x] - limits[0]) / (limits[1] - limits[0]) > LIGHT
            colour = BLACK if bright else "white"
            axes.text(x, y, f"{cells[y, x]:.{decimals}f}", ha="center", va="center", fontsize=7.5, color=colour)
    turned = max(len(str(name)) for name in values.columns) > 4
    axes.set_xticks(range(values.shape[1]), list(map(str, values.columns)), rotation=40 if turned else 0)
    if turned:
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
            tick.set_rotation_mode("anchor")
    axes.set_yticks(range(values.shape[0]), list(map(str, values.index)))
    axes.set_xlabel(xlabel)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label=label, pad=0.02)
    return figure


def deviations(sources: Mapping[str, pd.DataFrame], *, xlabel: str) -> Figure:
    """Where scores vary from: a panel a method, a line a source, its standard deviation with an interval if known.

    sources: method -> columns `source`, `sd`, `low`, `high`, `values`, as `reidlib.transfer.deviations`.
    """
    if not sources:
        raise ValueError("no method has two trials; give at least one")
    names = list(dict.fromkeys(name for frame in sources.values() for name in frame["source"]))
    figure = Figure(figsize=(WIDTH, 0.3 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(sources), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (method, frame) in zip(panels, sources.items(), strict=True):
        for one in frame.to_dict("records"):
            y = names.index(one["source"])
            colour, marker, _ = look(y)
            if np.isfinite(one["low"]):
                axes.plot([one["low"], one["high"]], [y, y], color=colour, linewidth=1.6, gid="interval")
            axes.plot(one["sd"], y, marker, color=colour, markersize=5.5, gid="sd")
        axes.set_title(method)
        axes.grid(False, axis="y")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    most = max(float(frame["sd"].max()) for frame in sources.values())
    panels[0].set_xlim(0, 4 * most or 1)  # intervals of two or three values go on and on
    figure.supxlabel(xlabel, fontsize=9)
    return figure


def detectable(lines: Mapping[str, Mapping[int, float]], *, ylabel: str) -> Figure:
    """The smallest difference that an experiment would find, by its number of trials: a line a design.

    lines: design -> {trials: difference}.
    """
    figure, axes = one_panel(3.1)
    for number, (name, found) in enumerate(lines.items()):
        one = look(number)
        style: dict[str, Any] = {"marker": one.marker, "linestyle": one.line, "color": one.colour}
        axes.plot(list(found), list(found.values()), label=textwrap.fill(name, 30), markersize=5.5, **style)
        for x, y in found.items():
            axes.annotate(f"{y:.1f}", (x, y), (3, 5), textcoords="offset points", fontsize=7.5)
    axes.set_xticks(sorted({x for found in lines.values() for x in found}))
    axes.set(xlabel="trials", ylabel=ylabel)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def by_category(
    found: pd.DataFrame, *, xlabel: str, ylabel: str, mean: float, swatches: Sequence | None = None
) -> Figure:
    """A mean with its interval for each category, the number of people below its name, and a line at the mean of all.

    found: index the category; columns `mean`, `low`, `high` (fractions), `people`. swatches: a colour a category, drawn
    between the axis and its name.
    """
    figure, axes = one_panel(2.9)
    axes.axhline(100 * mean, color=GREY, linestyle=":", linewidth=1.2)
    for x, one in enumerate(found.to_dict("records")):
        if np.isfinite(one["low"]):
            axes.plot([x, x], [100 * one["low"], 100 * one["high"]], color=BLUE, linewidth=2, gid="interval")
        axes.plot(x, 100 * one["mean"], "o", color=BLUE, markersize=6, gid="mean")
    axes.set_xticks(range(len(found)), [f"{name}\n{n}" for name, n in zip(found.index, found["people"], strict=True)])
    if swatches is not None:
        below = axes.get_xaxis_transform() + ScaledTranslation(0, -11 / 72, figure.dpi_scale_trans)
        style: dict[str, Any] = {"mec": BLACK, "mew": 0.5, "ms": 11, "transform": below, "clip_on": False}
        for x, colour in enumerate(swatches):
            axes.plot(x, 0, "s", color=colour, **style, gid="swatch")
        axes.tick_params(axis="x", length=0, pad=20)  # names lie below the swatches
    axes.grid(False, axis="x")
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.6, len(found) - 0.4), ylim=(0, 100))
    handles = [
        Line2D([], [], color=BLUE, marker="o", linewidth=2, label="mean, 95 % interval"),
        Line2D([], [], color=GREY, linestyle=":", label="everybody"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def agreement_curves(found: pd.DataFrame, knobs: Mapping[str, str], usual: Mapping[str, float]) -> Figure:
    """How far the order of methods stays the same as one thing changes: a panel a knob, strengths across.

    found: columns `knob`, `value`, `agreement` (1 is the same order, -1 the reverse). knobs: name -> title. usual:
    the strength that the others are held against, a dotted line.
    """
    figure = Figure(figsize=(WIDTH, 2.1), layout="constrained")
    panels = figure.subplots(1, len(knobs), sharey=True, squeeze=False)[0]
    for number, (axes, (knob, title)) in enumerate(zip(panels, knobs.items(), strict=True)):
        line = found[found["knob"] == knob].sort_values("value")
        one = look(number)
        style: dict[str, Any] = {"color": one.colour, "marker": one.marker, "markersize": 5}
        axes.plot(range(len(line)), line["agreement"], linestyle=one.line, **style)
        axes.set_xticks(range(len(line)), [f"{value:g}" for value in line["value"]])
        if knob in usual and usual[knob] in list(line["value"]):
            axes.axvline(list(line["value"]).index(usual[knob]), color=GREY, linestyle=":", linewidth=1, zorder=0)
        axes.set_title(textwrap.fill(title, 16), fontsize=8.5)
        axes.grid(False, axis="x")
    panels[0].set_ylim(min(0, found["agreement"].min() - 0.05), 1.05)
    panels[0].set_ylabel("rank correlation\nof the methods")
    figure.supxlabel("strength", fontsize=9)
    return figure
