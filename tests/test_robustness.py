"""What breaks a network: against distances made by hand, galleries drawn one by one, and the images on disk."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from reidlib.data.pixels import read_image
from reidlib.data.synthetic import knobs, named_world
from reidlib.data.synthetic.settings import Knobs
from reidlib.models import Encoding, build
from reidlib.papers.controls import crossed, doubled, reseeded, trained_otherwise
from reidlib.recipe import SEEN, Claim, Data, EvaluationSettings, Recipe, Row, options
from reidlib.robustness import (
    NUISANCES,
    OF,
    PLAIN,
    SETTINGS,
    TABLE,
    USUAL,
    at,
    change,
    curves,
    losses,
    people_of,
    rank1,
    robustness,
)
from reidlib.run import measure, train_and_evaluate
from reidlib.store import RunStore
from reidlib.study import study


def run(groups, **nearer):
    """A run with that table; settings not named are as PLAIN."""
    plain = nearer.pop(PLAIN)
    table = pd.DataFrame({"person": np.arange(len(groups)), "group": groups})
    table = table.assign(**{setting: nearer.get(setting, plain) for setting in SETTINGS})
    return SimpleNamespace(name="made-up", table=lambda name: table if name == TABLE else None)


@pytest.mark.parametrize("gallery", [1, 2, 3, 5, 50])
def test_rank_1_is_the_share_of_all_galleries_that_leave_out_what_is_nearer(gallery):
    nearer = pd.Series([0, 1, 3, 4, 2])
    found = rank1(nearer, gallery)
    others = range(4)  # of five people one is the right one; the wrong ones by nearness
    for count, share in zip(nearer, found, strict=True):
        drawn = list(combinations(others, min(gallery - 1, 4)))
        assert share == pytest.approx(np.mean([all(one >= count for one in wrong) for wrong in drawn]))


def test_wrong_images_at_least_as_near_are_counted(plaza_tiny, monkeypatch):
    """A network that sees nothing but the mean colour, held to a loop; a network that sees nothing is never right."""
    people = people_of(plaza_tiny)
    shown = [
        [read_image(split.paths[row]).mean() for row in people[side]]
        for side, split in (("query", plaza_tiny.query), ("gallery", plaza_tiny.gallery))
    ]
    model = build("pixels", image_size=(128, 64))
    mean = lambda self, images: Encoding(mean=images.mean((1, 2, 3))[:, None] * 255)  # noqa: E731
    monkeypatch.setattr(type(model), "encode", mean)
    monkeypatch.setattr(type(model), "distance", lambda self, a, b: (a.mean - b.mean.T).abs())
    found = robustness(model, plaza_tiny, [PLAIN])
    expected = [sum(abs(q - other) <= abs(q - own) for other in shown[1]) - 1 for q, own in zip(*shown, strict=True)]
    assert found[PLAIN].tolist() == expected
    monkeypatch.setattr(type(model), "distance", lambda self, a, b: torch.zeros(len(a), len(b)))
    assert (rank1(robustness(model, plaza_tiny, [PLAIN])[PLAIN]) == 0).all()


def test_every_person_is_asked_for_once_and_found_by_another_camera(plaza_tiny):
    people, query, gallery = people_of(plaza_tiny), plaza_tiny.query, plaza_tiny.gallery
    assert people.person.tolist() == query.identities.tolist()
    assert (query.person_ids[people["query"]] == people.person).all()
    assert (gallery.person_ids[people.gallery] == people.person).all()
    assert (query.camera_ids[people["query"]] != gallery.camera_ids[people.gallery]).all()
    assert people.equals(people_of(plaza_tiny))


def test_the_plain_setting_and_the_usual_strengths_are_those_of_the_benchmark():
    default = knobs("default")
    assert {name: getattr(default, name) for name in NUISANCES} == USUAL
    assert all(USUAL[name] in values and list(values) == sorted(values) for name, values in NUISANCES.items())
    for setting in SETTINGS[1:]:
        name, value = setting.split("=")
        assert knobs(setting) == replace(Knobs(), **{name: float(value)})
    assert set(SEEN) <= set(SETTINGS)


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("jiter=2", "preset: knob 'jiter' is unknown: did you mean 'jitter'"),
        ("jitter=", "gives jitter no strength: write a number from 0 after the ="),
        ("jitter=-1", "gives jitter no strength"),
        ("jitter=nan", "gives jitter no strength"),
        ("jitter=inf", "gives jitter no strength"),
        ("occlusion=1.5", "a number from 0 to 1 after the ="),
        ("Easy", "preset 'Easy' is unknown: did you mean 'easy'"),
    ],
)
def test_a_preset_that_means_nothing_is_refused(preset, said):
    with pytest.raises(ValueError, match=said):
        named_world("plaza", "tiny", preset=preset)


def test_only_images_that_can_be_drawn_anew_are_measured(copy_of, plaza_tiny):
    from reidlib.data import registry

    with pytest.raises(ValueError, match="only plaza and campus in Market-1501's layout"):
        robustness(build("pixels"), registry.DATASETS["viper"].read(copy_of("viper"), 0))


def test_curves_hold_every_strength_with_its_interval():
    groups = np.repeat([1, 2, 3], 4)
    plain, worse = np.repeat([0, 1], 6), np.full(12, 11)
    found = curves(run(groups, default=plain, **{"jitter=2": worse})).set_index(["knob", "value"])
    assert found.rank1["jitter", 2.0] == 0
    assert found.rank1["jitter", 1.0] == found.rank1["colour", 2.2] == 0.5  # among twelve people, all of them
    assert found.rank1["gallery", 10] == pytest.approx((1 + 2 / 11) / 2)  # one of eleven may not be among nine
    assert ("gallery", 25) not in found.index
    assert (found.low <= found.rank1).all()
    assert (found.rank1 <= found.high).all()
    assert curves(SimpleNamespace(table=lambda name: None)) is None


def test_changes_are_taken_person_by_person_between_settings_and_networks():
    groups = np.repeat([1, 2, 3], 4)
    sound, broken = np.zeros(12, int), np.where(np.arange(12) < 6, 11, 0)
    whole, half = run(groups, default=sound, **{"occlusion=0.8": broken}), run(groups, default=broken)
    lost = losses(whole).set_index("knob")
    assert (lost.change["occlusion"], lost.kept["occlusion"]) == (-0.5, 0.5)
    assert (lost.change["jitter"], lost.kept["jitter"]) == (0, 1)
    assert lost.low["occlusion"] < -0.5 < lost.high["occlusion"]
    assert change(whole, PLAIN, half, PLAIN)[0] == 0.5
    assert change(whole, "occlusion=0.8", half, PLAIN) == (0, 0, 0)
    few = pd.DataFrame({"person": range(12), "group": groups, PLAIN: sound, "jitter=2": broken})
    trained = SimpleNamespace(name="trained", table=lambda name: few)
    assert change(trained, "jitter=2", half, PLAIN) == (0, 0, 0)
    assert change(trained, "occlusion=0.8", half, PLAIN) is None
    assert losses(trained) is None
    assert set(curves(trained).value[curves(trained).knob == "jitter"]) == {1.0, 2.0}
    assert change(half, PLAIN, SimpleNamespace(name="none", table=lambda name: None), PLAIN) is None
    elsewhere = run(np.repeat([1, 2], 3), default=np.zeros(6, int))
    with pytest.raises(ValueError, match="measured on different people"):
        change(half, PLAIN, elsewhere, PLAIN)


def test_several_runs_in_one_setting_come_in_order():
    groups = np.repeat([1, 2], 3)
    runs = {40: run(groups, default=np.full(6, 5)), 20: run(groups, default=np.full(6, 0))}
    found = at(runs | {30: SimpleNamespace(table=lambda name: None)})
    assert found[["value", "rank1"]].to_numpy().tolist() == [[20, 1.0], [40, 0.0]]


def test_a_run_keeps_its_table_and_only_that(tmp_path, plaza_tiny, monkeypatch):
    monkeypatch.setitem(OF, "robustness", SETTINGS[:2])
    data = Data("plaza", "tiny", version="1")
    recipe = Recipe("histogram", datasets=(data,), steps=0)
    settings, store = [EvaluationSettings(data, queries=4)], RunStore(tmp_path)
    kept = train_and_evaluate(recipe, settings, store, keep="robustness", progress=False)
    table = kept.table(TABLE)
    assert table.columns.tolist() == ["person", "group", PLAIN, "jitter=0"]
    assert set(kept.record["files"]) == {"history.csv", "queries.csv", f"{TABLE}.csv", "weights.safetensors"}
    pd.testing.assert_frame_equal(measure(store.find(recipe), recipe, "robustness").table(TABLE), table)


def test_trained_otherwise_changes_one_thing_at_a_time():
    recipe = Recipe("personnet", options(fc=(16, 16, 8)), datasets=(Data(),))
    rows = trained_otherwise(Row("market/x", "Market-1501", "X", recipe=recipe))
    assert [row.key for row in rows] == [f"robustness/{key}" for key in ("people-half", "people-fifth", *SEEN)]
    assert [row.recipe.validation for row in rows] == [0.5, 0.8, 0.1, 0.1]
    assert [row.recipe.datasets[0].preset for row in rows] == ["default", "default", *SEEN]
    assert all(replace(row.recipe, validation=0.1, datasets=(Data(),)) == recipe for row in rows)


def test_a_crossed_row_is_the_same_training_scored_once_on_the_other_dataset():
    recipe = Recipe("personnet", datasets=(Data(),))
    settings = tuple(EvaluationSettings(Data(), protocol=name) for name in ("market1501", "single-shot"))
    row = Row("market/x", "Market-1501", "X", recipe, None, settings, keep="figures", core=True, baseline=True)
    (found,) = crossed([row])
    assert (found.key, found.recipe, found.trials, found.added) == ("elsewhere/x", recipe, 1, True)
    assert (found.keep, found.core, found.baseline, found.printed) == ("", False, False, None)
    assert found.evaluations == tuple(replace(item, data=Data("dukemtmc")) for item in settings)


def test_what_a_claim_compares_is_also_trained_for_twice_as_long_with_its_parents():
    base = Recipe("personnet", steps=10)
    rows = [Row("a", "T", "A", base, ("T", "A"), trials=5, keep="figures", core=True)]
    rows += [
        Row("b", "T", "B", recipe=replace(base, steps=3, parent=base), baseline=True),
        Row("c", "T", "C", recipe=base),
    ]
    claim = Claim("k", "says", "here", (("b", "a"),))
    found = doubled(rows, [claim])
    assert [row.key for row in found] == ["doubled/a", "doubled/b"]
    assert [row.recipe.steps for row in found] == [20, 6]
    assert found[1].recipe.parent == found[0].recipe
    assert all(
        (row.trials, row.keep, row.core, row.baseline, row.printed) == (1, "", False, False, None) for row in found
    )
    assert all(row.added for row in found)


def test_other_seeds_change_nothing_but_the_seed():
    settings = (EvaluationSettings(Data()), EvaluationSettings(Data(), protocol="single-shot"))
    row = Row("market/x", "Market-1501", "X", recipe=Recipe("hagn", steps=9, seed=10), evaluations=settings, core=True)
    found = reseeded(row, (1, 3))
    assert [(one.key, one.table, one.trials, one.added, one.core) for one in found] == [
        ("seeds/1", "Seeds", 1, True, False),
        ("seeds/3", "Seeds", 1, True, False),
    ]
    assert [one.recipe for one in found] == [replace(row.recipe, seed=11), replace(row.recipe, seed=13)]
    assert all(one.evaluations == settings for one in found)


@pytest.mark.parametrize(("key", "row"), [("mls", "market/mls"), ("hagn", "market/hagn")])
def test_a_row_and_its_other_seeds_share_a_world_but_no_run(key, row):
    chapter = study(key, profile="laptop")
    rows = [chapter.paper.row(name) for name in (row, "seeds/1", "seeds/2", "seeds/3")]
    recipes = [chapter.recipe(one, 0, "laptop") for one in rows]
    assert {recipe.datasets for recipe in recipes} == {recipes[0].datasets}
    assert [recipe.seed for recipe in recipes] == [0, 1, 2, 3]
    assert len({chapter.settings(one, 0, "laptop") for one in rows}) == 1
