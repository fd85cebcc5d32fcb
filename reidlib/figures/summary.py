"""Figures that sum up the whole study: every claim in one, accuracy over cost, across domains, shares that are kept."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from reidlib.figures.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    look,
    one_panel,
)

OUTCOMES = {  # of a claim: colour, mark, hatch
    "supported": (BLUE, "o", ""),
    "contradicted": (VERMILLION, "X", "///"),
    "negligible": (GREEN, "s", "..."),
    "undecided": (ORANGE, "^", "\\\\\\"),
    "no verdict": (PURPLE, "v", "xxx"),
    "preliminary": (SKY, "P", "---"),
    "not run": ("white", "", ""),
}
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)  # of effects in points


def outcome_bars(counts: pd.DataFrame) -> Figure:
    """How many claims of each paper have which outcome: a bar a paper, a part an outcome with its number on it.

    counts: a line a paper, a column an outcome, of OUTCOMES; whole numbers. ValueError for other columns.
    """
    _known(counts.columns)
    figure, axes = one_panel(0.34 * len(counts) + 1.1)
    start = np.zeros(len(counts))
    for outcome, (colour, _, hatch) in OUTCOMES.items():
        if outcome not in counts or not counts[outcome].any():
            continue
        widths = counts[outcome].to_numpy()
        axes.barh(range(len(counts)), widths, 0.72, start, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.7)
        for y, (left, width) in enumerate(zip(start, widths, strict=True)):
            if width:
                box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0}
                axes.text(left + width / 2, y, str(width), ha="center", va="center", fontsize=8, bbox=box)
        start = start + widths
    axes.set_yticks(range(len(counts)), list(counts.index))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="claims", ylim=(len(counts) - 0.5, -0.5))
    handles: list[Artist] = [
        Patch(facecolor=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.7, label=outcome)
        for outcome, (colour, _, hatch) in OUTCOMES.items()
        if outcome in counts and counts[outcome].any()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def forest(claims: pd.DataFrame) -> Figure:
    """Every claim on a line of its own: what was measured, with its interval, above what the paper prints.

    claims: columns `statement`; `outcome`, of OUTCOMES; `mean`, `low`, `high` (NaN where there is none); `printed` and
    `printed_se` (one standard error, drawn as ± 1.96 of it; NaN where unknown); `margin`; `replicates` and `planned`;
    and, if they come in groups, `group`. All effects in points, on an axis that is linear within one point and
    logarithmic beyond. ValueError for a missing column, an unknown outcome, or no claim.
    """
    wanted = {"statement", "outcome", "mean", "low", "high", "printed", "printed_se", "margin", "replicates", "planned"}
    if missing := wanted - set(claims.columns):
        raise ValueError(f"the claims have no column {sorted(missing)}; they have {', '.join(claims.columns)}")
    if claims.empty:
        raise ValueError("no claim was given; give at least one")
    _known(claims["outcome"].unique())
    grouped = claims if "group" in claims else claims.assign(group="")
    groups = list(dict.fromkeys(grouped["group"]))
    figure, axes = one_panel(0.29 * (len(claims) + sum(map(bool, groups))) + 1.1)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    places, labels, y = [], [], 0
    for group in groups:
        if group:
            axes.text(0, y, f"{group} ", transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold")
            axes.axhline(y - 0.5, color=GREY, linewidth=0.6)
            y += 1
        for claim in grouped[grouped["group"] == group].to_dict("records"):
            _claim(axes, y, claim)
            places.append(y)
            labels.append(textwrap.fill(claim["statement"], 56))
            y += 1
    axes.set_yticks(places, labels, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    drawn = [np.abs(line.get_xdata()).max() for line in axes.lines if line.get_gid()]  # all but the lines of the page
    reach = 1.7 * max([2.0, *drawn])  # no effect is twice as far out as the last tick
    shown = [tick for tick in TICKS if abs(tick) <= reach and (reach < 100 or abs(tick) not in (3, 30))]  # side by side
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    axes.set(xlim=(-reach, reach), ylim=(y - 0.3, -0.7))
    axes.set_xlabel("difference (points, logarithmic beyond ±1; 95 % interval); right of 0: as the paper says")
    present = [outcome for outcome in OUTCOMES if outcome in set(claims["outcome"]) and OUTCOMES[outcome][1]]
    handles: list[Artist] = [
        Line2D([], [], color=OUTCOMES[outcome][0], marker=OUTCOMES[outcome][1], linewidth=1.6, label=outcome)
        for outcome in present
    ]
    handles.append(
        Line2D([], [], color=BLACK, marker="D", mfc="white", ls=":", ms=4.5, label="as printed (other data), ± 1.96 SE")
    )
    handles.append(Patch(color=PALE, label="± margin"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _known(outcomes: Any) -> None:
    if unknown := set(outcomes) - set(OUTCOMES):
        raise ValueError(f"outcomes {sorted(unknown)} are unknown; choose from {list(OUTCOMES)}")


def _claim(axes: Axes, y: float, claim: Mapping[Any, Any]) -> None:
    """One claim's line of a forest."""
    margin, ours, theirs = float(claim["margin"]), y - 0.14, y + 0.22
    axes.add_patch(Rectangle((-margin, y - 0.44), 2 * margin, 0.88, color=PALE, linewidth=0, zorder=0.5, gid="margin"))
    colour, marker, _ = OUTCOMES[claim["outcome"]]
    if np.isfinite(claim["mean"]):
        if np.isfinite(claim["low"]) and np.isfinite(claim["high"]):
            axes.plot([claim["low"], claim["high"]], [ours, ours], color=colour, linewidth=1.8, gid="interval")
        axes.plot(claim["mean"], ours, marker, color=colour, markersize=5.5, mec=BLACK, mew=0.5, gid="effect")
    if pd.notna(claim["printed"]):
        if pd.notna(claim["printed_se"]):
            ends = [claim["printed"] + side * 1.96 * claim["printed_se"] for side in (-1, 1)]
            axes.plot(ends, [theirs, theirs], ":", color=BLACK, linewidth=1, gid="printed interval")
        axes.plot(claim["printed"], theirs, "D", color=BLACK, mfc="white", ms=4, mew=0.9, gid="printed")
    style: dict[str, Any] = {"color": GREY, "style": "italic"} if claim["outcome"] == "not run" else {}
    note = claim["outcome"] + (f", {claim['replicates']} of {claim['planned']}" if claim["replicates"] else "")
    axes.text(1.02, y, note, transform=axes.get_yaxis_transform(), va="center", fontsize=7, **style)


