"""What follows by one rule in every paper: claims from printed effects; rows of other lengths, seeds or people."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from reidlib.recipe import DOUBLED, SEEN, Claim, Data, EvaluationSettings, Recipe, Row

HELD_OUT = "a tenth of the training people held out for the curves where the split names no validation people"
TRAIN_IMAGES = {  # of the published splits, by which CASN and HAGN count epochs
    "market1501": 12936,
    "dukemtmc": 16522,
    "msmt17": 32621,
    "cuhk03-np-labeled": 7368,
    "cuhk03-np-detected": 7365,
}
PEOPLE = {"half": 0.5, "fifth": 0.8}  # of the training people, by the share held out of training instead


def claim(
    key: str,
    statement: str,
    source: str,
    pairs: Iterable[tuple[str, str]],
    printed: float | None = None,
    *,
    rates: tuple[tuple[str, str], ...] = (),
    measure: str = "mean_ap",
    relation: Literal["greater", "similar"] = "greater",
    replicates: int = 5,
    added: bool | None = None,
) -> Claim:
    """A claim as the rule sets it up: the margin is half the printed effect, within 0.3 to 1.0, and 1.0 where none is.

    printed: in points, the smallest where there are several pairs. Effects under 2 points want 10 replicates. added:
    whether we added what is compared; by default that is where no effect is printed.
    """
    return Claim(
        key,
        statement,
        source,
        tuple(pairs),
        measure=measure,
        relation=relation,
        margin=1.0 if printed is None else min(1.0, max(0.3, printed / 2)),
        printed_effect=printed,
        rates=rates,
        replicates=10 if printed is not None and printed < 2 else replicates,
        added=printed is None if added is None else added,
    )


def side_by_side(data: Data) -> tuple[EvaluationSettings, ...]:
    """The two protocols by which all systems stand beside each other: the whole gallery, and single shot."""
    return tuple(EvaluationSettings(data, protocol=name) for name in ("market1501", "single-shot"))


def doubled(rows: Iterable[Row], claims: Iterable[Claim]) -> tuple[Row, ...]:
    """All rows that claims compare, trained for twice as long, their parents too: no verdict where that turns the sign.

    One trial each, set beside the same trial at the usual length. Chance can turn a sign too: that costs a verdict and
    never makes one.
    """
    compared = {key for claim in claims for pair in claim.pairs for key in pair}
    return tuple(
        replace(
            row,
            key=f"{DOUBLED}/{row.key}",
            table="Doubled",
            label=f"{row.label}, twice the steps",
            printed=None,
            recipe=_twice(row.recipe),
            trials=1,
            added=True,
            keep="",
            core=False,
            baseline=False,
            against="",
        )
        for row in rows
        if row.key in compared
    )


def _twice(recipe: Recipe) -> Recipe:
    parent = None if recipe.parent is None else _twice(recipe.parent)
    return replace(recipe, steps=2 * recipe.steps, parent=parent)


def reseeded(row: Row, seeds: Iterable[int]) -> tuple[Row, ...]:
    """The row's training with other seeds in its first trial's world: what a seed changes, without a new world.

    They are scored as the row is, and by `reidlib.robustness` on the same people.
    """
    return tuple(
        Row(
            f"seeds/{seed}",
            "Seeds",
            f"{row.label}, seed {seed} in world 0",
            recipe=replace(row.recipe, seed=row.recipe.seed + seed),
            evaluations=row.evaluations,
            trials=1,
            added=True,
            keep="trained",
        )
        for seed in seeds
    )


def tuned(recipe: Recipe, rates: Iterable[float]) -> tuple[Row, ...]:
    """The recipe at several learning rates in a development world: judged by held-out accuracy, not by test people."""
    (data,) = recipe.datasets
    return tuple(
        Row(
            f"tuning/{lr:g}",
            "Tuning",
            f"Learning rate {lr:g}",
            recipe=replace(recipe, datasets=(replace(data, world=100),), optimiser=replace(recipe.optimiser, lr=lr)),
            trials=1,
            added=True,
        )
        for lr in rates
    )


def trained_otherwise(row: Row) -> tuple[Row, ...]:
    """The row's training on a part of the people, and on images drawn with a nuisance; the length stays the same.

    They are scored by the row's last evaluation, and by `reidlib.robustness` on the people that the row is measured on.
    Real images have no such nuisance: there the second kind is the row itself.
    """
    recipe, (data,) = row.recipe, row.recipe.datasets
    changed = [(f"people-{key}", f"a {key} of the people", replace(recipe, validation=v)) for key, v in PEOPLE.items()]
    for preset in SEEN:
        seen = replace(recipe, datasets=(replace(data, preset=preset),))
        changed.append((preset, f"images with {preset.replace('=', ' ')}", seen))
    return tuple(
        Row(
            f"robustness/{key}",
            "Robustness",
            f"{row.label}, {what}",
            recipe=one,
            evaluations=row.evaluations[-1:],
            trials=1,
            added=True,
            keep="trained",
        )
        for key, what, one in changed
    )


def crossed(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows' trainings on Market-1501, one trial each, scored on DukeMTMC-reID: nothing is trained for them.

    By the two protocols in which the systems stand side by side, so that a score and what is left of it compare.
    """
    return tuple(
        Row(
            f"elsewhere/{row.key.rpartition('/')[2]}",
            "Cross-domain",
            f"{row.label}, people of DukeMTMC-reID",
            recipe=row.recipe,
            evaluations=side_by_side(Data("dukemtmc")),
            trials=1,
            added=True,
        )
        for row in rows
    )
