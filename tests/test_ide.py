"""IDE and PCB: the gradient of their classifiers in closed form, stripes, refined parts, printed sizes."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from reidlib.models import build
from reidlib.models.ide import IDE, PCB, TwoLayers

SMALL = {"trunk": "test_resnet", "image_size": (96, 32), "hidden": 8, "identities": 5}


def pcb(**options: object) -> PCB:
    torch.manual_seed(0)
    model = build("pcb", **{**SMALL, **options}).eval()
    assert isinstance(model, PCB)
    return model


def layers(between: str, training: bool) -> TwoLayers:
    torch.manual_seed(1)
    made = TwoLayers(6, 10, 4, between).double()
    made.norm.running_mean.normal_()
    made.norm.running_var.uniform_(0.5, 2.0)
    torch.nn.init.uniform_(made.norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(made.norm.bias)
    return made.train(training)


@pytest.mark.parametrize("between", ["relu", "dropout"])
@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_of_each_row_is_that_of_autograd(between: str, training: bool) -> None:
    made = layers(between, training)
    f = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    output = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    torch.manual_seed(2)  # of the dropout
    scores, gradient = made.attend(f, output)
    for row, number in enumerate(output):
        (expected,) = torch.autograd.grad(scores[row, number], f, retain_graph=True)
        torch.testing.assert_close(gradient[row], expected[row], atol=1e-12, rtol=0)


@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_is_differentiated_as_autograd_does_twice(training: bool) -> None:
    made = layers("relu", training)
    f = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(5, 6, dtype=torch.float64)
    scores, gradient = made.attend(f, torch.full((5,), 2))
    rows = [torch.autograd.grad(scores[row, 2], f, create_graph=True)[0][row] for row in range(5)]
    for weight in (f, made.fc1.weight, made.fc2.weight, made.norm.weight):
        found = torch.autograd.grad((gradient * direction).sum(), weight, retain_graph=True, allow_unused=True)[0]
        twice = torch.autograd.grad(
            (torch.stack(rows) * direction).sum(), weight, retain_graph=True, allow_unused=True
        )[0]
        zero = torch.zeros_like(weight)
        torch.testing.assert_close(
            zero if found is None else found, zero if twice is None else twice, atol=1e-10, rtol=0
        )


def test_attending_changes_running_statistics_once() -> None:
    once, attended = layers("relu", True), layers("relu", True)
    f = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(once(f), attended.attend(f, torch.zeros(7, dtype=torch.long))[0])
    assert torch.equal(once.norm.running_var, attended.norm.running_var)


def test_stripes_are_means_of_equal_bands() -> None:
    model = pcb(last_stride=1, image_size=(192, 64))
    maps = torch.rand(2, model.channels, 12, 4)
    f = model.pool(maps)
    for part in range(6):
        torch.testing.assert_close(f[:, part], maps[:, :, 2 * part : 2 * part + 2].mean((2, 3)))


def test_refined_parts_that_are_stripes_with_certainty_are_pcb() -> None:
    """A map channel that holds the row lets the part classifier know the stripe."""
    refined, plain = pcb(refined=True), pcb()
    assert refined.refine is not None
    maps = torch.rand(2, refined.channels, 6, 2)
    maps[:, 0] = torch.arange(6.0)[:, None]
    with torch.no_grad():
        refined.refine.weight.zero_()
        # -(row - part)^2 up to what all parts share, a hundredfold
        refined.refine.weight[:, 0, 0, 0] = 200 * torch.arange(6.0)
        refined.refine.bias.copy_(-100 * torch.arange(6.0).square())
        torch.testing.assert_close(refined.pool(maps), plain.pool(maps))


def test_refined_parts_are_weighted_means_of_column_vectors() -> None:
    model = pcb(refined=True)
    assert model.refine is not None
    maps = torch.rand(1, model.channels, 3, 2)
    with torch.no_grad():
        found, scores = model.pool(maps)[0], model.refine(maps)[0].softmax(0)
    for part in range(6):
        total = sum(scores[part, y, x] * maps[0, :, y, x] for y in range(3) for x in range(2))
        torch.testing.assert_close(found[part], total / scores[part].sum())


def test_a_part_without_any_place_has_a_feature_of_zeros() -> None:
    model = pcb(refined=True)
    assert model.refine is not None
    with torch.no_grad():
        model.refine.weight.zero_()
        model.refine.bias.fill_(0)
        model.refine.bias[2] = -1000  # a probability of exactly 0 everywhere
        found = model.pool(torch.rand(2, model.channels, 6, 2))
    assert torch.equal(found[:, 2], torch.zeros_like(found[:, 2]))
    assert found.isfinite().all()


def test_a_refined_pcb_starts_from_a_plain_one() -> None:
    assert set(pcb().state_dict()) == set(pcb(refined=True).state_dict()) - {"refine.weight", "refine.bias"}


@pytest.mark.parametrize(
    ("name", "options", "maps", "feature", "logits"),
    [
        ("ide", {}, (2048, 9, 5), 2048, (1, 751)),
        ("ide", {"last_stride": 1}, (2048, 18, 9), 2048, (1, 751)),
        ("ide", {"trunk": "densenet121"}, (1024, 9, 4), 1024, (1, 751)),
        ("pcb", {}, (2048, 24, 8), 12288, (6, 751)),
        ("pcb", {"feature": "reduced"}, (2048, 24, 8), 1536, (6, 751)),
    ],
)
def test_sizes_at_full_width(name: str, options: dict, maps: tuple, feature: int, logits: tuple) -> None:
    with FakeTensorMode(), torch.no_grad():
        model = build(name, **options).eval()
        output = model(torch.rand(1, 3, *model.image_size))
    assert output["maps"].shape == (1, *maps)
    assert output["feature"].shape == output["encoding"].vector.shape == (1, feature)
    assert output["logits"].shape == (1, *logits)


def test_the_encoding_is_the_unit_feature() -> None:
    for model in (pcb(), pcb(feature="reduced"), build("ide", **SMALL).eval()):
        with torch.no_grad():
            output = model(torch.rand(2, 3, 96, 32))
        torch.testing.assert_close(output["encoding"].vector, F.normalize(output["feature"]))


def test_the_reduced_feature_is_what_the_last_layers_see() -> None:
    model = pcb(feature="reduced")
    with torch.no_grad():
        output = model(torch.rand(2, 3, 96, 32))
        reduced = output["feature"].unflatten(1, (6, 8))
        for part, head in enumerate(model.classifier):
            torch.testing.assert_close(head.fc2(reduced[:, part]), output["logits"][:, part])


def test_mistakes_name_what_is_allowed() -> None:
    for options, message in (
        ({"between": "rely"}, "did you mean 'relu'"),
        ({"feature": "reduce"}, "did you mean 'reduced'"),
        ({"parts": 0}, "not a positive number of stripes"),
        ({"hidden": 0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            build("pcb", **{**SMALL, **options})
    assert isinstance(build("ide", **SMALL), IDE)
