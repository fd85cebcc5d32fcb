"""Tables and claims drawn from a store of made-up runs with known scores."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reidlib.claims import SMALL_PRINT, VERDICT, claim_effects, claims_table, predictions, twice_as_long, verdicts
from reidlib.data.splits import Split
from reidlib.evaluation import Evaluation
from reidlib.recipe import Claim, Data, EvaluationSettings, Optimiser, Paper, Profile, Recipe, Row, options, plain
from reidlib.store import RunStore, Trial
from reidlib.study import PAPERS, paper
from reidlib.tables import by_dataset, collapsed, measure, paper_values, printed_values, rates, table
from reidlib.verdicts import Verdict

MARKET = Data("market1501")
EVALUATIONS = (EvaluationSettings(MARKET), EvaluationSettings(MARKET, protocol="single-shot"))
A, B = Recipe("personnet", datasets=(MARKET,)), Recipe("idla", datasets=(MARKET,))
ROWS = (
    Row("table4/a", "Table IV", "PersonNet", A, ("Table IV", "PersonNet"), EVALUATIONS, deviations=("lr 1e-4",)),
    Row("table4/b", "Table IV", "IDLA", recipe=B, evaluations=EVALUATIONS, added=True),
    Row("other/c", "Open points", "Something else", recipe=B, evaluations=EVALUATIONS[1:], added=True),
)
OTHERS = ["SDALF [11]", "eSDC [7]", "Zheng et al. [40]"]
CLAIMS = (
    Claim("beats", "A beats B", "Table IV", (("table4/a", "table4/b"),), printed_effect=6.0),
    Claim("faster", "A learns faster", "Fig. 5", (("table4/a", "table4/b"),), measure="mean_accuracy"),
    Claim("missing", "A beats C", "Sec. I", (("table4/a", "other/c"),), added=True),
)
PAPER = Paper("personnet", "PersonNet", ROWS, CLAIMS, (("laptop", Profile("small")),))
QUERIES = 40

Make = Callable[..., list[Trial]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(recipe, one mean AP a trial, ...) stores a run each and returns the trials."""
    store = RunStore(tmp_path / "runs")
    ids = np.arange(1, QUERIES + 1)
    queries = Split("query", tuple(Path(f"{index}.jpg") for index in ids), ids, np.ones(QUERIES), ids)

    def trials(
        recipe: Recipe,
        scores: Sequence[float],
        *,
        data: Callable[[int], Data] = lambda trial: Data("plaza", "small", trial),
        profile: str = "laptop",
        rank1: float = 0.5,
        tied: bool = False,
    ) -> list[Trial]:
        found = []
        for trial, score in enumerate(scores):
            settings = tuple(
                EvaluationSettings(data(trial), protocol=protocol) for protocol in ("market1501", "single-shot")
            )
            hits = np.where(np.arange(QUERIES) < rank1 * QUERIES, 0, 3)
            ap = score + np.linspace(-0.05, 0.05, QUERIES)
            ties = np.arange(QUERIES) < int(tied)
            columns = {"query": np.arange(QUERIES), "ap": ap, "first_hit": hits, "inp": ap, "tied": ties}
            evaluation = Evaluation.from_frame(pd.DataFrame(columns))
            run = store.save(
                Recipe(recipe.system, datasets=(data(trial),), seed=trial, objective=profile, steps=recipe.steps),
                history=[],
                evaluations=dict.fromkeys(settings, (evaluation, queries)),
                meta={
                    "profile": profile,
                    "device": "test CPU",
                    "precision": "32-true",
                    "date": f"2025-01-0{trial + 1}",
                    "measures": {"mean_accuracy": score},
                },
            )
            found.append(Trial(run, settings, trial))
        return found

    return trials


def test_every_printed_value_is_there() -> None:
    values = paper_values()
    assert len(values) == 1016
    assert list(values.columns) == ["paper", "table", "row", "dataset", "protocol", "metric", "value", "note"]
    assert set(values.paper) == {"PersonNet", "MidLevel", "MLS", "CASN", "HAGN"}
    assert (values.value == "").sum() == 89  # cells the papers leave empty


