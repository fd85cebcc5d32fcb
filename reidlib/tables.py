"""Rows x runs -> tables with the printed number beside the measured one.

Fractions become percent here. Results are a mapping: row key -> its trials, in order of seed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reidlib.names import choose
from reidlib.recipe import Data, EvaluationSettings, Paper, Recipe, Row
from reidlib.store import Run, Trial
from reidlib.verdicts import printed_error

VALUES = Path(__file__).resolve().parents[1] / "data" / "paper_values.csv"
NOT_RUN, QUOTED = "not run", "quoted"
DIFFERENCE = "difference"  # how the heads of such columns begin
ADDED = " (added here)"  # how labels end of rows that a printed table does not have
TIED = 0.01  # share of tied queries above which a number is flagged
TIES, COLLAPSES = "†", "‡"  # how such numbers are flagged, and means over trainings of which some collapsed
SHOWN = (("Rank-1", "rank1"), ("mAP", "mean_ap"))  # of evaluations the paper does not print

HEADINGS = {  # datasets and protocols as tables head them, where the paper prints no column
    "market1501": "Market-1501",
    "dukemtmc": "DukeMTMC-reID",
    "cuhk03-labeled": "CUHK03 labeled",
    "cuhk03-detected": "CUHK03 detected",
    "cuhk01": "CUHK01",
    "cuhk01-all": "CUHK01, everybody",
    "viper": "VIPeR",
}
PROTOCOL_HEADINGS = {
    "market1501": "full gallery",
    "market1501-rerank": "full gallery, re-ranked",
    "market1501-flip": "full gallery, mirrored",
    "market1501-flip-trapezoid": "full gallery, mirrored, trapezoids",
    "single-shot": "single shot",
    "single-shot-20": "single shot, 20 draws",
    "single-shot-all": "single shot, everybody",
}
PRINTED_QUERIES = {
    "market-1501": 3368,
    "dukemtmc-reid": 2228,
    "cuhk03-np": 1400,
    "viper": 316,
    "cuhk03": 100,
    "cuhk01 (full": 971,
    "cuhk01": 100,
}

Results = Mapping[str, Sequence[Trial]]


class Shown(str):
    """Text as a page shows it; `exact` is what a table's file has of it: numbers with all their digits, by name."""

    exact: Mapping[str, Any]

    def __new__(cls, text: str, **exact: Any) -> "Shown":
        """`text` on the page, `exact` in the file."""
        shown = super().__new__(cls, text)
        shown.exact = exact
        return shown


@cache
def paper_values() -> pd.DataFrame:
    """`data/paper_values.csv`: paper, table, row, dataset, protocol, metric, value, note, all as text; "" is absent."""
    return pd.read_csv(VALUES, dtype=str, keep_default_na=False)


def printed_values(paper: str, table: str) -> pd.DataFrame:
    """One printed table, in printed order; empty where the paper prints none of that name.

    Accuracies that it prints as fractions (HAGN's README) are in percent.
    """
    values = paper_values()
    found = values[(values.paper.str.lower() == paper.lower()) & (values.table == table)].reset_index(drop=True)
    accuracies = found.metric.map(measure).notna() & (found.value != "")
    numbers = pd.to_numeric(found.value[accuracies], errors="coerce")
    if len(numbers) and numbers.max() <= 1:
        found.loc[accuracies, "value"] = (100 * numbers).map("{:.2f}".format)
    return found


def measure(metric: str) -> str | None:
    """The name in `run.json` of a metric as papers head their columns ("r=1", "TOP@5", "mAP"); None: no accuracy."""
    if metric.lower() == "map":
        return "mean_ap"
    found = re.fullmatch(r"(?:r|rank|top)[ =@-]?(\d+)", metric.lower())
    return f"rank{found[1]}" if found else None


def printed_queries(dataset: str) -> int | None:
    """Queries behind a rank-1 printed for `dataset`; on single-shot sets, the people of one gallery draw."""
    return next((count for name, count in PRINTED_QUERIES.items() if dataset.lower().startswith(name)), None)


