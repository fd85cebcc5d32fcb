"""MLS (Guo and Cheung, 2018): its tables, figures and claims as rows. Data only; MLS-numbers as in the model."""

from dataclasses import replace
from functools import partial

from reidlib.papers.controls import HELD_OUT, claim, crossed, doubled, reseeded, side_by_side, trained_otherwise, tuned
from reidlib.recipe import (
    Data,
    EvaluationSettings,
    Optimiser,
    Options,
    Paper,
    Profile,
    Recipe,
    Row,
    Sampling,
    options,
)

DETECTED, LABELED = Data("cuhk03-detected"), Data("cuhk03-labeled")
CUHK01, VIPER, MARKET = Data("cuhk01"), Data("viper"), Data("market1501")
# Sec. 4.2: 5 epochs, batches of 256 pairs on CUHK03 and 128 elsewhere, two random negatives a positive. What an epoch
# is stays open: here every cross-camera pair of one person once for each sampled image, mirrored or not, that is 2 x 2
# times on CUHK03 and 5 x 2 times elsewhere. Market-1501, which the paper lacks, has CUHK03's number of steps.
EPOCHS, NEGATIVES = 5, 2
POSITIVES = {"cuhk03-detected": 27_000, "cuhk03-labeled": 27_000, "cuhk01": 871 * 4, "viper": 316}  # pairs to train on
PAIRS = {"cuhk01": 128, "viper": 128}  # a batch
SAMPLES = {"cuhk01": 5, "viper": 5}  # an image


def _steps(name: str) -> int:
    shown = EPOCHS * POSITIVES[name] * SAMPLES.get(name, 2) * 2 * (1 + NEGATIVES)
    return shown // PAIRS.get(name, 256)


# Sec. 4.2: Adam at 5e-4 and weight decay 5e-4, taken as L2 in the loss (MLS-10); no schedule is printed. Positive
# pairs are of two cameras, and so are negatives as far as these go round (MLS-17).
MLS = Recipe(
    system="mls",
    objective="mls",
    datasets=(DETECTED,),
    sampling=Sampling("pairs", pairs=256, negatives=(NEGATIVES, NEGATIVES)),
    augment=(("translate", 0.05), ("flip", 0.5)),
    optimiser=Optimiser("adam", lr=5e-4, weight_decay=5e-4),
    steps=_steps("cuhk03-detected"),
    validations=10,
)
L234 = MLS.with_options(levels=(2, 3, 4))
CLS = replace(MLS, loss_weights=(("contrastive", 0.0),)).with_options(ranking=False)  # MLS-12
# X-Corr trained as MLS is: the same pairs, optimiser and number of images.
XCORR = replace(MLS, system="xcorr", objective="pair")

FRESH = (
    "a fresh translation and mirroring at each presentation, one in six without the former, instead of the image, its"
    " mirror image and two or five fixed translations"
)
SOFTMAX = options(score="softmax")


def _on(data: Data, recipe: Recipe) -> Recipe:
    """Trained on `data` as Sec. 4.2 has it there."""
    if data == MARKET:
        return replace(recipe, datasets=(data,))
    pairs = PAIRS.get(data.name, 256)
    steps = _steps(data.name) if recipe.steps else 0
    return replace(recipe, datasets=(data,), sampling=replace(recipe.sampling, pairs=pairs), steps=steps)


def _row(
    key: str,
    table: str,
    label: str,
    recipe: Recipe,
    data: Data = DETECTED,
    printed: str = "",
    scoring: Options = (),
    **extra: object,
) -> Row:
    """One training, scored on `data`; a printed line of several datasets is one row each."""
    # All of VIPeR's 316 test people; elsewhere 20 draws of 100, since nearly all printed numbers are multiples of 0.05.
    protocol = {VIPER: "single-shot-all"}.get(data, "single-shot-20")
    settings = (EvaluationSettings(data, protocol=protocol, scoring=scoring),)
    return Row(key, table, label, _on(data, recipe), (table, printed) if printed else None, settings, **extra)  # type: ignore[arg-type]