@pytest.mark.parametrize(
    ("paper", "table", "row", "dataset", "metric", "value"),
    [  # read off the papers by eye
        ("PersonNet", "Table IV", "PersonNet", "Market-1501", "mAP", "18.57"),
        ("PersonNet", "Table II", "PersonNet", "CUHK03 labeled", "r=1", "64.8"),
        ("PersonNet", "Table III", "Euclid", "CUHK01", "r=10", "39.94"),
        ("MLS", "Table 1", "conv1", "", "filter_size", "5x5x3"),
        ("MLS", "Table 2", "Ours-(L2, L3, L4)", "CUHK03 detected", "top-1", "86.45"),
        ("CASN", "Table 3", "CASN(PCB)", "CUHK03-NP detected", "R-1", "71.5"),
        ("HAGN", "Table X", "stage 1-3", "Market-1501", "Rank-1", "94.42"),
        ("HAGN", "official README", "released code's table", "DukeMTMC-reID", "TOP@5", "94.52"),  # 0.945242
    ],
)
def test_values_checked_by_hand(paper: str, table: str, row: str, dataset: str, metric: str, value: str) -> None:
    lines = printed_values(paper, table)
    found = lines[(lines.row == row) & (lines.dataset == dataset) & (lines.metric == metric)]
    assert found.value.tolist() == [value]


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("r=1", "rank1"),
        ("Rank 5", "rank5"),
        ("Rank-10", "rank10"),
        ("top-20", "rank20"),
        ("TOP@1", "rank1"),
        ("R-1", "rank1"),
        ("mAP", "mean_ap"),
        ("mAP gain", None),
        ("Depth", None),
    ],
)
def test_metrics_by_their_printed_names(printed: str, name: str | None) -> None:
    assert measure(printed) == name


def test_a_table_has_the_printed_number_beside_the_measured_one(make: Make) -> None:
    got = table(PAPER, "Table IV", {"table4/a": make(A, [0.10, 0.12]), "table4/b": [Trial(None)] * 5})
    here = "plaza small, laptop"
    assert got.index.tolist() == [*OTHERS, "PersonNet", "IDLA (added here)"]
    assert got["Market-1501", "mAP", "printed"].tolist() == ["8.20", "13.54", "14.09", "18.57", ""]
    assert got["Market-1501", "mAP", here].tolist() == [*["quoted"] * 3, "11.0 ± 1.4 (2)", "not run"]
    assert got["Market-1501", "r=1", here].tolist() == [*["quoted"] * 3, "50.0 ± 0.0 (2)", "not run"]
    assert got["Market-1501, single shot", "Rank-1", here].tolist() == [*[""] * 3, "50.0 ± 0.0 (2)", "not run"]
    notes = got.attrs["notes"]
    line = "Measured on plaza small (worlds 0, 1), profile laptop, all queries, seeds 0, 1; test CPU; "
    line += "2025-01-01 to 2025-01-02"
    assert notes[0] == f"{line}."
    assert len(notes[0]) < 120  # a line of the page
    assert re.fullmatch(
        rf"{re.escape(line)}; 32-true; Python .*, PyTorch .*, NumPy .*; commit .*\.", notes[0].exact["full"]
    )
    assert "PersonNet: lr 1e-4." in notes
    assert any("3368 queries): PersonNet ±0.8 points" in note for note in notes)


def test_one_trial_has_no_spread_and_an_empty_store_no_number(make: Make) -> None:
    got = table(PAPER, "Table IV", {"table4/a": make(A, [0.10])})
    assert got["Market-1501", "mAP", "plaza small, laptop"]["PersonNet"] == "10.0 (1)"
    empty = table(PAPER, "Table IV", {})
    assert empty["Market-1501", "mAP", "here"].tolist() == [*["quoted"] * 3, "not run", "not run"]
    assert not any("Measured" in note for note in empty.attrs["notes"])


BASELINED = tuple(
    Row(f"table2/{key}", "Table II", label, recipe, ("Table II", label), EVALUATIONS[:1], baseline=baseline)
    for key, label, recipe, baseline in (
        ("idla", "JointRe-id [1]", B, True),
        ("ours", "PersonNet", A, False),
    )
)
HEAD = ("CUHK03 labeled", "r=1", "difference: printed / measured")


def test_a_difference_is_printed_and_measured_over_the_same_trials(make: Make) -> None:
    paper = Paper("personnet", "", BASELINED, (), PAPER.profiles)
    ours = [*make(A, [0.1], rank1=0.5), *make(A, [0.1, 0.2], rank1=0.7)[1:], Trial(None)]
    results = {"table2/ours": ours, "table2/idla": make(B, [0.1, 0.1, 0.1], rank1=0.4)}
    got = table(paper, "Table II", results)
    # Printed: 64.80 - 54.74. Measured: 50 - 40 and 70 - 40; the third trial of one row has no partner.
    leads = got[HEAD]
    assert leads[:-2].eq("").all()  # nothing of quoted rows
    assert leads[-2:].tolist() == ["baseline", "+10.1 / +20.0 ± 14.1 (2)"]
    exact = leads["PersonNet"].exact
    assert exact["printed"] == pytest.approx(64.80 - 54.74)
    assert (exact["mean"], exact["sd"], exact["trials"]) == pytest.approx((20, 14.142136, 2))
    assert [head for *_, head in got.columns].count(HEAD[-1]) == 1  # of rank-1 alone, not of ranks 10 and 20
    assert "Difference: to JointRe-id [1], in points, over the trials that both have." in got.attrs["notes"]
    assert table(paper, "Table II", {})[HEAD][-2:].tolist() == ["baseline", "+10.1 / not run"]
    other = {**results, "table2/idla": make(B, [0.1], data=lambda _: Data("campus", "small"))}
    assert table(paper, "Table II", other)[HEAD]["PersonNet"] == "+10.1 / not run"  # never across data


