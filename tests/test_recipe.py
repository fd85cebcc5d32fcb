"""Fingerprints: what a run is found by, years later."""

from dataclasses import fields, replace

import pytest

from reidlib.recipe import (
    Data,
    EvaluationSettings,
    Optimiser,
    Profile,
    Recipe,
    Sampling,
    Schedule,
    fingerprint,
    options,
    plain,
)

RECIPE = Recipe(
    system="personnet",
    options=options(kernel=3, fc=(64, 64, 32)),
    datasets=(Data("plaza", size="small", version="1"),),
    augment=(("translate", 0.05),),
    optimiser=Optimiser("rmsprop", lr=1e-4, weight_decay=5e-4),
    steps=1000,
)
# A change here orphans every stored run: raise it only with a reason, and say so in the changelog.
PINNED = "2433aef6e433aac85f3af84179398e47ec51788906adb8229be5671d230bb30c"

CHANGES = {
    "system": "idla",
    "options": options(kernel=4),
    "objective": "other",
    "objective_options": options(margin=1.0),
    "loss_weights": (("pair", 2.0),),
    "datasets": (Data("plaza", size="small", version="2"),),
    "split": 1,
    "sampling": Sampling(negatives=(1.0, 5.0)),
    "augment": (("translate", 0.04),),
    "optimiser": Optimiser("rmsprop", lr=2e-4, weight_decay=5e-4),
    "schedule": Schedule("cosine"),
    "steps": 1001,
    "validation": 0.2,
    "validations": 10,
    "seed": 1,
    "revision": 1,
    "parent": Recipe("pixels"),
    "trainable": "refine",
}


def test_defaults_are_left_out_so_that_a_new_field_keeps_old_fingerprints() -> None:
    assert plain(Recipe("pixels", steps=7)) == {"system": "pixels", "steps": 7}
    assert plain(EvaluationSettings()) == {}
    assert plain(Recipe("pixels", optimiser=Optimiser(lr=0.1))) == {"system": "pixels", "optimiser": {"lr": 0.1}}
    assert fingerprint(Recipe("pixels", seed=0, steps=1000)) == fingerprint(Recipe("pixels"))


def test_the_fingerprint_is_pinned() -> None:
    assert fingerprint(RECIPE) == PINNED


def test_every_field_changes_the_fingerprint() -> None:
    assert set(CHANGES) == {item.name for item in fields(Recipe)}
    found = {fingerprint(replace(RECIPE, **{name: value})) for name, value in CHANGES.items()}
    assert len(found | {fingerprint(RECIPE)}) == len(CHANGES) + 1


def test_every_evaluation_setting_changes_the_fingerprint() -> None:
    changes = (
        EvaluationSettings(Data("plaza")),
        EvaluationSettings(split=1),
        EvaluationSettings(protocol="single-shot"),
        EvaluationSettings(queries=100),
        EvaluationSettings(scoring=options(attention=False)),
    )
    assert len(fields(EvaluationSettings)) == len(changes)
    assert len({fingerprint(item) for item in (EvaluationSettings(), *changes)}) == len(changes) + 1


def test_options_are_sorted_and_replaced_by_name() -> None:
    assert options(b=1, a=2) == options(a=2, b=1)
    changed = RECIPE.with_options(kernel=4)
    assert dict(changed.options) == {"kernel": 4, "fc": (64, 64, 32)}
    assert dict(RECIPE.options)["kernel"] == 3


def test_a_profile_scales_the_length_of_a_recipe_and_of_its_parent() -> None:
    long = replace(RECIPE, steps=1000, parent=replace(RECIPE, steps=500))
    scaled = Profile("small", 0.1).scale(long)
    assert scaled.parent is not None
    assert (scaled.steps, scaled.parent.steps) == (100, 50)
    assert fingerprint(Profile("small").scale(long)) == fingerprint(long)


def test_a_profile_sizes_batches_of_both_kinds_and_leaves_what_it_does_not_name() -> None:
    drawn = Sampling(pairs=64, people=16, images=4, negatives=(1.0, 3.0))
    row = replace(RECIPE, sampling=drawn, parent=replace(RECIPE, sampling=drawn))
    scaled = Profile("small", pairs=32, people=8).scale(row)
    assert scaled.sampling == replace(drawn, pairs=32, people=8)
    assert scaled.parent is not None
    assert scaled.parent.sampling == scaled.sampling
    assert Profile("small", images=2).scale(row).sampling == replace(drawn, images=2)


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", lambda: 0, 1j])
def test_what_cannot_be_written_down_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be part of a recipe"):
        fingerprint(Recipe("pixels", options=(("odd", value),)))


def test_a_number_that_is_not_one_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(Recipe("pixels", options=(("odd", float("nan")),)))
