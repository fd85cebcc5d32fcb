"""What notebooks put on pages: tables as HTML, estimates with cluster-bootstrap intervals."""

import base64
import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reidlib.pages import decided, estimate, outcomes, planned_runs, show, shown_runs, source, still_rising, why_not_run
from reidlib.recipe import Data, EvaluationSettings, options
from reidlib.store import RunStore, Trial
from reidlib.study import study
from reidlib.tables import Shown, mean_sd

SETTINGS = [EvaluationSettings(Data("plaza", "small", world)) for world in range(3)]


class MadeUp:
    """A run with known queries: `hits` of each of `groups` groups of ten queries are first at rank one."""

    def __init__(self, hits, groups=20):
        flags = np.tile(np.arange(10) < hits, groups)
        self.frame = pd.DataFrame(
            {
                "query": np.arange(len(flags)),
                "group": np.repeat(np.arange(groups), 10),
                "ap": np.where(flags, 1.0, 0.25),
                "first_hit": np.where(flags, 0, 3),
                "inp": 0.5,
                "tied": False,
            }
        )

    def metrics(self, settings):
        return {"rank1": float((self.frame.first_hit == 0).mean())}

    def queries(self, settings):
        return self.frame


def trials(*hits):
    return [Trial(None if hit is None else MadeUp(hit), (SETTINGS[world],)) for world, hit in enumerate(hits)]


def test_an_estimate_is_the_mean_over_trials():
    got = estimate(trials(2, 4), 0)
    assert got.mean == pytest.approx(0.3)
    assert got.trials == 2
    assert got.low <= 0.3 <= got.high
    assert estimate(trials(2, 4), 0, "mean_ap").mean == pytest.approx(0.3 + 0.7 * 0.25)


def test_a_lead_is_taken_query_by_query():
    got = estimate(trials(4, 4), 0, baseline=trials(2, 2))
    assert (got.mean, got.low, got.high) == pytest.approx((0.2, 0.2, 0.2))  # the same in every group
    assert f"{got:+}" == "+20.0 points (95 % interval +20.0 to +20.0; 2 trials)"


def test_two_ways_to_score_one_model_are_compared():
    (both,) = trials(4)
    averaged = Trial(both.run, (replace(both.settings[0], scoring=options(average_orders=True)),))
    assert estimate([averaged], 0, baseline=trials(2)).mean == pytest.approx(0.2)
    elsewhere = Trial(both.run, (replace(both.settings[0], queries=50),))
    assert estimate([elsewhere], 0, baseline=trials(2)) is None


def test_one_group_has_a_mean_and_no_interval():
    """As CUHK03's smallest drawn test set, eight people who look alike."""
    got = estimate([Trial(MadeUp(4, groups=1), (SETTINGS[0],))], 0)
    assert f"{got}" == "40.0 % (no interval; 1 trial)"
    assert not got.low > 0  # nor below it: code asks which side of zero an interval lies on
    assert not got.high < 0


def test_trials_that_were_not_run_are_left_out():
    assert estimate(trials(None), 0) is None
    assert estimate(trials(4), 0, baseline=trials(None)) is None
    assert estimate(trials(4, 8), 0, baseline=trials(2, None)).trials == 1
    assert estimate([Trial(MadeUp(4), (SETTINGS[0],))], 0, baseline=[Trial(MadeUp(2), (SETTINGS[1],))]) is None


def test_from_three_trials_on_the_interval_covers_how_trials_vary():
    """Means 0.1, 0.2, 0.6 of the same people: t of two degrees of freedom, 4.303, by hand."""
    got = estimate(trials(1, 2, 6), 0)
    half = 4.302653 * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3)
    assert (got.mean, got.low, got.high) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert estimate(trials(1, 6), 0).high < 0.65  # two trials: people alone


def test_people_of_one_test_set_are_clusters_over_all_its_trials():
    """Five seeds on one test set do not make its people more certain; five worlds do."""
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(3):
        run = MadeUp(5)
        run.frame["first_hit"] = 3 * (rng.random(len(run.frame)) < np.repeat(rng.random(20), 10))
        runs.append(run)
    one = [Trial(runs[0], (SETTINGS[0],)) for _ in range(3)]
    several = [Trial(run, (settings,)) for run, settings in zip(runs, SETTINGS, strict=True)]
    width = {name: estimate(found, 0) for name, found in (("one", one), ("single", one[:1]), ("worlds", several[:2]))}
    width = {name: found.high - found.low for name, found in width.items()}
    assert width["one"] == pytest.approx(width["single"], rel=0.15)
    assert width["worlds"] < 0.8 * width["one"]