def test_a_baseline_that_the_paper_does_not_print_is_measured_against(make: Make) -> None:
    rows = (ROWS[0], replace(ROWS[1], baseline=True))
    results = {"table4/a": make(A, [0.10, 0.12]), "table4/b": make(B, [0.20, 0.24])}
    got = table(Paper("personnet", "", rows, (), PAPER.profiles), "Table IV", results)
    assert got["Market-1501", "mAP", "difference"].tolist() == ["", "", "", "-11.0 ± 1.4 (2)", "baseline"]
    assert "difference" not in {head for *_, head in table(PAPER, "Table IV", results).columns}


@pytest.mark.parametrize("key", PAPERS)
def test_a_baseline_has_rows_to_be_compared_with(key: str) -> None:
    found = paper(key)
    for row in found.rows:
        if row.baseline:
            assert any(other.table == row.table and not other.baseline for other in found.rows)
    for name in {row.table for row in found.rows if row.baseline}:
        flagged = [row for row in found.rows if row.table == name and row.baseline]
        assert len(flagged) == 1
    for row in found.rows:
        if row.against:
            other = found.row(row.against)
            assert other.table == row.table
            assert {item.data for item in row.evaluations} == {item.data for item in other.evaluations}


def test_rows_may_name_what_they_are_held_against(make: Make) -> None:
    """Steps that add one thing each are differences to the step before."""
    rows = tuple(
        Row(key, "Steps", key, recipe, None, EVALUATIONS[:1], against=before)
        for key, recipe, before in (("first", A, ""), ("second", B, "first"), ("third", A, "second"))
    )
    scores = ([0.10, 0.12], [0.20, 0.24], [0.25, 0.28])
    results = {row.key: make(row.recipe, given) for row, given in zip(rows, scores, strict=True)}
    got = table(Paper("personnet", "", rows, (), PAPER.profiles), "Steps", results)
    steps = ["baseline", "+11.0 ± 1.4 (2)", "+4.5 ± 0.7 (2)"]
    assert got[next(head for head in got.columns if head[1:] == ("mAP", "difference"))].tolist() == steps
    notes = "Difference: to first (for second), second (for third), in points, over the trials that both have."
    assert notes in got.attrs["notes"]


def test_a_line_trained_anew_for_every_dataset_is_a_row_for_each(make: Make) -> None:
    """HAGN's Table VI: the Market column is of a training on Market-1501, the Duke column of one on Duke."""
    duke = Data("dukemtmc")
    rows = tuple(
        Row(f"table6/{label}-{data.name}", "Table VI", label, A, ("Table VI", label), (EvaluationSettings(data),))
        for data in (MARKET, duke)
        for label in ("Baseline", "+ MGO")
    )
    paper = Paper("hagn", "HAGN", rows, (), (("laptop", Profile("small")),))
    results = {
        "table6/Baseline-market1501": make(A, [0.3]),
        "table6/Baseline-dukemtmc": make(A, [0.2], data=lambda trial: Data("campus", "small", trial)),
    }
    got = table(paper, "Table VI", results)[-2:]  # after the printed rows that this paper does not train
    assert list(got.index) == ["Baseline", "+ MGO"]
    assert got["Market-1501", "mAP", "plaza small, laptop"].tolist() == ["30.0 (1)", "not run"]
    assert got["DukeMTMC-reID", "mAP", "campus small, laptop"].tolist() == ["20.0 (1)", "not run"]
    assert got["DukeMTMC-reID", "mAP", "printed"].tolist() == ["63.7", "77.9"]


def test_a_table_of_our_own_has_measured_columns_only(make: Make) -> None:
    got = table(PAPER, "Open points", {"other/c": [Trial(None)]})
    assert [column[1] for column in got.columns] == ["Rank-1", "mAP"]
    assert got.to_numpy().tolist() == [["not run"] * 2]
    assert got.index.tolist() == ["Something else"]  # the whole table is added, and says so once
    assert "The paper has no such table." in got.attrs["notes"]


def test_a_printed_table_without_rows_is_shown_as_printed() -> None:
    got = table(PAPER, "Table I", {})
    assert not got.empty
    assert all(column[2] == "printed" for column in got.columns)


def test_a_third_dataset_where_two_are_printed_has_a_column_of_its_own() -> None:
    """MidLevel's Sec. V-D prints all of CUHK01, 971 people, and VIPeR; ours are tested on 100 of CUHK01 too."""
    frame = table(paper("midlevel"), "prose Sec. V-D", {})
    both, few = frame.index
    assert frame.loc[both, ("CUHK01 (full, 971 IDs)", "Rank 1", "printed")] == "64.2"
    assert frame.loc[both, ("VIPeR", "Rank 1", "here")] == "not run"
    assert frame.loc[few, ("CUHK01, single shot", "Rank-1", "here")] == "not run"
    assert any("971 queries): Trained on all of CUHK03 ±1.5" in note for note in frame.attrs["notes"])