OURS = (("l23", "Ours-(L2, L3)", MLS), ("l234", "Ours-(L2, L3, L4)", L234))
TABLE_2 = (
    *(
        _row(f"table2/{side}-{key}", "Table 2", label, recipe, data, label, deviations=(FRESH, HELD_OUT))
        for side, data in (
            ("cuhk03-detected", DETECTED),
            ("cuhk03-labeled", LABELED),
            ("cuhk01", CUHK01),
            ("viper", VIPER),
        )
        for key, label, recipe in OURS
    ),
    _row(
        "table2/cuhk03-detected-x-corr",
        "Table 2",
        "X-Corr",
        XCORR,
        DETECTED,
        "X-Corr",
        deviations=("trained as MLS is",),
        baseline=True,
    ),
)
TABLE_3 = tuple(
    _row(
        f"table3/{key}",
        "Table 3",
        label,
        recipe,
        DETECTED,
        label,
        deviations=(FRESH, HELD_OUT),
        keep="figures" if key == "l23" else "",
        baseline=key == "cls",
    )
    for key, label, recipe in (
        ("cls", "Ours-cls", CLS),
        ("l2", "Ours-L2", MLS.with_options(levels=(2,))),
        ("l3", "Ours-L3", MLS.with_options(levels=(3,))),
        ("l4", "Ours-L4", MLS.with_options(levels=(4,))),
        *OURS,
    )
)
C1, C2, C3, C4 = (  # Table 4's rows as they are printed
    "C1 (dividing x, STN yes, ML yes)",
    "C2 (dividing yes, STN x, ML yes)",
    "C3 (dividing yes, STN yes, ML x)",
    "C4 (dividing yes, STN yes, ML yes)",
)
TABLE_4 = tuple(
    _row(
        f"table4/{printed[:2].lower()}",
        "Table 4",
        f"{printed[:2]} {what}",
        recipe,
        DETECTED,
        printed,
        deviations=(FRESH, HELD_OUT),
        baseline=printed == C1,
    )
    for printed, what, recipe in (
        (C1, "no dividing", L234.with_options(parts="none")),
        (C2, "central crop", L234.with_options(parts="crop")),
        (C3, "level 4 alone", MLS.with_options(levels=(4,))),
        (C4, "all of it", L234),
    )
)
# The printed layouts change the resolution of conv3 with the levels (MLS-2). Here all levels see one trunk.
SHARED = MLS.with_options(layout="conv3_unpooled")
LEVELS = tuple(
    _row(
        f"levels/{key}",
        "Levels",
        f"{name}, conv3 not pooled",
        (MLS if 4 in levels else SHARED).with_options(levels=levels),  # with level 4 it is not pooled anyway
        added=True,
        baseline=key == "l2",
    )
    for key, name, levels in (
        ("l2", "L2", (2,)),
        ("l3", "L3", (3,)),
        ("l4", "L4", (4,)),
        ("l23", "(L2, L3)", (2, 3)),
        ("l234", "(L2, L3, L4)", (2, 3, 4)),
    )
)
CONTROLS = (
    _row("softmax/l23", "Controls", "(L2, L3), ranked by its softmax alone", MLS, scoring=SOFTMAX, added=True),
    _row("controls/untrained", "Controls", "(L2, L3), random weights", replace(MLS, steps=0), added=True),
)
# The five systems side by side, on one protocol.
SIDE_BY_SIDE = Row(
    "market/mls",
    "Market-1501",
    "MLS (L2, L3)",
    recipe=_on(MARKET, MLS),
    evaluations=side_by_side(MARKET),
    deviations=(FRESH, HELD_OUT),
    added=True,
    core=True,
    keep="figures",
)

# What the paper leaves open or contradicts: one change at a time, against table3/l23.
OPEN = tuple(
    _row(f"open/{key}", "Open points", label, recipe, added=True, trials=3)
    for key, label, recipe in (
        ("sim-10x4", "Similarity maps of 10x4 (MLS-1)", MLS.with_options(sim_size="10x4")),
        ("l234-pooled", "(L2, L3, L4), conv3 pooled as in Table 1 (MLS-2)", L234.with_options(layout="all_pooled")),
        (
            "expected-probability",
            "Eq. 3 as printed, its sign turned (MLS-3)",
            replace(MLS, loss_weights=(("expected_probability", 1.0), ("pair", 0.0))),
        ),
        ("sharing-both", "Both ranking convolutions shared (MLS-4)", MLS.with_options(sharing="both")),
        ("sharing-none", "No ranking convolution shared (MLS-4)", MLS.with_options(sharing="none")),
        ("inclusive", "Parts of 20, 21 and 21 rows (MLS-6)", MLS.with_options(rows="inclusive")),
        ("clamp", "Transformations clamped (MLS-9)", MLS.with_options(constraint="clamp")),
        (
            "adamw",
            "Decoupled weight decay (MLS-10)",
            replace(MLS, optimiser=replace(MLS.optimiser, name="adamw")),
        ),
        ("sim-norm", "Batch norm on similarity maps (MLS-20)", MLS.with_options(sim_norm="batch")),
        ("sim-scale", "Similarity maps over f^2 (MLS-20)", MLS.with_options(sim_norm="scale")),
    )
)

