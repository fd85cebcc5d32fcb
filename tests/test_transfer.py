"""What drawn people can tell: statistics against hand-worked cases and loops, figures read back from their artists."""

from dataclasses import replace
from itertools import permutations, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reidlib import figures, transfer
from reidlib.papers.orderings import ORDERINGS, Asked, Ordering, Printed
from reidlib.recipe import Data, EvaluationSettings
from reidlib.robustness import PLAIN, TABLE
from reidlib.store import Trial
from reidlib.study import PAPERS, paper, study

MARKET = EvaluationSettings(Data("plaza", "small"))
FLIPPED = EvaluationSettings(Data("plaza", "small"), protocol="market1501-flip")
VI = [Printed("HAGN", "Table VI", row, "Market-1501") for row in ("+ CAM", "Baseline")]  # 87.7 and 71.1 mAP


class FakeRun:
    """A run that knows one score, and the queries it is the mean of."""

    def __init__(self, mean_ap, aps=(), groups=()):
        self.record = {"measures": {}, "recipe": {}}
        self.scores, self.aps, self.groups = {"mean_ap": mean_ap}, list(aps), list(groups)

    def metrics(self, settings):
        return self.scores

    def queries(self, settings):
        numbers = range(len(self.aps))
        return pd.DataFrame({"query": numbers, "group": self.groups, "ap": self.aps, "first_hit": 0})


def trial(mean_ap, settings=MARKET, **queries):
    return Trial(FakeRun(mean_ap, **queries), (settings,))


def test_every_ordering_names_rows_there_are_and_printed_numbers_in_the_printed_order():
    for item in ORDERINGS:
        better, worse = (transfer.printed_number(source, item.measure) for source in item.printed)
        assert better > worse, item
        for asked in item.rows:
            row = paper(asked.paper).row(asked.key)
            assert asked.column < len(row.evaluations), item
    assert len(set(ORDERINGS)) == len(ORDERINGS)


def test_both_rows_of_an_ordering_rank_the_same_queries_of_the_same_people():
    chapters = {key: study(key, profile="laptop", recompute="no") for key in PAPERS}
    for item in ORDERINGS:
        asked = []
        for key, row, column in item.rows:
            settings = chapters[key].settings(chapters[key].paper.row(row), 0, "laptop")[column]
            asked.append(replace(settings, protocol=settings.protocol.removesuffix("-flip")))
        assert asked[0] == asked[1], f"{item.better} and {item.worse}"


def test_a_number_that_is_not_printed_is_an_error():
    with pytest.raises(ValueError, match="0 printed values of rank1; give the row and dataset as printed"):
        transfer.printed_number(Printed("HAGN", "Table VI", "+ XAM", "Market-1501"), "rank1")


def test_the_spread_of_scores_by_hand():
    # Methods 10 apart, the second trial 4 higher, and +1 -1 / -1 +1 on top: residual sum of squares 4, df 1.
    found = transfer.spread(pd.DataFrame({"a": [1.0, 3.0], "b": [9.0, 15.0]}))
    assert found.df == 1
    assert found.residual == pytest.approx(2.0)
    assert found.trial == pytest.approx((8 - 4 / 2) ** 0.5)  # variance of the trials' means 8, less residual / methods
    assert found.error(1) == pytest.approx(8**0.5)
    assert found.error(2, paired=False) == pytest.approx((4 + 6) ** 0.5)
    assert found.half(1) == pytest.approx(12.706 * 8**0.5, rel=1e-4)
    assert found.detectable(4) == pytest.approx((12.706 + 1.3764) * 2**0.5, rel=1e-4)
    assert transfer.spread(pd.DataFrame({"a": [1.0, 2.0]})) is None
    assert transfer.spread(pd.DataFrame()) is None


def test_the_spread_recovers_what_scores_were_drawn_with():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (400, 1)) + rng.normal(0, 2, (400, 6)) + 10 * np.arange(6)
    found = transfer.spread(pd.DataFrame(scores))
    assert (found.trial, found.residual) == pytest.approx((3, 2), rel=0.1)


def compared(first, second, spread=None, printed=VI):
    item = Ordering("family", "CAM", "baseline", "mean_ap", tuple(printed), (Asked("hagn", "a"), Asked("hagn", "b")))
    found = transfer.compare([item], {"hagn": {"a": first, "b": second}}, {"mean_ap": spread})
    return found.iloc[0]


