"""CASN (2019): its tables, figures and claims as rows. Data only; CA-numbers as in `reidlib.models.casn`."""

from dataclasses import replace

from reidlib.papers.controls import HELD_OUT, TRAIN_IMAGES, claim, crossed, doubled, tuned
from reidlib.papers.pretraining import AT_GPU, AT_LAPTOP, AT_SMOKE, PRETRAINED
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
    Schedule,
    options,
)

MARKET, DUKE = Data("market1501"), Data("dukemtmc")
DETECTED, LABELED = Data("cuhk03-np-detected"), Data("cuhk03-np-labeled")
EPOCHS, BATCH = 40, 16  # Sec. 4

# Sec. 4: SGD with momentum 0.9, learning rate 0.03, a tenth of it from epoch 30, batches of 16: here 16 pairs over 16
# images, half of them of one person, which meets both readings (CA-15). Weight decay and mirroring are unstated (CA-2).
# L_ia takes the probability of the class: the printed score has no lower bound, and training runs away with it (CA-5;
# row open/logit).
CASN = Recipe(
    system="casn",
    objective="casn",
    objective_options=options(score="probability"),
    datasets=(MARKET,),
    sampling=Sampling("pairs", pairs=BATCH),
    augment=(("flip", 0.5),),
    optimiser=Optimiser("sgd", lr=0.03, momentum=0.9, weight_decay=5e-4),
    schedule=Schedule("step", points=((30 / EPOCHS, 0.1),)),
    steps=EPOCHS * TRAIN_IMAGES["market1501"] // BATCH,
    validations=10,
)
IDENTITY_ALONE = (("attention", 0.0), ("bce", 0.0), ("ia", 0.0))
# The rows of Table 3 as loss weights. Without a BCE classifier the feature ranks alone.
BASELINE = replace(CASN, loss_weights=IDENTITY_ALONE).with_options(attention=False)
IA = replace(CASN, loss_weights=(("attention", 0.0), ("bce", 0.0))).with_options(attention=False)
SA = replace(CASN, loss_weights=(("ia", 0.0),))
BCE = replace(CASN, loss_weights=(("attention", 0.0), ("ia", 0.0)))  # L_sa contains L_bce; Fig. 7(a)
VARIANTS = (
    ("{}", "{} [34]", BASELINE),
    ("{}-ia", "{} + IA", IA),
    ("{}-sa", "{} + SA", SA),
    ("casn-{}", "CASN({})", CASN),
)
BASES = (("ide", "IDE"), ("pcb", "PCB"))
ON_IDE = CASN.with_options(base="ide")

PROBABILITY = "L_ia on the probability of the class instead of its score, which has no lower bound (CA-5)"
AS_CASN = "trained as CASN's baselines are, not as in its own paper; its two further stages take a quarter of that each"
COSINE = "ranked by the cosine, as its authors do; the others by the distance of features as they are"
FEATURE = options(attention=False)


def _on(data: Data, recipe: Recipe) -> Recipe:
    """Trained on `data`, for as many epochs."""
    share = TRAIN_IMAGES[data.name] / TRAIN_IMAGES[recipe.datasets[0].name]
    parent = None if recipe.parent is None else _on(data, recipe.parent)
    return replace(recipe, datasets=(data,), steps=round(recipe.steps * share), parent=parent)


def _row(
    key: str,
    table: str,
    label: str,
    recipe: Recipe,
    data: Data = MARKET,
    printed: str = "",
    scoring: Options = (),
    **extra: object,
) -> Row:
    """One training, scored on `data`; a printed line of several datasets is one row each."""
    protocols = ("market1501", "single-shot") if data == MARKET else ("market1501",)
    settings = tuple(EvaluationSettings(data, protocol=protocol, scoring=scoring) for protocol in protocols)
    masks = dict(recipe.loss_weights).get("ia", 1.0) != 0
    named = (PROBABILITY,) * masks + (AS_CASN, COSINE) * (recipe.system == "pcb")
    deviations = (PRETRAINED, HELD_OUT, *named) if printed else ()
    line = (table, printed) if printed else None
    extra = {"everybody": True} | extra
    return Row(key, table, label, _on(data, recipe), line, settings, deviations=deviations, **extra)  # type: ignore[arg-type]


