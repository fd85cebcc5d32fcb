"""Pre-training: what drawn people wear as classes, a network that learns them, and who starts from its trunk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reidlib.data.attributes import CHOICES, CLASSES, HIDDEN, PALETTES, attributes
from reidlib.data.pixels import pixels
from reidlib.data.synthetic import DOMAINS, named_world, read_manifest, visible_attributes
from reidlib.data.synthetic.identity import PATTERNS, UPPERS
from reidlib.models import build
from reidlib.objectives import AttributesObjective, Batch
from reidlib.recipe import Data, EvaluationSettings, Optimiser, Profile, Recipe, Sampling, options
from reidlib.run import read_benchmark, restore_model, train_and_evaluate
from reidlib.store import RunStore
from reidlib.study import study
from reidlib.training import Pixels, fit

SMALL = {"trunk": "test_resnet", "last_stride": 1, "image_size": (96, 32)}
HARBOUR = Data("harbour", "tiny", version="1")
FIRST = Recipe(
    "ide",
    options(**SMALL, hidden=8),
    "attributes",
    datasets=(HARBOUR,),
    sampling=Sampling("identities", people=4, images=2),
    steps=2,
    validations=1,
)
NAMES = list(CLASSES)


def test_classes_are_what_the_manifest_says(plaza_tiny):
    found = attributes(plaza_tiny.train)
    people = read_manifest(plaza_tiny.train.paths[0].parents[1])["people"]
    assert found.shape == (len(plaza_tiny.train.identities), len(CLASSES))
    for person, row in zip(plaza_tiny.train.identities, found, strict=True):
        worn, got = people[str(person)]["attributes"], dict(zip(NAMES, row, strict=True))
        assert UPPERS[got["upper"]] == worn["upper"]
        assert list(PATTERNS)[got["pattern"]] == worn["pattern"]
        assert got["boots"] == int(worn["boots"])
        assert (got["upper_accent"] == HIDDEN) == (worn["pattern"] == "plain")
        if got["upper_colour"] != HIDDEN:
            apart = [sum((np.array(worn["upper_colour"]) - one) ** 2) for one in PALETTES["upper_colour"]]
            assert apart[got["upper_colour"]] == min(apart)


@pytest.mark.parametrize("domain", DOMAINS)
def test_whatever_people_wear_has_a_class(domain):
    world = named_world(domain, "small")
    seen = {name: set() for name in NAMES}
    for person in range(1, 161):
        for name, value in visible_attributes(world.identity(person)).items():
            if name in seen and not isinstance(value, tuple):
                seen[name].add(value)
    assert all(seen[name] - {None} <= set(known) for name, known in CHOICES.items())
    assert len(seen["upper"]) > 4


def test_attributes_of_photographs_are_not_known(plaza_tiny, tmp_path):
    split = plaza_tiny.train
    elsewhere = replace(split, paths=tuple(tmp_path / "a" / path.name for path in split.paths))
    with pytest.raises(ValueError, match="known of people drawn in Market-1501's layout only; give harbour"):
        attributes(elsewhere)


def test_the_loss_is_the_mean_over_what_can_be_seen(plaza_tiny):
    torch.manual_seed(0)
    objective = AttributesObjective(build("ide", **SMALL, hidden=8)).eval()
    objective.prepare(plaza_tiny.train)
    objective.table[1, :5] = HIDDEN
    torch.nn.init.normal_(objective.classifier.weight, std=0.1)
    images, labels = torch.rand(3, 3, 96, 32), torch.tensor([0, 1, 4])
    batch = Batch(images, labels, labels, labels, torch.empty(0, 2).long())
    scores = objective.classifier(objective.model.extract(images)[1][:, 0])
    losses = []
    for row, label in enumerate(labels):
        begin = 0
        for number, count in enumerate(CLASSES.values()):
            answer = objective.table[label, number]
            if answer != HIDDEN:
                losses.append(F.cross_entropy(scores[row, begin : begin + count], answer))
            begin += count
    torch.testing.assert_close(objective(batch)["attributes"], sum(losses) / len(losses))


def test_other_systems_start_from_the_trunk_alone(tmp_path, plaza_tiny):
    store, test = RunStore(tmp_path), EvaluationSettings(Data("plaza", "tiny", version="1"), queries=4)
    first = train_and_evaluate(FIRST, [], store, keep="weights", progress=False)
    learnt = first.weights()
    assert learnt is not None
    child = Recipe("hagn", options(trunk="test_resnet", image_size=(96, 32), width=8, features=8), steps=0)
    child = replace(child, datasets=(test.data,), parent=FIRST)
    run = train_and_evaluate(child, [test], store, keep="weights", progress=False)
    model = restore_model(run, child)
    again = train_and_evaluate(replace(child, seed=1), [test], store, progress=False)
    assert run.record["parent_weights"] == again.record["parent_weights"]
    assert "parent_weights" not in first.record
    trunk = {name: value for name, value in model.state_dict().items() if name.startswith("trunk.")}
    assert all(torch.equal(value, learnt[name]) for name, value in trunk.items())
    assert not any(torch.equal(value, learnt.get(name, value + 1)) for name, value in model.named_parameters()
                   if not name.startswith("trunk."))  # fmt: skip


def test_a_profile_lets_every_trained_trunk_start_from_one_pre_training():
    profile = Profile("small", share=0.5, pretraining=FIRST)
    trained = Recipe("hagn", options(trunk="test_resnet"), steps=100)
    scaled = profile.scale(trained)
    assert (scaled.parent, scaled.steps) == (FIRST, 50)  # which itself is not scaled
    densenet = {"trunk": "densenet121", "last_stride": 2}  # which cannot do without
    assert profile.scale(trained.with_options(**densenet)).parent == FIRST.with_options(**densenet)
    assert profile.scale(trained.with_options(last_stride=2)).parent == FIRST
    assert profile.scale(trained.with_options(pretrained=False)).parent is None
    assert profile.scale(replace(trained, steps=0)).parent is None
    assert profile.scale(replace(trained, parent=trained)).parent == scaled


def test_every_trial_starts_from_the_same_pre_training():
    chapter = study("hagn", profile="smoke", recompute="no")
    row = chapter.paper.rows[0]
    row = replace(row, recipe=replace(row.recipe, parent=replace(FIRST, datasets=(Data("harbour"),))))
    first, second = (chapter.recipe(row, trial, "smoke") for trial in (0, 1))
    assert first.datasets != second.datasets
    assert first.parent == second.parent
    assert first.parent.datasets == (HARBOUR,)


def test_nothing_is_drawn_among_real_datasets(tmp_path):
    assert read_benchmark(HARBOUR, tmp_path, 0).train.paths[0].is_file()
    assert list(tmp_path.iterdir()) == []


def test_attributes_are_learnt(plaza_tiny):
    recipe = replace(FIRST, steps=60, optimiser=Optimiser("adamw", lr=3e-3), validations=6)
    torch.manual_seed(0)
    model = build("ide", **SMALL, hidden=8)
    shown = Pixels(plaza_tiny.train, pixels(plaza_tiny.train, (96, 32)))
    history = fit(AttributesObjective(model), recipe, shown, progress=False)
    uniform = float(np.mean(np.log(list(CLASSES.values()))))
    assert history["attributes"].iloc[-1] < 0.7 * uniform