def measured(trials: Sequence[Trial], column: int, name: str) -> np.ndarray:
    """The values of one measure, in percent, over the trials that have it."""
    found = [value(trial, column, name) for trial in trials]
    return np.array([item for item in found if item is not None])


def value(trial: Trial, column: int, name: str) -> float | None:
    """One measure of one trial, in percent: of its evaluation, else a per-run measure; None where missing."""
    metrics = trial.metrics(column) or {}
    per_run = trial.run.record["measures"] if trial.run else {}
    found = metrics.get(name, per_run.get(name))
    return None if found is None else 100 * found


def collapsed(trials: Sequence[Trial]) -> list[int]:
    """The numbers of the trials that ended with all pictures in one point.

    The hardest triplets then lose exactly the margin, which the recipe names, and hardly a held-out picture finds its
    person.
    """
    found = []
    for trial in trials:
        margin = trial.run and dict(trial.run.record["recipe"].get("objective_options", ())).get("margin")
        if margin and {"triplet", "accuracy"} <= set(history := trial.run.history):  # type: ignore[union-attr]
            end = history.iloc[-1]
            if abs(end.triplet / margin - 1) < 0.01 and end.accuracy < 0.1:
                found.append(trial.number)
    return found


def collapses(rows: Iterable[Row], results: Results) -> str:
    """A sentence that names the trials of rows that are `collapsed`; empty without any."""
    found = {row.label: numbers for row in rows if (numbers := collapsed(results.get(row.key, ())))}
    named = (f"{label} ({_numbered('trial', which)})" for label, which in found.items())
    return f"{COLLAPSES} In some trainings all features became one point: {'; '.join(named)}." if found else ""


def mean_sd(values: np.ndarray, sign: str = "") -> str:
    """ "mean ± sd (n)" as tables show it; "not run" where there is nothing. sign: "+" for differences."""
    if not len(values):
        return NOT_RUN
    exact = {"mean": values.mean()} | ({"sd": values.std(ddof=1)} if len(values) > 1 else {})
    spread = f" ± {exact['sd']:.1f}" if len(values) > 1 else ""
    return Shown(f"{exact['mean']:{sign}.1f}{spread} ({len(values)})", **exact, trials=len(values))


def table(paper: Paper, name: str, results: Results) -> pd.DataFrame:
    """One table of a paper, in percent: a printed and a measured column for each metric.

    Columns are (column group, metric, "printed" or the data and profile measured on). Rows of one label are one line:
    a table with a training a dataset has a row for each. Printed rows that no training stands for come first. Measured
    cells read "mean ± sd (trials)", "not run", or "quoted" beside the numbers of those printed rows, of other papers'
    methods. Rank-1 and mAP have a third column, except in protocols that the table does not print, where rows are held
    against others: the difference to the table's `baseline`, or to the row that a row names. Lines without any number
    are left out. `attrs["notes"]` has the provenance and the deviations, one sentence each. ValueError where the paper
    has no such table.
    """
    return _frame(_sheet(paper, name, results))


def by_dataset(paper: Paper, name: str, results: Results) -> dict[str, pd.DataFrame]:
    """The same table for each of its column groups, with the lines and the notes that concern it."""
    sheet = _sheet(paper, name, results)
    frames = {group: _frame(sheet, group) for group in dict.fromkeys(group for group, _, _ in sheet.cells)}
    return {group: frame for group, frame in frames.items() if not frame.empty}


@dataclass(frozen=True)
class _Sheet:
    """A table before it is drawn: its lines (label -> rows), what these are held against, and its cells by column."""

    rows: Sequence[Row]
    results: Results
    printed: pd.DataFrame
    lines: Mapping[str, Sequence[Row]]
    bases: Mapping[str, Sequence[Row]]
    cells: Mapping[tuple[str, str, str], list[str]]
    scored: Mapping[str, Sequence["Column"]]  # column group -> the columns of the rows' evaluations that it shows


