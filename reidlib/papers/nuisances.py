"""What a network is worth that saw fewer people, or the nuisance itself, in training. Data only.

How well any network bears a nuisance is measured on every row that asks for it (`reidlib.robustness`).
"""

from dataclasses import replace

from reidlib.recipe import Row

PEOPLE = {"half": 0.5, "fifth": 0.8}  # of the training people, by the share held out of training instead
SEEN = ("jitter=2", "occlusion=0.8")  # the worst of `reidlib.robustness.NUISANCES`
TABLE = "Robustness"


def trained_otherwise(row: Row) -> tuple[Row, ...]:
    """The row's training on a part of the people, and on images drawn with a nuisance; the length stays the same.

    They are scored by the row's last evaluation, and by `reidlib.robustness` on the people that the row is measured on.
    Real images have no such nuisance: there the second kind is the row itself.
    """
    assert row.recipe is not None
    recipe, (data,) = row.recipe, row.recipe.datasets
    changed = [(f"people-{key}", f"a {key} of the people", replace(recipe, validation=v)) for key, v in PEOPLE.items()]
    for preset in SEEN:
        seen = replace(recipe, datasets=(replace(data, preset=preset),))
        changed.append((preset, f"images with {preset.replace('=', ' ')}", seen))
    return tuple(
        Row(
            f"robustness/{key}",
            TABLE,
            f"{row.label}, {what}",
            recipe=one,
            evaluations=row.evaluations[-1:],
            trials=1,
            added=True,
            keep="robustness",
        )
        for key, what, one in changed
    )
