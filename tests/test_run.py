"""What a run measures and keeps beside its scores."""

import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors import safe_open

from reidlib.data.splits import hold_out
from reidlib.evaluation import Evaluation
from reidlib.mining import hardest_negatives
from reidlib.models import build
from reidlib.recipe import Data, EvaluationSettings, Optimiser, Recipe, Sampling, options
from reidlib.run import (
    NotAvailable,
    _apart,
    _How,
    _trained,
    _weights_digest,
    build_model,
    inherit,
    measure,
    restore_model,
    train_and_evaluate,
)
from reidlib.store import RunStore
from reidlib.training import fit

pytestmark = pytest.mark.usefixtures("plain_only")
DATA = Data("plaza", "tiny", version="1")
TINY = Recipe(
    "personnet",
    options(fc=(16, 16, 8)),
    datasets=(DATA,),
    sampling=Sampling(pairs=4),
    optimiser=Optimiser("rmsprop", lr=1e-4),
    steps=2,
    validations=1,
)
FULL = EvaluationSettings(DATA, queries=4)
SINGLE = EvaluationSettings(DATA, protocol="single-shot", queries=4)


def test_a_kept_run_is_scored_again_without_training(tmp_path, plaza_tiny, monkeypatch):
    store = RunStore(tmp_path)
    run = train_and_evaluate(TINY, [FULL], store, keep="figures", progress=False)
    assert run.metrics(SINGLE) is None
    monkeypatch.setattr("reidlib.run.fit", lambda *_, **__: pytest.fail("trained again"))
    both = train_and_evaluate(TINY, [FULL, SINGLE], store, progress=False)
    assert both.metrics(FULL) == run.metrics(FULL)
    assert 0 <= both.metrics(SINGLE)["rank1"] <= 1
    images = torch.rand(2, 3, 160, 60, generator=torch.Generator().manual_seed(0))
    models = [restore_model(both, TINY) for _ in range(2)]
    assert torch.equal(*(model.encode(images).maps for model in models))


def test_a_run_without_weights_is_trained_again_and_keeps_its_other_evaluations(tmp_path, plaza_tiny):
    store = RunStore(tmp_path)
    asked = replace(FULL, scoring=options(average_orders=True))
    narrow = replace(TINY, system="midlevel", options=options(width=1 / 16, fc=(16, 16)))
    first = train_and_evaluate(narrow, [asked], store, progress=False)
    again = train_and_evaluate(narrow, [SINGLE], store, progress=False)
    assert again.settings == (SINGLE, asked)
    assert again.metrics(asked) == first.metrics(asked)


def test_a_run_is_not_trained_again_where_that_would_lose_scores(tmp_path, plaza_tiny):
    """Made elsewhere, on data that are not here."""
    store, real = RunStore(tmp_path), EvaluationSettings(Data("viper", version="0"))
    found = Evaluation.from_frame(
        pd.DataFrame({"query": [0], "ap": [1.0], "first_hit": [0], "inp": [1.0], "tied": [False]})
    )
    meta = {"profile": "", "device": "", "seconds": 1.0}
    store.save(TINY, history=[], evaluations={real: (found, plaza_tiny.query)}, meta=meta)
    with pytest.raises(NotAvailable, match=r"without weights, .* lose its scores on viper .*; recompute='all' does so"):
        train_and_evaluate(TINY, [FULL], store, progress=False)
    assert store.find(TINY).settings == (real,)
    assert train_and_evaluate(TINY, [FULL], store, again=True, progress=False).settings == (FULL,)


