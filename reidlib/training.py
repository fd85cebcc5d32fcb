"""`fit`: the only training loop."""

import copy
import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import ProcessException
from tqdm import tqdm

from reidlib.data.augment import augment
from reidlib.data.sampling import IndexBatch, PairSampler, sampler
from reidlib.data.splits import Split
from reidlib.files import whole
from reidlib.names import choose
from reidlib.objectives import Batch, Objective
from reidlib.recipe import Optimiser, Recipe, Schedule, fingerprint
from reidlib.record import commit, write_tensors

for name in ("lightning.fabric", "lightning.pytorch"):  # they announce the precision, on every page of the book
    logging.getLogger(name).setLevel(logging.WARNING)

HELD_OUT_PAIRS = 512  # at most; a held-out accuracy of 512 pairs has a standard error of at most 2.2 points


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says at which step, why, and what to change."""


@dataclass(frozen=True)
class Pixels:
    """A split with its decoded images, (N, 3, H, W) uint8, usually memory-mapped."""

    split: Split
    images: np.ndarray

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: a memory-mapped file is mapped again there, not copied."""
        file = self.images.base
        if isinstance(file, np.memmap) and (file.shape, file.strides) == (self.images.shape, self.images.strides):
            return _mapped, (self.split, file.filename)
        return Pixels, (self.split, self.images)


def _mapped(split: Split, path: Path) -> Pixels:
    return Pixels(split, np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))


def learning_rate_factor(schedule: Schedule, progress: float) -> float:
    """The factor on the learning rate at `progress` in [0, 1]."""
    factor = 1.0
    if schedule.name == "step":
        factor = next((value for point, value in reversed(schedule.points) if progress >= point), 1.0)
    elif schedule.name == "cosine":
        factor = (1 + math.cos(math.pi * progress)) / 2
    elif schedule.name == "poly":
        factor = (1 - progress) ** schedule.power
    elif schedule.name == "inverse":
        factor = (1 + schedule.factor * progress) ** -schedule.power
    if progress < schedule.warmup:
        low, high = schedule.warmup_factors
        factor *= low + (high - low) * progress / schedule.warmup
    return factor


def build_optimiser(module: torch.nn.Module, optimiser: Optimiser, trainable: str = "") -> torch.optim.Optimizer:
    """PyTorch's optimiser of that name over an objective's parameters, or over a model's.

    "rmsprop" is PersonNet's Sec. IV-A: MS = 0.9 MS + 0.1 g^2, step = lr g / (sqrt(MS) + mu), which is
    `torch.optim.RMSprop` with alpha 0.9; mu is not printed, 1e-6 is ours (PN-9). trainable: parameters whose name
    in the model does not start with it are frozen. Biases and the weights of norms decay like all others: no paper
    excepts them. Groups have the factor on the learning rate in "factor".
    """
    parts: dict[bool, list[torch.nn.Parameter]] = {False: [], True: []}
    for name, parameter in module.named_parameters():
        name = name.removeprefix("model.")
        if name.startswith(trainable):
            parts[name.startswith("trunk.")].append(parameter)
        else:
            parameter.requires_grad_(False)
    if not parts[False] + parts[True]:
        raise ValueError(f"no parameter of the model starts with {trainable!r}, so nothing could be trained")
    groups = [
        {"params": parameters, "factor": optimiser.trunk if trunk else 1.0}
        for trunk, parameters in parts.items()
        if parameters
    ]
    kinds: dict[str, Any] = {
        "sgd": partial(torch.optim.SGD, momentum=optimiser.momentum, nesterov=optimiser.nesterov),
        "rmsprop": partial(torch.optim.RMSprop, alpha=0.9, eps=1e-6),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    kind = kinds[choose("optimiser", optimiser.name, kinds)]
    return kind(groups, optimiser.lr, weight_decay=optimiser.weight_decay)


def make_batch(data: Pixels, drawn: IndexBatch, labels: np.ndarray, device: torch.device) -> Batch:
    """The drawn images and their ids on the device; images still uint8."""
    ids, cameras = data.split.person_ids[drawn.indices], data.split.camera_ids[drawn.indices]
    # Sorted reads touch a memory-mapped file in order; the inverse puts the batch back as drawn.
    order = np.argsort(drawn.indices, kind="stable")
    images = np.empty((len(order), *data.images.shape[1:]), np.uint8)
    images[order] = data.images[drawn.indices[order]]
    as_tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)  # noqa: E731
    return Batch(*map(as_tensor, (images, ids, cameras, labels[drawn.indices], drawn.pairs)))


