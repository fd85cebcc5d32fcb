"""IDLA against its published shapes and parameter count, and its differences against plain loops."""

import torch

from reidlib.models import Encoding, build
from reidlib.models.idla import IDLA


def test_published_shapes() -> None:
    model = build("idla").eval()
    assert isinstance(model, IDLA)
    pair = torch.rand(2, 1, 3, 160, 60)
    sides = {name: tuple(map.shape[2:]) for name, map in model.responses(*pair).items() if map.ndim == 5}
    assert sides["Conv1"] == (20, 156, 56)
    assert sides["Pool1"] == (20, 78, 28)
    assert sides["Conv2"] == (25, 74, 24)
    assert sides["Pool2"] == (25, 37, 12)
    assert sides["Neighbourhood"] == (25, 5 * 37, 5 * 12)
    assert sides["Summary"] == (25, 37, 12)
    assert sides["Pool3"] == (25, 18, 5)
    assert model.fc.in_features == 2 * 25 * 18 * 5


def test_published_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in build("idla").parameters()) == 2_308_147


def test_summaries_are_the_loop_over_neighbourhoods() -> None:
    torch.manual_seed(0)
    model = build("idla", fc=4).double().eval()
    maps = torch.randn(2, 1, 25, 37, 12, dtype=torch.float64)
    got = model.compare(Encoding(maps=maps[0]), Encoding(maps=maps[1]))["difference"]
    for direction, (f, h) in enumerate(((maps[0, 0], maps[1, 0]), (maps[1, 0], maps[0, 0]))):
        summary = model.summaries[direction]
        for y, x in ((0, 0), (36, 11), (0, 7), (20, 5)):
            block = torch.zeros(25, 5, 5, dtype=torch.float64)  # ReLU(K(x, y)), zeros beyond the border
            for v in range(5):
                for u in range(5):
                    row, column = y + v - 2, x + u - 2
                    inside = 0 <= row < 37 and 0 <= column < 12
                    block[:, v, u] = (f[:, y, x] - (h[:, row, column] if inside else 0)).clamp(min=0)
            expected = ((summary.weight * block).sum((1, 2, 3)) + summary.bias).clamp(min=0)
            torch.testing.assert_close(got[0, 25 * direction : 25 * (direction + 1), y, x], expected)


def test_responses_end_in_the_softmax_of_compare() -> None:
    torch.manual_seed(0)
    model = build("idla", fc=8).eval()
    a, b = torch.rand(2, 3, 3, 160, 60)
    with torch.no_grad():
        compared = model.compare(model.encode(a), model.encode(b))
    found = model.responses(a, b)
    torch.testing.assert_close(found["Softmax"], compared["logits"].softmax(1))
    torch.testing.assert_close(found["Summary"].flatten(1, 2), compared["difference"])
