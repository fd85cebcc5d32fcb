"""What drawn people can tell: printed orderings asked here, how far scores vary, and who is hard for all methods.

Scores are in points (of 100) where they stand beside printed ones, fractions elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import chi2, kendalltau

from reidlib.papers.orderings import Ordering, Printed
from reidlib.recipe import EvaluationSettings
from reidlib.robustness import NUISANCES, PLAIN, TABLE, USUAL, rank1
from reidlib.store import Run, Trial
from reidlib.tables import HEADINGS, Results, measure, printed_values, same_training, scored_on, value
from reidlib.verdicts import cluster_variance, score, t_half

AGREES, DISAGREES, OPEN, NOT_RUN = "agrees", "disagrees", "undecided", "not run"
ANSWERS = (AGREES, DISAGREES, OPEN, NOT_RUN)
Measure = Literal["rank1", "mean_ap"]


@dataclass(frozen=True)
class Spread:
    """Standard deviations of scores, in their unit: of trials as a whole, and of one method against another.

    trial: what a trial adds to all methods alike. residual: what is left to each method in each trial, on `df` degrees
    of freedom; a paired difference of two methods has `residual` times the square root of 2.
    """

    trial: float
    residual: float
    df: int

    def error(self, trials: int, paired: bool = True) -> float:
        """Standard error of a difference of two methods' means; paired: in the same trials, else each in its own."""
        variance = self.residual**2 + (0 if paired else self.trial**2)
        return float(np.sqrt(2 * variance / trials))

    def half(self, trials: int) -> float:
        """Half the 95 % interval of a paired difference over so many trials."""
        return float(stdtrit(self.df, 0.975)) * self.error(trials)

    def detectable(self, trials: int, paired: bool = True) -> float:
        """The difference that so many trials find with 80 % power, two-sided at 5 %; as `Verdict.detectable`."""
        reach = float(stdtrit(self.df, 0.975) + stdtrit(self.df, 0.8))
        return reach * self.error(trials, paired)


def half_width(spread: Spread | None, differences: Sequence[float]) -> float:
    """Half of a 95 % interval of the mean of paired differences: as they vary in all pairs, or in this one, if wider.

    What one pair says of itself is heard from three trials on. NaN where neither is known.
    """
    trials = len(differences)
    half = spread.half(trials) if trials and spread is not None else np.nan
    own = t_half(differences) if trials > 2 else np.nan
    return float(np.fmax(half, own))


def spread(scores: pd.DataFrame) -> Spread | None:
    """How scores vary over trials: score = method + trial + the rest, by analysis of variance.

    scores: a row a trial, a column a method, nothing missing. None where there are fewer than two of either.
    """
    values = scores.to_numpy(float)
    trials, methods = values.shape
    if min(trials, methods) < 2:
        return None
    by_trial, by_method = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    rest = values - by_trial - by_method + values.mean()
    df = (trials - 1) * (methods - 1)
    residual = float((rest**2).sum() / df)
    common = max(0.0, float(by_trial.var(ddof=1)) - residual / methods)
    return Spread(common**0.5, residual**0.5, df)


def complete(rows: Mapping[str, Sequence[Trial]], column: int, name: Measure) -> pd.DataFrame:
    """Scores of several rows in the trials that all of them have, points: a row a trial, a column a row."""
    found = {label: {t: value(trial, column, name) for t, trial in enumerate(trials)} for label, trials in rows.items()}
    return pd.DataFrame(found, dtype=float).dropna()


