"""Figures that sum up the study say what their data say: read back from the artists, not looked at."""

import numpy as np
import pandas as pd
import pytest
from helpers import texts
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from reidlib import figures
from reidlib.figures.summary import OUTCOMES

NAN = float("nan")


def named(axes, name):
    return [np.asarray(line.get_xydata()) for line in axes.findobj(Line2D) if line.get_gid() == name]


def claim(group, outcome, mean=NAN, low=NAN, high=NAN, printed=NAN, error=NAN, margin=1.0):
    return {
        "group": group,
        "statement": f"{group} is {outcome}",
        "outcome": outcome,
        "mean": mean,
        "low": low,
        "high": high,
        "printed": printed,
        "printed_se": error,
        "margin": margin,
        "replicates": int(np.isfinite(mean)) + int(np.isfinite(low)),
        "planned": 5,
    }


@pytest.fixture
def claims():
    return pd.DataFrame(
        [
            claim("A", "supported", 4.0, 2.0, 6.0, 3.0, 2.0, 0.5),
            claim("A", "preliminary", -7.0, printed=0.2),
            claim("B", "not run", printed=5.0),
        ]
    )


def test_outcomes_are_parts_as_long_as_their_counts_with_the_numbers_on_them():
    counts = pd.DataFrame({"supported": [2, 0], "undecided": [0, 0], "not run": [3, 4]}, index=["A", "B"])
    figure = figures.outcome_bars(counts)
    (axes,) = figure.axes
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(sorted(bar for bar in bars if bar[2]), [(0, 0, 2), (0, 2, 3), (1, 0, 4)], atol=1e-12)
    assert [text.get_text() for text in axes.texts] == ["2", "3", "4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["supported", "not run"]


def test_outcomes_differ_in_colour_mark_and_hatch():
    looks = [look for name, look in OUTCOMES.items() if name != "not run"]
    for part in zip(*looks, strict=True):
        assert len(set(part)) == len(looks)


def test_a_forest_has_every_claim_once_in_its_group(claims):
    figure = figures.forest(claims)
    (axes,) = figure.axes
    labels = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert list(labels) == ["A is supported", "A is preliminary", "B is not run"]
    assert list(labels.values()) == [1, 2, 4]  # 0 and 3 are the groups' own lines
    assert {"A ", "B ", "supported, 2 of 5", "preliminary, 1 of 5", "not run"} <= set(texts(figure))


def test_a_forest_without_groups_has_no_lines_of_theirs(claims):
    (axes,) = figures.forest(claims.drop(columns="group")).axes
    assert list(axes.get_yticks()) == [0, 1, 2]
    assert axes.get_ylim() == (2.7, -0.7)


def test_a_forest_draws_our_effect_and_the_printed_one_with_their_intervals(claims):
    (axes,) = figures.forest(claims).axes
    assert [line[0, 0] for line in named(axes, "effect")] == [4.0, -7.0]
    (interval,) = named(axes, "interval")  # one replicate has none
    assert interval[:, 0].tolist() == [2.0, 6.0]
    assert [line[0, 0] for line in named(axes, "printed")] == [3.0, 0.2, 5.0]
    (spread,) = named(axes, "printed interval")
    assert spread[:, 0] == pytest.approx([3 - 1.96 * 2, 3 + 1.96 * 2])
    margins = [(patch.get_x(), patch.get_width()) for patch in axes.findobj(Rectangle) if patch.get_gid() == "margin"]
    assert sorted(margins) == [(-1.0, 2.0), (-1.0, 2.0), (-0.5, 1.0)]
    left, right = axes.get_xlim()
    assert left < -7
    assert right > 3 + 1.96 * 2


@pytest.mark.parametrize("effect", [1.0, 5.9, 17.0, 62.0, -99.0])
def test_a_forest_has_a_tick_near_its_largest_effect(claims, effect):
    (axes,) = figures.forest(claims.iloc[:1].assign(mean=effect, low=effect, high=effect, printed=NAN)).axes
    left, right = axes.get_xlim()
    assert left < axes.get_xticks().min() < axes.get_xticks().max() < right
    assert abs(effect) < 2 * axes.get_xticks().max()


def test_a_forest_without_a_run_is_a_forest_of_printed_effects(claims):
    (axes,) = figures.forest(claims.iloc[2:]).axes
    assert not named(axes, "effect")
    assert len(named(axes, "printed")) == 1


def test_a_forest_refuses_what_it_cannot_draw(claims):
    with pytest.raises(ValueError, match="no column \\['margin'\\]"):
        figures.forest(claims.drop(columns="margin"))
    with pytest.raises(ValueError, match="no claim was given"):
        figures.forest(claims.iloc[:0])
    with pytest.raises(ValueError, match=r"outcomes \['proved'\] are unknown"):
        figures.forest(claims.assign(outcome="proved"))
    with pytest.raises(ValueError, match=r"outcomes \['proved'\] are unknown"):
        figures.outcome_bars(pd.DataFrame({"proved": [1]}, index=["A"]))


def test_a_score_stands_over_the_cost_it_was_measured_at_and_never_over_the_papers():
    methods = pd.DataFrame(
        {
            "score": [0.5, NAN, 0.2],
            "low": [0.4, NAN, 0.1],
            "high": [0.6, NAN, 0.3],
            "size": [2.0, 3.0, 0.0],
            "size, paper": [20.0, 30.0, NAN],
        },
        index=["net", "unscored", "free"],
    )
    upper, lower = figures.costs(methods, {"size": "parameters"}, ylabel="rank-1", reference=0.25).axes
    assert [line.tolist() for line in named(upper, "score")] == [[[2.0, 0.5]]]
    assert not named(upper, "paper")
    assert [line.tolist() for line in named(lower, "here")] == [[[2.0, 0.0]], [[3.0, 1.0]]]
    assert [line.tolist() for line in named(lower, "paper")] == [[[20.0, 0.0]], [[30.0, 1.0]]]
    assert len(named(upper, "reference")) == 1
    with pytest.raises(ValueError, match="no column"):
        figures.costs(methods, {"time": "seconds"}, ylabel="rank-1")


def test_a_transfer_is_a_filled_and_a_hollow_mark_with_intervals():
    line = {"home": 0.6, "home low": 0.5, "home high": 0.7, "away": 0.3, "away low": 0.2, "away high": 0.45}
    scores = pd.DataFrame([line | {"note": "-30"}], index=["net"])
    figure = figures.transfers(scores, home="plaza", away="campus", xlabel="rank-1")
    (axes,) = figure.axes
    for side in ("home", "away"):
        (mark,), (interval,) = named(axes, side), named(axes, f"{side} interval")
        assert mark[0, 0] == line[side]
        assert interval[:, 0].tolist() == [line[f"{side} low"], line[f"{side} high"]]
    assert {"net", "-30", "plaza", "campus"} <= set(texts(figure))
    with pytest.raises(ValueError, match="no column \\['note'\\]"):
        figures.transfers(scores.drop(columns="note"), home="", away="", xlabel="")


def test_shares_are_written_in_percent_where_they_were_measured():
    shares = pd.DataFrame({"occlusion": [0.914, NAN], "jitter": [0.3, 1.02]}, index=["net", "other"])
    axes = figures.kept_shares(shares).axes[0]
    assert [text.get_text() for text in axes.texts] == ["91", "30", "–", "102"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["net", "other"]
    with pytest.raises(ValueError, match="no share was given"):
        figures.kept_shares(shares.iloc[:0])
