"""The rule by which runs decide a claim: paired replicates, a t interval, a margin fixed before, Holm.

All numbers of one call share one unit, whichever it is; `reidlib.claims` uses points (of 100).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from reidlib.names import choose

Relation = Literal["greater", "similar"]
Outcome = Literal["supported", "contradicted", "negligible", "undecided", "preliminary", "no verdict"]
DECIDED = ("supported", "contradicted", "negligible")
LEVEL = 0.95  # of intervals, and one minus the error rate of a paper's claims together
TESTED = (*DECIDED, "undecided")  # with all replicates, and judged by the rule


@dataclass(frozen=True)
class Verdict:
    """What paired differences say about one claim.

    low, high: the two-sided t interval of the mean. p: two-sided, of the test that the outcome rests on, and of an
    undecided one the larger of those that could have decided; Holm compares it with 1 - LEVEL. against: the mean speaks
    against the claim, by the margin or more. required: replicates that would decide, whatever the paper's other claims
    give, if mean and spread stayed as they are; None where none up to 1000 would. detectable: effect found with 80 %
    power.
    """

    outcome: Outcome
    mean: float
    low: float
    high: float
    replicates: int
    margin: float
    df: float = float("nan")
    p: float = 1.0
    against: bool = False
    required: int | None = None
    detectable: float = float("nan")
    reason: str = ""


def verdict(
    differences: Sequence[float] | np.ndarray,
    margin: float,
    relation: Relation = "greater",
    *,
    test_variance: float | None = None,
    planned: int | None = None,
    baseline_rank1: float | None = None,
    doubled: tuple[float, float] | None = None,
    claims: int = 1,
    parts: int = 1,
) -> Verdict:
    """Decide a claim from one difference a replicate (claimed arm minus baseline).

    greater: supported where the interval lies above 0 and the mean reaches the margin, contradicted where both
    hold below, negligible where the interval lies inside +-margin, else undecided. similar: supported where the
    interval lies inside +-margin, contradicted where it lies wholly outside.
    test_variance: of the mean difference over the people of one fixed test set (`cluster_variance`), None where
    every replicate has a test set of its own. planned: replicates fixed beforehand; fewer are preliminary.
    baseline_rank1: fraction; outside 0.1-0.9 there is no verdict. doubled: the mean difference in the trials that
    were also run under a doubled schedule, and in these; no verdict where the sign turns, or, of what should be
    similar, where one lies inside the margin and the other does not: the sign of no difference is chance.
    claims: how many `correct` will correct for. parts: of a claim of several, over which `conjunction` corrects what is
    against it.
    """
    values = np.asarray(differences, float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences must be finite numbers, one a replicate; got {differences!r}")
    if margin <= 0:
        raise ValueError(f"margin={margin}: give the smallest difference that matters, above 0")
    choose("relation", relation, ("greater", "similar"))
    count, mean = len(values), float(values.mean())
    weak = ""  # more replicates do not help it
    if baseline_rank1 is not None and not 0.1 <= baseline_rank1 <= 0.9:
        weak = f"the baseline's rank-1 is {100 * baseline_rank1:.1f} %, outside 10-90 %"
    if count < 2:
        reason = "; ".join(filter(None, ("one replicate has no interval", weak)))
        return Verdict("preliminary", mean, -np.inf, np.inf, count, margin, reason=reason)
    variance, fixed = float(values.var(ddof=1)), float(test_variance or 0.0)
    error, df = _error(variance, fixed, count)
    half = float(stdtrit(df, (1 + LEVEL) / 2) * error)
    against = abs(mean) > margin if relation == "similar" else mean <= -margin
    strict = 1 - (1 - LEVEL) / (claims * parts if against else claims)
    outcome = _outcome(mean, half, margin, relation)
    found = Verdict(
        outcome=outcome,
        mean=mean,
        low=mean - half,
        high=mean + half,
        replicates=count,
        margin=margin,
        df=df,
        p=_p(mean, error, df, margin, relation, outcome),
        against=against,
        required=_required(mean, variance, fixed, count, margin, relation, strict),
        detectable=half + float(stdtrit(df, 0.8) * error),
    )
    if planned is not None and count < planned:
        reason = "; ".join(filter(None, (f"{count} of {planned} replicates", weak)))
        return replace(found, outcome="preliminary", reason=reason)
    if weak:
        return replace(found, outcome="no verdict", reason=weak)
    if doubled is not None:
        once, twice = doubled
        if relation == "similar" and (abs(once) < margin) != (abs(twice) < margin):
            return replace(found, outcome="no verdict", reason="the difference crosses the margin at twice the length")
        if relation == "greater" and once * twice < 0:
            return replace(found, outcome="no verdict", reason="the sign turns at twice the length")
    return found


def _error(variance: float, fixed: float, count: int | np.ndarray) -> tuple:
    """Standard error of the mean and Satterthwaite's degrees of freedom, at least count - 1.

    The fixed part comes from many resamples and counts as known, so that it adds degrees of freedom.
    """
    sampled = variance / count
    df = (count - 1) * ((sampled + fixed) / sampled) ** 2 if variance > 0 else count - 1.0
    return np.sqrt(sampled + fixed), df


def _outcome(mean: float, half: float, margin: float, relation: Relation) -> Outcome:
    low, high = mean - half, mean + half
    inside = -margin < low and high < margin
    if relation == "similar":
        return "supported" if inside else "contradicted" if low > margin or high < -margin else "undecided"
    if low > 0 and mean >= margin:
        return "supported"
    if high < 0 and mean <= -margin:
        return "contradicted"
    return "negligible" if inside else "undecided"


def _p(mean: float, error: float, df: float, margin: float, relation: Relation, outcome: Outcome) -> float:
    """Two-sided p-value of the test that the outcome rests on: of a mean inside the margin, or of one away from it.

    Of an undecided outcome the larger of both: what is open must not make it easier for Holm to decide another claim.
    """
    size, error = abs(mean), max(error, np.finfo(float).tiny)
    with np.errstate(over="ignore"):  # of replicates that agree to the last digit, where infinity is right
        inside = 2 * stdtr(df, (size - margin) / error)
        other = 2 * stdtr(df, ((margin - size) if relation == "similar" else -size) / error)
    if outcome == "undecided":
        return float(min(1.0, max(inside, other)))
    within = outcome == ("supported" if relation == "similar" else "negligible")
    return float(inside if within else other)


def _required(
    mean: float, variance: float, fixed: float, count: int, margin: float, relation: Relation, level: float
) -> int | None:
    size = abs(mean)
    # Half-widths below this decide: the interval then leaves zero, or lies inside or outside the margin.
    enough = size if relation == "greater" and size >= margin else abs(size - margin)
    counts = np.arange(count + 1, 1001)
    errors, df = _error(variance, fixed, counts)
    deciding = counts[stdtrit(df, (1 + level) / 2) * errors < enough]
    return int(deciding[0]) if len(deciding) else None


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: reject where one is at most the family's error rate."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def conjunction(parts: Sequence[Verdict]) -> Verdict:
    """The verdict of a claim whose every part must hold, with the numbers of the weakest part among those it rests on.

    Contradicted by one reversal that is significant after Holm over the parts, whatever the others say. Else
    preliminary where a part is, or without a verdict where one is; supported where all parts are (its p is the largest
    of theirs); negligible where every part is decided and one is negligible.
    """
    if not parts:
        raise ValueError("a conjunction needs at least one part")
    if len(parts) == 1:
        return parts[0]
    adjusted = holm([part.p if part.outcome in TESTED else 1.0 for part in parts])
    found = [replace(part, p=float(p)) for part, p in zip(parts, adjusted, strict=True)]
    if reversals := [part for part in found if part.outcome == "contradicted" and part.p <= 1 - LEVEL]:
        p = min(part.p for part in reversals)
        return replace(_weakest(reversals), p=p, reason=f"{len(reversals)} of {len(parts)} parts reversed")
    for outcome in ("preliminary", "no verdict"):
        if open_ := [part for part in parts if part.outcome == outcome]:
            weakest = _weakest(open_)
            where = f" in {len(open_)} of {len(parts)} parts" if len(open_) < len(parts) else ""
            return replace(weakest, reason=weakest.reason + where)
    weakest, largest = _weakest(parts), max(part.p for part in parts)
    if all(part.outcome == "supported" for part in parts):
        return replace(weakest, p=largest)
    if all(part.outcome in ("supported", "negligible") for part in parts):
        count = sum(part.outcome == "negligible" for part in parts)
        reason = f"{count} of {len(parts)} parts negligible"
        return replace(weakest, outcome="negligible", p=largest, reason=reason)
    # One part that is against the claim decides it as soon as it can be told; else all that are open have to be.
    against = [part.required for part in parts if part.against and part.required is not None]
    needs = [part.required for part in parts if part.outcome == "undecided"]
    known = [need for need in needs if need is not None]
    required = min(against) if against else max(known, default=None) if len(known) == len(needs) else None
    count = sum(part.outcome == "contradicted" for part in parts)
    reason = f"{count} of {len(parts)} parts contradicted by itself, not after Holm over the parts" if count else ""
    return replace(weakest, outcome="undecided", p=largest, required=required, reason=reason)


def _weakest(parts: Sequence[Verdict]) -> Verdict:
    return min(parts, key=lambda part: part.mean)


def correct(verdicts: Sequence[Verdict], claims: int) -> list[Verdict]:
    """Holm over the claims of one paper in one condition: a decision that does not survive is undecided.

    claims: how many the paper has. All count, also those that were not compared or may have no verdict (as p = 1):
    what becomes of one claim must not make it easier to decide another.
    """
    tested = [index for index, item in enumerate(verdicts) if item.outcome in TESTED]
    result = list(verdicts)
    adjusted = holm([*(verdicts[index].p for index in tested), *[1.0] * (claims - len(tested))])
    for index, p in zip(tested, adjusted, strict=False):
        if result[index].outcome in DECIDED and p > 1 - LEVEL:
            reason = f"{result[index].outcome} by itself, not after Holm over {claims} claims"
            result[index] = replace(result[index], outcome="undecided", reason=reason)
    return result


def cluster_variance(differences: np.ndarray, groups: np.ndarray, draws: int = 1000, seed: int = 0) -> float:
    """Bootstrap variance of a mean over queries, whole groups (people, look-alikes) resampled together.

    differences, groups: (Q,). The result is in the square of the differences' unit.
    """
    _, cluster = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(cluster, differences), np.bincount(cluster)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)  # (draws, clusters)
    return float(np.var((weights @ sums) / (weights @ sizes), ddof=1))


def fixed_test_variance(arms: Sequence[tuple[pd.DataFrame, pd.DataFrame]], measure: str) -> float:
    """`cluster_variance` of the mean difference over replicates that share one test set.

    arms: per replicate the queries of the claimed arm and of the baseline (`Run.queries`). measure: "mean_ap",
    "mean_inp" or "rankN". Gallery draws are averaged per query first.
    """
    differences = []
    for first, second in arms:
        a, b = (score(frame, measure).groupby(frame["query"]).mean() for frame in (first, second))
        differences.append(a - b)
    mean = pd.concat(differences, axis=1).mean(axis=1)
    groups = arms[0][0].groupby("query")["group"].first().reindex(mean.index)
    return cluster_variance(mean.to_numpy(), groups.to_numpy())


def score(queries: pd.DataFrame, measure: str) -> pd.Series:
    """Of each query, a fraction. measure: "rank1" (or another rank), "mean_ap" or "mean_inp"; KeyError for others."""
    if measure.startswith("rank"):
        return (queries["first_hit"] < int(measure.removeprefix("rank"))).astype(float)
    return queries[{"mean_ap": "ap", "mean_inp": "inp"}[measure]]


def printed_error(percent: float, trials: int) -> float:
    """Binomial standard error, in points, of a printed rate over `trials` independent queries.

    E.g. 0.4 for rank-1 95 % on Market-1501's 3,368 queries, 4 for 80 % on 100 identities once.
    """
    if not 0 <= percent <= 100 or trials < 1:
        raise ValueError(f"got {percent} % of {trials} queries; give 0-100 and at least one query")
    rate = percent / 100
    return 100 * float(np.sqrt(rate * (1 - rate) / trials))


def t_half(values: Sequence[float] | np.ndarray) -> float:
    """Half of the 95 % t interval of the mean of two values or more."""
    values = np.asarray(values, float)
    return float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values)))


def within_prediction(values: Sequence[float] | np.ndarray, printed: float) -> bool:
    """Whether a printed number lies in mean +- t s sqrt(1 + 1/R), where one more run of ours would."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return False
    half = t_half(values) * np.sqrt(len(values) + 1)
    return bool(abs(printed - values.mean()) <= half)