def compare(
    orderings: Iterable[Ordering], results: Mapping[str, Results], spreads: Mapping[str, Spread | None]
) -> pd.DataFrame:
    """Each ordering's printed and measured difference, in points, with its interval, and what that says.

    results: paper -> its results. spreads: measure -> how trials vary; its interval is the same for every comparison
    over as many trials, so that a single trial has one too. Three or more that vary by more than that, as where some
    trainings collapse, have their own. Columns: family, better, worse, measure, printed_on,
    measured_on, same (whether that is the printed dataset's own counterpart), printed, trials, mean, low, high, answer:
    AGREES or DISAGREES where the interval leaves out zero, else OPEN; NOT_RUN.
    """
    lines = []
    for item in orderings:
        arms = [results.get(asked.paper, {}).get(asked.key, ()) for asked in item.rows]
        columns = [asked.column for asked in item.rows]
        differences, where = [], ""
        for first, second in zip(*arms, strict=False):
            scores = [value(t, column, item.measure) for t, column in zip((first, second), columns, strict=True)]
            if None in scores or None in (first.run, second.run):
                continue
            settings = [_images(scored_on(t, column)) for t, column in zip((first, second), columns, strict=True)]
            if settings[0] == settings[1] and same_training(first.run, second.run):
                differences.append(scores[0] - scores[1])  # type: ignore[operator]
                where = where or _counterpart(settings[0])
        printed = [printed_number(one, item.measure) for one in item.printed]
        trials, known = len(differences), spreads.get(item.measure)
        mean = float(np.mean(differences)) if trials else np.nan
        half = half_width(known, differences)
        lines.append(
            {
                "family": item.family,
                "better": item.better,
                "worse": item.worse,
                "measure": item.measure,
                "printed_on": item.printed[0].dataset,
                "measured_on": where,
                "same": where.lower().startswith(_asked_of(item.printed[0].dataset)),
                "printed": printed[0] - printed[1],
                "trials": trials,
                "mean": mean,
                "low": mean - half,
                "high": mean + half,
                "answer": NOT_RUN if not trials else AGREES if mean > half else DISAGREES if mean < -half else OPEN,
            }
        )
    return pd.DataFrame(lines)


def _asked_of(printed: str) -> str:
    """The dataset that a printed column is tested on, of "Market-1501 (SQ)" or "Duke->Market"."""
    return printed.lower().split("->")[-1].split(" (")[0]


def _images(settings: EvaluationSettings) -> EvaluationSettings:
    """Settings but for the average of a picture and its mirror image, which is a method's own affair."""
    return replace(settings, protocol=settings.protocol.removesuffix("-flip"))


def _counterpart(settings: EvaluationSettings) -> str:
    """The dataset that these images stand for, as tables head it."""
    data = settings.data
    name = {"plaza": "market1501", "campus": "dukemtmc"}.get(data.name, data.name) if not data.layout else data.layout
    return HEADINGS.get(name, name.replace("cuhk03-np-", "CUHK03-NP "))


def printed_number(source: Printed, name: str) -> float:
    """The printed number, in percent. ValueError where the paper prints none there."""
    table = _printed_table(source.paper, source.table)
    found = table[(table.row == source.row) & (table.dataset == source.dataset) & (table.metric.map(measure) == name)]
    if len(found) != 1 or not found.value.iloc[0]:
        raise ValueError(f"{source}: {len(found)} printed values of {name}; give the row and dataset as printed")
    return float(found.value.iloc[0])


_printed_table = cache(printed_values)


def deviations(trials: Sequence[Trial], seeds: Sequence[Trial], column: int, name: Measure) -> pd.DataFrame:
    """Where one method's score varies from, as standard deviations in points with 95 % intervals.

    trials: each of an own seed and world. seeds: of several seeds in one world, the first of `trials` among them.
    Rows: "seed and world", over the trials; "seed", over seeds in one world; "choice of queries", over bootstraps of
    look-alike groups in each trial; "rest of the world", what the first leaves over the two others, no less than 0 and
    without an interval. Columns: source, sd, low, high, values; sources without two values are left out.
    """
    rows: dict[str, tuple[float, float, float, int]] = {}
    for source, given in (("seed and world", trials), ("seed", seeds)):
        scores = [one for trial in given if (one := value(trial, column, name)) is not None]
        if len(scores) > 1:
            rows[source] = (*_chi(float(np.std(scores, ddof=1)), len(scores) - 1), len(scores))
    sampled = [found for trial in trials if (found := _query_variance(trial, column, name)) is not None]
    if sampled:
        error = float(np.mean(sampled)) ** 0.5
        rows["choice of queries"] = (error, np.nan, np.nan, len(sampled))
    if len(rows) == 3:
        total, seed, queries = (found[0] ** 2 for found in rows.values())
        rows["rest of the world"] = (max(0.0, total - seed - queries) ** 0.5, np.nan, np.nan, len(trials))
    lines = [(source, *numbers) for source, numbers in rows.items()]
    return pd.DataFrame(lines, columns=["source", "sd", "low", "high", "values"])


