"""Claims x runs -> verdicts: which trials are compared, and how the outcome may be said."""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations, pairwise

import numpy as np
import pandas as pd

from reidlib.recipe import DOUBLED, Claim, Data, Paper, Row
from reidlib.store import Trial
from reidlib.tables import (
    COLLAPSES,
    NOT_RUN,
    Results,
    Shown,
    collapsed,
    collapses,
    comparable,
    measure,
    measured,
    printed_queries,
    printed_values,
    provenance,
    same_training,
    synthetic,
    value,
)
from reidlib.verdicts import (
    DECIDED,
    Verdict,
    conjunction,
    correct,
    fixed_test_variance,
    printed_error,
    verdict,
    within_prediction,
)

MEASURES = {  # what claims compare, in words
    "mean_ap": "mAP",
    "rank1": "rank-1",
    "mean_accuracy": "mean accuracy",
    "difference_energy_share": "energy share",
    "attention_distance_share": "attention distance share",
    "map_on_person": "map on the person",
}
FIRST = 0  # of a row's evaluations: the one that claims compare
UNRUN = Verdict("preliminary", 0.0, -np.inf, np.inf, 0, 0.0)  # a part without a trial of both rows
# Columns of `claims_table`: what was found, and what that hangs on.
VERDICT = ["source", "measured effect", "95 % interval", "verdict"]
SMALL_PRINT = ["measure", "printed effect", "replicates", "margin", "detectable", "at twice the length"]


