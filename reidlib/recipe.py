"""What decides a training, a table row and a verdict: frozen dataclasses, data only.

A `Recipe` decides a training and nothing else; how a trained model is scored is an `EvaluationSettings`;
a `Row` is one printed row of a paper's table; a `Claim` is one statement of a paper as a comparison of rows.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from reidlib.names import hint

DOUBLED = "doubled"  # before the key of a row that trains another one for twice as long
SEEN = ("jitter=2", "occlusion=0.8")  # presets that a network may see in training, each the worst of its nuisance
Options = tuple[tuple[str, Any], ...]  # sorted (name, value) pairs: a hashable dict


def options(**values: Any) -> Options:
    """Model options as a `Recipe` holds them: sorted, hashable."""
    return tuple(sorted(values.items()))


@dataclass(frozen=True)
class Data:
    """A dataset by name; `size`, `world` and `preset` say which synthetic one, `version` which bytes.

    `layout` is the real dataset whose files, cameras and split a synthetic world has, "" Market-1501.
    `version` is the benchmark's version for synthetic data and a digest of the sorted file names and sizes
    for real data; `reidlib.study` fills it in.
    """

    name: str = "market1501"
    size: str = ""
    world: int = 0
    preset: str = "default"
    version: str = ""
    layout: str = ""

    def __str__(self) -> str:
        shown = (self.name, self.size, self.preset if self.size and self.preset != "default" else "")
        return " ".join(filter(None, shown))


@dataclass(frozen=True)
class Sampling:
    """How a batch is drawn (`reidlib.data.sampling`).

    pairs: `pairs` image pairs over about as many images, two cross-camera images a person; `negatives` is the number of
        negatives per positive at the start and at the end of training; `both_orders` shows each pair the other way
        round too; `hard` is the share of the negatives that are mined, with images of their own: the nearest pairs of
        two people by the initial weights (`reidlib.mining`).
    identities: `people` identities x `images` images.
    """

    name: Literal["pairs", "identities"] = "pairs"
    pairs: int = 64
    negatives: tuple[float, float] = (1.0, 1.0)
    both_orders: bool = False
    people: int = 16
    images: int = 4
    hard: float = 0.0


@dataclass(frozen=True)
class Optimiser:
    """`rmsprop` is PersonNet's Sec. IV-A form; `sgd`, `adam` and `adamw` are PyTorch's.

    trunk: a factor on the learning rate of the parameters below `trunk`, for trunks that were pre-trained.
    forget: SGD's momentum starts anew every so many steps, in short trainings too; 0 is never.
    """

    name: Literal["sgd", "rmsprop", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    trunk: float = 1.0
    forget: int = 0


@dataclass(frozen=True)
class Schedule:
    """A factor on the learning rate over training progress in [0, 1].

    constant: 1. step: the factor of the last (progress, factor) point passed. cosine: from 1 to 0.
    poly: (1 - progress) ** `power`. inverse: (1 + `factor` progress) ** -`power`. Over the first `warmup` of
    progress the factor is multiplied by a line from the first to the second of `warmup_factors`.
    """

    name: Literal["constant", "step", "cosine", "poly", "inverse"] = "constant"
    points: tuple[tuple[float, float], ...] = ()
    power: float = 0.5
    factor: float = 0.1
    warmup: float = 0.0
    warmup_factors: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training; recipes that are written alike (1.0 is not 1) are one run.

    options: of the model, `image_size` (height, width) in pixels among them. datasets: trained on together, as a
    union. split: its number where a dataset has several, and the seed of the held-out people. augment: (operation,
    amount) in order. validation: share of the training identities held out, never trained on; `validations` times
    in a training they give the held-out accuracy. revision: raised by hand when code changes what a recipe means.
    parent: the recipe whose weights this one starts from, so that a paper's stages (pre-train and fine-tune, retrain
    on hard negatives) are recipes. trainable: only parameters whose name in the model starts with it are trained,
    all with "".
    """

    system: str
    options: Options = ()
    objective: str = "pair"
    objective_options: Options = ()
    loss_weights: tuple[tuple[str, float], ...] = ()
    datasets: tuple[Data, ...] = (Data(),)
    split: int = 0
    sampling: Sampling = Sampling()
    augment: tuple[tuple[str, float], ...] = ()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    steps: int = 1000
    validation: float = 0.1
    validations: int = 20
    seed: int = 0
    revision: int = 0
    parent: "Recipe | None" = None
    trainable: str = ""

    def with_options(self, **values: Any) -> "Recipe":
        """The same recipe with model options added or replaced."""
        return replace(self, options=options(**{**dict(self.options), **values}))


@dataclass(frozen=True)
class EvaluationSettings:
    """How a trained model is scored: dataset, protocol by name (`reidlib.evaluation.PROTOCOLS`) and scoring."""

    data: Data = Data()
    split: int = 0
    protocol: str = "market1501"
    queries: int | None = None
    scoring: Options = ()


