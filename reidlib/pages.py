"""What notebooks put on a page: tables with their notes, the numbers that sentences compare, what was run."""

import base64
import html
import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from reidlib.evaluation.protocols import interval
from reidlib.recipe import EvaluationSettings
from reidlib.run import NotAvailable
from reidlib.store import Trial
from reidlib.study import Study
from reidlib.tables import DIFFERENCE, NOT_RUN, QUOTED, Results, provenance, scored_on
from reidlib.verdicts import score, t_half

VERDICTS = ("contradicted", "supported")  # classes of book.css, looked for in this order
LONG = 20  # characters from which a cell is a sentence, which may be broken
WIDE = 6  # columns, those with sentences twice; more do not fit beside the table of contents


@dataclass(frozen=True)
class Page:
    """Something a notebook shows: HTML where it is rendered, text elsewhere."""

    text: str
    body: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.body


def show(frame: pd.DataFrame, caption: str = "", of: Iterable[Sequence[Trial]] = ()) -> Page:
    """A table as the book draws it: text as it stands, column levels as spanning heads, `attrs["notes"]` below.

    of: trials that its numbers are from; their `provenance` is the last note. Below the notes is a link that saves the
    table as `csv` has it; it needs neither a server nor a script. Text between backticks is code. A wide table takes
    the page's margin too. Cells in columns headed "printed" and cells that are measured, not run or a verdict get the
    classes that `book/assets/book.css` draws.
    """
    notes = [*frame.attrs.get("notes", ()), *filter(None, [provenance(of)])]
    frame = frame.copy(deep=False)
    frame.attrs = {**frame.attrs, "notes": notes}
    heads = [column if isinstance(column, tuple) else (column,) for column in frame.columns]
    lines = [f"<caption>{html.escape(caption)}</caption>"] if caption else []
    lines.append("<thead>")
    for level in range(frame.columns.nlevels):
        cells = []
        for path, columns in groupby(heads, lambda head: head[: level + 1]):  # noqa: B023
            cells.append(f'<th colspan="{len(list(columns))}" scope="col">{html.escape(str(path[-1]))}</th>')
        lines.append(f"<tr><th></th>{''.join(cells)}</tr>")
    lines.append("</thead><tbody>")
    for label, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = [
            f'<td class="{_class(head, str(value))}">{_marked(str(value))}</td>'
            for head, value in zip(heads, row, strict=True)
        ]
        kind = "sentence" if len(str(label)) > LONG else ""
        lines.append(f'<tr><th scope="row" class="{kind}">{html.escape(str(label))}</th>{"".join(cells)}</tr>')
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    content = base64.b64encode(csv(frame, caption).encode()).decode()
    name = re.sub(r"\W+", "-", caption.lower()).strip("-")[:60] or "table"
    link = f'<a download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{content}">CSV, all digits</a>'
    below = f'<ul class="notes">{listed}<li>{link}</li></ul>'
    text = "\n".join([*([caption] if caption else []), frame.to_string(), *notes])
    table = f'<table class="dataframe">{"".join(lines)}</tbody></table>{below}'
    breadth = sum(2 if any(len(str(value)) > LONG for value in frame.iloc[:, at]) else 1 for at in range(len(heads)))
    return Page(text, f'<div class="full-width">{table}</div>' if breadth > WIDE else table)