def predictions(paper: Paper, predicted: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """What was expected of each claim, and why, under the claim's short name; in the order of the paper's claims.

    predicted: claim key -> (short name, prediction). ValueError: a key that is no claim's.
    """
    unknown = set(predicted) - {claim.key for claim in paper.claims}
    if unknown:
        raise ValueError(f"{paper.key} has no claim {sorted(unknown)}; it has {[claim.key for claim in paper.claims]}")
    said = [predicted.get(claim.key, (claim.statement, "none was written")) for claim in paper.claims]
    names, why = zip(*said, strict=True)
    return pd.DataFrame({"prediction, and why": why}, index=names)


def verdicts(paper: Paper, results: Results) -> dict[str, Verdict | str]:
    """Claim key -> its verdict after Holm over the paper's claims, in points; text where nothing was compared.

    Compared is the rows' first evaluation. Where rows are also there trained for twice as long, under DOUBLED and their
    key, what they say counts too.
    """
    found = {claim.key: _judge(paper, claim, results) for claim in paper.claims}
    judged = {key: item for key, item in found.items() if isinstance(item, Verdict)}
    return found | dict(zip(judged, correct(list(judged.values()), len(paper.claims)), strict=True))


def claims_table(paper: Paper, results: Results) -> pd.DataFrame:
    """Every claim of a paper with its verdict (`verdicts`), as text; effects and margins in points (of 100).

    `attrs["notes"]` has the provenance, and the rows of which trainings collapsed, which mark an effect.
    """
    found = verdicts(paper, results)
    lines = {}
    for claim in paper.claims:
        got = found[claim.key]
        numbers = got if isinstance(got, Verdict) else None
        several = numbers is not None and numbers.replicates > 1
        mark = f" {COLLAPSES}" * any(collapsed(results.get(key, ())[: claim.replicates]) for key in _compares(claim))
        lines[claim.key] = {
            "claim": claim.statement + (" +" if claim.added else ""),
            "source": claim.source,
            "measure": MEASURES.get(claim.measure, claim.measure),
            "printed effect": _printed_text(*printed_effect(paper, claim)),
            "measured effect": Shown(f"{numbers.mean:+.1f}{mark}", exact=numbers.mean) if numbers else "",
            "95 % interval": Shown(f"{numbers.low:+.1f} to {numbers.high:+.1f}", low=numbers.low, high=numbers.high)
            if numbers and several
            else "",
            "at twice the length": _at_twice(claim, results) if numbers else "",
            "replicates": f"{numbers.replicates if numbers else 0} of {claim.replicates}",
            "margin": Shown(f"{claim.margin:.1f}", exact=claim.margin),
            "detectable": Shown(f"{numbers.detectable:.1f}", exact=numbers.detectable) if numbers and several else "",
            "verdict": _wording(paper, claim, numbers, results) if numbers else str(got),
        }
    frame = pd.DataFrame.from_dict(lines, orient="index", dtype=object).rename_axis("key")
    compared = dict.fromkeys(key for claim in paper.claims for key in _compares(claim))
    longer = {f"{DOUBLED}/{key}" for key in compared}
    fallen = collapses((row for row in paper.rows if row.key in compared.keys() | longer), results)
    frame.attrs["notes"] = list(filter(None, [provenance(results[key] for key in compared if key in results), fallen]))
    return frame


def _compares(claim: Claim) -> list[str]:
    """The keys of the rows that a claim compares."""
    return [key for pair in claim.pairs for key in pair]


def claim_effects(paper: Paper, results: Results) -> pd.DataFrame:
    """Claim key -> what `figures.forest` draws of it, in points (of 100).

    Columns: `statement`; `mean`, `low`, `high`, NaN where not run or of one replicate; `margin`; `printed` and
    `printed_se` as `printed_effect` has them; `outcome`; `replicates`, how many were compared, and `planned`.
    """
    found, lines = verdicts(paper, results), {}
    for claim in paper.claims:
        key, got = claim.key, found[claim.key]
        line = {"statement": claim.statement, "mean": np.nan, "low": np.nan, "high": np.nan, "margin": claim.margin}
        line |= dict(zip(("printed", "printed_se"), printed_effect(paper, claim), strict=True))
        line["outcome"] = NOT_RUN if got == NOT_RUN else "no verdict"
        lines[key] = line | {"replicates": 0, "planned": claim.replicates}
        if isinstance(got, Verdict):
            lines[key] |= {"mean": got.mean, "replicates": got.replicates}
            if got.replicates > 1:
                lines[key] |= {"low": got.low, "high": got.high}
            if _profile(_compared(claim, results)) != "smoke":
                lines[key]["outcome"] = got.outcome
    return pd.DataFrame.from_dict(lines, orient="index")


def printed_effect(paper: Paper, claim: Claim) -> tuple[float, float]:
    """The effect that a paper prints for a claim, and its standard error, in points; NaN where it prints none.

    The error is that of two independent rank-1 rates. That of an mAP cannot be had from what is printed: NaN.
    """
    if not claim.rates:
        return np.nan if claim.printed_effect is None else claim.printed_effect, np.nan
    (rate, error), (other, beside) = (_printed_rate(paper, *where) for where in claim.rates)
    return rate - other, float(np.hypot(error, beside))


def _printed_rate(paper: Paper, table: str, row: str) -> tuple[float, float]:
    """A printed rank-1 and its standard error, in percent."""
    found = printed_values(paper.key, table)
    line = found[(found.row == row) & (found.metric.map(measure) == "rank1")].iloc[0]
    queries = printed_queries(line.dataset)
    assert queries is not None  # a test holds every claim's rates
    return float(line.value), printed_error(float(line.value), queries)


def _printed_text(effect: float, error: float) -> str:
    if np.isnan(effect):
        return ""
    return f"{effect:+.2f}" if np.isnan(error) else Shown(f"{effect:+.2f} ± {error:.1f}", effect=effect, error=error)


def _at_twice(claim: Claim, results: Results) -> str:
    """What twice the length makes of the difference of each pair, in points; one "not run" where none was run."""
    found = [_doubled(claim, pair, results) for pair in claim.pairs]
    said = [NOT_RUN if one is None else f"{one[0]:+.1f} → {one[1]:+.1f}" for one in found]
    for number, pair in enumerate(claim.pairs):
        if any(collapsed(results.get(f"{DOUBLED}/{key}", ())) for key in pair):
            said[number] += f" {COLLAPSES}"
    return NOT_RUN if set(said) == {NOT_RUN} else ", ".join(said)


def gains_at_twice(paper: Paper, results: Results) -> dict[str, float]:
    """What twice the length adds to the mAP of the rows that claims compare, in points, by the longer run's name."""
    gains = {}  # rows may share a run
    for row in paper.rows:
        for once, twice in zip(results.get(row.key, ()), results.get(f"{DOUBLED}/{row.key}", ()), strict=False):
            before, after = (value(trial, FIRST, "mean_ap") for trial in (once, twice))
            if row.recipe.steps and before is not None and after is not None and _trained_alike(once, twice):
                assert twice.run is not None  # it has a score
                gains[twice.run.name] = after - before
    return gains


def twice_as_long(paper: Paper, results: Results) -> str:
    """`gains_at_twice` in sentences."""
    found = np.array(list(gains_at_twice(paper, results).values()))
    if not len(found):
        return "No row has been trained for twice as long yet."
    said = (
        f"Trained for twice as long, the mAP of the compared rows changes by {np.median(found):+.1f} points in the"
        f" median ({len(found)} training{'s' * (len(found) > 1)}, {found.min():+.1f} to {found.max():+.1f})."
    )
    short = " At this profile trainings end before the networks have learned what they can."
    return said + short * bool(len(found) > 2 and np.median(found) > 1)


def _doubled(claim: Claim, pair: tuple[str, str], results: Results) -> tuple[float, float] | None:
    """How far a pair of a claim's rows lies apart, in points, in the trials that were also run for twice as long, and
    in these; None where there are none. What sets one trial apart from the others is in both.
    """
    found = []
    rows = [*pair, *(f"{DOUBLED}/{key}" for key in pair)]
    for trials in zip(*(results.get(key, ()) for key in rows), strict=False):
        scores = [value(trial, FIRST, claim.measure) for trial in trials]
        if None not in scores and _trained_alike(*trials):
            found.append((scores[0] - scores[1], scores[2] - scores[3]))  # type: ignore[operator]
    if not found:
        return None
    once, twice = np.mean(found, axis=0)
    return float(once), float(twice)


def _judge(paper: Paper, claim: Claim, results: Results) -> Verdict | str:
    """A claim's verdict before Holm over the paper's claims, or why there is none."""
    parts = []
    for first, second in claim.pairs:
        pairs = list(zip(results.get(first, ()), results.get(second, ()), strict=False))[: claim.replicates]
        both = [pair for pair in pairs if all(value(trial, FIRST, claim.measure) is not None for trial in pair)]
        if not both:
            parts.append(UNRUN)
            continue
        if not all(comparable(a, b, FIRST, FIRST) for a, b in both):
            return f"no verdict: {first} and {second} differ in data, profile or number of devices"
        for key, trial in ((first, both[0][0]), (second, both[0][1])):
            if why := _otherwise(paper.row(key), trial):
                return f"no verdict: {why}"
        if any(_start_apart(a, b) for a, b in both):
            return f"no verdict: {first} and {second} start from different weights of one pre-training"
        doubled = _doubled(claim, (first, second), results)
        parts.append(_compare(claim, both, doubled, len(paper.claims)))
    found = conjunction(parts)  # one reversal contradicts, whatever the others would say
    return NOT_RUN if UNRUN in parts and found.outcome != "contradicted" else found


def _otherwise(row: Row, trial: Trial) -> str:
    """What a row is about and these data do not have, "" where they have it: drawn nuisances, another domain."""
    assert trial.run is not None
    asked, data = row.evaluations[FIRST].data, trial.settings[FIRST].data
    if asked.preset != "default" and not synthetic(data):
        return f"{data.name} is photographs, and the preset {asked.preset!r} is one of drawings"
    trained = [Data(**item) for item in trial.run.record["recipe"].get("datasets", ())]
    elsewhere = asked.name not in {item.name for item in row.recipe.datasets}
    if elsewhere and (data.name, data.layout) in {(item.name, item.layout) for item in trained}:
        return f"{row.key} is about another domain, and is trained and tested on {data.name}"
    return ""


def _start_apart(a: Trial, b: Trial) -> bool:
    """Whether two trials start from one recipe's weights that were made twice, say on two machines."""
    first, second = (trial.run.record for trial in (a, b) if trial.run is not None)
    made = {record.get("parent_weights") for record in (first, second)} - {None}  # early runs did not note it
    return len(made) > 1 and first["recipe"].get("parent") == second["recipe"].get("parent")


def _trained_alike(*trials: Trial) -> bool:
    """Whether trials that were run are of as many devices, and start from the same weights where from one recipe's."""
    runs = [trial.run for trial in trials if trial.run is not None]
    same = all(same_training(a, b) for a, b in pairwise(runs))
    return same and not any(_start_apart(a, b) for a, b in combinations(trials, 2))


def _compare(
    claim: Claim, both: Sequence[tuple[Trial, Trial]], doubled: tuple[float, float] | None, claims: int
) -> Verdict:
    first, second = (np.array([value(pair[arm], FIRST, claim.measure) for pair in both], float) for arm in (0, 1))
    # Rule 7 is about accuracies: near chance or near 100 % two arms cannot differ. Other measures have no such ends.
    baseline = [scores["rank1"] for _, trial in both if claim.measure in (scores := trial.metrics(FIRST) or {})]
    return verdict(
        first - second,
        claim.margin,
        claim.relation,
        test_variance=_shared_test_variance(claim.measure, both),
        planned=claim.replicates,
        baseline_rank1=float(np.mean(baseline)) if baseline else None,
        doubled=doubled,
        claims=claims,
        parts=len(claim.pairs),
    )


def _shared_test_variance(name: str, both: Sequence[tuple[Trial, Trial]]) -> float | None:
    """Variance, in points squared, from test sets that several replicates share; None where none do."""
    sets: dict[object, list[tuple[Trial, Trial]]] = {}
    for pair in both:
        if (pair[0].metrics(FIRST) or {}).get(name) is None:
            return None  # a per-run measure has no queries
        sets.setdefault(pair[0].settings[FIRST], []).append(pair)
    if len(sets) == len(both) > 1:
        return None
    total = 0.0
    for shared in sets.values():
        arms = [tuple(trial.run.queries(trial.settings[FIRST]) for trial in pair if trial.run) for pair in shared]
        total += (len(shared) / len(both)) ** 2 * fixed_test_variance(arms, name)  # type: ignore[arg-type]
    return 100**2 * total


def _wording(paper: Paper, claim: Claim, got: Verdict, results: Results) -> str:
    """The verdict as it may be said, and after a colon its reason: drawn people test a mechanism, no printed number."""
    trial = _compared(claim, results)
    profile = _profile(trial)
    if profile == "smoke":
        return "no verdict: smoke runs only show that the code runs"
    if got.outcome == "no verdict":
        return f"no verdict: {got.reason}"
    data = trial.settings[FIRST].data
    where = f"on {data.name}/{profile}"
    what = f"{got.outcome} {where}"
    if got.outcome == "preliminary":
        what = f"preliminary, no verdict {where}"
    elif synthetic(data) and got.outcome in DECIDED:
        what = f"{'mechanism ' * (got.outcome != 'negligible')}{what}; printed claim untested"
    elif got.outcome == "supported" and _reproduced(paper, claim, results, data, profile):
        what = f"reproduced {where}"
    waits = got.outcome == "undecided" and got.required
    needed = f"about {got.required} replicates would decide" if waits else ""
    reason = "; ".join(filter(None, (got.reason, needed)))
    return f"{what}: {reason}" if reason else what


def _compared(claim: Claim, results: Results) -> Trial:
    """The first trial that a claim with a verdict compares."""
    trials = chain(*(results.get(key, ()) for key, _ in claim.pairs))
    return next(trial for trial in trials if value(trial, FIRST, claim.measure) is not None)


def _profile(trial: Trial) -> str:
    return "" if trial.run is None else trial.run.record.get("profile", "")


def _reproduced(paper: Paper, claim: Claim, results: Results, data: Data, profile: str) -> bool:
    """On the paper's data and settings, with every printed number that was compared inside ours' spread."""
    if profile != "paper":
        return False
    for key in dict.fromkeys(_compares(claim)):
        row = paper.row(key)
        if row.printed is None or data.name != row.evaluations[FIRST].data.name:
            return False
        printed = printed_values(paper.key, row.printed[0])
        scored = [item.data for other in paper.rows if other.table == row.table for item in other.evaluations]
        group = printed.dataset.unique()[list(dict.fromkeys(scored)).index(row.evaluations[FIRST].data)]
        lines = printed[(printed.row == row.printed[1]) & (printed.dataset == group)]
        texts = lines[lines.metric.map(measure) == claim.measure].value.tolist()
        if not texts or not within_prediction(measured(results[key], FIRST, claim.measure), float(texts[0])):
            return False
    return True