def costs(methods: pd.DataFrame, panels: Mapping[str, str], *, ylabel: str, reference: float = np.nan) -> Figure:
    """Accuracy over cost, a column a kind of cost; below it where each method lies here and at its paper's size.

    methods: a line a method, with `score`, `low`, `high` (fractions, NaN where not run) and of each panel's key `KEY`,
    the cost of the network that was scored, and `KEY, paper`, that of the paper's, which has no score here (NaN where
    unknown). Costs are on a logarithmic axis; zero is left out. reference: a score drawn as a dotted line. ValueError
    for a missing column.
    """
    wanted = {"score", "low", "high", *panels, *(f"{key}, paper" for key in panels)}
    if missing := wanted - set(methods.columns):
        raise ValueError(f"the methods have no column {sorted(missing)}; they have {', '.join(methods.columns)}")
    if methods.empty:
        raise ValueError("no method was given; give at least one")
    figure = Figure(figsize=(WIDTH, 2.4 + 0.2 * len(methods)), layout="constrained")
    ratios = (2.0, 0.2 * len(methods) + 0.1)
    grid = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False, height_ratios=ratios)
    for (upper, lower), (key, label) in zip(grid.T, panels.items(), strict=True):
        for y, line in enumerate(methods.to_dict("records")):
            colour, marker, _ = look(y)
            here, paper = (line[name] if line[name] > 0 else np.nan for name in (key, f"{key}, paper"))
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5.5, "linestyle": "none"}
            if np.isfinite(here) and np.isfinite(line["score"]):
                upper.plot([here, here], [line["low"], line["high"]], color=colour, linewidth=1)
                upper.plot(here, line["score"], **style, gid="score")
            if np.isfinite(here) and np.isfinite(paper):
                lower.plot([here, paper], [y, y], color=colour, linewidth=0.8, linestyle=":")
            if np.isfinite(paper):
                lower.plot(paper, y, **(style | {"markersize": 7.5}), mfc="white", gid="paper")  # a ring if equal
            if np.isfinite(here):
                lower.plot(here, y, **style, gid="here")
        if np.isfinite(reference):
            upper.axhline(reference, color=GREY, linestyle=":", linewidth=1.2, gid="reference")
        upper.set_xscale("log")
        lower.xaxis.set_major_locator(LogLocator(numticks=4))
        lower.xaxis.set_minor_locator(NullLocator())
        lower.set_xlabel(textwrap.fill(label, 18))
        lower.grid(False, axis="y")
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel(ylabel)
    grid[1, 0].set_yticks(range(len(methods)), list(methods.index))
    grid[1, 0].set_ylim(len(methods) - 0.5, -0.5)
    handles: list[Artist] = [
        Line2D([], [], color=GREY, marker="o", linestyle="none", label="as trained here, with its score"),
        Line2D([], [], color=GREY, marker="o", mfc="white", ls="none", label="at its paper's size, without a score"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def transfers(scores: pd.DataFrame, *, home: str, away: str, xlabel: str) -> Figure:
    """What is left of a score elsewhere: a line a method from a filled mark to a hollow one, with intervals.

    scores: a line a method, columns `home`, `home low`, `home high`, `away`, `away low`, `away high`, in fractions;
    `note`, written at the right. home, away: what the legend calls the two. ValueError for a missing column.
    """
    wanted = {f"{side}{end}" for side in ("home", "away") for end in ("", " low", " high")} | {"note"}
    if missing := wanted - set(scores.columns):
        raise ValueError(f"the scores have no column {sorted(missing)}; they have {', '.join(scores.columns)}")
    if scores.empty:
        raise ValueError("no score was given; give at least one")
    figure, axes = one_panel(0.3 * len(scores) + 1.1)
    looks = {"home": (BLUE, BLUE, -0.12), "away": (VERMILLION, "white", 0.12)}
    for y, line in enumerate(scores.to_dict("records")):
        ends = [y + shift for _, _, shift in looks.values()]
        axes.plot([line["home"], line["away"]], ends, color=GREY, linewidth=0.8, linestyle=":")
        for side, (colour, face, shift) in looks.items():
            reach = [line[f"{side} low"], line[f"{side} high"]]
            axes.plot(reach, [y + shift] * 2, color=colour, linewidth=1.4, gid=f"{side} interval")
            axes.plot(line[side], y + shift, "o", color=colour, mfc=face, markersize=5.5, gid=side)
        axes.text(1.02, y, line["note"], transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(scores)), list(scores.index))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlabel=xlabel, ylim=(len(scores) - 0.5, -0.5))
    axes.set_xlim(left=0)
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker="o", mfc=face, linewidth=1.4, label=label)
        for (colour, face, _), label in zip(looks.values(), (home, away), strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def kept_shares(shares: pd.DataFrame) -> Figure:
    """How much of its accuracy each method keeps: a line a method, a column a nuisance, the share as shade and number.

    shares: fractions, NaN where not measured. ValueError where there is none.
    """
    if shares.empty:
        raise ValueError("no share was given; give at least one method and one nuisance")
    figure, axes = one_panel(0.3 * len(shares) + 1.0)
    values = shares.to_numpy(float)
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(values):
        text = f"{100 * share:.0f}" if np.isfinite(share) else "–"
        colour = "white" if share < 0.55 else BLACK  # the dark half of cividis
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    axes.set_xticks(range(shares.shape[1]), [textwrap.fill(str(name), 14) for name in shares.columns])
    axes.set_yticks(range(len(shares)), list(shares.index))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="share of rank-1 kept", format=PercentFormatter(1), aspect=15)
    return figure
