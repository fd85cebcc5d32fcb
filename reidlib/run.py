"""From a recipe to a stored run: data, model, `fit`, `evaluate`, store."""

import hashlib
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reidlib import coverage, robustness
from reidlib.coverage import drawn
from reidlib.data import SYNTHETIC, load, registry, union
from reidlib.data.pixels import pixels
from reidlib.data.splits import Benchmark, Split, hold_out
from reidlib.evaluation import PROTOCOLS, Evaluation, evaluate
from reidlib.examples import figure_arrays, pair_images
from reidlib.files import whole
from reidlib.maps import MAPS
from reidlib.mining import hardest_negatives
from reidlib.models import MODELS, Descriptor, ReIDModel, build
from reidlib.models.base import tiles
from reidlib.models.metric import Metric
from reidlib.models.trunks import load_weights
from reidlib.names import choose
from reidlib.objectives import OBJECTIVES
from reidlib.recipe import Data, EvaluationSettings, Recipe
from reidlib.record import commit, write_tensors
from reidlib.store import Run, RunStore, run_name
from reidlib.training import Pixels, fit


class NotAvailable(FileNotFoundError):
    """A dataset that is not here; rows that need it say "not run"."""


@cache
def read_benchmark(data: Data, root: Path | None, split: int) -> Benchmark:
    """The benchmark a recipe names, generated if it is synthetic; NotAvailable if it is not below `root`.

    root: of the real datasets; nothing is drawn there.
    split: counted modulo the number of splits the dataset has.
    """
    real = registry.DATASETS.get(data.layout or data.name)
    number = split % real.splits if real else 0
    if data.name in SYNTHETIC:
        made = {"size": data.size, "world": data.world, "preset": data.preset, "layout": data.layout}
        return load(data.name, split=number, **made)  # type: ignore[arg-type]
    if root is None:
        raise NotAvailable(f"{data.name} is a real dataset: say where it lies with data_root")
    try:
        return load(data.name, root=root, split=number)
    except FileNotFoundError as error:
        raise NotAvailable(str(error)) from None


def _processor(field: str) -> str:
    """A field of the first processor in Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def device_name(device: str) -> str:
    """What `device` is, in words for a table's foot."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    name = _processor("model name") or platform.processor() or platform.machine()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def precision(device: str) -> str:
    """Lightning Fabric's precision for training: bf16 autocast where the device computes in it, else float32."""
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool({"avx512_bf16", "amx_bf16"} & set(_processor("flags").split()))
    return "bf16-mixed" if native else "32-true"