def _sheet(paper: Paper, name: str, results: Results) -> _Sheet:
    printed = printed_values(paper.key, name)
    rows = [row for row in paper.rows if row.table == name]
    if not rows and printed.empty:
        choose(f"table of {paper.key}", name, sorted({row.table for row in paper.rows}))
    ours = {row.printed[1] for row in rows if row.printed}
    quoted = [] if rows and name.startswith("prose") else [text for text in printed.row.unique() if text not in ours]
    lines: dict[str, list[Row]] = {text: [] for text in quoted}
    for row in rows:
        lines.setdefault(row.label + (ADDED if row.added and not printed.empty else ""), []).append(row)
    bases = {label: _bases(line, rows) for label, line in lines.items()}
    cells: dict[tuple[str, str, str], list[str]] = {}
    scored: dict[str, list[Column]] = {}
    for group, metric, column, print_on in _columns(rows, printed):
        named = [line[0].printed and line[0].printed[1] if line else label for label, line in lines.items()]
        numbers = [_printed(printed, text, group, metric) if print_on else "" for text in named]
        if print_on:
            cells[group, metric, "printed"] = numbers
        if column is not None:
            scored.setdefault(group, []).append(column)
            cells[group, metric, _measured_on(rows, results, column)] = [
                _cell(line, results, column, metric) if line else QUOTED if number else ""
                for line, number in zip(lines.values(), numbers, strict=True)
            ]
        if (print_on or printed.empty) and measure(metric) in dict(SHOWN).values():
            theirs = {row.key: _printed(printed, row.printed and row.printed[1], group, metric) for row in rows}
            leads = [_difference(line, bases[label], results, theirs, column, metric) for label, line in lines.items()]
            if any(isinstance(lead, Shown) for lead in leads):
                both = any(theirs[row.key] for line in bases.values() for row in line)
                cells[group, metric, f"{DIFFERENCE}: printed / measured" if both else DIFFERENCE] = leads
    return _Sheet(rows, results, printed, lines, bases, cells, scored)


def _frame(sheet: _Sheet, group: str | None = None) -> pd.DataFrame:
    """A sheet, or one of its column groups, as a table with notes about what it shows."""
    cells = {column: found for column, found in sheet.cells.items() if group in (None, column[0])}
    frame = pd.DataFrame(cells, index=pd.Index(list(sheet.lines), name=""), dtype=object)
    frame = frame[(frame != "").any(axis=1)]
    frame.attrs["notes"] = [note for note in _notes(sheet, frame, group) if note]
    return frame


def _notes(sheet: _Sheet, frame: pd.DataFrame, group: str | None) -> list[str]:
    rows, printed = [row for label in frame.index for row in sheet.lines[label]], sheet.printed
    shown = {column for name, columns in sheet.scored.items() if group in (None, name) for column in columns}
    trials = (_shown_in(trial, row, shown) for row in rows for trial in sheet.results.get(row.key, ()))
    notes = [provenance([[trial for trial in trials if trial.settings]])]
    if printed.empty:
        notes.append("The paper has no such table.")
    leads = frame[[column for column in frame.columns if column[2].startswith(DIFFERENCE)]]
    if not leads.empty:
        compared = {label: sheet.lines[label] for label in leads.index[(leads != "").any(axis=1)]}
        base = _compared_with(compared, sheet.bases)
        notes.append(f"Difference: to {base}, in points, over the trials that both have.")
    if frame.apply(lambda cell: cell.str.contains(TIES)).to_numpy().any():
        notes.append(f"{TIES} more than {TIED:.0%} of the queries' first hits tie with a wrong image.")
    notes.append(collapses((row for row in rows if shown & set(_scored(row))), sheet.results))
    notes += _sampling_errors(rows, printed if group is None else printed[printed.dataset == group])
    if group is not None:  # what is scored elsewhere alone departs from the paper in another part
        rows = [row for row in rows if shown & set(_scored(row))]
    return notes + _deviations(rows)


def _shown_in(trial: Trial, row: Row, columns: Set["Column"]) -> Trial:
    """The trial with those of its evaluations that stand in some columns."""
    indices = [index for column, index in _scored(row).items() if column in columns]
    return trial._replace(settings=tuple(trial.settings[index] for index in indices if index < len(trial.settings)))