def csv(frame: pd.DataFrame, caption: str = "") -> str:
    """The table as a file: caption and notes as lines that begin with "#", then a line a row, in one line of heads.

    A column whose cells are `Shown` is followed by one for each of their exact numbers.
    """
    notes = [getattr(note, "exact", {}).get("full", note) for note in frame.attrs.get("notes", ())]
    columns: dict[str, list[Any]] = {"": [str(label) for label in frame.index]}
    for number, column in enumerate(frame.columns):
        head = ", ".join(map(str, column)) if isinstance(column, tuple) else str(column)
        cells = frame.iloc[:, number].tolist()
        exact = [getattr(cell, "exact", {}) for cell in cells]
        columns[head] = cells
        for name in dict.fromkeys(name for found in exact for name in found):
            columns[f"{head} ({name})"] = [found.get(name, "") for found in exact]
    lines = [f"# {line}\n" for line in (caption, *notes) if line]
    return "".join(lines) + pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _marked(text: str) -> str:
    """Text as HTML, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _class(head: tuple[Any, ...], text: str) -> str:
    """The class of a cell: what it is, not how it looks."""
    return " ".join(filter(None, (_kind(head, text), "sentence" if len(text) > LONG else "")))


def _kind(head: tuple[Any, ...], text: str) -> str:
    if text.startswith(NOT_RUN) or text == QUOTED:
        return "not-run"
    if str(head[-1]).startswith(DIFFERENCE):
        return DIFFERENCE
    if len(head) > 1:
        return "printed" if head[-1] == "printed" else "measured"
    said = text.removeprefix("mechanism ") if head[-1] == "verdict" else ""
    return next((word for word in VERDICTS if said.startswith(word)), "")


@dataclass(frozen=True)
class Estimate:
    """A mean over trials with its 95 % interval; fractions, which sentences show in percent."""

    mean: float
    low: float
    high: float
    trials: int

    def __format__(self, spec: str) -> str:
        """ "23.5 % (95 % interval 20.1 to 27.0; 5 trials)"; spec "+" is for differences: with signs, in points."""
        mean, low, high = (f"{100 * value:{spec}.1f}" for value in (self.mean, self.low, self.high))
        interval = "no interval" if np.isnan(self.low) else f"95 % interval {low} to {high}"
        unit = "points" if spec == "+" else "%"
        return f"{mean} {unit} ({interval}; {_trials(self.trials)})"


def _trials(count: int) -> str:
    return f"{count} trial{'s' if count > 1 else ''}"


def estimate(
    trials: Sequence[Trial], column: int, measure: str = "rank1", baseline: Sequence[Trial] | None = None
) -> Estimate | None:
    """A row's score, or with `baseline` its lead over another row in the same trials; None where nothing was run.

    column: which of the rows' evaluations. measure: as of `verdicts.score`. The interval resamples whole
    look-alike groups (people, where groups are unknown) and so covers the choice of test people, not of seeds; of a
    single group it is unknown, NaN. From three trials on it reaches at least as far as the t interval over them.
    """
    frames = []
    for number, trial in enumerate(trials):
        scores = _scores(trial, column, measure)
        if baseline is not None and scores is not None:
            other = _scores(baseline[number], column, measure) if number < len(baseline) else None
            same = other is not None and scored_on(trial, column) == scored_on(baseline[number], column)
            scores = scores.assign(ap=scores.ap - other.ap) if same and other is not None else None
        if scores is not None:
            frames.append((trial.settings[column], scores))
    if not frames:
        return None
    tests: dict[EvaluationSettings, int] = {}
    for settings, _ in frames:  # trials of one test set share its people, other worlds have people of their own
        tests.setdefault(settings, len(tests))
    joined = pd.concat([scores.assign(test=tests[settings]) for settings, scores in frames])
    clusters = joined.groupby(["test", "group"]).ngroup()
    means = np.array([scores.ap.mean() for _, scores in frames])
    mean, (low, high) = float(means.mean()), interval(joined.ap, clusters)
    if len(means) > 2:  # two say nothing of how far trials vary
        half = t_half(means)
        low, high = float(np.fmin(low, mean - half)), float(np.fmax(high, mean + half))
    return Estimate(mean, low, high, len(means))


def _scores(trial: Trial, column: int, measure: str) -> pd.DataFrame | None:
    """A trial's queries with the measure under the name `ap`, None where it was not run."""
    if trial.metrics(column) is None or trial.run is None:
        return None
    queries = trial.run.queries(trial.settings[column])
    assert queries is not None
    return queries.assign(ap=score(queries, measure))


def source(*objects: Any) -> str:
    """The library's own lines as a Markdown block, as they are executed."""
    blocks = "\n".join(textwrap.dedent(inspect.getsource(item)) for item in objects)
    return f"```python\n{blocks}```"


