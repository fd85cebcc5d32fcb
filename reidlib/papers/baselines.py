"""Baselines beside the five systems: X-Corr, which MLS compares with, and metrics learnt on a descriptor. Data only."""

from dataclasses import replace

from reidlib.papers.controls import crossed, side_by_side, trained_otherwise
from reidlib.recipe import (
    Data,
    Optimiser,
    Options,
    Paper,
    Profile,
    Recipe,
    Row,
    Sampling,
    Schedule,
    options,
)

MARKET = Data("market1501")
MARKET_PROTOCOLS = side_by_side(MARKET)

# The released code of Subramaniam, Chatterjee and Mittal 2016: SGD 0.05 / (1 + 1e-4 i), momentum 0.9, L2 5e-4, 128
# pairs a batch, two negatives a positive; every image as it is, mirrored once, and two translated copies. Its length,
# 20 passes over all pairs of CUHK03, says nothing of Market-1501: ours is that of PersonNet's rows.
XCORR = Recipe(
    "xcorr",
    datasets=(MARKET,),
    sampling=Sampling("pairs", pairs=128, negatives=(2.0, 2.0)),
    augment=(("translate", 0.05), ("flip", 0.25)),
    optimiser=Optimiser("sgd", lr=0.05, momentum=0.9, weight_decay=5e-4),
    schedule=Schedule("inverse", factor=10.0, power=1.0),
    steps=100_000,
    validations=12,
)
LOMO = Recipe("lomo", datasets=(MARKET,), steps=0)  # nothing to train; a metric is estimated once


def _row(key: str, label: str, recipe: Recipe, **extra: object) -> Row:
    return Row(
        f"market/{key}",
        "Baselines",
        label,
        recipe=recipe,
        evaluations=MARKET_PROTOCOLS,
        added=True,
        core=True,
        keep="robustness",
        **extra,  # type: ignore[arg-type]
    )


BASELINES = (
    _row(
        "xcorr",
        "X-Corr, fused network",
        XCORR,
        deviations=(
            "a fresh translation at each presentation instead of fixed copies of an image: a sixth of the images stays"
            " in place instead of a half, and a quarter is mirrored of the translated ones too",
        ),
    ),
    _row("lomo", "LOMO, Euclidean distance", LOMO),
    _row("kissme", "LOMO, KISSME", replace(LOMO, system="kissme")),
    _row("xqda", "LOMO, XQDA", replace(LOMO, system="xqda")),
)

SMOKE: tuple[tuple[str, Options], ...] = (
    ("xcorr", options(image_size=(56, 28), fc=16)),
    ("lomo", options(image_size=(64, 32))),
    ("kissme", options(image_size=(64, 32), components=5)),
    ("xqda", options(image_size=(64, 32), components=50)),
)
LAPTOP: tuple[tuple[str, Options], ...] = (("xcorr", options(image_size=(80, 32))),)
PAPER = Paper(
    key="baselines",
    title="Baselines",
    rows=(
        *BASELINES,
        *crossed(row for row in BASELINES if row.key != "market/lomo"),
        *trained_otherwise(BASELINES[-1]),
    ),
    claims=(),
    profiles=(
        ("smoke", Profile("tiny", 2e-5, pairs=8, queries=8, options=SMOKE, trials=1)),
        ("laptop", Profile("small", 0.003, pairs=64, queries=50, options=LAPTOP)),
        ("gpu", Profile("market", 0.03, pairs=256, queries=100)),
        ("paper", Profile("market")),
    ),
)