def _deviations(rows: Sequence[Row]) -> list[str]:
    """How rows differ from the paper, a sentence for each set of rows that differ alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for text in dict.fromkeys(text for row in rows for text in row.deviations):
        labels = dict.fromkeys(row.label for row in rows if text in row.deviations)
        alike.setdefault(tuple(labels), []).append(text)
    groups = {
        "All rows measured here": {row.label for row in rows},
        "All rows of the paper measured here": {row.label for row in rows if row.printed},
    }
    notes = []
    for named, texts in alike.items():
        whole = [name for name, group in groups.items() if len(group) > 1 and group == set(named)]
        notes.append(f"{whole[0] if whole else '; '.join(named)}: {'; '.join(texts)}.")
    return notes


def _bases(line: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The rows that a line is held against: those that it names, itself if only others name it, else the baselines."""
    if named := {row.against for row in line if row.against}:
        return [row for row in rows if row.key in named]
    compared = {row.against for row in rows}
    return [row for row in line if row.key in compared] or [row for row in rows if row.baseline]


def _compared_with(lines: Mapping[str, Sequence[Row]], bases: Mapping[str, Sequence[Row]]) -> str:
    """What the lines of a table are held against, in words: "A", "A, here B", or "A (for B, C), D (for E)"."""
    found: dict[str, list[str]] = {}
    for label, line in lines.items():
        own = any(row in bases[label] for row in line)
        if line and not own:
            found.setdefault(", here ".join(dict.fromkeys(row.label for row in bases[label])), []).append(label)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(
        f"{base} (for {', '.join(label.removesuffix(ADDED) for label in labels)})" for base, labels in found.items()
    )


Column = tuple[Data, str, int]  # dataset, protocol, and a number where a row is scored in several ways


def _scored(row: Row) -> dict[Column, int]:
    """The columns that a row is scored in -> the index of the evaluation."""
    found: dict[Column, int] = {}
    for index, item in enumerate(row.evaluations):
        number = sum((data, protocol) == (item.data, item.protocol) for data, protocol, _ in found)
        found[item.data, item.protocol, number] = index
    return found


def _columns(rows: Sequence[Row], printed: pd.DataFrame) -> Iterable[tuple[str, str, Column | None, bool]]:
    """(group, metric, column of the rows' evaluations or None, printed?) of each pair of columns.

    The n-th printed dataset is the n-th dataset the rows are evaluated on; further protocols follow unprinted.
    """
    columns = list(dict.fromkeys(column for row in rows for column in _scored(row)))
    first = {column[0]: column for column in reversed(columns)}
    known = [first[data] for data in dict.fromkeys(data for data, _, _ in columns)][: printed.dataset.nunique()]
    for number, group in enumerate(printed.dataset.unique()):
        for metric in printed[printed.dataset == group].metric.unique():
            shown = measure(metric) is not None and number < len(known)
            yield group, metric, known[number] if shown else None, True
    for column in columns:
        if column not in known:
            for heading, _ in SHOWN:
                data, protocol, number = column
                names = [HEADINGS.get(data.name, data.name), PROTOCOL_HEADINGS.get(protocol, protocol)]
                names += [data.preset] * (data.preset != "default") + [f"scoring {number + 1}"] * (number > 0)
                yield ", ".join(dict.fromkeys(names)), heading, column, False


def _printed(printed: pd.DataFrame, row: str | None, group: str, metric: str) -> str:
    """The printed number of a row, with as many decimals as its column has; None is a row that the paper lacks."""
    column = printed[(printed.dataset == group) & (printed.metric == metric)]
    found = column[column.row == row].value.tolist()
    if not found or not found[0]:
        return ""
    try:
        decimals = max(len(text.partition(".")[2]) for text in column.value)
        return f"{float(found[0]):.{decimals}f}"
    except ValueError:  # text such as "750/751"
        return found[0]