def build_model(recipe: Recipe, identities: int, random: bool = False) -> ReIDModel:
    """The recipe's model with its seeded initial weights; `random` ones where it asks for pre-trained ones too."""
    chosen = dict(recipe.options)
    if random:
        chosen.pop("pretrained", None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build(recipe.system, identities=identities, **chosen)


def restore_model(run: Run, recipe: Recipe) -> ReIDModel:
    """The trained model of a run that kept its weights, in eval mode; FileNotFoundError says how to get them."""
    weights = run.weights()
    if weights is None:
        raise FileNotFoundError(f"run {run.name} is here without weights; train it here with recompute='core' or 'all'")
    model = build_model(recipe, run.record["identities"], random=True)  # nothing is fetched, to be replaced
    model.load_state_dict(weights)
    return model.eval()


def train_and_evaluate(
    recipe: Recipe,
    settings: Sequence[EvaluationSettings],
    store: RunStore,
    *,
    data_root: Path | None = None,
    device: str = "cpu",
    devices: int = 1,
    profile: str = "",
    keep: str = "",
    again: bool = False,
    progress: bool = True,
) -> Run:
    """The run of a recipe with every one of `settings` evaluated: found in the store, completed, or trained.

    Two processes asking for one run train it once; an interrupted training goes on from its checkpoint, and one whose
    evaluation was interrupted is evaluated again, not trained. A run without weights that lacks one of `settings` is
    trained again, and scored once more under those it has.
    keep: "weights" stores the weights, "trained" and "robustness" also that table (`robustness.OF`), "figures" also
    `figure_arrays` and `coverage`.
    again: train even if the run is there.
    ValueError: an image is both trained on and tested with.
    """
    choose("device", device, ("cpu", "cuda"))
    commit()  # looked up once, and now: a commit made during the first training is not the code that ran
    how = _How(store, data_root, device, devices, progress)
    with store.lock(recipe):
        run = None if again else store.find(recipe)
        missing = [item for item in settings if run is None or run.metrics(item) is None]
        if run is not None and not missing:
            return run
        _refuse_leaks(recipe, missing, data_root)
        if run is not None and run.weights() is not None:
            model = restore_model(run, recipe).to(device)
            for item in missing:
                run = run.add_evaluation(item, *_score(model, item, how))
            return run
        held = [] if run is None else _scores_again(run, data_root)
        return _train(recipe, tuple(dict.fromkeys((*settings, *held))), how, profile, keep)


@dataclass(frozen=True)
class _How:
    """What everything in one call shares: where data lies, what it runs on, who is told."""

    store: RunStore
    data_root: Path | None
    device: str
    devices: int
    progress: bool

    def benchmark(self, recipe: Recipe) -> Benchmark:
        """What a recipe's figures and tables are made of: its first dataset."""
        return read_benchmark(recipe.datasets[0], self.data_root, recipe.split)

    def checkpoint(self, recipe: Recipe) -> Path:
        """Where a training of the recipe is kept until what it is for is stored."""
        return self.store.home / ".checkpoints" / f"{run_name(recipe)}.safetensors"


def _train(recipe: Recipe, settings: Sequence[EvaluationSettings], how: _How, profile: str, keep: str) -> Run:
    began = time.perf_counter()
    if how.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model, history, identities, start = _trained(recipe, how)
    ended = time.perf_counter()
    # The history knows what was spent before an interruption, and not what a parent took, which has a run of its own.
    trained = history["seconds"].iloc[-1] if len(history) else ended - began
    evaluations = {item: _score(model, item, how) for item in settings}
    benchmark = how.benchmark(recipe)
    run = how.store.save(
        recipe,
        history=history,
        evaluations=evaluations,
        figures=figure_arrays(model, benchmark, how.device) if keep == "figures" else None,
        tables=_tables(model, recipe, keep, identities, how),
        weights=model.state_dict() if keep else None,
        meta={
            "profile": profile,
            "identities": identities,
            "measures": _measures(model, history, benchmark, how.device),
            "data": {
                " ".join(filter(None, (d.name, d.layout))): read_benchmark(d, how.data_root, recipe.split).digest
                for d in recipe.datasets
            },
            **({"parent_weights": start} if start else {}),
            "device": device_name(how.device),
            "devices": how.devices,
            "precision": precision(how.device),
            "seconds": round(trained + time.perf_counter() - ended, 1),
            "training_seconds": round(trained, 1),
            "peak_memory_bytes": _peak_memory(how.device),
        },
    )
    how.checkpoint(recipe).unlink(missing_ok=True)
    return run


def _scores_again(run: Run, data_root: Path | None) -> list[EvaluationSettings]:
    """What a run was scored under and would lose by being trained anew, but on data that have changed since.

    NotAvailable where the data are not here: nothing is lost that nobody said.
    """
    again = []
    for item in run.settings:
        name, version = item.data.name, item.data.version
        try:
            if name in SYNTHETIC or read_benchmark(Data(name), data_root, 0).digest[:16] == version:
                again.append(item)
        except NotAvailable as error:
            raise NotAvailable(
                f"{run.name} is here without weights, and training it again would lose its scores on {name}"
                f" ({error}); recompute='all' does so"
            ) from None
    return again


def _refuse_leaks(recipe: Recipe, settings: Sequence[EvaluationSettings], data_root: Path | None) -> None:
    """ValueError where a test image is trained on, by the recipe or its parents: other splits, or all of a dataset."""
    trained: set[Path] = set()
    step: Recipe | None = recipe
    while step is not None and (step.steps or issubclass(MODELS[step.system], Metric)):
        trained.update(*(read_benchmark(data, data_root, step.split).train.paths for data in step.datasets))
        step = step.parent
    for item in settings:
        tested = read_benchmark(item.data, data_root, item.split)
        both = trained & {*tested.query.paths, *tested.gallery.paths}
        if both:
            raise ValueError(
                f"{len(both):,} images of {tested.name} are trained on and tested with, such as {min(both)}: test with"
                " another dataset, or with the same split"
            )


def _trained(recipe: Recipe, how: _How) -> tuple[ReIDModel, pd.DataFrame, int, str]:
    """The recipe's model after training, in eval mode, its history, the number of identities it saw, and the digest of
    the parent's weights that it started from, "" without a parent.
    """
    parts = [read_benchmark(data, how.data_root, recipe.split) for data in recipe.datasets]
    aside = [part.validation for part in parts if part.validation is not None]
    train = union([part.train for part in parts])
    if len(aside) == len(parts):  # the published split names its validation people
        held_out = union(aside)
        if recipe.validation != Recipe.validation:  # a part of the people is asked for, of those that are left too
            train, _ = hold_out(train, recipe.validation, seed=recipe.split)
    else:
        train, held_out = hold_out(train, recipe.validation, seed=recipe.split)
    model, start = build_model(recipe, identities=len(train.identities)), ""
    if recipe.parent is not None:
        weights = _parent_weights(recipe.parent, how)
        start = _weights_digest(weights)
        if recipe.parent.system == recipe.system:
            inherit(model, weights)
        else:  # pre-training, of the trunk alone
            trunk = {name[6:]: value for name, value in weights.items() if name.startswith("trunk.")}
            load_weights(model.trunk, trunk, str(dict(recipe.options).get("trunk")))  # type: ignore[arg-type]
    model.to(how.device)
    history = pd.DataFrame()
    if isinstance(model, Descriptor):
        encoded = model.encode_all(pixels(train, model.image_size))
        model.estimate(encoded, *(torch.from_numpy(ids.copy()) for ids in (train.person_ids, train.camera_ids)))
    elif recipe.steps:
        shown = Pixels(train, pixels(train, model.image_size))
        objective = OBJECTIVES[recipe.objective]
        hard = recipe.sampling.hard > 0
        history = fit(
            objective(model, dict(recipe.loss_weights), **dict(recipe.objective_options)),
            recipe,
            shown,
            Pixels(held_out, pixels(held_out, model.image_size)),
            mined=hardest_negatives(model, shown, seed=recipe.seed) if hard else None,
            device=how.device,
            devices=how.devices,
            precision=precision(how.device),
            checkpoint=how.checkpoint(recipe),
            progress=how.progress,
        )
    return model.eval(), history, len(train.identities), start


def _parent_weights(recipe: Recipe, how: _How) -> Mapping[str, torch.Tensor]:
    """The weights that a run of `recipe` ends with: the stored run's, else those of a training made for them."""
    with how.store.lock(recipe):
        run = how.store.find(recipe)
        if run is not None and (weights := run.weights()) is not None:
            return weights
        if recipe.objective == "attributes":  # pre-training is a run of its own, which others can be given
            weights = _train(recipe, (), how, "", "weights").weights()
            assert weights is not None  # they were just kept
            return weights
        kept = how.store.home / ".parents" / f"{run_name(recipe)}.safetensors"
        try:
            return load_file(kept)
        except (FileNotFoundError, SafetensorError):  # of a damaged file: it is trained anew
            model, *_ = _trained(recipe, how)
            kept.parent.mkdir(parents=True, exist_ok=True)
            with whole(kept) as part:
                write_tensors(model.state_dict(), part)
            how.checkpoint(recipe).unlink(missing_ok=True)
            return load_file(kept)


def _weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of weights by name: two machines that train a parent anew end with slightly different ones."""
    hashed = hashlib.sha256()
    for name, value in sorted(weights.items()):
        hashed.update(name.encode() + value.contiguous().numpy().tobytes())
    return hashed.hexdigest()


def inherit(model: ReIDModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Start from another model's weights: those of a `classifier` of other identities, and what that model lacks, stay.

    ValueError: weights that the model has no place for, or of another shape.
    """
    own = model.state_dict()
    for name, value in weights.items():
        if name not in own:
            raise ValueError(f"the parent has weights {name!r}, which this model lacks: give both the same options.")
        if own[name].shape == value.shape:
            own[name] = value
        elif "classifier" not in name:
            shapes = f"{tuple(value.shape)} in the parent, {tuple(own[name].shape)} here"
            raise ValueError(f"{name!r} is {shapes}: give both the same options.")
    model.load_state_dict(own)


def _peak_memory(device: str) -> int:
    """Bytes: on the GPU what was allocated, else what this process ever held."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _score(model: ReIDModel, settings: EvaluationSettings, how: _How) -> tuple[Evaluation, Split]:
    """One evaluation of a trained model, and the query split it is of."""
    benchmark = read_benchmark(settings.data, how.data_root, settings.split)
    before = {name: getattr(model, name) for name, _ in settings.scoring}
    for name, value in settings.scoring:
        setattr(model, name, value)
    try:
        result = evaluate(
            model,
            benchmark,
            PROTOCOLS[settings.protocol],
            device=how.device,
            queries=settings.queries,
            progress=how.progress,
        )
    finally:
        for name, value in before.items():
            setattr(model, name, value)
    return result, benchmark.query


def measure(
    run: Run,
    recipe: Recipe,
    keep: str = "figures",
    data_root: Path | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> Run:
    """The run with the tables and figures that `keep` asks for, of `train_and_evaluate`, made again from its weights.

    Without `robustness` on data that are not drawn or in another layout than Market-1501's, and without `coverage` of a
    model that has no maps. FileNotFoundError where its weights are not here.
    """
    how = _How(run.store, data_root, device, 1, progress)
    model, identities = restore_model(run, recipe).to(device), run.record["identities"]
    for name, table in _tables(model, recipe, keep, identities, how).items():
        run = run.with_table(name, table)
    if keep == "figures":
        run = run.with_figures(figure_arrays(model, how.benchmark(recipe), device))
    return run


def _tables(model: ReIDModel, recipe: Recipe, keep: str, identities: int, how: _How) -> dict[str, pd.DataFrame]:
    """What is measured of a trained model on drawn data: tables by their name in the store."""
    benchmark, device = how.benchmark(recipe), how.device
    if keep not in robustness.OF or drawn(benchmark) is None:
        return {}
    tables = {}
    if robustness.can_measure(benchmark):
        nuisances = robustness.OF[keep]
        measured = robustness.robustness(model, benchmark, nuisances, device=device, progress=how.progress)
        tables[robustness.TABLE] = measured
    if keep == "figures" and type(model) in MAPS:
        pairs = min(100, len(benchmark.query) // 4)  # few of a tiny benchmark, whose numbers nobody reads
        untrained = build_model(recipe, identities, random=True)
        tables[coverage.TABLE] = coverage.coverage(model, benchmark, untrained, pairs=pairs, device=device)
    return tables


@torch.inference_mode()
def _measures(model: ReIDModel, history: pd.DataFrame, benchmark: Benchmark, device: str) -> dict[str, float]:
    """What claims compare per run, beside accuracy on the test set."""
    measures: dict[str, float] = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    if "accuracy" in history:
        measures["mean_accuracy"] = float(history["accuracy"].mean())
        measures["final_accuracy"] = float(history["accuracy"].iloc[-1])
    measures |= _apart(model, benchmark, device)
    if not np.isnan(share := coverage.map_on_person(model, benchmark, device=device)):
        measures["map_on_person"] = share
    return measures


def _apart(model: ReIDModel, benchmark: Benchmark, device: str) -> dict[str, float]:
    """How much of what should be larger on pairs of two people belongs to these; 0.5 where it tells nothing."""
    a, b, same = pair_images(benchmark, model, 200, device)
    if not {"difference", "attention"} & model.compare(*(model(images[:2])["encoding"] for images in (a, b))).keys():
        return {}
    apart: dict[str, list[torch.Tensor]] = {}
    for rows in tiles(len(a), 50):
        compared = model.compare(*(model(images[rows])["encoding"] for images in (a, b)))
        if "difference" in compared:  # the mean squared response of the difference layer
            energy = compared["difference"].float().square().mean((1, 2, 3))
            apart.setdefault("difference_energy_share", []).append(energy)
        if "attention" in compared:  # the distance of both images' attention
            apart.setdefault("attention_distance_share", []).append(compared["attention"])
    found = {}
    for name, values in apart.items():
        alike, unlike = (float(torch.cat(values).cpu().numpy()[kind].mean()) for kind in (same, ~same))
        if alike + unlike:
            found[name] = unlike / (alike + unlike)
    return found