def test_an_ordering_is_asked_in_the_trials_that_both_rows_have():
    spread = transfer.Spread(trial=1.0, residual=0.01, df=10)
    found = compared([trial(0.5), trial(0.6), trial(0.9)], [trial(0.4), trial(0.3), Trial(None)], spread)
    assert found.printed == pytest.approx(16.6)
    assert (found["mean"], found.trials, found.answer) == (pytest.approx(20.0), 2, transfer.AGREES)
    assert found.high - found["mean"] == pytest.approx(spread.half(2))
    assert (found.measured_on, found.same) == ("Market-1501", True)
    assert compared([trial(0.3)], [trial(0.4)], spread).answer == transfer.DISAGREES
    wide = transfer.Spread(trial=1.0, residual=50.0, df=10)
    assert compared([trial(0.3)], [trial(0.4)], wide).answer == transfer.OPEN
    assert compared([trial(0.3)], [trial(0.4)]).answer == transfer.OPEN  # nothing is known of the spread
    assert compared([trial(0.3)], [Trial(None)], spread).answer == transfer.NOT_RUN
    assert compared([], [], spread).answer == transfer.NOT_RUN


def test_trials_that_vary_more_than_most_have_an_interval_of_their_own():
    spread = transfer.Spread(trial=1.0, residual=1.0, df=10)
    first, second = [trial(score) for score in (0.7, 0.3, 0.6)], [trial(0.4)] * 3
    found = compared(first, second, spread)  # +30, -10 and +20 points
    half = stats.t.ppf(0.975, 2) * np.std([30, -10, 20], ddof=1) / 3**0.5
    assert found.high - found["mean"] == pytest.approx(half)
    assert found.answer == transfer.OPEN
    assert compared(first[::2], second[:2], spread).answer == transfer.AGREES  # of two, as of one, the pooled one
    assert compared([trial(0.7)] * 3, second, spread).high == pytest.approx(30 + spread.half(3))


def test_rows_on_other_images_are_not_compared_but_mirror_images_are():
    elsewhere = EvaluationSettings(Data("plaza", "market"))
    assert compared([trial(0.3)], [trial(0.4, elsewhere)]).answer == transfer.NOT_RUN
    assert compared([trial(0.3)], [trial(0.4, FLIPPED)]).trials == 1


def test_rows_of_two_profiles_are_not_compared():
    """Which the best evidence of two papers may be."""
    longer = trial(0.5)
    longer.run.record["profile"] = "paper"
    assert compared([longer], [trial(0.4)]).answer == transfer.NOT_RUN
    longer.run.record["recipe"] = {"steps": 0}  # what takes none is one run for all profiles
    assert compared([longer], [trial(0.4)]).trials == 1


def test_an_ordering_printed_elsewhere_says_so():
    layout = EvaluationSettings(Data("plaza", "small", layout="cuhk03-np-detected"))
    found = compared([trial(0.3, layout)], [trial(0.2, layout)])
    assert (found.measured_on, found.same) == ("CUHK03-NP detected", False)


def test_an_ordering_across_domains_is_asked_where_it_was_tested():
    for printed, same in (("Duke->Market", True), ("Market->Duke", False)):
        crossed = [Printed("HAGN", "Table VIII", row, printed) for row in ("+ CAM", "Baseline")]
        assert compared([trial(0.3)], [trial(0.2)], printed=crossed).same == same


def test_deviations_by_hand():
    people = {"aps": [0.0, 0.0, 1.0, 1.0], "groups": [1, 1, 2, 2]}
    worlds = [trial(0.5, **people), trial(0.7, **people), trial(0.3, **people)]
    found = transfer.deviations(worlds, [worlds[0], trial(0.52, **people)], 0, "mean_ap").set_index("source")
    assert found.sd["seed and world"] == pytest.approx(20)
    assert found.sd["seed"] == pytest.approx(2**0.5)
    assert found["values"].tolist() == [3, 2, 3, 3]
    assert found.low["seed and world"] == pytest.approx(20 * (2 / 7.3778) ** 0.5, rel=1e-4)
    # Two groups of 0 and 1: the resampled mean is 0, 0.5 or 1 with variance 1/8.
    assert found.sd["choice of queries"] == pytest.approx(100 * 0.125**0.5, rel=0.05)
    assert found.sd["rest of the world"] == 0  # the two others are larger than the whole
    assert transfer.deviations([Trial(None)], [], 0, "mean_ap").empty