def _sampling_errors(rows: Sequence[Row], printed: pd.DataFrame) -> list[str]:
    """One sentence a dataset: how far the paper's own rank-1 may be off by the choice of test people alone."""
    notes = []
    for group in printed.dataset.unique():
        queries = printed_queries(group)
        lines = printed[(printed.dataset == group) & (printed.metric.map(measure) == "rank1")]
        texts = dict(zip(lines.row, lines.value, strict=False))
        ours = [row for row in rows if row.printed and texts.get(row.printed[1])]
        if queries and ours:
            errors = dict.fromkeys(
                f"{row.label} ±{printed_error(float(texts[row.printed[1]]), queries):.1f}"
                for row in ours
                if row.printed
            )
            notes.append(
                f"Sampling error of the printed rank-1 on {group} (one standard error, {queries} queries): "
                f"{', '.join(errors)} points."
            )
    return notes


def _cell(line: Sequence[Row], results: Results, column: Column, metric: str) -> str:
    """What the row of this line that is scored in this column measured."""
    row = next((row for row in line if column in _scored(row)), None)
    if row is None:
        return ""
    trials, index = results.get(row.key, ()), _scored(row)[column]
    name = measure(metric)
    assert name is not None
    text = mean_sd(measured(trials, index, name))
    tied = [found["tied"] for trial in trials if (found := trial.metrics(index)) is not None]
    marks = [TIES] * bool(tied and np.mean(tied) > TIED) + [COLLAPSES] * bool(collapsed(trials))
    return Shown(" ".join([text, *marks]), **getattr(text, "exact", {})) if marks else text


def _difference(
    line: Sequence[Row],
    bases: Sequence[Row],
    results: Results,
    printed: Mapping[str, str],
    column: Column | None,
    metric: str,
) -> str:
    """A line's lead over its table's baseline, in points: "printed / measured", "–" for one that there cannot be.

    printed: row key -> printed number in this column. Where the baseline has none, only what was measured is given: the
    mean over the trials that both have, on the same images.
    """
    if not line:
        return ""
    compared = next((printed[row.key] for row in bases if printed[row.key]), "")
    if any(row in bases for row in line):
        return "baseline" if printed[line[0].key] or any(column in _scored(row) for row in line) else ""
    row, base = (next((row for row in found if column in _scored(row)), None) for found in (line, bases))
    theirs, ours, exact = "–", "–", {}
    if compared and printed[line[0].key]:
        exact["printed"] = float(printed[line[0].key]) - float(compared)
        theirs = f"{exact['printed']:+.1f}"
    if row is not None and base is not None and column is not None:
        at, name = (_scored(row)[column], _scored(base)[column]), measure(metric) or ""
        pairs = zip(results.get(row.key, ()), results.get(base.key, ()), strict=False)
        scores = [(value(a, at[0], name), value(b, at[1], name)) for a, b in pairs if comparable(a, b, *at)]
        ours = mean_sd(np.array([a - b for a, b in scores if a is not None and b is not None]), "+")
        exact |= getattr(ours, "exact", {})
    text = f"{theirs} / {ours}" if compared else ours
    return Shown(text, **exact) if exact else "" if ours == "–" else text


def _measured_on(rows: Iterable[Row], results: Results, column: Column) -> str:
    """The data and the profile that a measured column is from, e.g. "plaza small, laptop"."""
    found = [
        _condition(trial, index)
        for row in rows
        if (index := _scored(row).get(column)) is not None
        for trial in results.get(row.key, ())
        if trial.metrics(index)
    ]
    return "; ".join(dict.fromkeys(found)) or "here"


def _condition(trial: Trial, column: int) -> str:
    assert trial.run is not None
    return f"{trial.settings[column].data}, {trial.run.record.get('profile', '')}".rstrip(", ")