def test_a_part_of_a_table_has_the_lines_and_notes_that_concern_it(make: Make) -> None:
    results = {"table4/a": make(A, [0.10, 0.12]), "table4/b": [Trial(None)]}
    full, single = by_dataset(PAPER, "Table IV", results).values()
    assert full.index.tolist() == [*OTHERS, "PersonNet", "IDLA (added here)"]
    assert single.index.tolist() == ["PersonNet", "IDLA (added here)"]
    assert any(note.startswith("Sampling error") for note in full.attrs["notes"])
    assert not any(note.startswith("Sampling error") for note in single.attrs["notes"])


def test_a_part_says_nothing_of_rows_that_are_scored_elsewhere(make: Make) -> None:
    """HAGN's Table VI: one training is on Market-1501, another on Duke, in other worlds with other queries."""
    duke = Data("dukemtmc")
    market, other = (
        Row(f"table6/{data.name}", "Table VI", "Baseline", A, ("Table VI", "Baseline"), (EvaluationSettings(data),))
        for data in (MARKET, duke)
    )
    extra = Row("table6/extra", "Table VI", "Extra", A, None, other.evaluations, added=True, deviations=("few steps",))
    found = make(A, [0.2, 0.2], data=lambda trial: Data("campus", "small", trial))
    asked = replace(found[0].settings[0], queries=50)
    results = {
        market.key: make(A, [0.3])[:1],
        other.key: [Trial(found[0].run, (asked,))],
        extra.key: [Trial(trial.run, trial.settings[:1]) for trial in found],
    }
    paper = Paper("hagn", "HAGN", (market, other, extra), (), PAPER.profiles)
    on_market, on_duke = (frame.attrs["notes"] for frame in by_dataset(paper, "Table VI", results).values())
    assert on_market[0].startswith("Measured on plaza small (world 0), profile laptop, all queries, seed 0;")
    assert on_duke[0].startswith("Measured on campus small (worlds 0, 1), profile laptop, 50 or all queries a trial,")
    assert "Extra: few steps." in on_duke
    assert "Extra: few steps." not in on_market


def test_an_unknown_table_names_the_ones_there_are() -> None:
    said = r"'Table IX' is unknown: did you mean 'Table IV'\? choose from Open points, Table IV"
    with pytest.raises(ValueError, match=said):
        table(PAPER, "Table IX", {})


def test_ties_are_flagged(make: Make) -> None:
    got = table(PAPER, "Table IV", {"table4/a": make(A, [0.10], tied=True)})
    assert got["Market-1501", "mAP", "plaza small, laptop"]["PersonNet"] == "10.0 (1) †"
    assert any(note.startswith("† more than 1%") for note in got.attrs["notes"])


def test_means_over_collapsed_trainings_are_flagged_and_named(make: Make) -> None:
    ends = ((1.001, 0.02), (0.4, 0.02), (1.001, 0.5), (0.999, 0.0))  # the triplet loss, held-out accuracy
    trials = make(A, [0.1, 0.3, 0.3, 0.1])
    for (triplet, accuracy), trial in zip(ends, trials, strict=True):
        assert trial.run is not None
        trial.run.record["recipe"]["objective_options"] = [["margin", 1.0]]
        history = pd.DataFrame({"step": [1, 2], "triplet": [1.0, triplet], "accuracy": [0.0, accuracy]})
        history.to_csv(trial.run.folder / "history.csv", index=False)
    assert collapsed(trials) == [0, 3]
    assert collapsed([Trial(None), *make(B, [0.2])]) == []  # not run, and without triplets
    got = table(PAPER, "Table IV", {"table4/a": trials, "table4/b": make(B, [0.2])})
    column = got["Market-1501", "mAP", "plaza small, laptop"]
    assert column["PersonNet"].endswith("(4) ‡")
    assert "‡" not in column["IDLA (added here)"]
    said = "‡ In some trainings all features became one point: PersonNet (trials 0, 3)."
    assert said in got.attrs["notes"]

    results = {"table4/a": trials, "table4/b": make(B, [0.2, 0.2, 0.2, 0.2]), "doubled/table4/a": trials[3:]}
    results["doubled/table4/b"] = results["table4/b"][3:]
    longer = replace(ROWS[0], key="doubled/table4/a", label="PersonNet, twice the steps", recipe=A, printed=None)
    claims = claims_table(replace(PAPER, rows=(*ROWS, longer)), results)
    assert claims.loc["beats", "measured effect"] == "+0.0 ‡"
    assert claims.loc["beats", "at twice the length"] == "-10.0 → -10.0 ‡"
    assert claims.attrs["notes"][-1] == f"{said.removesuffix('.')}; PersonNet, twice the steps (trial 3)."