def test_queries_are_averaged_over_draws():
    run = FakeRun(0.5)
    run.queries = lambda settings: pd.DataFrame(
        {"query": [3, 3, 4], "group": [1, 1, 2], "ap": [0.2, 0.4, 1.0], "first_hit": [0, 2, 0]}
    )
    found = transfer.query_scores(Trial(run, (MARKET,)), 0, "mean_ap")
    assert found.score.tolist() == pytest.approx([0.3, 1.0])
    assert transfer.query_scores(Trial(run, (MARKET,)), 0, "rank1").score.tolist() == [0.5, 1.0]
    assert transfer.query_scores(Trial(None), 0, "rank1") is None


def measured(**settings):
    table = pd.DataFrame({"person": [7, 8, 9], "group": [1, 1, 2]}).assign(**settings)
    return SimpleNamespace(table=lambda name: table if name == TABLE else None)


def test_people_of_several_runs_stand_side_by_side():
    runs = {
        "a": measured(default=[0, 1, 2]),
        "b": measured(default=[5, 0, 0]),
        "c": SimpleNamespace(table=lambda _: None),
    }
    found = transfer.by_person(runs)
    assert found.columns.tolist() == ["a", "b"]
    assert found.loc[8, 1].tolist() == [1, 0]
    assert transfer.by_person({"c": runs["c"]}) is None
    other = SimpleNamespace(table=lambda _: pd.DataFrame({"person": [1], "group": [1], PLAIN: [0]}))
    with pytest.raises(ValueError, match="other and a were measured on different people"):
        transfer.by_person({"a": runs["a"], "other": other})


def test_orders_of_methods_against_the_usual_one():
    kept = {"a": [0, 0, 0], "b": [0, 0, 2], "c": [0, 2, 2]}  # rank-1 of 1, 2/3, 1/3
    turned = dict(zip(kept, reversed(kept.values()), strict=True))
    runs = {
        name: measured(**{PLAIN: usual, "jitter=0": usual, "jitter=2": turned[name]}) for name, usual in kept.items()
    }
    found = transfer.orders(runs)
    jitter = found[found.knob == "jitter"].set_index("value").agreement
    assert jitter.to_dict() == {0.0: 1.0, 1.0: 1.0, 2.0: -1.0}
    assert transfer.orders({"a": runs["a"], "b": runs["b"]}).empty


def test_independent_errors_against_every_outcome():
    shares = [0.5, 0.2, 0.9]
    expected = np.zeros(4)
    for right in product((0, 1), repeat=3):
        expected[sum(right)] += np.prod([s if hit else 1 - s for s, hit in zip(shares, right, strict=True)])
    np.testing.assert_allclose(transfer.independent(shares), expected)


def test_a_permutation_test_against_all_orders():
    values, labels = np.array([0.0, 0.1, 0.9, 1.0]), np.array([1, 1, 2, 2])

    def between(order):
        means = {label: order[labels == label].mean() for label in (1, 2)}
        fitted = np.array([means[label] for label in labels])
        return ((fitted - order.mean()) ** 2).sum() / ((order - order.mean()) ** 2).sum()

    every = np.array([between(np.array(order)) for order in permutations(values)])
    share, chance, p = transfer.permutation_test(values, labels, np.zeros(4))
    assert share == pytest.approx(between(values))
    assert chance == pytest.approx(every.mean(), abs=0.02)
    assert p == pytest.approx((every >= share - 1e-9).mean(), abs=0.03)


def test_people_change_places_within_their_block_only():
    values, labels = np.array([0.0, 0.0, 1.0, 1.0]), np.array(["x", "x", "y", "y"])
    assert transfer.permutation_test(values, labels, blocks=labels) == (1.0, 1.0, 1.0)
    assert transfer.permutation_test(np.ones(4), labels, np.zeros(4)) == (0.0, 0.0, 1.0)


def test_orderings_stand_at_their_differences_and_those_named_carry_their_number():
    frame = pd.DataFrame(
        {"family": ["f", "g"], "printed": [2.0, 8.0], "mean": [3.0, -4.0], "low": [1.0, -9.0], "high": [5.0, 1.0]},
        index=[11, 12],
    )
    axes = figures.printed_against_measured(frame, [12]).axes[0]
    marks = [container.lines[0].get_xydata().tolist()[0] for container in axes.containers]
    assert marks == [[2.0, 3.0], [8.0, -4.0]]
    bars = [container.lines[2][0].get_segments()[0][:, 1].tolist() for container in axes.containers]
    assert bars == [[1.0, 5.0], [-9.0, 1.0]]
    assert [text.get_text() for text in axes.texts] == ["12"]
    with pytest.raises(ValueError, match="nothing was measured"):
        figures.printed_against_measured(frame[:0])