def _chi(sd: float, df: int) -> tuple[float, float, float]:
    """A standard deviation with its 95 % interval, of values that are normally distributed."""
    low, high = (sd * float(df / chi2.ppf(level, df)) ** 0.5 for level in (0.975, 0.025))
    return sd, low, high


def query_scores(trial: Trial, column: int, name: Measure) -> pd.DataFrame | None:
    """A trial's queries, averaged over gallery draws: index query, columns score and group; None where not run."""
    if trial.run is None or trial.metrics(column) is None:
        return None
    queries = trial.run.queries(trial.settings[column])
    assert queries is not None
    return (
        queries.assign(score=score(queries, name))
        .groupby("query")
        .agg(score=("score", "mean"), group=("group", "first"))
    )


def _query_variance(trial: Trial, column: int, name: Measure) -> float | None:
    """Variance of a trial's score over the choice of test people, in points squared."""
    found = query_scores(trial, column, name)
    if found is None or found.group.nunique() < 2:
        return None
    return 100**2 * cluster_variance(found.score.to_numpy(), found.group.to_numpy())


def by_person(runs: Mapping[str, Run], setting: str = PLAIN) -> pd.DataFrame | None:
    """How many wrong pictures are at least as near as the right one, by `reidlib.robustness`: a row a person.

    Index: person and group of look-alikes; a column a method. Methods that were not measured in that setting are left
    out, None where all are. ValueError: runs measured on different people.
    """
    found: dict[str, pd.Series] = {}
    for name, run in runs.items():
        table = run.table(TABLE)
        if table is not None and setting in table:
            found[name] = table.set_index(["person", "group"])[setting]
            first = next(iter(found.values()))
            if not found[name].index.equals(first.index):
                raise ValueError(f"{name} and {next(iter(found))} were measured on different people")
    return pd.DataFrame(found) if found else None


def independent(shares: Sequence[float]) -> np.ndarray:
    """The chance that 0, 1, ... of several methods are right about a person if they err independently.

    shares: (M,), of the people that each is right about. (M + 1,), adds to 1.
    """
    found = np.ones(1)
    for share in shares:
        found = np.convolve(found, (1 - share, share))
    return found


def orders(runs: Mapping[str, Run]) -> pd.DataFrame:
    """How far the methods' order by rank-1 stays what it is on the usual pictures, as each nuisance changes.

    Columns: knob, value (of `robustness.NUISANCES`), agreement: Kendall's tau-b of the methods that were measured
    in both settings. Settings with fewer than three methods are left out.
    """
    usual, rows = by_person(runs), []
    for knob, values in NUISANCES.items():
        for strength in values:
            found = usual if strength == USUAL[knob] else by_person(runs, f"{knob}={strength:g}")
            if found is None or usual is None:
                continue
            shared = [name for name in found if name in usual]
            if len(shared) > 2:
                before, after = ([rank1(frame[name]).mean() for name in shared] for frame in (usual, found))
                rows.append((knob, strength, float(kendalltau(before, after).statistic)))
    return pd.DataFrame(rows, columns=["knob", "value", "agreement"])


def permutation_test(
    values: np.ndarray, labels: np.ndarray, blocks: np.ndarray, draws: int = 5000
) -> tuple[float, float, float]:
    """Whether a label tells anything about a value: (share of variance between labels, its mean by chance, p).

    values, labels, blocks: (N,). Values change places within their block only, such as a group of look-alikes. p is
    the chance of as large a share, the observed order counting as one.
    """
    _, label = np.unique(labels, return_inverse=True)
    sizes = np.bincount(label)
    centred = np.asarray(values, float) - np.mean(values)
    total = float((centred**2).sum())
    if total == 0 or len(sizes) < 2:
        return 0.0, 0.0, 1.0
    members = [np.flatnonzero(np.asarray(blocks) == block) for block in np.unique(blocks)]
    generator, shares = np.random.default_rng(0), np.empty(draws + 1)
    for draw in range(draws + 1):
        moved = centred.copy()
        if draw:  # the first is as observed
            for rows in members:
                moved[rows] = generator.permutation(centred[rows])
        shares[draw] = (np.bincount(label, moved, len(sizes)) ** 2 / sizes).sum() / total
    as_large = shares >= shares[0] * (1 - 1e-12)
    return float(shares[0]), float(shares[1:].mean()), float(as_large.mean())