def provenance(groups: Iterable[Sequence[Trial]]) -> str:
    """Where a table's numbers are from, in a line: data, profile, queries, seeds, device, dates.

    Its `full` has precision and versions too.
    """
    trials = [trial for group in groups for trial in group if trial.run is not None]
    records = [trial.run.record for trial in trials if trial.run is not None]
    if not records:
        return ""
    data = _joined(str(item.data) for trial in trials for item in trial.settings)
    worlds = sorted({item.data.world for trial in trials for item in trial.settings if synthetic(item.data)})
    seeds = sorted({record["recipe"].get("seed", 0) for record in records})
    dates = sorted({record["date"] for record in records})
    smoke = any(record.get("profile") == "smoke" for record in records)
    where = f" ({_numbered('world', worlds)})" if worlds else ""
    line = (
        f"{'Smoke runs only show that the code runs; these numbers mean nothing. ' if smoke else ''}"
        f"Measured on {data}{where}, "
        f"profile {_joined(record.get('profile', '') for record in records)}, "
        f"{_asked(item.queries for trial in trials for item in trial.settings)}{_numbered('seed', seeds)}; "
        f"{_joined(map(_device, records))}; "
        f"{dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'}"
    )
    precision = _joined(record["precision"] for record in records)
    packages = "Python {python}, PyTorch {torch}, NumPy {numpy}"
    packages = _joined(packages.format(**record["versions"]) for record in records)
    commits = _joined(record.get("commit") or "unknown" for record in records)
    return Shown(f"{line}.", full=f"{line}; {precision}; {packages}; commit {commits}.")


def _device(record: Mapping[str, Any]) -> str:
    count = record.get("devices", 1)
    return f"{f'{count} × ' if count > 1 else ''}{record.get('device', 'unknown device')}"


def _asked(queries: Iterable[int | None]) -> str:
    """How many queries trials are scored on: "all queries, ", "50 queries a trial, "; "" where none is scored."""
    counts = sorted({-1 if number is None else number for number in queries}, reverse=True)
    if counts in ([], [-1]):
        return "all queries, " if counts else ""
    return f"{' or '.join('all' if number < 0 else str(number) for number in counts)} queries a trial, "


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def _numbered(noun: str, numbers: Sequence[int]) -> str:
    """ "worlds 0-4" of consecutive numbers, else "worlds 0, 2, 5"; of one "world 3"."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{noun}s {numbers[0]}-{numbers[-1]}"
    return f"{noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def synthetic(data: Data) -> bool:
    """Whether these are drawn people."""
    return bool(data.size)  # only synthetic datasets come in sizes


def rates(paper: Paper, results: Results) -> pd.DataFrame:
    """The rows of table "Tuning" with their learning rates and held-out accuracies, percent, in order of the rate."""
    rows = sorted((row for row in paper.rows if row.table == "Tuning"), key=lambda row: row.recipe.optimiser.lr)
    records = [trial.run.record for row in rows for trial in results[row.key] if trial.run]
    found = {
        f"{row.recipe.optimiser.lr:g}": {
            "mean of a training": mean_sd(measured(results[row.key], 0, "mean_accuracy")),
            "at its end": mean_sd(measured(results[row.key], 0, "final_accuracy")),
        }
        for row in rows
    }
    frame = pd.DataFrame.from_dict(found, orient="index", dtype=object).rename_axis("learning rate")
    said = set()
    for record in records:
        recipe = {"steps": Recipe.steps, "datasets": [{}]} | record["recipe"]  # which leaves defaults out
        data = Data(**recipe["datasets"][0]).name
        said.add(
            f"{recipe['steps']:,} steps on {data}, profile {record['profile']}; {record['device']}; {record['date']}."
        )
    frame.attrs["notes"] = sorted(said)
    return frame


def scored_on(trial: Trial, column: int) -> EvaluationSettings:
    """What a trial is scored on; how a model scores is its own affair, such as the average of both orders."""
    return replace(trial.settings[column], scoring=())


def comparable(a: Trial, b: Trial, column: int, other: int) -> bool:
    """Whether two trials were run, on the same images and, where both took steps, alike (`same_training`).

    What takes no steps is one run for all profiles.
    """
    if a.run is None or b.run is None:
        return False
    images = [scored_on(trial, at) if at < len(trial.settings) else None for trial, at in ((a, column), (b, other))]
    return images[0] == images[1] and same_training(a.run, b.run)


def same_training(a: Run, b: Run) -> bool:
    """Whether two runs are of one profile on as many devices, each of which adds images to a step; what takes no steps
    is one run for all.
    """
    trained = [run.record for run in (a, b) if run.record["recipe"].get("steps", Recipe.steps)]
    return len({(record.get("profile"), record.get("devices", 1)) for record in trained}) < 2