def test_a_table_is_drawn_with_what_its_cells_are():
    columns = pd.MultiIndex.from_tuples(
        [("A & B", "mAP", "printed"), ("A & B", "mAP", "here"), ("A & B", "r=1", "here")]
    )
    frame = pd.DataFrame([["1.0", "2.0 (1)", "not run"], ["", "quoted", "3.0"]], ["x", "<y>"], columns)
    frame.attrs["notes"] = ["a < b"]
    page = show(frame, "Table 1")
    drawn = page._repr_html_()
    assert '<th colspan="3" scope="col">A &amp; B</th>' in drawn
    assert '<th colspan="2" scope="col">mAP</th>' in drawn
    assert '<td class="printed">1.0</td><td class="measured">2.0 (1)</td><td class="not-run">not run</td>' in drawn
    assert "&lt;y&gt;" in drawn
    assert "<li>a &lt; b</li>" in drawn
    assert "<caption>Table 1</caption>" in drawn
    assert "not run" in repr(page)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("mechanism supported on plaza/laptop; printed claim untested", "supported"),
        ("contradicted on market1501/paper", "contradicted"),
        ("undecided on plaza/laptop: supported by itself, not after Holm over 9 claims", ""),
    ],
)
def test_a_verdict_has_the_class_of_its_outcome(said, kind):
    assert f'<td class="{f"{kind} sentence".strip()}">' in show(pd.DataFrame({"verdict": [said]}))._repr_html_()


SENTENCE = "a cell of more than twenty letters"


@pytest.mark.parametrize(
    ("cells", "wide"),
    [([0] * 6, False), ([0] * 7, True), ([*[0] * 4, SENTENCE], False), ([*[0] * 5, SENTENCE], True)],
)
def test_a_table_of_many_columns_or_long_ones_takes_the_margin(cells, wide):
    drawn = show(pd.DataFrame([cells]))._repr_html_()
    assert drawn.startswith('<div class="full-width"><table') is wide
    assert drawn.count("<div") == drawn.count("</div>")


def test_a_table_can_be_saved_with_all_its_digits():
    columns = pd.MultiIndex.from_tuples([("A", "mAP", "printed"), ("A", "mAP", "here"), ("A", "mAP", "difference")])
    cells = [["1.0", mean_sd(np.array([2.0, 2.125])), "baseline"], ["9", "not run", Shown("+8.0", printed=8.0)]]
    frame = pd.DataFrame(cells, ["x, y", "Ä"], columns)
    frame.attrs["notes"] = [Shown("Measured here.", full="Measured here; commit 12."), "a < b"]
    page = show(frame, "Table 1: a & b")._repr_html_()
    name, content = re.search(
        r'<a download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)">', page
    ).groups()
    assert name == "table-1-a-b.csv"
    text = base64.b64decode(content).decode()
    assert text.splitlines()[:3] == ["# Table 1: a & b", "# Measured here; commit 12.", "# a < b"]
    read = pd.read_csv(io.StringIO(text), comment="#", index_col=0, keep_default_na=False)
    assert read.index.tolist() == ["x, y", "Ä"]
    assert read["A, mAP, printed"].tolist() == [1.0, 9.0]
    assert read["A, mAP, here"].tolist() == ["2.1 ± 0.1 (2)", "not run"]
    assert read["A, mAP, here (mean)"].tolist() == ["2.0625", ""]
    assert float(read["A, mAP, here (sd)"].iloc[0]) == np.array([2.0, 2.125]).std(ddof=1)
    assert read["A, mAP, here (trials)"].tolist() == ["2", ""]
    assert read["A, mAP, difference (printed)"].tolist() == ["", "8.0"]
    assert '<td class="difference">baseline</td>' in page


def test_where_numbers_are_from_stands_below_the_other_notes_and_changes_no_table():
    record = {"date": "2026-01-02", "device": "a CPU", "precision": "32-true", "recipe": {}, "profile": "laptop"}
    versions = {"versions": {"python": "3", "torch": "2", "numpy": "1"}}
    run = SimpleNamespace(record=record | versions)
    table = pd.DataFrame({"a": [1]}, index=["row"])
    table.attrs["notes"] = ["A note."]
    text = str(show(table, of=[[Trial(run, (SETTINGS[0],)), Trial(None)]]))
    assert text.splitlines()[-2:] == [
        "A note.",
        "Measured on plaza small (world 0), profile laptop, all queries, seed 0; a CPU; 2026-01-02.",
    ]
    assert table.attrs["notes"] == ["A note."]
    assert str(show(table)) == str(show(table, of=[[Trial(None)]]))  # of no run there is nothing to say


def test_a_table_without_a_caption_can_be_saved_too():
    page = show(pd.DataFrame({"a": [1.25]}, ["x"]))._repr_html_()
    content = re.search(r'<a download="table.csv" href="[^,]+,([^"]+)">', page)[1]
    assert base64.b64decode(content).decode() == ",a\nx,1.25\n"


def test_verdicts_code_and_sentences_are_marked():
    frame = pd.DataFrame({"verdict": ["mechanism contradicted on plaza"], "how": ["`kernel=3`"]}, ["a"])
    drawn = show(frame)._repr_html_()
    assert '<td class="contradicted sentence">' in drawn
    assert "<code>kernel=3</code>" in drawn


