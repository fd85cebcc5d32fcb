"""The training loop: rates, the paper's RMSProp, resuming to the same bits, stopping on a broken loss."""

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

from reidlib.data.splits import Split
from reidlib.models.base import Encoding, LogitLayer, ReIDModel
from reidlib.objectives import PairObjective
from reidlib.recipe import Optimiser, Recipe, Sampling, Schedule
from reidlib.training import Pixels, TrainingError, build_optimiser, fit, learning_rate_factor


class Toy(ReIDModel):
    """A pair scorer of one convolution, with dropout, so that every random stream matters."""

    def __init__(self) -> None:
        super().__init__((8, 4))
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.drop = torch.nn.Dropout(0.5)
        self.logits = LogitLayer(4, 2)

    def forward(self, images):
        return {"encoding": Encoding(vector=self.conv(self.normalise(images)).amax((2, 3)))}

    def compare(self, a, b):
        logits = self.logits(self.drop((a.vector - b.vector).abs()))
        return {"distance": logits[:, 0] - logits[:, 1], "logits": logits}


def toy_pixels(people: int = 6, seed: int = 0) -> Pixels:
    """Each person has one colour, seen by two cameras with noise."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 255, (people, 3, 1, 1))
    ids = np.repeat(np.arange(1, people + 1), 4)
    images = np.clip(colours[ids - 1] + rng.normal(0, 8, (len(ids), 3, 8, 4)), 0, 255).astype(np.uint8)
    paths = tuple(Path(f"{i}.jpg") for i in range(len(ids)))
    return Pixels(Split("toy", paths, ids, np.tile([1, 1, 2, 2], people), ids), images)


RECIPE = Recipe(
    "toy",
    sampling=Sampling(pairs=8, both_orders=True),
    augment=(("translate", 0.1), ("flip", 0.5)),
    optimiser=Optimiser("rmsprop", lr=0.01, weight_decay=5e-4),
    schedule=Schedule("cosine", warmup=0.2),
    steps=30,
    validations=6,
)


def train(
    recipe: Recipe = RECIPE, checkpoint: Path | None = None, objective=PairObjective
) -> tuple[dict, pd.DataFrame]:
    torch.manual_seed(7)
    model = Toy()
    history = fit(objective(model), recipe, toy_pixels(), toy_pixels(seed=1), checkpoint=checkpoint, progress=False)
    return model.state_dict(), history


class Interrupted(PairObjective):
    """Is killed in its 14th training step, after the second validation."""

    def forward(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 14:
            raise KeyboardInterrupt
        return super().forward(batch)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    whole, history = train()
    checkpoint = tmp_path / "half.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=checkpoint, objective=Interrupted)
    assert checkpoint.exists()
    resumed, again = train(checkpoint=checkpoint)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), again.drop(columns="seconds"), check_exact=True)
    assert list(tmp_path.iterdir()) == [checkpoint]
    finished, once_more = train(checkpoint=checkpoint)  # at the end there is nothing left to train
    assert all(torch.equal(whole[name], finished[name]) for name in whole)
    pd.testing.assert_frame_equal(again, once_more, check_exact=True)


def test_another_seed_gives_another_model():
    first, _ = train()
    second, _ = train(replace(RECIPE, seed=1))
    assert not torch.equal(first["conv.weight"], second["conv.weight"])


def test_the_toy_people_are_learnt():
    recipe = replace(RECIPE, steps=300, optimiser=Optimiser("adam", lr=0.01), schedule=Schedule(), augment=())
    _, history = train(recipe)
    assert history["accuracy"].iloc[-1] > 0.8
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_the_network_computes_in_the_precision_that_is_asked_for(precision, dtype):
    torch.manual_seed(7)
    model, seen = Toy(), set()
    model.conv.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    history = fit(PairObjective(model), RECIPE, toy_pixels(), precision=precision, progress=False)
    assert seen == {dtype}
    assert model.conv.weight.dtype == torch.float32
    assert np.isfinite(history["loss"]).all()


def test_the_history_has_one_row_a_validation():
    _, history = train()
    assert history["step"].tolist() == [5, 10, 15, 20, 25, 30]
    assert history["images"].tolist() == [40, 80, 120, 160, 200, 240]
    assert {"loss", "pair", "accuracy", "lr", "seconds"} <= set(history)


def test_a_damaged_checkpoint_is_named_and_training_starts_over(tmp_path, capsys):
    checkpoint = tmp_path / "broken.safetensors"
    checkpoint.write_bytes(b"not a checkpoint")
    whole, _ = train()
    again, _ = train(checkpoint=checkpoint)
    assert torch.equal(whole["conv.weight"], again["conv.weight"])
    assert "broken.safetensors" in capsys.readouterr().out


def test_a_checkpoint_of_another_recipe_is_not_used(tmp_path):
    checkpoint = tmp_path / "other.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(replace(RECIPE, seed=5), checkpoint, Interrupted)
    whole, _ = train()
    again, _ = train(checkpoint=checkpoint)
    assert torch.equal(whole["conv.weight"], again["conv.weight"])


def test_a_checkpoint_of_other_code_is_named_and_not_used(tmp_path, capsys, monkeypatch):
    """The run would name a commit that did not begin it."""
    checkpoint = tmp_path / "old.safetensors"
    monkeypatch.setattr("reidlib.training.commit", lambda: "before")
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=checkpoint, objective=Interrupted)
    monkeypatch.setattr("reidlib.training.commit", lambda: "after")
    _, history = train(checkpoint=checkpoint)
    assert len(history) == RECIPE.validations
    assert "its commit is before, not after" in capsys.readouterr().out


def test_a_checkpoint_of_another_version_of_the_model_is_named_and_not_used(tmp_path, capsys):
    """Or a training that was interrupted before the change would fail until somebody finds the hidden file."""

    class Wider(Interrupted):
        def __init__(self, model):
            super().__init__(model)
            self.extra = torch.nn.Linear(1, 1)

    checkpoint = tmp_path / "old.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=checkpoint, objective=Wider)
    whole, _ = train()
    again, _ = train(checkpoint=checkpoint)
    assert torch.equal(whole["conv.weight"], again["conv.weight"])
    assert "another version of the model" in capsys.readouterr().out


def test_images_of_nobody_change_no_label():
    """They are never drawn, and the last person has a class of its own."""
    people = toy_pixels()
    ids = np.append(people.split.person_ids, -1)
    junk = Split("toy", (*people.split.paths, Path("junk.jpg")), ids, np.append(people.split.camera_ids, 1), ids)
    given = [Pixels(junk, np.concatenate([people.images, people.images[:1]])), people]
    seen = []

    class Watched(PairObjective):
        def forward(self, batch):
            seen.append(int(batch.labels.max()))
            return super().forward(batch)

    for pixels in given:
        fit(Watched(Toy()), RECIPE, pixels, progress=False)
    assert max(seen) == 5


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_rate():
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) by step \d+ of 30 at learning rate 1e\+30"):
        train(replace(RECIPE, optimiser=Optimiser("sgd", lr=1e30), schedule=Schedule()))


def test_rmsprop_is_the_papers():
    """MS = 0.9 MS + 0.1 g^2; w -= lr g / (sqrt(MS) + mu), with the L2 penalty in the gradient (Sec. IV-A)."""
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    module = torch.nn.Module()
    module.weight = weight = torch.nn.Parameter(start.clone())
    optimiser = build_optimiser(module, Optimiser("rmsprop", lr=0.05, weight_decay=0.01))
    by_hand, mean_square = start.clone(), torch.zeros(3, dtype=torch.float64)
    for step in range(4):
        gradient = torch.tensor([0.3, -1.0, 1e-4], dtype=torch.float64) * (step + 1)
        weight.grad = gradient.clone()
        optimiser.step()
        gradient = gradient + 0.01 * by_hand
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        by_hand = by_hand - 0.05 * gradient / (mean_square.sqrt() + 1e-6)
    assert torch.allclose(weight.detach(), by_hand, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", 1 - 0.1 * 0.5),
        ("rmsprop", 1 - 0.1 * 0.5 / (0.1 * 0.5**2) ** 0.5),
        ("adam", 1 - 0.1),  # its first step has the length of the rate, whatever the gradient
        ("adamw", 1 - 0.1 * 0.5),
    ],
)
def test_a_weight_without_a_gradient_decays(name, expected):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.ones(1))
    module.weight.grad = torch.zeros(1)
    build_optimiser(module, Optimiser(name, lr=0.1, weight_decay=0.5)).step()
    assert module.weight.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (Schedule(), 0.9, 1.0),
        (Schedule(warmup=0.2, warmup_factors=(0.1, 0.3)), 0.1, 0.2),
        (Schedule(warmup=0.2, warmup_factors=(0.1, 0.3)), 0.2, 1.0),
        (Schedule("step", points=((0.5, 0.1), (0.8, 0.01))), 0.49, 1.0),
        (Schedule("step", points=((0.5, 0.1), (0.8, 0.01))), 0.5, 0.1),
        (Schedule("step", points=((0.5, 0.1), (0.8, 0.01))), 0.9, 0.01),
        (Schedule("cosine"), 0.5, 0.5),
        (Schedule("poly", power=0.5), 0.75, 0.5),
        (Schedule("inverse", factor=3.0, power=1.0), 1.0, 0.25),
        (Schedule(warmup=0.1), 0.05, 0.5),
    ],
)
def test_learning_rate_factor(schedule, progress, expected):
    assert learning_rate_factor(schedule, progress) == pytest.approx(expected)


def test_an_unknown_optimiser_is_named():
    with pytest.raises(ValueError, match="'lion' is unknown: choose from"):
        build_optimiser(torch.nn.Linear(1, 1), Optimiser("lion"))  # type: ignore[arg-type]


def test_a_trunk_has_a_rate_of_its_own_and_momentum_can_be_forgotten():
    trunk, head = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    optimiser = build_optimiser(torch.nn.ModuleDict({"trunk": trunk, "head": head}), Optimiser("sgd", trunk=0.1))
    assert [group["factor"] for group in optimiser.param_groups] == [1.0, 0.1]
    assert optimiser.param_groups[1]["params"] == [trunk.weight]

    momentum = replace(RECIPE, optimiser=Optimiser("sgd", lr=0.01, momentum=0.9, nesterov=True))
    plain, _ = train(momentum)
    forgetful, _ = train(replace(momentum, optimiser=replace(momentum.optimiser, forget=5)))
    assert not torch.equal(plain["conv.weight"], forgetful["conv.weight"])
    never, _ = train(replace(momentum, optimiser=replace(momentum.optimiser, forget=1)))
    without, _ = train(replace(momentum, optimiser=Optimiser("sgd", lr=0.01 * 1.9)))  # one Nesterov step: 1 + 0.9
    assert torch.allclose(never["conv.weight"], without["conv.weight"], atol=1e-6)


def test_a_trunks_factor_is_on_its_own_rate_alone():
    """One step of gradient descent: the trunk moves a tenth as far, everything else as far as without a factor."""

    class Trunked(Toy):
        conv = property(lambda self: self.trunk)

        def __init__(self):
            super().__init__()
            self.trunk = self._modules.pop("conv")

    moved = {}
    for factor in (1.0, 0.1):
        torch.manual_seed(7)
        model = Trunked()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        recipe = replace(RECIPE, optimiser=Optimiser("sgd", lr=0.01, trunk=factor), schedule=Schedule(), steps=1)
        fit(PairObjective(model), replace(recipe, validations=1), toy_pixels(), progress=False)
        moved[factor] = {name: value - before[name] for name, value in model.state_dict().items()}
    assert moved[1.0]["trunk.weight"].abs().max() > 0
    assert torch.allclose(moved[0.1]["trunk.weight"], 0.1 * moved[1.0]["trunk.weight"], atol=1e-7)
    assert torch.equal(moved[0.1]["logits.weight"], moved[1.0]["logits.weight"])


def test_only_what_is_trainable_learns():
    torch.manual_seed(7)
    before = Toy().state_dict()
    after, _ = train(replace(RECIPE, trainable="logits"))
    assert torch.equal(after["conv.weight"], before["conv.weight"])
    assert not torch.equal(after["logits.weight"], before["logits.weight"])
    with pytest.raises(ValueError, match="no parameter of the model starts with 'logit_'"):
        train(replace(RECIPE, trainable="logit_"))


def test_a_frozen_norm_keeps_its_averages():
    class Normed(Toy):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Sequential(self.conv, torch.nn.BatchNorm2d(self.conv.out_channels))

    moved = {}
    for trainable in ("", "logits"):
        torch.manual_seed(7)
        model = Normed()
        recipe = replace(RECIPE, trainable=trainable)
        fit(PairObjective(model), recipe, toy_pixels(), toy_pixels(seed=1), progress=False)
        moved[trainable] = bool(model.conv[1].running_mean.any())
    assert moved == {"": True, "logits": False}


def test_two_processes_train_one_model(tmp_path):
    """And do not go on where one alone was interrupted, which had seen half of the images."""
    checkpoint, recipe = tmp_path / "alone.safetensors", replace(RECIPE, steps=4, validations=2)
    alone, _ = train(recipe, checkpoint)
    torch.manual_seed(7)
    model = Toy()
    model.idle = torch.nn.Parameter(torch.ones(50_000))  # as a real model, more than a pipe holds
    given = (PairObjective(model), recipe, toy_pixels(), toy_pixels(seed=1))
    history = fit(*given, devices=2, checkpoint=checkpoint, progress=False)
    assert history["images"].tolist() == [2 * 2 * 8, 4 * 2 * 8]
    assert not torch.equal(model.state_dict()["conv.weight"], alone["conv.weight"])  # other, and twice as many, batches
    assert np.isfinite(history["loss"]).all()


def test_mapped_images_go_to_another_process_as_their_files_name(tmp_path):
    own = toy_pixels(people=500)
    np.save(tmp_path / "images.npy", own.images)
    mapped = Pixels(own.split, np.asarray(np.load(tmp_path / "images.npy", mmap_mode="r")))
    text = pickle.dumps(mapped)
    assert len(text) < own.images.nbytes / 2 < len(pickle.dumps(own))
    part = Pixels(own.split, mapped.images[::-1])
    for given in (own, mapped, part):
        assert np.array_equal(pickle.loads(pickle.dumps(given)).images, given.images)


def test_a_process_that_fails_is_one_sentence(monkeypatch):
    """The queue goes on after a TrainingError, and knows nothing of processes."""
    said = "\n\n-- Process 1 terminated with the following error:\nTraceback:\n\nOSError: full"

    def fails(*_):
        raise ProcessRaisedException(said, 1, 0)

    monkeypatch.setattr("lightning.fabric.Fabric.launch", fails)
    with pytest.raises(TrainingError, match=r"^one of 2 processes failed: OSError: full$"):
        fit(PairObjective(Toy()), RECIPE, toy_pixels(), devices=2, progress=False)


def test_a_full_disk_of_a_process_is_one_of_all(monkeypatch):
    """The queue ends at a full disk. And the port that processes met at is free for the next ones to choose."""
    monkeypatch.delenv("MASTER_PORT", raising=False)

    def fails(*_):
        os.environ["MASTER_PORT"] = "1"
        raise ProcessRaisedException("Traceback:\nOSError: [Errno 28] No space left on device: 'a.part'", 1, 0)

    monkeypatch.setattr("lightning.fabric.Fabric.launch", fails)
    with pytest.raises(OSError, match=r"one of 2 processes failed: OSError: No space left on device: 'a.part'") as full:
        fit(PairObjective(Toy()), RECIPE, toy_pixels(), devices=2, progress=False)
    assert full.value.errno == errno.ENOSPC
    assert "MASTER_PORT" not in os.environ


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="'cuda:1'"):
        fit(PairObjective(Toy()), RECIPE, toy_pixels(), device="cuda:1", progress=False)


def test_more_devices_than_there_are_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ValueError, match="devices=2: PyTorch sees 1 CUDA devices here; ask for that many at most"):
        fit(PairObjective(Toy()), RECIPE, toy_pixels(), device="cuda", devices=2, progress=False)