def test_claims_on_synthetic_data_are_about_mechanisms(make: Make) -> None:
    results = {
        "table4/a": make(A, [0.30, 0.31, 0.32, 0.30, 0.31, 0.9]),
        "table4/b": make(B, [0.27, 0.29, 0.28, 0.27, 0.28, 0.0]),  # the sixth replicate was not planned
    }
    got = claims_table(PAPER, results)
    assert got.loc["beats", "verdict"] == "mechanism supported on plaza/laptop; printed claim untested"
    assert got.loc["beats", "measured effect"] == "+3.0"
    assert got.loc["beats", "measured effect"].exact["exact"] == pytest.approx(3.0)
    assert got.attrs["notes"][0].startswith("Measured on plaza small (worlds 0-5), profile laptop")
    assert got.loc["beats", "printed effect"] == "+6.00"
    assert got.loc["beats", "replicates"] == "5 of 5"
    assert got.loc["faster", "verdict"].startswith("mechanism supported")
    assert got.loc["missing", "verdict"] == "not run"
    assert got.loc["missing", "replicates"] == "0 of 5"
    swapped = claims_table(PAPER, {"table4/a": results["table4/b"], "table4/b": results["table4/a"]})
    assert swapped.loc["beats", "verdict"].startswith("mechanism contradicted")


def test_every_column_about_a_claim_is_shown_once(make: Make) -> None:
    got = claims_table(PAPER, {"table4/a": make(A, [0.3]), "table4/b": make(B, [0.3])})
    assert sorted([*VERDICT, *SMALL_PRINT, "claim"]) == sorted(got.columns)
    assert got.measure.tolist() == ["mAP", "mean accuracy", "mAP"]


def test_effects_are_those_of_the_table_and_unknown_where_nothing_ran(make: Make) -> None:
    results = {"table4/a": make(A, [0.30, 0.34]), "table4/b": make(B, [0.27, 0.27])}
    got = claim_effects(PAPER, results)
    beats, found = got.loc["beats"], verdicts(PAPER, results)["beats"]
    assert isinstance(found, Verdict)
    assert (beats["mean"], beats["low"], beats["high"]) == (pytest.approx(5.0), found.low, found.high)
    assert beats[["statement", "printed", "outcome"]].tolist() == ["A beats B", 6.0, "preliminary"]
    assert beats[["replicates", "planned"]].tolist() == [2, 5]
    missing = got.loc["missing"]
    assert missing[["mean", "low", "high", "printed", "printed_se"]].isna().all()
    assert (missing.outcome, missing.replicates) == ("not run", 0)
    one = {key: trials[:1] for key, trials in results.items()}
    assert claim_effects(PAPER, one).loc["beats", ["mean", "low", "high"]].isna().tolist() == [False, True, True]


def test_smoke_runs_and_arms_that_differ_have_effects_without_a_verdict(make: Make) -> None:
    smoke = {"table4/a": make(A, [0.3] * 5, profile="smoke"), "table4/b": make(B, [0.2] * 5, profile="smoke")}
    got = claim_effects(PAPER, smoke).loc["beats"]
    assert (got["mean"], got.outcome) == (pytest.approx(10.0), "no verdict")
    mixed = {"table4/a": make(A, [0.3]), "table4/b": make(B, [0.2], profile="gpu")}
    got = claim_effects(PAPER, mixed).loc["beats"]
    assert np.isnan(got["mean"])
    assert (got.outcome, got.replicates) == ("no verdict", 0)


def test_predictions_stand_in_the_order_of_the_claims_under_short_names() -> None:
    got = predictions(PAPER, {"faster": ("speed", "yes: it is smaller"), "beats": ("A over B", "no")})
    assert got["prediction, and why"].to_dict() == {
        "A over B": "no",
        "speed": "yes: it is smaller",
        "A beats C": "none was written",
    }
    with pytest.raises(
        ValueError, match=r"personnet has no claim \['fasster'\]; it has \['beats', 'faster', 'missing'\]"
    ):
        predictions(PAPER, {"fasster": ("speed", "yes")})


def test_arms_that_start_from_one_pre_training_made_twice_are_not_compared(make: Make) -> None:
    results = {"table4/a": make(A, [0.3, 0.3]), "table4/b": make(B, [0.3, 0.3])}
    for trials in results.values():
        for trial in trials:
            trial.run.record["parent_weights"] = "made here"
    assert "preliminary" in claims_table(PAPER, results).loc["beats", "verdict"]
    results["table4/b"][1].run.record["parent_weights"] = "made elsewhere"
    assert claims_table(PAPER, results).loc["beats", "verdict"] == (
        "no verdict: table4/a and table4/b start from different weights of one pre-training"
    )