@pytest.mark.parametrize("during", ["evaluate", "figure_arrays", "_tables"])
def test_a_training_outlives_an_interrupted_evaluation(tmp_path, plaza_tiny, monkeypatch, during):
    """And a run is stored whole or not at all, or what was not measured would never be."""
    store = RunStore(tmp_path)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"reidlib.run.{during}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(TINY, [FULL], store, keep="figures", progress=False)
    assert store.find(TINY) is None
    (checkpoint,) = (tmp_path / ".checkpoints").iterdir()
    with safe_open(checkpoint, framework="pt") as file:
        rows = json.loads(file.metadata()["rows"])
    run = train_and_evaluate(TINY, [FULL], store, keep="figures", progress=False)
    assert run.history["seconds"].tolist() == [row["seconds"] for row in rows]  # of the first time
    whole = train_and_evaluate(TINY, [FULL], RunStore(tmp_path / "other"), keep="figures", progress=False)
    assert run.metrics(FULL) == whole.metrics(FULL)
    assert sorted(run.record["files"]) == sorted(whole.record["files"])
    assert not list((tmp_path / ".checkpoints").iterdir())


def test_time_before_an_interruption_counts(tmp_path, plaza_tiny, monkeypatch):
    resumed = pd.DataFrame({"step": [2], "loss": [1.0], "seconds": [1000.0]})
    monkeypatch.setattr("reidlib.run.fit", lambda *_, **__: resumed)
    record = train_and_evaluate(TINY, [FULL], RunStore(tmp_path), devices=2, progress=False).record
    assert record["devices"] == 2
    assert record["training_seconds"] == 1000
    assert 1000 < record["seconds"] < 1100


def test_held_out_people_are_not_trained_on(tmp_path, plaza_tiny, monkeypatch):
    given = {}

    def fit(objective, recipe, shown, held_out, **how):
        given.update(how, shown=shown.split, held_out=held_out.split)
        return pd.DataFrame({"step": [2], "loss": [1.0], "seconds": [1.0]})

    monkeypatch.setattr("reidlib.run.fit", fit)
    train_and_evaluate(TINY, [FULL], RunStore(tmp_path), devices=2, progress=False)
    assert given["devices"] == 2
    assert len(given["held_out"]) > 0
    assert not set(given["shown"].person_ids) & set(given["held_out"].person_ids)
    assert not set(given["shown"].paths) & set(given["held_out"].paths)


def test_a_part_of_the_people_is_a_part_where_the_split_sets_people_aside_too(tmp_path, plaza_tiny, monkeypatch):
    alone = replace(plaza_tiny.train, groups=plaza_tiny.train.person_ids)
    train, aside = hold_out(alone, 0.2, seed=0)
    split = replace(plaza_tiny, train=train, validation=aside)
    shown = []
    monkeypatch.setattr("reidlib.run.read_benchmark", lambda *_: split)
    monkeypatch.setattr(
        "reidlib.run.fit", lambda _, __, data, held_out, **___: shown.append((data, held_out)) or pd.DataFrame()
    )
    how = _How(RunStore(tmp_path), None, "cpu", 1, False)
    for share in (Recipe.validation, 0.5):
        _trained(replace(TINY, validation=share), how)
    whole, half = (len(data.split.identities) for data, _ in shown)
    assert whole == len(train.identities)
    assert half < 0.7 * whole
    assert all(np.array_equal(held_out.split.identities, aside.identities) for _, held_out in shown)


def test_shares_are_those_of_pairs_of_two_people(monkeypatch):
    class Fake:
        def __call__(self, images):
            return {"encoding": images}

        def compare(self, a, b):
            return {"difference": a.view(-1, 1, 1, 1), "attention": a}

    kinds = np.array([True, True, False, False] * 30)  # more than are compared at once
    pairs = torch.tensor([1.0, 1.0, 3.0, 3.0] * 30), torch.zeros(120), kinds
    monkeypatch.setattr("reidlib.run.pair_images", lambda *_: pairs)
    assert _apart(Fake(), None, "cpu") == {"difference_energy_share": 0.9, "attention_distance_share": 0.75}


def test_time_for_a_parent_is_the_parents(tmp_path, plaza_tiny, monkeypatch):
    """A training that needs one that is not there makes it first."""

    def trained(*_):
        time.sleep(1)
        return build_model(TINY, 4).eval(), pd.DataFrame({"loss": [1.0], "seconds": [0.5]}), 4, ""

    monkeypatch.setattr("reidlib.run._trained", trained)
    run = train_and_evaluate(TINY, [FULL], RunStore(tmp_path), progress=False)
    assert run.training_seconds == run.record["training_seconds"] == 0.5


