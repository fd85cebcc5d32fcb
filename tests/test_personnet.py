"""PersonNet against Table I, its equations as loops, and the parameter counts of both readings."""

import csv
import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reidlib.models import Encoding, build
from reidlib.models.blocks import ACTIVATIONS, PatchSummary, Stage, difference_grid
from reidlib.models.personnet import PersonNet

NARROW = (16, 16, 8)
VALUES = Path(__file__).parents[1] / "data" / "paper_values.csv"


def personnet(seed: int = 0, **options: object) -> PersonNet:
    torch.manual_seed(seed)
    model = build("personnet", **{"fc": NARROW, **options}).eval()
    assert isinstance(model, PersonNet)
    return model


def printed_table() -> dict[str, tuple[int, ...]]:
    """Table I: layer -> printed output size."""
    with VALUES.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["paper"], row["table"]) == ("PersonNet", "Table I")]
    return {
        row["row"]: tuple(int(side) for side in row["value"].split("x"))
        for row in rows
        if row["metric"] == "output_dim"
    }


@pytest.mark.parametrize(
    ("options", "missed"),
    [
        ({"kernel": 4}, {"Conv4"}),
        ({"kernel": 4, "conv4": "same3"}, {"Pool4"}),
        ({"kernel": 4, "conv4": "valid3"}, {"Conv4", "Pool4"}),
        ({"kernel": 3}, {"Conv0", "Conv1", "Conv2", "Conv3", "Conv4"}),
    ],
)
def test_table_1_row_by_row(options: dict, missed: set[str]) -> None:
    """The 4x4 reading meets 8 of the 9 map rows, the 3x3 reading 4; the FC rows hold in all."""
    printed, built = printed_table(), personnet(**options, fc=(4096, 4096, 512)).layer_shapes()
    assert len(printed) == 12
    assert {name for name, size in printed.items() if built[name] != size} == missed


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 22_892_738),
        ({"kernel": 3}, 22_863_394),
        ({"conv4": "same3"}, 27_342_018),
        ({"conv4": "valid3"}, 24_851_650),
    ],
)
def test_parameter_counts(options: dict, count: int) -> None:
    model = build("personnet", **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(("kernel", "gigaflops"), [(4, 0.276), (3, 0.187)])
def test_operations_of_one_pair(kernel: int, gigaflops: float) -> None:
    model = personnet(kernel=kernel, fc=(4096, 4096, 512))
    pair = torch.rand(2, 1, 3, 160, 60)
    with FlopCounterMode(display=False) as counter:
        model.responses(*pair)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gigaflops, abs=5e-4)


@pytest.mark.parametrize("layers", [10, 7])
def test_weight_layers_are_counted_as_the_paper_does(layers: int) -> None:
    model = personnet(layers=layers)
    weighted = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert model.weight_layers == len(weighted) == layers


def test_seven_layers_and_idla_see_maps_of_about_one_size() -> None:
    height, width, _ = personnet(layers=7).layer_shapes()["Difference"]
    assert (height, width) == (38, 13)  # IDLA's are 37x12


@pytest.mark.parametrize("padding", [1, 0])
def test_difference_is_equation_2(padding: int) -> None:
    f, h = torch.randn(2, 1, 2, 5, 4)
    grid = difference_grid(f, h, 3, padding)
    edge = 1 - padding
    for i in range(2):
        for y in range(edge, 5 - edge):
            for x in range(edge, 4 - edge):
                for v in range(3):
                    for u in range(3):
                        row, column = y + v - 1, x + u - 1
                        inside = 0 <= row < 5 and 0 <= column < 4
                        neighbour = h[0, i, row, column] if inside else torch.tensor(0.0)
                        got = grid[0, i, 3 * (y - edge) + v, 3 * (x - edge) + u]
                        assert got == f[0, i, y, x] - neighbour