def still_rising(histories: Mapping[str, Sequence[pd.DataFrame]]) -> str:
    """By how much held-out accuracy changed at the end of trainings, a line a name below a first one, as Markdown.

    Averaged over trials; nothing of trainings with fewer than five validations.
    """
    lines = []
    for name, found in histories.items():
        if len(found[0]) > 4:
            change = np.mean([h.accuracy[-2:].mean() - h.accuracy[-4:-2].mean() for h in found])
            points = round(100 * change, 1) or 0.0  # no "-0.0"
            lines.append(f"- *{name}*: {points:+.1f} points ({_trials(len(found))})")
    lead = "Change of held-out accuracy (mean of the last two validations minus the two before):"
    return "\n".join([lead, "", *lines]) if lines else ""


def planned_runs(chapter: Study) -> str:
    """How many of a chapter's trainings there are, as Markdown; and, of a smoke run, that its numbers mean nothing."""
    try:
        jobs = chapter.jobs()
    except NotAvailable as missing:
        return f"None of this chapter's datasets is here, so that nothing is trained: {missing}."
    there = sum(chapter.store.find(job.recipe) is not None for job in jobs)
    whole = sum(chapter.done(job) is not None for job in jobs)
    text = f"Of the {len(jobs)} trainings that this chapter plans at this profile, {there} are in the run store"
    text += "." if whole == there else f", {whole} of them with all the evaluations that the tables want."
    if chapter.profile != "smoke":
        return text
    return f"{text}\n\n**This is a smoke run: every step runs, for a moment. Its numbers mean nothing.**"


def shown_runs(results: Results) -> str:
    """How many trainings a chapter's tables show, how long they took and where, in a sentence."""
    runs = {trial.run.name: trial.run.record for trials in results.values() for trial in trials if trial.run}
    if not runs:
        return "No training is in the run store: nothing was tested yet."
    profiles, devices = (sorted({record[name] for record in runs.values()}) for name in ("profile", "device"))
    hours = sum(record["seconds"] for record in runs.values()) / 3600
    return (
        f"Shown: {len(runs)} trainings at the profile {', '.join(profiles)}, {hours:.1f} hours in all, on"
        f" {', '.join(devices)}."
    )


def outcomes(judged: pd.DataFrame) -> str:
    """The claims of a `claims_table` by their outcomes, as Markdown: a line an outcome, below it a line a claim.

    A reason that all claims of an outcome share stands in its line, others stand with the claims.
    """
    found: dict[str, dict[str, str]] = {}
    for claim, verdict in zip(judged.claim, judged.verdict, strict=True):
        outcome, _, reason = verdict.partition(": ")
        found.setdefault(outcome, {})[claim.removesuffix(" +")] = f" ({reason})" if reason else ""
    lines = []
    for outcome, claims in found.items():
        shared = next(iter(claims.values())) if len(set(claims.values())) == 1 else ""
        lines.append(f"- *{outcome[0].upper()}{outcome[1:]}*{shared}")
        lines += [f"  - {claim}{'' if shared else reason}." for claim, reason in claims.items()]
    return "\n".join(lines)


def decided(run: int, waiting: int) -> str:
    """A sentence that says how many of a paper's open choices have been run both ways."""
    if not waiting:
        return f"All {run} choices that a run can decide have been run with the alternative."
    told = "1 has" if run == 1 else f"{run} have"
    return (
        f"Of the {run + waiting} choices that a run can decide, {told} been run with the alternative"
        f" and {waiting} {'has' if waiting == 1 else 'have'} not."
    )


def why_not_run(chapter: Study, table: str) -> str:
    """A sentence that says which dataset a table lacks; empty where it is there."""
    row = next(row for row in chapter.paper.rows if row.table == table)
    try:
        chapter.data(row.evaluations[0].data, 0, chapter.shown_profile(table))
    except NotAvailable as missing:
        return f"{table} is not run: {missing}."
    return ""