def test_a_run_from_fetched_weights_is_restored_without_fetching_them(tmp_path, plaza_tiny, monkeypatch):
    fetched = replace(TINY, system="ide", options=options(trunk="resnet18", image_size=(64, 64), pretrained=True))
    fetched = replace(fetched, objective="identity", sampling=Sampling("identities", people=2, images=2))
    monkeypatch.setattr("reidlib.models.trunks._fetched", lambda name: timm.create_model(name).state_dict())
    store = RunStore(tmp_path)
    run = train_and_evaluate(fetched, [FULL], store, keep="weights", progress=False)
    monkeypatch.setattr("reidlib.models.trunks._fetched", lambda name: pytest.fail("fetched again"))
    for name, value in restore_model(run, fetched).state_dict().items():
        assert torch.equal(value, run.weights()[name])


def test_figures_are_made_again_from_the_weights(tmp_path, plaza_tiny):
    first = train_and_evaluate(TINY, [FULL], RunStore(tmp_path / "data"), keep="figures", progress=False)
    store = RunStore(tmp_path / "build", tmp_path / "data")
    kept = first.figures()
    bare = store.find(TINY).with_figures({"images": kept["images"][:1]})
    assert bare.folder.parent == store.home
    assert list(store.find(TINY).figures()) == ["images"]
    again = measure(store.find(TINY), TINY, progress=False)
    assert store.verify() == []
    assert again.metrics(FULL) == first.metrics(FULL)
    for name, array in kept.items():
        np.testing.assert_allclose(again.figures()[name], array, atol=1e-2)  # half precision, another memory layout


def test_the_same_recipe_gives_the_same_numbers_to_the_last_bit(tmp_path, plaza_tiny):
    runs = [train_and_evaluate(TINY, [FULL], RunStore(tmp_path / name), progress=False) for name in ("a", "b")]
    first, second = (run.queries(FULL) for run in runs)
    assert np.array_equal(first["ap"], second["ap"])
    assert runs[0].history["loss"].tolist() == runs[1].history["loss"].tolist()


def test_random_weights_are_a_run_without_a_history(tmp_path, plaza_tiny):
    run = train_and_evaluate(replace(TINY, steps=0), [FULL], RunStore(tmp_path), progress=False)
    assert run.history.empty
    assert run.record["measures"]["parameters"] > 0
    assert "mean_accuracy" not in run.record["measures"]
    assert 0 < run.record["measures"]["difference_energy_share"] < 1


def test_the_mean_accuracy_is_that_of_all_validations(tmp_path, plaza_tiny):
    run = train_and_evaluate(replace(TINY, validations=2), [FULL], RunStore(tmp_path), progress=False)
    first, last = run.history["accuracy"]
    assert run.record["measures"]["mean_accuracy"] == pytest.approx((first + last) / 2)
    assert run.record["measures"]["final_accuracy"] == last


def test_a_way_of_scoring_holds_for_its_evaluation_alone(tmp_path, plaza_tiny):
    narrow = replace(TINY, system="midlevel", options=options(width=1 / 16, fc=(16, 16)))
    both = [replace(FULL, scoring=options(average_orders=True)), FULL]
    runs = [
        train_and_evaluate(narrow, order, RunStore(tmp_path / name), progress=False)
        for name, order in (("a", both), ("b", both[::-1]))
    ]
    for item in both:
        assert runs[0].queries(item).equals(runs[1].queries(item))


def test_weights_have_one_digest_in_any_order_and_another_once_one_value_changes():
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert _weights_digest(weights) == _weights_digest(dict(reversed(weights.items())))
    assert _weights_digest(weights) != _weights_digest(weights | {"b": torch.tensor([1.0, 1.0000001])})
    assert _weights_digest(weights) != _weights_digest({"a": weights["b"], "b": weights["a"]})