def test_names_of_marks_that_lie_on_each_other_stand_apart():
    frame = pd.DataFrame({"family": "f", "printed": [2.0, 2.0, 9.0], "mean": [3.0, 3.0, 8.0]})
    frame = frame.assign(low=frame["mean"] - 1, high=frame["mean"] + 1)
    axes = figures.printed_against_measured(frame, [0, 1, 2]).axes[0]
    places = [text.get_position() for text in axes.texts]
    assert len(axes.texts) == 3
    assert places[0] != places[1]
    assert places[0] == places[2]  # which nothing hides


def test_a_heat_map_writes_its_numbers_and_leaves_gaps():
    axes = figures.heat_map(pd.DataFrame([[0.25, np.nan], [1.0, 0.5]]), limits=(0, 1), label="share").axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.25", "1.00", "0.50"]
    assert axes.texts[0].get_color() != axes.texts[1].get_color()  # light on dark, dark on light


def test_deviations_and_detectable_differences_are_drawn_where_they_are():
    parts = pd.DataFrame({"source": ["seed", "queries"], "sd": [2.0, 3.0], "low": [1, np.nan], "high": [9, np.nan]})
    axes = figures.deviations({"MLS": parts}, xlabel="points").axes[0]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_gid() == "interval"] == [[1, 9]]
    assert [float(line.get_xdata()[0]) for line in axes.lines if line.get_gid() == "sd"] == [2.0, 3.0]
    lines = figures.detectable({"paired": {1: 4.0, 5: 2.0}}, ylabel="points").axes[0].lines
    assert lines[0].get_xydata().tolist() == [[1, 4], [5, 2]]
    with pytest.raises(ValueError, match="no method has two trials"):
        figures.deviations({}, xlabel="points")


def test_categories_say_how_many_people_stand_behind_them():
    found = pd.DataFrame(
        {"mean": [0.5, 0.2], "low": [0.4, np.nan], "high": [0.6, np.nan], "people": [12, 3]}, ["a", "b"]
    )
    axes = figures.by_category(found, xlabel="x", ylabel="y", mean=0.4, swatches=["#000000", "#ffffff"]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a\n12", "b\n3"]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_gid() == "mean"] == [50.0, 20.0]
    assert len([line for line in axes.lines if line.get_gid() == "interval"]) == 1


def test_swatches_lie_between_the_axis_and_the_names_and_hide_nothing():
    found = pd.DataFrame({"mean": [0.5, 0.02], "low": [0.4, np.nan], "high": [0.6, np.nan], "people": [12, 3]})
    figure = figures.by_category(found, xlabel="x", ylabel="y", mean=0.4, swatches=["#000000", "#ffffff"])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [line.get_window_extent() for line in axes.lines if line.get_gid() == "swatch"]
    names = [tick.get_window_extent() for tick in axes.get_xticklabels()]
    for box, name in zip(boxes, names, strict=True):
        assert name.y1 < box.y0 < box.y1 < axes.get_window_extent().y0
        assert name.x0 < (box.x0 + box.x1) / 2 < name.x1


def test_counts_of_methods_stand_beside_what_chance_would_give():
    axes = figures.right_by_how_many([3, 1], [2.5, 1.5]).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [3, 1]
    assert axes.lines[0].get_ydata().tolist() == [2.5, 1.5]


def test_agreement_is_drawn_by_strength():
    found = pd.DataFrame({"knob": "jitter", "value": [2.0, 0.0, 1.0], "agreement": [0.5, 0.8, 1.0]})
    axes = figures.agreement_curves(found, {"jitter": "boxes"}, {"jitter": 1.0}).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [0.8, 1.0, 0.5]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]


@pytest.mark.parametrize(("lowest", "bottom"), [(-1.0, -1.05), (0.3, 0.0)])
def test_an_order_that_turns_round_stays_on_the_axis(lowest, bottom):
    found = pd.DataFrame({"knob": "jitter", "value": [0.0, 1.0, 2.0], "agreement": [1.0, lowest, np.nan]})
    assert figures.agreement_curves(found, {"jitter": "boxes"}, {}).axes[0].get_ylim() == (bottom, 1.05)
