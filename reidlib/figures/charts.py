"""Figures with axes: CMC and convergence curves, single runs as dots, intervals."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reidlib.figures.look import BLACK, BLUE, GREY, WIDTH, look, one_panel

AXIS_LABELS = {
    "step": "training step",
    "images": "images presented",
    "seconds": "time (seconds)",
    "accuracy": "held-out accuracy (fraction)",
    "loss": "training loss (nats)",
    "lr": "learning rate",
}
RANKS = 20  # of a CMC curve


class HasCMC(Protocol):
    """Anything with a `cmc`: (ranks,) fractions from rank 1 on, as `reidlib.evaluation.Evaluation`."""

    @property
    def cmc(self) -> np.ndarray: ...


def cmc_curves(
    evaluations: Mapping[str, Sequence[HasCMC]],
    printed: Mapping[str, Mapping[int, float]] | None = None,
    *,
    printed_on: str = "the paper's own data",
) -> Figure:
    """Mean CMC over trials with a band of one standard deviation; a paper's numbers as hollow markers.

    evaluations: label -> one evaluation a trial. printed: label -> {rank: fraction}; a label that is also in
    `evaluations` takes its colour. printed_on: what those were measured on, for the legend: not our data.
    """
    printed = printed or {}
    if not evaluations and not printed:
        raise ValueError("no evaluations and no printed numbers were given; give at least one curve")
    curves = []
    for label, trials in evaluations.items():
        if not trials:
            raise ValueError(f"{label}: no evaluation was given; leave the label out or run its row")
        for trial, evaluation in enumerate(trials):
            cmc = np.asarray(evaluation.cmc, float)[:RANKS]
            name = f"{label} ({_count(len(trials), 'trial')})"
            curves.append(pd.DataFrame({"label": name, "trial": trial, "rank": np.arange(1, len(cmc) + 1), "cmc": cmc}))
    figure, axes = one_panel(3.5)
    spread = False
    if curves:
        frame = pd.concat(curves, ignore_index=True)
        spread = bool(frame["trial"].max())
        _curves(frame, axes, "rank", "cmc")
    order = [*evaluations, *(label for label in printed if label not in evaluations)]
    for label, points in printed.items():
        if any(not 0 <= value <= 1 for value in points.values()):
            raise ValueError(f"{label}: printed values {points} are not fractions; divide percent by 100")
        colour, marker, _ = look(order.index(label))
        axes.plot(
            list(points),
            list(points.values()),
            linestyle="none",
            marker=marker,
            markersize=7,
            markerfacecolor="white",
            markeredgecolor=colour,
            markeredgewidth=1.5,
            label=f"{label}, as printed (on {printed_on})",
            zorder=3,
        )
    axes.set(xlabel="rank", ylabel="queries with a match\nby this rank (fraction)")
    axes.set(xlim=(0.5, RANKS + 0.5), ylim=(0, 1.02))
    axes.set_xticks([1, 5, 10, 15, 20])
    _legend(axes, "mean ± 1 SD over trials" if spread else None)
    return figure


def convergence(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    x: str = "step",
    y: str = "accuracy",
    *,
    xlabel: str | None = None,
    ylabel: str | None = None,
    reference: Mapping[str, float] | None = None,
) -> Figure:
    """A quantity over a training: the mean over trials with a band of one standard deviation.

    histories: label -> one history a trial, as `training.fit` returns it. reference: label -> a level drawn as
    a dotted line, such as chance.
    """
    frames = []
    for label, trials in histories.items():
        for trial, history in enumerate(trials):
            missing = {x, y} - set(history.columns)
            if missing:
                have = ", ".join(history.columns)
                raise ValueError(f"{label}: the history has no column {sorted(missing)}; choose from {have}")
            name = f"{label} ({_count(len(trials), 'trial')})"
            frames.append(history[[x, y]].assign(label=name, trial=trial))
    if not frames:
        raise ValueError("no history was given; give one DataFrame a trial for each label")
    frame = pd.concat(frames, ignore_index=True)
    figure, axes = one_panel(3.3)
    _curves(frame, axes, x, y)
    for label, level in (reference or {}).items():
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.2, label=label)
    axes.set(xlabel=xlabel or AXIS_LABELS.get(x, x), ylabel=ylabel or AXIS_LABELS.get(y, y))
    axes.margins(x=0.01)
    if pd.api.types.is_integer_dtype(frame[x]):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, "mean ± 1 SD over trials" if frame["trial"].max() else None)
    return figure


def dots(frame: pd.DataFrame, x: str, y: str, by: str, *, ylabel: str = "") -> Figure:
    """Every run a mark, the mean of its group a short line: `y` in each category of `x`, a mark for each `by`."""
    groups, names = list(frame[x].drop_duplicates()), list(frame[by].drop_duplicates())
    figure, axes = one_panel(3.3)
    room = 0.8 / len(names)
    for n, name in enumerate(names):
        colour, marker, _ = look(n)
        for g, group in enumerate(groups):
            values = frame.loc[(frame[x] == group) & (frame[by] == name), y].to_numpy(float)
            if not len(values):
                continue
            centre = g + (n - (len(names) - 1) / 2) * room
            apart = np.linspace(-0.2, 0.2, len(values)) * room * (len(values) > 1)
            axes.plot(centre + apart, values, marker, color=colour, markersize=5, alpha=0.75, mew=0)
            axes.hlines(values.mean(), centre - 0.38 * room, centre + 0.38 * room, colour, linewidth=2)
        axes.plot([], [], marker, color=colour, label=str(name))
    axes.set_xticks(range(len(groups)), [str(group) for group in groups])
    axes.grid(False, axis="x")
    axes.set(xlabel=x, ylabel=ylabel or y, xlim=(-0.5, len(groups) - 0.5))
    axes.set_ylim(bottom=0)
    _legend(axes, "mark: one run; line: mean")
    return figure


def bars(counts: "pd.Series[int]", *, xlabel: str, ylabel: str) -> Figure:
    """How often each whole number occurs: a bar a number, its count on top; `counts` by number."""
    if counts.empty:
        raise ValueError("nothing was counted; give at least one number")
    figure, axes = one_panel(2.6)
    drawn = axes.bar(counts.index.to_numpy(), counts.to_numpy(), color=BLUE, width=0.8)
    axes.bar_label(drawn, fontsize=8, padding=1)
    axes.grid(False, axis="x")
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.6, max(counts.index) + 0.6))
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def bar_panels(counts: "Mapping[str, pd.Series[int]]", *, xlabel: str, ylabel: str, columns: int = 3) -> Figure:
    """`bars` of several things, a panel with axes of its own each, titled by their names; without numbers on top."""
    if not counts or any(series.empty for series in counts.values()):
        raise ValueError("nothing was counted; give at least one panel, and in each at least one number")
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(WIDTH, 1.7 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, series) in zip(panels, counts.items(), strict=False):
        axes.bar(series.index.to_numpy(), series.to_numpy(), color=BLUE, width=0.8)
        axes.grid(False, axis="x")
        axes.set_title(textwrap.fill(name, 30))
        axes.set_xlim(min(series.index) - 0.8, max(series.index) + 0.8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    for axes in panels[len(counts) :]:
        axes.set_axis_off()
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    return figure


class Interval(Protocol):
    """Anything with a mean and an interval around it, as `reidlib.pages.Estimate`."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def trials(self) -> int: ...