def fit(
    objective: Objective,
    recipe: Recipe,
    train: Pixels,
    held_out: Pixels | None = None,
    *,
    device: str = "cpu",
    precision: str = "32-true",
    devices: int = 1,
    checkpoint: Path | None = None,
    mined: np.ndarray | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train the objective's model in place by the recipe; returns the history, one row a validation.

    train, held_out: pixels at the model's image size. precision: Lightning Fabric's ("32-true", "bf16-mixed").
    checkpoint: a file that is written at every validation, the last one too; if it is there, training goes on from it,
    on the CPU to the same last bit as without the interruption. The caller removes it.
    devices: each is one process with batches of its own, and gradients are averaged: N devices see N times the images
    in as many steps at the same rate. The calling script must be importable (`if __name__ == ...`).
    mined: (M, 2) rows of `train`, the hard negatives of `recipe.sampling`.
    History columns: step, progress, images (presented so far), lr, the loss terms (means since the row
    before), loss, accuracy (held out, a fraction), seconds (since the start, interruptions left out).
    Raises TrainingError when the loss is no longer finite, or when one of several processes fails; OSError where that
    is for a file or a full disk; ValueError for more devices than there are.
    """
    choose("device", device, ("cpu", "cuda"))
    if device == "cuda" and devices > (there := torch.cuda.device_count()):
        raise ValueError(f"devices={devices}: PyTorch sees {there} CUDA devices here; ask for that many at most")
    # A term of weight 0 leaves parameters unused, which has to be said.
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True) if devices > 1 else "auto"
    fabric = Fabric(
        accelerator="cuda" if device == "cuda" else "cpu",
        devices=devices,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
    )
    given = (objective, recipe, train, held_out, checkpoint, mined, progress, precision)
    if devices == 1:
        return _train(fabric, *given)
    # By a file: what a process returns goes through a pipe that nobody reads before the process is at its end, and a
    # model is larger than a pipe holds.
    port = os.environ.get("MASTER_PORT")
    with tempfile.TemporaryDirectory(prefix="reidlib-trained-") as folder:
        trained = Path(folder) / "trained.safetensors"
        try:
            fabric.launch(partial(_train_spawned, given=given, trained=trained))
        except ProcessException as error:  # whose text is that process's traceback
            last = f"one of {devices} processes failed: {str(error).strip().splitlines()[-1]}"
            if number := re.search(r"\[Errno (\d+)\] ", last):  # a full disk ends a whole queue
                raise OSError(int(number[1]), last.replace(number[0], "")) from error
            raise TrainingError(last) from error
        finally:
            if port is None:  # Fabric leaves the port it found free; by the next training another program may have it
                os.environ.pop("MASTER_PORT", None)
        objective.load_state_dict(load_file(trained))
        with safe_open(trained, framework="pt") as file:
            return pd.DataFrame(json.loads(file.metadata()["rows"]))


def _train_spawned(fabric: Fabric, given: tuple[Any, ...], trained: Path) -> None:
    """One process of several; the first one writes the weights and the history for the caller."""
    objective = copy.deepcopy(given[0])  # as it arrives, its memory is shared with the other processes
    history = _train(fabric, objective, *given[1:])
    if fabric.is_global_zero:
        write_tensors(objective.state_dict(), trained, {"rows": json.dumps(history.to_dict("records"))})


def _train(
    fabric: Fabric,
    objective: Objective,
    recipe: Recipe,
    train: Pixels,
    held_out: Pixels | None,
    checkpoint: Path | None,
    mined: np.ndarray | None,
    progress: bool,
    precision: str,
) -> pd.DataFrame:
    """`fit` on one device, or on this process's share of several: each draws batches of its own."""
    objective.prepare(train.split)
    objective.to(fabric.device)  # what an objective has beside its model too
    objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(objective, recipe.optimiser, recipe.trainable)
    wrapped, optimiser = fabric.setup(objective, optimiser)
    labels = np.searchsorted(train.split.identities, train.split.person_ids)  # nobody's images are never drawn
    draw = sampler(train.split, recipe.sampling, recipe.seed, mined)
    validation = None if held_out is None else _held_out_batches(held_out, recipe, fabric.device)

    rows: list[dict[str, float]] = []
    start = 0
    if checkpoint is not None and checkpoint.exists():
        start, rows = _restore(checkpoint, objective, optimiser, _belongs(recipe, fabric, precision))
    stops = {math.ceil(recipe.steps * (i + 1) / recipe.validations) for i in range(recipe.validations)}
    spent, presented = (rows[-1]["seconds"], int(rows[-1]["images"])) if rows else (0.0, 0)
    began = time.perf_counter()
    sums: dict[str, Tensor] = {}
    since = start
    _learn(objective)
    bar = tqdm(
        total=recipe.steps,
        initial=start,
        desc=recipe.system,
        unit="step",
        disable=not (progress and fabric.is_global_zero),
    )
    with bar, torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        for step in range(start, recipe.steps):
            share = step / recipe.steps
            rate = recipe.optimiser.lr * learning_rate_factor(recipe.schedule, share)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            if recipe.optimiser.forget and step % recipe.optimiser.forget == 0:
                optimiser.state.clear()
            # Each step has its own streams, so that a resumed training draws what an uninterrupted one would.
            shard = step * fabric.world_size + fabric.global_rank
            torch.manual_seed(_mix(recipe.seed, shard, 1))
            batch = make_batch(train, draw.batch(shard, share), labels, fabric.device)
            generator = torch.Generator().manual_seed(_mix(recipe.seed, shard, 2))
            images = augment(batch.images, recipe.augment, generator)
            batch.images = images.contiguous(memory_format=torch.channels_last)
            terms = wrapped(batch)
            loss = objective.total(terms)
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimiser.step()
            for name, term in {**terms, "loss": loss}.items():
                sums[name] = sums.get(name, 0.0) + term.detach()
            presented += len(images) * fabric.world_size
            bar.update()
            if step + 1 in stops:
                row = {"step": step + 1, "progress": (step + 1) / recipe.steps, "images": presented, "lr": rate}
                row |= {name: float(value) / (step + 1 - since) for name, value in sums.items()}
                if not math.isfinite(row["loss"]):
                    raise TrainingError(
                        f"{recipe.system}: the loss is {row['loss']} by step {step + 1} of {recipe.steps} at learning"
                        f" rate {rate:g}; lower the rate. Nothing was stored."
                    )
                if validation is not None:
                    # Of several processes the first one's: batch norms differ.
                    row["accuracy"] = fabric.broadcast(_accuracy(objective, validation))
                row["seconds"] = spent + time.perf_counter() - began
                rows.append(row)
                bar.set_postfix({name: f"{row[name]:.3f}" for name in ("loss", "accuracy") if name in row})
                sums, since = {}, step + 1
                if checkpoint is not None and fabric.is_global_zero:
                    _save(checkpoint, step + 1, objective, optimiser, rows, _belongs(recipe, fabric, precision))
    return pd.DataFrame(rows)


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _held_out_batches(data: Pixels, recipe: Recipe, device: torch.device) -> list[Batch]:
    """The same held-out pairs for every recipe of one world and batch size: four batches, of a seed of their own.

    Of twice the training's size, within bounds: PersonNet's mini-batch of two would leave sixteen pairs to judge by.
    """
    draw = PairSampler(data.split, pairs=min(HELD_OUT_PAIRS // 4, max(16, 2 * recipe.sampling.pairs)), seed=0)
    labels = np.zeros(len(data.split), np.int64)
    batches = [make_batch(data, draw.batch(step), labels, device) for step in range(4)]
    return [
        Batch(batch.images.float() / 255, batch.person_ids, batch.camera_ids, batch.labels, batch.pairs)
        for batch in batches
    ]


def _learn(objective: Objective) -> None:
    """Train mode, but for modules that are frozen: their batch norms keep the averages that they have."""
    objective.train()
    for module in objective.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _accuracy(objective: Objective, batches: list[Batch]) -> float:
    objective.eval()
    with torch.inference_mode():
        accuracy = float(torch.stack([objective.accuracy(batch) for batch in batches]).mean())
    _learn(objective)
    return accuracy


def _belongs(recipe: Recipe, fabric: Fabric, precision: str) -> dict[str, str]:
    """What one training is made with from start to end: a run must not have been begun with other code than it says."""
    return {
        "recipe": fingerprint(recipe),
        "number of processes": str(fabric.world_size),
        "precision": precision,
        "commit": str(commit()),
    }


def _save(
    path: Path,
    step: int,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    rows: list[dict[str, float]],
    belongs: Mapping[str, str],
) -> None:
    """Write model, optimiser state and history as one safetensors file, atomically."""
    tensors = {f"model.{name}": value for name, value in objective.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    notes = {"step": str(step), "rows": json.dumps(rows), **belongs}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        write_tensors(tensors, part, notes)


def _restore(
    path: Path, objective: Objective, optimiser: torch.optim.Optimizer, belongs: Mapping[str, str]
) -> tuple[int, list[dict[str, float]]]:
    """Load what `_save` wrote; a file that is damaged or another training's is named, and training starts over."""
    try:
        with safe_open(path, framework="pt") as file:
            notes: Mapping[str, str] = file.metadata() or {}
        if notes.get("recipe") != belongs["recipe"]:
            raise ValueError("it belongs to another recipe")
        for name, ours in belongs.items():
            if (before := notes.get(name, "unknown")) != ours:
                raise ValueError(f"its {name} is {before}, not {ours}")
        tensors = load_file(path)
        weights = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
        own = objective.state_dict()
        if {name: value.shape for name, value in weights.items()} != {name: own[name].shape for name in own}:
            raise ValueError("its weights are those of another version of the model")
    except (SafetensorError, OSError, ValueError) as error:
        tqdm.write(f"checkpoint {path} cannot be used ({error}); training starts from the beginning")
        return 0, []
    objective.load_state_dict(weights)
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(notes["step"]), json.loads(notes["rows"])