# How much hangs on the printed rate where the schedule is shorter.
TUNING = tuned(replace(MLS, datasets=(MARKET,)), (1.5e-4, 5e-4, 1.5e-3))


by_rank1 = partial(claim, measure="rank1")  # single-shot, as the paper scores
# Levels are compared on the shared trunk; the effects are Table 3's.
CLAIMS = (
    by_rank1(
        "two-levels",
        "Two levels together beat either alone",
        "Table 3",
        [("levels/l23", "levels/l2"), ("levels/l23", "levels/l3")],
        2.9,
        rates=(("Table 3", "Ours-(L2, L3)"), ("Table 3", "Ours-L3")),
    ),
    by_rank1(
        "three-levels",
        "Three levels together beat any alone",
        "Table 3",
        [("levels/l234", f"levels/{level}") for level in ("l2", "l3", "l4")],
        7.3,
        rates=(("Table 3", "Ours-(L2, L3, L4)"), ("Table 3", "Ours-L4")),
    ),
    by_rank1(
        "higher-levels",
        "The higher the level, the more its similarity tells",
        "Table 3",
        [("levels/l4", "levels/l3"), ("levels/l3", "levels/l2")],
        1.85,
        rates=(("Table 3", "Ours-L3"), ("Table 3", "Ours-L2")),
    ),
    by_rank1(
        "l4-alone",
        "Level 4 alone does about as well as levels 2 and 3 together",
        "Sec. 4.4",
        [("levels/l4", "levels/l23")],
        -0.3,
        rates=(("Table 3", "Ours-L4"), ("Table 3", "Ours-(L2, L3)")),
        relation="similar",
    ),
    by_rank1(
        "ranking-loss",
        "Training with the ranking loss helps the classification, by which both rank here",
        "Table 3",
        [("softmax/l23", "table3/cls")],
        3.55,
        rates=(("Table 3", "Ours-(L2, L3)"), ("Table 3", "Ours-cls")),
    ),
    by_rank1(
        "ranking-score",
        "The second term of Eq. 7 helps the same network's ranking",
        "Eq. 7",
        [("table3/l23", "softmax/l23")],
    ),
    by_rank1(
        "dividing",
        "Divided maps beat undivided ones, even if the parts are only cropped",
        "Table 4",
        [("table4/c2", "table4/c1"), ("table4/c4", "table4/c1")],
        2.6,
        rates=(("Table 4", C2), ("Table 4", C1)),
    ),
    by_rank1(
        "transformer",
        "Transformed parts beat cropped ones",
        "Table 4",
        [("table4/c4", "table4/c2")],
        4.45,
        rates=(("Table 4", C4), ("Table 4", C2)),
    ),
    by_rank1(
        "beats-x-corr",
        "Two levels beat X-Corr",
        "Table 2",
        [("table2/cuhk03-detected-l23", "table2/cuhk03-detected-x-corr")],
        7.41,
        rates=(("Table 2", "Ours-(L2, L3)"), ("Table 2", "X-Corr")),
    ),
)

# Half of the channels: in as many seconds twice the steps; in a development world 45 % rank-1 instead of 40.
LAPTOP = (
    ("mls", options(image_size=(80, 32), sizes=(5, 3, 3), width=48)),
    ("xcorr", options(image_size=(80, 32))),
)
TINY = (
    ("mls", options(image_size=(64, 32), sizes=(3, 2, 2), width=12, head=(8, 16), embedding=8)),
    ("xcorr", options(image_size=(80, 32), fc=16)),
)
PAPER = Paper(
    key="mls",
    title="Efficient and Deep Person Re-Identification using Multi-Level Similarity",
    rows=(
        *(*TABLE_2, *TABLE_3, *TABLE_4, *LEVELS, *CONTROLS, SIDE_BY_SIDE, *OPEN, *TUNING),
        *doubled((*TABLE_2, *TABLE_3, *TABLE_4, *LEVELS, *CONTROLS), CLAIMS),
        *trained_otherwise(SIDE_BY_SIDE),
        *crossed([SIDE_BY_SIDE]),
        *reseeded(SIDE_BY_SIDE, (1, 2, 3)),
    ),
    claims=CLAIMS,
    profiles=(
        ("smoke", Profile("tiny", 4e-4, pairs=8, queries=8, options=TINY, trials=1)),
        ("laptop", Profile("small", 0.11, pairs=64, queries=50, options=LAPTOP, alone=1)),
        ("gpu", Profile("market", 0.1, alone=1)),
        ("paper", Profile("market")),
    ),
)