def test_few_replicates_saturated_baselines_and_smoke_runs_have_no_verdict(make: Make) -> None:
    three = {"table4/a": make(A, [0.30, 0.31, 0.32]), "table4/b": make(B, [0.27, 0.29, 0.28])}
    assert claims_table(PAPER, three).loc["beats", "verdict"] == (
        "preliminary, no verdict on plaza/laptop: 3 of 5 replicates"
    )
    scores = [0.30, 0.31, 0.32, 0.30, 0.31]
    high = {"table4/a": make(A, scores), "table4/b": make(B, scores, rank1=0.95)}
    assert "outside 10-90 %" in claims_table(PAPER, high).loc["beats", "verdict"]
    smoke = {"table4/a": make(A, scores, profile="smoke"), "table4/b": make(B, scores, profile="smoke")}
    assert claims_table(PAPER, smoke).loc["beats", "verdict"].startswith("no verdict: smoke")
    mixed = {"table4/a": make(A, scores), "table4/b": make(B, scores, profile="gpu")}
    assert "differ in data, profile or number of devices" in claims_table(PAPER, mixed).loc["beats", "verdict"]
    several = {"table4/a": make(A, scores), "table4/b": make(B, scores)}
    for trial in several["table4/a"]:
        assert trial.run is not None
        trial.run.record["devices"] = 4  # four times the images a step
    assert "number of devices" in claims_table(PAPER, several).loc["beats", "verdict"]
    # What takes no steps is one run for all profiles, under the name of the first that made it.
    ready = mixed | {"table4/b": make(replace(B, steps=0), [score / 2 for score in scores], profile="gpu")}
    assert claims_table(PAPER, ready).loc["beats", "verdict"].startswith("mechanism supported")


def test_no_verdict_where_the_data_do_not_have_what_a_claim_is_about(make: Make) -> None:
    scores = [0.30, 0.31, 0.32, 0.30, 0.31]
    duke = Data("dukemtmc")

    def judged(asked: Data, data: Callable[[int], Data]) -> str:
        rows = tuple(replace(row, evaluations=(EvaluationSettings(asked),)) for row in ROWS)
        found = {"table4/a": make(A, scores, data=data), "table4/b": make(B, [s / 2 for s in scores], data=data)}
        return str(claims_table(replace(PAPER, rows=rows), found).loc["beats", "verdict"])

    hard = replace(MARKET, preset="jitter=2")
    assert judged(hard, lambda trial: Data("plaza", "small", trial, "jitter=2")).startswith("mechanism supported")
    assert judged(hard, lambda _: Data("folders", version="1")).startswith("no verdict: folders is photographs")
    assert judged(duke, lambda _: Data("folders", version="2")).startswith(
        "no verdict: table4/a is about another domain"
    )


def test_a_claim_may_compare_two_ways_to_score_one_model(make: Make) -> None:
    trials, other = make(A, [0.30, 0.31, 0.32, 0.30, 0.31]), []
    ids = np.arange(1, QUERIES + 1)
    queries = Split("query", tuple(Path(f"{index}.jpg") for index in ids), ids, np.ones(QUERIES), ids)
    for run, settings, _ in trials:
        assert run is not None
        scores = run.evaluation(settings[0])
        assert scores is not None
        scored = replace(settings[0], scoring=options(score="softmax"))
        other.append(Trial(run.add_evaluation(scored, scores, queries), (scored,)))
    found = verdicts(PAPER, {"table4/a": trials, "table4/b": other})["beats"]
    assert isinstance(found, Verdict)
    assert found.mean == 0


def test_a_gap_in_the_replicates_is_not_filled_by_later_ones(make: Make) -> None:
    a = make(A, [0.30, 0.31, 0.32, 0.30, 0.31, 0.33])
    b = make(B, [0.27, 0.29, 0.28, 0.27, 0.28, 0.29])
    b[1] = Trial(None)
    got = claims_table(PAPER, {"table4/a": a, "table4/b": b})
    assert got.loc["beats", "replicates"] == "4 of 5"
    assert "preliminary" in got.loc["beats", "verdict"]


def test_rows_trained_for_twice_as_long_can_take_a_verdict_back(make: Make) -> None:
    a, b = make(A, [0.30, 0.31, 0.32, 0.30, 0.31]), make(B, [0.27, 0.28, 0.28, 0.27, 0.28])
    results = {"table4/a": a, "table4/b": b}
    assert claims_table(PAPER, results).loc["beats", "at twice the length"] == "not run"
    results |= {"doubled/table4/a": b[:1], "doubled/table4/b": a[:1]}
    got = claims_table(PAPER, results).loc["beats"]
    assert got["at twice the length"] == "+3.0 → -3.0"
    assert got["verdict"] == "no verdict: the sign turns at twice the length"
    results |= {"doubled/table4/a": a[:1], "doubled/table4/b": b[:1]}
    got = claims_table(PAPER, results).loc["beats"]
    assert got["at twice the length"] == "+3.0 → +3.0"
    assert got["verdict"].startswith("mechanism supported")
    two = replace(PAPER, claims=(replace(CLAIMS[0], pairs=(("table4/a", "table4/b"), ("table4/a", "other/c"))),))
    got = claims_table(two, results | {"other/c": b}).loc["beats"]
    assert got["at twice the length"] == "+3.0 → +3.0, not run"
    results |= {"doubled/table4/a": [Trial(None)]}
    assert claims_table(PAPER, results).loc["beats", "at twice the length"] == "not run"