@pytest.mark.parametrize("padding", [1, 0])
def test_patch_summary_separates_by_image(padding: int) -> None:
    torch.manual_seed(0)
    summary = PatchSummary((3, 4), 3, padding).double()
    f, h = torch.randn(2, 2, 3, 6, 5, dtype=torch.float64)
    expected = summary(difference_grid(f, h, 3, padding))
    torch.testing.assert_close(summary.own(f) - summary.other(h), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("pool", ["ceil", "floor"])
def test_pooling_before_the_activation_is_pooling_after_it(name: str, pool: str) -> None:
    torch.manual_seed(0)
    stage = Stage((2, 3), 3, ACTIVATIONS[name], pool)
    x = torch.randn(1, 2, 9, 8)
    assert torch.equal(stage(x), stage.responses(x)[1])
    assert stage.size(9, 8) == tuple(stage(x).shape[2:])


@pytest.mark.parametrize(
    "options",
    [{}, {"kernel": 3}, {"conv4": "same3"}, {"difference": "symmetric"}, {"activation": "tanh"}, {"layers": 7}],
    ids=str,
)
def test_compare_is_the_network_as_printed(options: dict) -> None:
    """`responses` builds the grid of Eq. 2 and convolves it with stride 3; `compare` does neither."""
    model = personnet(**options)
    a, b = torch.rand(2, 3, 3, 160, 60)
    with torch.no_grad():
        compared = model.compare(model.encode(a), model.encode(b))
    found = model.responses(a, b)
    torch.testing.assert_close(compared["difference"], found["Difference"], atol=1e-5, rtol=0)
    torch.testing.assert_close(compared["logits"].softmax(1), found["Softmax"], atol=1e-5, rtol=0)
    # the distance is the log odds of "different", so it ranks as the probability of "same" does
    different, same = found["Softmax"].log().unbind(1)
    torch.testing.assert_close(compared["distance"], different - same, atol=1e-4, rtol=0)


def test_block_form_at_full_width_is_within_1e5_of_the_printed_network() -> None:
    model = personnet(fc=(4096, 4096, 512))
    queries, gallery = torch.rand(2, 3, 160, 60), torch.rand(70, 3, 160, 60)
    block = model.distance(model.encode(queries).detach(), model.encode(gallery).detach())
    for row, query in zip(block, queries, strict=True):
        softmax = model.responses(query.expand(3, -1, -1, -1), gallery[::30])["Softmax"].double()
        torch.testing.assert_close(row[::30].double(), softmax[:, 0].log() - softmax[:, 1].log(), atol=1e-5, rtol=0)


def test_scaled_tanh() -> None:
    x = torch.tensor([-0.4, 0.0, 2.0])
    expected = torch.tensor([math.tanh(1.5 * value) for value in x.tolist()])
    torch.testing.assert_close(ACTIVATIONS["scaled_tanh"](x), expected)


def test_average_of_both_orders_is_symmetric_and_of_eval_mode_only() -> None:
    model, plain = personnet(average_orders=True, dropout=0.0), personnet(dropout=0.0)
    encoding = model.encode(torch.rand(3, 3, 160, 60)).detach()
    distance = model.distance(encoding, encoding)
    one_way = plain.distance(encoding, encoding)
    torch.testing.assert_close(distance, (one_way + one_way.T) / 2, atol=1e-5, rtol=0)
    assert not torch.allclose(one_way, one_way.T, atol=1e-4)
    one_order = model.train().compare(encoding[:1], encoding[1:2])["distance"]
    torch.testing.assert_close(one_order, one_way[0, 1:2], atol=1e-5, rtol=0)


def test_dropout_acts_in_training_only() -> None:
    model = personnet(fc=(64, 64, 16))
    encoding = model.encode(torch.rand(2, 3, 160, 60)).detach()
    assert torch.equal(*(model.compare(encoding, encoding)["logits"] for _ in range(2)))
    model.train()
    assert not torch.equal(*(model.compare(encoding, encoding)["logits"] for _ in range(2)))


def test_initial_weights_are_glorot_uniform() -> None:
    weight, bias = personnet().trunk["conv1"].conv.parameters()
    bound = math.sqrt(6 / (2 * 32 * 16))
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not bias.any()


def test_responses_are_named_as_table_1_and_hold_both_views() -> None:
    model = personnet()
    a, b = torch.rand(2, 2, 3, 160, 60)
    found = model.responses(a, b)
    assert set(printed_table()) <= set(found)
    assert found["Conv0"].shape == (2, 2, 32, 157, 57)
    assert found["Neighbourhood"].shape == (2, 32, 96, 21)
    with torch.no_grad():
        last = "Conv3"
        torch.testing.assert_close(found[last][:, 0], model.encode(a).maps, atol=1e-6, rtol=0)
        torch.testing.assert_close(found[last][:, 1], model.encode(b).maps, atol=1e-6, rtol=0)


def test_one_encoding_type_serves_selection_and_comparison() -> None:
    model = personnet()
    encoding = model.encode(torch.rand(3, 3, 160, 60)).detach()
    assert isinstance(encoding, Encoding)
    assert encoding.maps.shape == (3, 32, 32, 7)
    with torch.no_grad():
        aligned = model.compare(encoding[[0, 1]], encoding[[2, 0]])["distance"]
    block = model.distance(encoding, encoding)
    torch.testing.assert_close(aligned, block[[0, 1], [2, 0]], atol=1e-5, rtol=0)