def leads(estimates: Mapping[str, Interval], *, xlabel: str) -> Figure:
    """One line a label: a difference with its interval, beside a line at zero where there is none."""
    if not estimates:
        raise ValueError("no estimate was given; give at least one")
    figure, axes = one_panel(0.32 * len(estimates) + 0.9)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    for y, found in enumerate(estimates.values()):
        axes.plot([found.low, found.high], [y, y], color=BLUE, linewidth=2, gid="interval")
        axes.plot(found.mean, y, "o", color=BLUE, markersize=6, gid="mean")
        axes.text(1.02, y, _count(found.trials, "trial"), transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(estimates)), [textwrap.fill(label, 36) for label in estimates])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlabel=xlabel, ylim=(len(estimates) - 0.5, -0.5))
    axes.margins(x=0.06)
    return figure


def recall_curves(measured: pd.DataFrame, exact: float) -> Figure:
    """Share of the exact 10 nearest that approximate search finds, over its time: a line an index.

    measured: columns `index`, `effort`, `milliseconds` a query, `recall`; effort is written at each mark. exact:
    milliseconds a query of exact search, drawn as a dotted line.
    """
    missing = {"index", "effort", "milliseconds", "recall"} - set(measured.columns)
    if missing:
        have = ", ".join(measured.columns)
        raise ValueError(f"the measurements have no column {sorted(missing)}; they have {have}")
    figure, axes = one_panel(3.3)
    for number, (name, line) in enumerate(measured.groupby("index", sort=False)):
        colour, marker, _ = look(number)
        axes.plot(line["milliseconds"], line["recall"], marker=marker, color=colour, markersize=5, label=str(name))
        for x, y, effort in zip(line["milliseconds"], line["recall"], line["effort"], strict=True):
            axes.annotate(effort, (x, y), (4, -10), textcoords="offset points", fontsize=7, color=colour)
    axes.axvline(exact, color=GREY, linestyle=":", linewidth=1.2, label="exact search")
    axes.set_xscale("log")
    axes.set(xlabel="time for a query (milliseconds)", ylabel="share of the exact 10\nnearest that is found")
    axes.set_ylim(0, 1.03)
    _legend(axes, None)
    return figure


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _curves(frame: pd.DataFrame, axes: Axes, x: str, y: str) -> None:
    """A line a label, told apart by colour and dashes, with a band of one standard deviation."""
    names = list(frame["label"].unique())
    looks = [look(number) for number in range(len(names))]
    sns.lineplot(
        data=frame,
        x=x,
        y=y,
        hue="label",
        style="label",
        hue_order=names,
        style_order=names,
        palette=[one.colour for one in looks],
        dashes=[one.dashes or "" for one in looks],
        errorbar="sd",
        err_kws={"linewidth": 0, "alpha": 0.18},
        ax=axes,
    )


def _legend(axes: Axes, title: str | None) -> None:
    """A legend beside the axes, where it hides no data."""
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), title=title, alignment="left")
    for text in legend.get_texts():
        text.set_text(textwrap.fill(text.get_text(), 30))