def plain(value: Any) -> Any:
    """A recipe (or any nest of frozen dataclasses) as JSON-ready values, defaults left out.

    Leaving defaults out lets a new field with a default keep every old fingerprint.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for item in fields(value):
            got = getattr(value, item.name)
            if item.default is MISSING or got != item.default:
                kept[item.name] = plain(got)
        return kept
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{value!r} cannot be part of a recipe; use strings, numbers, tuples and dataclasses")


def restored(kept: Mapping[str, Any]) -> EvaluationSettings:
    """The evaluation settings of which `plain` made these values, to the same fingerprint."""
    scoring = tuple((name, value) for name, value in kept.get("scoring", ()))
    return EvaluationSettings(**{**kept, "data": Data(**kept.get("data", {})), "scoring": scoring})


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) over the non-default fields of a recipe or of evaluation settings."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """One row of a table that is trained; printed rows that none is for are quoted (`reidlib.tables.table`).

    key: unique within the paper, e.g. "table4/personnet". printed: (table, row) as in `data/paper_values.csv`.
    evaluations: one per column group of the table, on the paper's dataset. trials: trial t uses seed t and, on
    synthetic data, world t; a claim may want more. deviations: known differences from the paper. added: a control row
    the paper does not have. keep: what the first trial keeps beside its scores and weights: a table of
    `reidlib.robustness`, of few settings (trained) or all, or all that its figures need. core: one of the few rows
    that `recompute=core` trains. baseline: the others of its table are held against it. against: the key of the row
    that this one is held against instead. everybody: scored by all queries, whatever the profile says.
    """

    key: str
    table: str
    label: str
    recipe: Recipe
    printed: tuple[str, str] | None = None
    evaluations: tuple[EvaluationSettings, ...] = ()
    trials: int = 5
    deviations: tuple[str, ...] = ()
    added: bool = False
    keep: Literal["", "trained", "robustness", "figures"] = ""
    core: bool = False
    baseline: bool = False
    against: str = ""
    everybody: bool = False


@dataclass(frozen=True)
class Claim:
    """One statement of a paper as a comparison of rows (the rule is `reidlib.verdicts.verdict`).

    pairs: ((row that should be higher, row it is compared with), ...), all of which must hold.
    measure: "mean_ap", "rank1", or a per-run measure in `run.json` such as "mean_accuracy".
    margin: in points (of 100), half the printed effect clipped to 0.3-1.0, fixed before any run.
    rates: (table, row) of the two printed rank-1 rates, in their rows' first columns, whose difference the paper's
        effect is; empty where it is no such difference, as of mAP.
    """

    key: str
    statement: str
    source: str
    pairs: tuple[tuple[str, str], ...]
    measure: str = "mean_ap"
    relation: Literal["greater", "similar"] = "greater"
    margin: float = 1.0
    printed_effect: float | None = None
    rates: tuple[tuple[str, str], ...] = ()
    replicates: int = 5
    added: bool = False


@dataclass(frozen=True)
class Profile:
    """What a profile changes in a paper's recipes: lengths and sizes, never what its rows compare.

    size: of the synthetic datasets. queries: score a seeded subset of that many, None for all. share: of a recipe's
    `steps`. pairs: image pairs a batch. people, images: a batch of identities. options: system -> model options, among
    them `image_size`. pretraining: what every trained trunk starts from, a recipe that is taken as it is but for the
    trunk's name; rows whose own options say what is `pretrained` do without. trials: at most. alone: at most, of a row
    that no claim compares (of others as many as the claims want, if that is more) and that is no core row.
    """

    size: str
    share: float = 1.0
    pairs: int | None = None
    people: int | None = None
    images: int | None = None
    queries: int | None = None
    options: tuple[tuple[str, Options], ...] = ()
    pretraining: Recipe | None = None
    trials: int | None = None
    alone: int | None = None

    def scale(self, recipe: Recipe) -> Recipe:
        """The recipe as this profile runs it, and its parents with it."""
        batch: dict[str, Any] = {"pairs": self.pairs, "people": self.people, "images": self.images}
        steps = max(2, round(recipe.steps * self.share)) if recipe.steps else 0
        scaled = replace(
            recipe,
            steps=steps,
            sampling=replace(recipe.sampling, **{name: n for name, n in batch.items() if n is not None}),
            validations=min(recipe.validations, steps),
            parent=None if recipe.parent is None else self.scale(recipe.parent),
        )
        # A row's own options win: they are what it compares.
        scaled = scaled.with_options(**{**dict(dict(self.options).get(recipe.system, ())), **dict(recipe.options)})
        return self._pretrained(scaled)

    def _pretrained(self, scaled: Recipe) -> Recipe:
        """The recipe from the pre-training of its trunk; without, where its options say so or nothing is trained.

        Random weights are every model's default, so that such a row is the same run as in a profile without any.
        """
        chosen, first = dict(scaled.options), self.pretraining
        if chosen.get("pretrained") is False:
            del chosen["pretrained"]
            return replace(scaled, options=options(**chosen))
        if first is None or scaled.parent is not None or not scaled.steps or "pretrained" in chosen:
            return scaled
        own = {name: chosen[name] for name in ("trunk", "last_stride") if name in chosen}
        same = own.get("trunk") in (None, dict(first.options).get("trunk"))  # then one file of weights for every stride
        return replace(scaled, parent=first if same else first.with_options(**own))


@dataclass(frozen=True)
class Paper:
    """One paper: its rows, its claims and its profiles by name."""

    key: str
    title: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    profiles: tuple[tuple[str, Profile], ...]

    def row(self, key: str) -> Row:
        """The row of that key; ValueError names the nearest one."""
        for row in self.rows:
            if row.key == key:
                return row
        raise ValueError(f"{self.key} has no row {key!r}{hint(key, [row.key for row in self.rows])}")