def test_a_chapter_says_how_many_of_its_trainings_there_are(tmp_path):
    chapter = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    count = len(chapter.jobs())
    begins = f"Of the {count} trainings that this chapter plans at this profile,"
    assert planned_runs(chapter) == f"{begins} 0 are in the run store."
    row = chapter.paper.row("tuning/sgd-0.01")
    RunStore(tmp_path).save(chapter.recipe(row, 0, "laptop"), history=[], evaluations={}, meta={})
    assert planned_runs(chapter) == f"{begins} 1 are in the run store."
    row = chapter.paper.row("table4/personnet")
    RunStore(tmp_path).save(chapter.recipe(row, 0, "laptop"), history=[], evaluations={}, meta={})
    assert planned_runs(chapter) == (
        f"{begins} 2 are in the run store, 1 of them with all the evaluations that the tables want."
    )


def test_a_chapter_without_any_of_its_datasets_says_so(tmp_path):
    where = {"dataset": "real", "data_root": str(tmp_path), "runs_dir": str(tmp_path / "runs")}
    said = planned_runs(study("mls", profile="laptop", **where))
    assert said.startswith("None of this chapter's datasets is here, so that nothing is trained: no ")


def test_a_smoke_chapter_says_that_its_numbers_mean_nothing(tmp_path, plaza_tiny):
    chapter = study("personnet", profile="smoke", runs_dir=str(tmp_path))
    assert planned_runs(chapter).endswith(
        "**This is a smoke run: every step runs, for a moment. Its numbers mean nothing.**"
    )


def test_the_trainings_shown_are_counted_once():
    def run(name, seconds, device):
        return SimpleNamespace(name=name, record={"profile": "laptop", "seconds": seconds, "device": device})

    one, two = Trial(run("one", 3600.0, "a GPU"), ()), Trial(run("two", 1800.0, "a CPU"), ())
    assert shown_runs({"a": [one, Trial(None)], "b": [one, two]}) == (
        "Shown: 2 trainings at the profile laptop, 1.5 hours in all, on a CPU, a GPU."
    )
    assert shown_runs({"a": [Trial(None)]}) == "No training is in the run store: nothing was tested yet."


def test_a_table_says_which_dataset_it_lacks(tmp_path):
    (tmp_path / "data").mkdir()
    where = {"dataset": "real", "data_root": str(tmp_path / "data"), "runs_dir": str(tmp_path / "runs")}
    said = why_not_run(study("personnet", profile="laptop", **where), "Table IV")
    assert said.startswith("Table IV is not run: ")
    assert "market1501" in said.lower().replace("-", "")
    assert why_not_run(study("personnet", profile="laptop"), "Table IV") == ""


def test_what_is_executed_is_shown_and_the_end_of_trainings_is_told_line_by_line():
    assert source(planned_runs).startswith("```python\ndef planned_runs(")
    flat, rising = (pd.DataFrame({"accuracy": values}) for values in ([0.5] * 5, [0.1, 0.5, 0.5, 0.6, 0.7]))
    said = still_rising({"A": [flat, rising], "B": [flat[:4]]})  # B has too few validations to tell
    lead = "Change of held-out accuracy (mean of the last two validations minus the two before):"
    assert said == f"{lead}\n\n- *A*: +7.5 points (2 trials)"
    assert still_rising({"B": [flat[:4]]}) == ""
    assert still_rising({"+ A": [flat - 1e-4 * flat.index.to_frame().to_numpy()]}).endswith(
        "- *+ A*: +0.0 points (1 trial)"
    )


def test_claims_are_listed_under_their_outcomes_with_their_reasons():
    said = {
        "A beats B": "not run",
        "C helps +": "undecided on plaza/laptop: supported by itself, not after Holm over 8 claims;"
        " about 9 replicates would decide",
        "D helps": "not run",
        "E helps": "undecided on plaza/laptop",
        "F helps": "mechanism supported on campus/laptop; printed claim untested",
        "G helps": "no verdict: the sign turns",
        "H helps": "no verdict: the sign turns",
        "I helps": "preliminary, no verdict on plaza/gpu: 3 of 5 replicates",
    }
    assert outcomes(pd.DataFrame({"claim": said.keys(), "verdict": said.values()})).splitlines() == [
        "- *Not run*",
        "  - A beats B.",
        "  - D helps.",
        "- *Undecided on plaza/laptop*",
        "  - C helps (supported by itself, not after Holm over 8 claims; about 9 replicates would decide).",
        "  - E helps.",
        "- *Mechanism supported on campus/laptop; printed claim untested*",
        "  - F helps.",
        "- *No verdict* (the sign turns)",
        "  - G helps.",
        "  - H helps.",
        "- *Preliminary, no verdict on plaza/gpu* (3 of 5 replicates)",
        "  - I helps.",
    ]


def test_choices_that_were_run_both_ways_are_counted():
    assert decided(11, 0) == "All 11 choices that a run can decide have been run with the alternative."
    begins = "Of the 5 choices that a run can decide,"
    assert decided(3, 2) == f"{begins} 3 have been run with the alternative and 2 have not."
    assert decided(1, 4) == f"{begins} 1 has been run with the alternative and 4 have not."