def test_a_child_starts_from_its_parents_weights(tmp_path, plaza_tiny, monkeypatch):
    trained = []
    monkeypatch.setattr("reidlib.run.fit", lambda *given, **how: trained.append(given[1]) or fit(*given, **how))
    child = replace(TINY, parent=TINY, steps=0)
    run = train_and_evaluate(child, [FULL], RunStore(tmp_path / "a"), progress=False)
    assert trained == [TINY]
    parent = train_and_evaluate(TINY, [FULL], RunStore(tmp_path / "b"), progress=False)
    assert run.metrics(FULL) == parent.metrics(FULL)
    # The parent's weights are kept for the next child; a stored run of the parent serves as well.
    train_and_evaluate(replace(child, revision=1), [FULL], RunStore(tmp_path / "a"), progress=False)
    train_and_evaluate(TINY, [FULL], RunStore(tmp_path / "c"), keep="weights", progress=False)
    train_and_evaluate(child, [FULL], RunStore(tmp_path / "c"), progress=False)
    assert trained == [TINY] * 3


def test_damaged_weights_of_a_parent_are_trained_anew(tmp_path, plaza_tiny):
    child = replace(TINY, parent=TINY, steps=0)
    first = train_and_evaluate(child, [FULL], RunStore(tmp_path), progress=False)
    (kept,) = (tmp_path / ".parents").iterdir()
    kept.write_bytes(b"no weights")
    again = train_and_evaluate(replace(child, revision=1), [FULL], RunStore(tmp_path), progress=False)
    assert again.metrics(FULL) == first.metrics(FULL)


def test_inheriting_skips_the_classifier_of_other_people_and_names_what_does_not_fit():
    parent, child = build("smallcnn", width=4, identities=3), build("smallcnn", width=4, identities=5)
    classifier = child.classifier.weight.clone()
    inherit(child, parent.state_dict())
    assert torch.equal(child.neck.weight, parent.neck.weight)
    assert torch.equal(child.trunk[0][0].weight, parent.trunk[0][0].weight)
    assert torch.equal(child.classifier.weight, classifier)
    with pytest.raises(ValueError, match=r"in the parent, .* here: give both the same options"):
        inherit(build("smallcnn", width=8), parent.state_dict())
    with pytest.raises(ValueError, match="this model lacks"):
        inherit(child, {"extra": torch.zeros(1)})


def test_hard_negatives_are_mined_by_the_parents_weights(tmp_path, plaza_tiny, monkeypatch):
    mining = []

    def spy(model, data, **how):
        mining.append(model.state_dict()["logits.weight"].clone())
        return hardest_negatives(model, data, candidates=2000, **how)

    monkeypatch.setattr("reidlib.run.hardest_negatives", spy)
    store = RunStore(tmp_path)
    parent = train_and_evaluate(TINY, [FULL], store, keep="weights", progress=False)
    child = replace(TINY, parent=TINY, sampling=replace(TINY.sampling, hard=0.5))
    run = train_and_evaluate(child, [FULL], store, progress=False)
    assert len(mining) == 1
    assert torch.equal(mining[0], parent.weights()["logits.weight"])
    assert np.isfinite(run.history["loss"]).all()


@pytest.mark.parametrize("kind", ["network", "child", "metric"])
def test_images_that_are_trained_on_are_not_tested_with(tmp_path, kind):
    """By its number of split, or because everybody is in training."""
    copy = replace(DATA, layout="viper")
    recipe, item = replace(TINY, datasets=(copy,), split=1), EvaluationSettings(copy, 0, "single-shot-all")
    if kind == "child":
        recipe = replace(TINY, parent=recipe)
    if kind == "metric":
        recipe = replace(recipe, system="kissme", options=(), steps=0)
    with pytest.raises(ValueError, match=r"images of plaza are trained on and tested with, such as .*cam_.*bmp"):
        train_and_evaluate(recipe, [item], RunStore(tmp_path), progress=False)
    assert not list(tmp_path.glob("*/run.json"))