def test_twice_the_length_counts_only_from_the_same_pre_training(make: Make) -> None:
    rows = {"table4/a": A, "table4/b": B}
    results = {key: make(recipe, [0.30, 0.31, 0.32, 0.30, 0.31]) for key, recipe in rows.items()}
    results |= {f"doubled/{key}": make(recipe, [0.40]) for key, recipe in rows.items()}
    for key, weights in (
        ("table4/a", "one"),
        ("table4/b", "one"),
        ("doubled/table4/a", "1"),
        ("doubled/table4/b", "1"),
    ):
        trial = results[key][0]
        assert trial.run is not None
        trial.run.record["parent_weights"] = weights
    assert claims_table(PAPER, results).loc["beats", "at twice the length"] == "not run"
    assert twice_as_long(PAPER, results) == "No row has been trained for twice as long yet."
    for key in rows:
        trial = results[f"doubled/{key}"][0]
        assert trial.run is not None
        trial.run.record["parent_weights"] = "one"
    assert claims_table(PAPER, results).loc["beats", "at twice the length"] == "+0.0 → +0.0"
    longer = results["doubled/table4/a"][0]
    assert longer.run is not None
    for name, other in (("parent_weights", "another"), ("devices", 2)):
        before = longer.run.record.get(name)
        longer.run.record[name] = other
        assert claims_table(PAPER, results).loc["beats", "at twice the length"] == "not run"
        longer.run.record[name] = before or 1


def test_a_reversal_contradicts_also_where_another_part_is_not_run(make: Make) -> None:
    worse, b = make(A, [0.20, 0.21, 0.20, 0.21, 0.20]), make(B, [0.27, 0.28, 0.28, 0.27, 0.28])
    results = {"table4/a": worse, "table4/b": b}
    for pairs in (
        (("table4/a", "table4/b"), ("other/c", "table4/b")),
        (("other/c", "table4/b"), ("table4/a", "table4/b")),
    ):
        two = replace(PAPER, claims=(replace(CLAIMS[0], pairs=pairs),))
        got = claims_table(two, results).loc["beats"]
        assert got["verdict"].startswith("mechanism contradicted")
        assert got["verdict"].endswith("1 of 2 parts reversed")
        better = results | {"table4/a": b, "table4/b": worse}
        assert claims_table(two, better).loc["beats", "verdict"] == "not run"


def test_twice_the_length_is_set_beside_the_same_trial_not_beside_the_mean(make: Make) -> None:
    """A trial in which the difference is another than in the mean says nothing of the length."""
    a, b = make(A, [0.26, 0.31, 0.32, 0.30, 0.31]), make(B, [0.27, 0.28, 0.28, 0.27, 0.28])
    results = {"table4/a": a, "table4/b": b, "doubled/table4/a": make(A, [0.25]), "doubled/table4/b": b[:1]}
    got = claims_table(PAPER, results).loc["beats"]
    assert got["at twice the length"] == "-1.0 → -2.0"
    assert got["verdict"].startswith("undecided")


def test_what_twice_the_length_changes_is_told_in_a_sentence(make: Make) -> None:
    paper = replace(PAPER, rows=tuple(replace(row, recipe=replace(row.recipe, steps=9)) for row in ROWS))
    results = {"table4/a": make(A, [0.30, 0.31]), "table4/b": make(B, [0.27])}
    assert twice_as_long(paper, results) == "No row has been trained for twice as long yet."
    results["doubled/table4/a"] = make(A, [0.36])
    assert twice_as_long(paper, results).endswith("changes by +6.0 points in the median (1 training, +6.0 to +6.0).")
    results["doubled/table4/b"] = make(B, [0.21])
    assert twice_as_long(paper, results).endswith("changes by +0.0 points in the median (2 trainings, -6.0 to +6.0).")
    results |= {"other/c": make(B, [0.20]), "doubled/other/c": make(B, [0.30], profile="gpu")}
    assert "(2 trainings, -6.0 to +6.0)" in twice_as_long(paper, results)  # profiles are not set beside each other
    results["other/c"] = make(B, [0.20], profile="gpu")
    results["doubled/other/c"] = make(replace(B, system="xcorr"), [0.30], profile="gpu")
    assert "+6.0 points in the median (3 trainings, -6.0 to +10.0). At this profile" in twice_as_long(paper, results)