# PCB + RPP (Sun et al., 2018): PCB, then its part classifier alone, then everything at a tenth of the rate. How long
# either stage takes, a quarter of PCB's steps, is ours.
PCB = replace(CASN, system="pcb", loss_weights=IDENTITY_ALONE)
INDUCED = replace(PCB, parent=PCB, trainable="refine", steps=PCB.steps // 4).with_options(refined=True)
REFINED = replace(INDUCED, parent=INDUCED, trainable="", optimiser=replace(PCB.optimiser, lr=0.003))


def _against_others(number: int, *trained: tuple[str, Data]) -> tuple[Row, ...]:
    """Tables 1 and 2: PCB + RPP, which the paper quotes and which is trained here too, and both CASNs."""
    table = f"Table {number}"
    return tuple(
        _row(f"table{number}/{side}-{key}", table, name, recipe, data, name)
        for side, data in trained
        for key, name, recipe in (
            ("pcb-rpp", "PCB+RPP [34]", REFINED),
            *((f"casn-{base}", f"CASN ({name})", CASN.with_options(base=base)) for base, name in BASES),
        )
    )


TABLE_1 = _against_others(1, ("detected", DETECTED), ("labeled", LABELED))
TABLE_2 = _against_others(2, ("duke", DUKE), ("market", MARKET))
CORE = ("market-ide", "market-pcb", "market-casn-ide", "market-casn-pcb")
SHOWN = ("market-ide", "market-ide-ia", "market-ide-sa", "market-casn-ide", "market-casn-pcb")  # Figs. 4, 5, 7, 8
TABLE_3 = tuple(
    _row(
        f"table3/{(key := f'{side}-{variant.format(base)}')}",
        "Table 3",
        label.format(name).removesuffix(" [34]"),
        recipe.with_options(base=base),
        data,
        label.format(name),
        core=key in CORE,
        keep="figures" if key in SHOWN else "",
        against="" if recipe == BASELINE else f"table3/{side}-{base}",
    )
    for side, data in (("cuhk03-np", DETECTED), ("duke", DUKE), ("market", MARKET))
    for base, name in BASES
    for variant, label, recipe in VARIANTS
)
DENSENET = (
    _row(
        "densenet/casn-ide",
        "prose Sec. 4.1",
        "CASN (IDE, DenseNet)",
        ON_IDE.with_options(trunk="densenet121", last_stride=2),  # the depth is unstated (CA-20)
        DETECTED,
        "CASN (IDE, DenseNet)",
    ),
    _row(
        "densenet/ide",
        "prose Sec. 4.1",
        "IDE, DenseNet",
        BASELINE.with_options(base="ide", trunk="densenet121", last_stride=2),
        DETECTED,
        added=True,
        baseline=True,
    ),
)
CONTROLS = (
    *(
        _row(
            f"controls/{base}-bce",
            "Controls",
            f"{name} + BCE, without its attention loss",
            BCE.with_options(base=base),
            added=True,
            keep="figures" if base == "ide" else "",
        )
        for base, name in BASES
    ),
    # The rows that compare attention at test, ranked by the feature alone.
    *(
        _row(
            f"feature/{variant.format(base)}",
            "Controls",
            f"{label.format(name)}, feature alone",
            recipe.with_options(base=base),
            scoring=FEATURE,
            added=True,
        )
        for base, name in BASES
        for variant, label, recipe in (*VARIANTS[2:], ("{}-bce", "{} + BCE", BCE))
    ),
    _row(
        "controls/untrained",
        "Controls",
        "CASN(IDE), random weights",
        replace(ON_IDE.with_options(pretrained=False), steps=0),
        added=True,
    ),
    *(
        _row(
            f"scratch/{variant.format(base)}",
            "Controls",
            f"{label.format(name).removesuffix(' [34]')}, trained from random weights",
            recipe.with_options(base=base, pretrained=False),
            added=True,
        )
        for base, name in BASES
        for variant, label, recipe in (VARIANTS[0], VARIANTS[-1])
    ),
)
# Beside the other papers' systems, on the queries that those are asked.
SIDE_BY_SIDE = tuple(
    _row(f"market/{key}", "Market-1501", label, recipe, added=True, everybody=False, **extra)
    for key, label, recipe, extra in (
        ("casn", "CASN (PCB)", CASN.with_options(base="pcb"), {"core": True, "keep": "figures"}),
        ("ide", "IDE", BASELINE.with_options(base="ide"), {"core": True}),
        ("pcb", "PCB", BASELINE.with_options(base="pcb"), {"core": True}),
        ("pcb-rpp", "PCB+RPP", REFINED, {}),
    )
)

# The paper prints no re-ranked result; this is an extra, by the feature alone.
RERANKED = Row(
    "rerank/casn",
    "Re-ranking",
    "CASN (PCB), feature alone",
    recipe=SIDE_BY_SIDE[0].recipe,
    evaluations=tuple(
        EvaluationSettings(MARKET, protocol=protocol, scoring=FEATURE)
        for protocol in ("market1501", "market1501-rerank")
    ),
    trials=1,
    added=True,
)

# 60 epochs in batches of 64, 0.1 and from epoch 40 0.01, a tenth of that for the pre-trained layers.
PCB_PROTOCOL = replace(
    CASN.with_options(base="pcb"),
    sampling=Sampling("pairs", pairs=64),
    optimiser=replace(CASN.optimiser, lr=0.1, trunk=0.1),
    schedule=Schedule("step", points=((40 / 60, 0.1),)),
    steps=60 * TRAIN_IMAGES["market1501"] // 64,
)


def _masking(**settings: float) -> Recipe:
    """CASN(IDE) with other settings of L_ia."""
    return replace(ON_IDE, objective_options=options(**dict(CASN.objective_options), **settings))


# What the paper leaves open or contradicts: one change at a time, against table3/market-casn-ide, but for CASN(PCB)
# by its base's whole protocol, against table3/market-casn-pcb.
OPEN = (
    *(
        _row(f"open/{key}", "Open points", label, recipe, added=True, trials=3)
        for key, label, recipe in (
            # One of these two is the base's own, and the other one the profile's.
            ("stride-1", "Last stride 1 (CA-1)", ON_IDE.with_options(last_stride=1)),
            ("stride-2", "Last stride 2 (CA-1)", ON_IDE.with_options(last_stride=2)),
            ("crop", "Random crops of 256x128 (CA-2)", replace(ON_IDE, augment=(("crop", 1 / 9), *CASN.augment))),
            ("dropout", "Dropout for ReLU in the identity classifier (CA-3)", ON_IDE.with_options(between="dropout")),
            ("absolute", "BCE on |f1 - f2| (CA-4)", ON_IDE.with_options(difference="absolute")),
            ("square", "BCE on the squared difference (CA-4)", ON_IDE.with_options(difference="square")),
            ("logit", "L_ia on the score itself, as printed (CA-5)", replace(ON_IDE, objective_options=())),
            ("hard-mask", "A soft mask ten times as steep (CA-6)", _masking(slope=100.0)),
            ("fixed-map", "L_ia not through M (CA-7)", _masking(through_map=False)),
            ("threshold-0.1", "Alignment threshold 0.1 (CA-11)", ON_IDE.with_options(threshold=0.1)),
            ("no-alignment", "No alignment (CA-11)", ON_IDE.with_options(threshold=None)),
            ("pcb-protocol", "CASN(PCB) trained as [34] trains PCB (CA-18)", PCB_PROTOCOL),
        )
    ),
    *(
        _row(f"open/{key}", "Open points", label, ON_IDE, scoring=scoring, added=True, trials=3)
        for key, label, scoring in (
            ("row-z", "Terms of mean 0 and deviation 1 for each query (CA-16)", options(normalisation="row-z")),
            ("global", "Terms between 0 and 1 over a block of 128 queries (CA-16)", options(normalisation="global")),
            ("unit", "Distances of unit features (CA-16)", options(features="unit")),
            ("candidates", "Attention of the 50 nearest by feature only (CA-17)", options(candidates=50)),
        )
    ),
)

# How much hangs on the printed rate where the schedule is shorter.
TUNING = tuned(ON_IDE, (0.01, 0.03, 0.1))


def _both(
    better: str, worse: str, better_in: str = "table3/market-", worse_in: str = "table3/market-"
) -> list[tuple[str, str]]:
    """The comparison on either base."""
    return [(better_in + better.format(base), worse_in + worse.format(base)) for base, _ in BASES]


# Printed effects: the smallest of Table 3's on Market-1501.
CLAIMS = (
    claim("ia", "Identification attention helps either baseline", "Table 3", _both("{}-ia", "{}"), 4.5),
    claim("sa", "Siamese attention helps either baseline", "Table 3", _both("{}-sa", "{}"), 5.3),
    claim(
        "sa-not-bce",
        "Siamese attention helps beyond the BCE loss that it contains",
        "Table 3",
        _both("{}-sa", "{}-bce", worse_in="controls/"),
    ),
    claim(
        "full",
        "Both attentions together beat either alone",
        "Table 3",
        [*_both("casn-{}", "{}-ia"), *_both("casn-{}", "{}-sa")],
        0.2,
    ),
    claim(
        "sa-over-ia",
        "Siamese attention helps more than identification attention",
        "Table 3's order",
        _both("{}-sa", "{}-ia"),
        0.8,
    ),
    claim(
        "attention-at-test",
        "Comparing attention at test helps the same network's feature",
        "Sec. 4",
        [*_both("{}-sa", "{}-sa", worse_in="feature/"), *_both("casn-{}", "casn-{}", worse_in="feature/")],
    ),
    claim(
        "densenet",
        "CASN helps a DenseNet baseline too",
        "Sec. 4.1",
        [("densenet/casn-ide", "densenet/ide")],
    ),
    claim(
        "consistent-profiles",
        "Siamese attention lowers the attention distance of one person's images against that of two people's",
        "Fig. 7",
        _both("{}-sa", "{}-bce", worse_in="controls/"),
        measure="attention_distance_share",
    ),
    # Fig. 4 shows attention that covers more of the person. Measured is the share of the attention that lies on the
    # person, whose parts are known: it does not grow where attention spreads over the edge.
    claim(
        "more-of-the-person",
        "Identification attention lies more on the person where it is trained",
        "Fig. 4",
        [("table3/market-ide-ia", "table3/market-ide")],
        measure="map_on_person",
    ),
)

SMALL = {"trunk": "test_resnet", "last_stride": 1}
LAPTOP = tuple((system, options(**SMALL, image_size=(192, 64))) for system in ("casn", "pcb"))
# Not 32 pixels wide: with a last stride of 2 the map would be one place wide. Such a bfloat16 convolution of PyTorch's
# (2.14.1, oneDNN) reads memory that was never written on processors with AMX, and now and then it is no number.
TINY = tuple((system, options(**SMALL, image_size=(96, 48), hidden=16)) for system in ("casn", "pcb"))
PAPER = Paper(
    key="casn",
    title="Re-Identification with Consistent Attentive Siamese Networks",
    rows=(
        *(*TABLE_1, *TABLE_2, *TABLE_3, *DENSENET, *CONTROLS, *SIDE_BY_SIDE, RERANKED, *OPEN, *TUNING),
        *doubled((*TABLE_3, *DENSENET, *CONTROLS), CLAIMS),
        *crossed(SIDE_BY_SIDE[:3]),
    ),
    claims=CLAIMS,
    profiles=(
        ("smoke", Profile("tiny", 6e-5, pairs=8, queries=8, options=TINY, pretraining=AT_SMOKE, trials=1)),
        (
            "laptop",
            Profile("small", 0.05, queries=50, options=LAPTOP, pretraining=AT_LAPTOP, alone=1),
        ),
        ("gpu", Profile("market", 0.05, pretraining=AT_GPU, alone=1)),
        ("paper", Profile("market", options=tuple((system, options(pretrained=True)) for system in ("casn", "pcb")))),
    ),
)