def test_rates_come_in_order_with_how_long_they_were_tried(make: Make) -> None:
    rows = [replace(PAPER.row("table4/a"), key=f"tuning/{lr:g}", table="Tuning") for lr in (0.1, 0.01)]
    rows = [
        replace(row, recipe=replace(row.recipe, optimiser=Optimiser(lr=lr)))
        for row, lr in zip(rows, (0.1, 0.01), strict=True)
    ]
    run = SimpleNamespace(
        record={
            "recipe": {"steps": 1200, "datasets": [{"name": "plaza"}]},
            "measures": {"mean_accuracy": 0.625, "final_accuracy": 0.75},
            **{"profile": "laptop", "device": "a device", "date": "2026-11-21"},
        }
    )
    found = rates(replace(PAPER, rows=tuple(rows)), {"tuning/0.1": [Trial(None)], "tuning/0.01": [Trial(run)]})
    assert found.index.tolist() == ["0.01", "0.1"]
    assert found.loc["0.01"].tolist() == ["62.5 (1)", "75.0 (1)"]
    assert found.loc["0.1"].tolist() == ["not run", "not run"]
    assert found.attrs["notes"] == ["1,200 steps on plaza, profile laptop; a device; 2026-11-21."]
    run.record["recipe"] = plain(replace(PAPER.row("table4/a").recipe, steps=1000, datasets=(Data("market1501"),)))
    found = rates(replace(PAPER, rows=tuple(rows)), {"tuning/0.1": [Trial(None)], "tuning/0.01": [Trial(run)]})
    assert found.attrs["notes"] == ["1,000 steps on market1501, profile laptop; a device; 2026-11-21."]


def test_a_shared_test_set_adds_its_variance(make: Make) -> None:
    scores_a, scores_b = [0.30, 0.31, 0.32, 0.30, 0.31], [0.29, 0.29, 0.31, 0.29, 0.30]
    worlds = {"table4/a": make(A, scores_a), "table4/b": make(B, scores_b)}
    one = {
        "table4/a": make(A, scores_a, data=lambda _: MARKET, rank1=0.8),
        "table4/b": make(B, scores_b, data=lambda _: MARKET, rank1=0.5),
    }
    claims = (Claim("rank", "A beats B at rank 1", "", (("table4/a", "table4/b"),), measure="rank1"),)
    paper = Paper("personnet", "", ROWS, claims, PAPER.profiles)
    free, fixed = verdicts(paper, worlds)["rank"], verdicts(paper, one)["rank"]
    assert isinstance(free, Verdict)
    assert isinstance(fixed, Verdict)
    assert free.low == free.high == 0  # every seed agrees, and the worlds differ
    # 30 % of 40 queries flip: their share has the standard error sqrt(.3 x .7 / 40) = 7.2 points.
    assert fixed.mean == pytest.approx(30)
    assert (fixed.high - fixed.low) / 2 / 7.25 == pytest.approx(2.78, rel=0.1)  # t(4, .975)


@pytest.mark.parametrize(("score", "wording"), [(0.18, "reproduced on"), (0.30, "supported on")])
def test_reproduced_needs_the_papers_data_settings_and_numbers(make: Make, score: float, wording: str) -> None:
    claims = (Claim("beats", "PersonNet beats another of its rows", "", (("table4/a", "table4/a2"),)),)
    rows = (*ROWS, Row("table4/a2", "Table IV", "eSDC", B, ("Table IV", "eSDC [7]"), EVALUATIONS))
    paper = Paper("personnet", "", rows, claims, PAPER.profiles)
    spread = np.array([-0.01, 0.0, 0.01, -0.005, 0.005])

    def real(_: int) -> Data:
        return Data("market1501", version="0123")

    def results(profile: str) -> dict[str, list[Trial]]:
        return {
            "table4/a": make(A, score + spread, data=real, profile=profile),  # printed: 18.57
            "table4/a2": make(B, 0.135 + spread[::-1] / 10, data=real, profile=profile),  # printed: 13.54
        }

    assert claims_table(paper, results("paper")).loc["beats", "verdict"] == f"{wording} market1501/paper"
    assert claims_table(paper, results("gpu")).loc["beats", "verdict"] == "supported on market1501/gpu"


def test_nothing_warns(make: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = {"table4/a": make(A, [0.3, 0.3]), "table4/b": make(B, [0.3, 0.3])}
        claims_table(PAPER, results)
        table(PAPER, "Table IV", results)


def test_what_all_rows_deviate_in_is_said_once() -> None:
    a, b = (replace(row, printed=ROWS[0].printed, deviations=("one", "two")) for row in ROWS[:2])
    alone, other = replace(a, deviations=("one",)), replace(b, label="Another", printed=None, deviations=())

    def notes(*rows: Row) -> list[str]:
        return table(replace(PAPER, rows=rows), "Table IV", {}).attrs["notes"][-2:]

    assert notes(a, b)[-1] == "All rows measured here: one; two."
    assert notes(a, b, other)[-1] == "All rows of the paper measured here: one; two."
    assert notes(alone, b) == ["All rows measured here: one.", "IDLA: two."]
