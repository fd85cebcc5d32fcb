"""MLS against Tables 1 and 5, its equations as loops, and its fast block form against the printed network."""

import csv
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from reidlib.losses import contrastive, expected_probability, positive_scale, small_rotation, stay_inside
from reidlib.models import build
from reidlib.models.csn import Attention, clamped, correlate, patches, stripes
from reidlib.models.mls import MLS
from reidlib.objectives import OBJECTIVES, Batch

TINY = {"width": 6, "sizes": (3, 2, 2), "head": (6, 12), "embedding": 8, "image_size": (64, 32)}
VALUES = Path(__file__).parents[1] / "data" / "paper_values.csv"
THREE = (2, 3, 4)


def mls(**options: object) -> MLS:
    torch.manual_seed(0)
    model = build("mls", **options).eval()
    assert isinstance(model, MLS)
    return model


def printed(table: str, metric: str) -> dict[str, str]:
    """Row -> value of one column of a table of the paper."""
    with VALUES.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["paper"], row["table"]) == ("MLS", table)]
    return {row["row"]: row["value"] for row in rows if row["metric"] == metric}


def test_table_1_row_by_row() -> None:
    model = mls()
    net = model.attentions["2"].localisation
    built = {**model.trunk, "conv4": model.conv4, "conv5": model.conv5, "conv6": model.conv6}
    built |= {f"loc {name}": layer for name, layer in net.named_children() if name.startswith("conv")}
    shapes = {name: layer.conv.weight.shape for name, layer in built.items()}
    assert {name: f"{k}x{k}x{maps}" for name, (_, maps, k, _) in shapes.items()} == printed("Table 1", "filter_size")
    assert {name: str(filters) for name, (filters, *_) in shapes.items()} == printed("Table 1", "n_filters")
    pooled = {name for name, layer in built.items() if layer.pool}
    assert pooled == set(built) - {"conv4", "conv6", "loc conv3"}


def test_maps_filters_and_similarities_have_the_sizes_of_the_text() -> None:
    model = mls()
    with torch.no_grad():
        encoding = model.encode(torch.rand(2, 3, 160, 60))
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in encoding.tensors.items()}
    assert shapes == {
        "maps2": (96, 40, 15),
        "maps3": (96, 20, 8),
        "parts2": (3, 96, 10, 10),
        "parts3": (3, 96, 5, 5),
        "vector": (256,),
    }
    found = model.responses(*torch.rand(2, 1, 3, 160, 60))
    assert {name: tuple(maps.shape) for name, maps in found.items()} == {
        "CSN-2": (1, 2, 3, 96, 40, 15),
        "CSN-3": (1, 2, 3, 96, 20, 8),
    }


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (20, 8)),
        ({"sim_size": "10x4"}, (10, 4)),
        ({"levels": THREE}, (20, 8)),
        ({"levels": THREE, "layout": "all_pooled"}, (10, 4)),  # x_4 is no larger
        ({"levels": (2,), "layout": "conv3_unpooled"}, (20, 8)),
    ],
    ids=str,
)
def test_similarity_maps_of_all_levels_are_pooled_to_one_size(options: dict, size: tuple[int, int]) -> None:
    model = mls(**{**options, "width": 3, "ranking": False})
    seen: list[torch.Size] = []
    model.sim_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        encoding = model.encode(torch.rand(1, 3, 160, 60))
        model.compare(encoding, encoding)
    assert seen == [(1, 18 * len(model.levels), *size)]


def parameters(**options: object) -> int:
    return sum(parameter.numel() for parameter in mls(**options).parameters())


@pytest.mark.parametrize(
    ("sharing", "two", "three", "fits"),
    [
        ("second", 560_894, 812_484, True),
        ("first", 560_894, 812_484, True),
        ("both", 477_950, 646_596, False),
        ("none", 643_838, 978_372, False),
    ],
)
def test_parameters_of_table_5_fit_one_shared_ranking_convolution(
    sharing: str, two: int, three: int, fits: bool
) -> None:
    """The table's 0.5 and 0.8 are units of 2^20, and only this sharing rounds to both (MLS-4)."""
    counts = {"Ours-(L2, L3)": two, "Ours-(L2, L3, L4)": three}
    assert [parameters(sharing=sharing), parameters(sharing=sharing, levels=THREE)] == list(counts.values())
    table = printed("Table 5", "#param(M)")
    assert all(f"{count / 2**20:.1f}" == table[row] for row, count in counts.items()) == fits


def test_the_ranking_net_is_half_of_the_parameters() -> None:
    assert parameters(ranking=False) == 261_886


def flops(model: MLS) -> int:
    """Of one pair, twice the multiplications of convolutions and matrix products."""
    height, width = model.image_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.compare(*(model.encode(torch.rand(1, 3, height, width)) for _ in range(2)))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("options", "giga"),
    [
        ({}, 0.943),
        ({"rows": "inclusive"}, 0.949),
        ({"sim_size": "10x4"}, 0.931),
        ({"levels": THREE}, 1.309),
        ({"levels": THREE, "sim_size": "10x4"}, 1.292),
        ({"levels": THREE, "layout": "all_pooled"}, 1.028),
    ],
    ids=str,
)
def test_operations_of_a_pair(options: dict, giga: float) -> None:
    assert flops(mls(**options)) / 1e9 == pytest.approx(giga, abs=5e-4)


def test_operations_of_table_5_need_conv3_unpooled_and_two_operations_a_product() -> None:
    table = {row: float(value) for row, value in printed("Table 5", "FLOPs(G)").items()}
    two, three, pooled = (
        flops(mls(**options)) / 1e9 for options in ({}, {"levels": THREE}, {"levels": THREE, "layout": "all_pooled"})
    )
    assert two == pytest.approx(table["Ours-(L2, L3)"], rel=0.02)
    assert three == pytest.approx(table["Ours-(L2, L3, L4)"], rel=0.01)
    assert pooled < 0.8 * table["Ours-(L2, L3, L4)"]
    assert two / 2 < 0.5 * table["Ours-(L2, L3)"]


@pytest.mark.parametrize(("levels", "convolutions"), [((2, 3), 12), (THREE, 16)])
def test_depth_counts_convolutions_of_trunk_localisation_and_head(levels: tuple, convolutions: int) -> None:
    """Table 5 prints 12 and 18 (MLS-14)."""
    model = mls(levels=levels, ranking=False)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions


# -- Eqs. 1 and 2 -----------------------------------------------------------------------------------------------


def correlated(maps: Tensor, filters: Tensor) -> Tensor:
    """Eq. 2 as loops: (P, C, H, W), (P, C, f, f) -> (P, C, H, W)."""
    size, before = filters.shape[-1], (filters.shape[-1] - 1) // 2
    height, width = maps.shape[2:]
    found = torch.zeros_like(maps)
    for y, x, v, u in product(range(height), range(width), range(size), range(size)):
        row, column = y + v - before, x + u - before
        if 0 <= row < height and 0 <= column < width:
            found[:, :, y, x] += maps[:, :, row, column] * filters[:, :, v, u]
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_correlation_is_equation_2(size: int) -> None:
    torch.manual_seed(0)
    maps, filters = torch.randn(2, 3, 5, 4), torch.randn(2, 3, size, size)
    torch.testing.assert_close(correlate(maps, filters), correlated(maps, filters), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_gradients_of_the_correlation(size: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(2, 2, size, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(correlate, (maps, filters))


def test_every_map_meets_every_part_of_the_other_image() -> None:
    model = mls(**TINY)
    a, b = torch.rand(2, 2, 3, 64, 32)
    with torch.no_grad():
        left, right = model.encode(a), model.encode(b)
    sims = model.responses(a, b)["CSN-3"]
    for k in range(3):
        torch.testing.assert_close(sims[:, 0, k], correlated(left.maps3, right.parts3[:, k]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(sims[:, 1, k], correlated(right.maps3, left.parts3[:, k]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "size", "cell"), [(6, 4, 3, 2), (5, 3, 2, 2), (7, 6, 3, 4), (4, 3, 3, 1)])
def test_patches_are_convolution_and_pooling(height: int, width: int, size: int, cell: int) -> None:
    torch.manual_seed(0)
    maps, filters = torch.randn(2, height, width), torch.randn(2, size, size)
    products = torch.einsum("ct,kctp->kcp", filters.flatten(1), patches(maps, size, cell))
    expected = F.max_pool2d(correlated(maps[None], filters[None])[0], cell, ceil_mode=True)
    torch.testing.assert_close(products.amax(0), expected.flatten(1), atol=1e-5, rtol=0)


def test_stripes_are_the_rows_of_section_4_2() -> None:
    assert stripes(40, "halves") == [(0, 20), (10, 20), (20, 20)]
    assert stripes(20, "halves") == [(0, 10), (5, 10), (10, 10)]
    printed_rows = [(first + 1, first + count) for first, count in stripes(40, "inclusive")]
    assert printed_rows == [(1, 20), (10, 30), (20, 40)]
    assert [(first + 1, first + count) for first, count in stripes(20, "inclusive")] == [(1, 10), (5, 15), (10, 20)]


def sampled(part: Tensor, theta: Tensor, size: int) -> Tensor:
    """Eq. 1 and bilinear interpolation as loops: (C, h, w), (2, 3) -> (C, size, size); borders at -1 and 1."""
    height, width = part.shape[1:]
    found = torch.zeros(len(part), size, size)
    for i, j in product(range(size), range(size)):
        out = torch.tensor([(2 * j + 1) / size - 1, (2 * i + 1) / size - 1, 1.0])
        w_in, h_in = (theta @ out).tolist()
        x, y = ((w_in + 1) * width - 1) / 2, ((h_in + 1) * height - 1) / 2
        for row, column in product(range(height), range(width)):
            weight = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
            found[:, i, j] += weight * part[:, row, column]
    return found


@pytest.mark.parametrize("rows", ["halves", "inclusive"])
def test_attention_samples_each_stripe_by_equation_1(rows: str) -> None:
    torch.manual_seed(0)
    attention = Attention(4, (8, 6), 3, "stn", rows, "penalty").eval()
    nn.init.normal_(attention.localisation.embedding.weight)  # so that it turns and moves
    maps = torch.rand(2, 4, 8, 6)
    with torch.no_grad():
        filters, theta = attention(maps)
        for b, (k, (first, count)) in product(range(2), enumerate(stripes(8, rows))):
            part = maps[b, :, first : first + count]
            torch.testing.assert_close(theta[b, k], attention.localisation(part[None])[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(filters[b, k], sampled(part, theta[b, k], 3), atol=1e-4, rtol=0)


def test_windows_are_the_corners_of_what_is_sampled() -> None:
    """Of maps that hold their own coordinates, filters hold those of the places they were sampled at."""
    torch.manual_seed(0)
    attention = Attention(2, (8, 6), 3, "stn", "halves", "penalty").eval()
    nn.init.normal_(attention.localisation.embedding.weight, std=0.5)
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(6) + 0.5, indexing="ij")
    with torch.no_grad():
        filters, theta = attention(torch.stack([x, y])[None])
    corners = attention.windows(theta)  # (1, 3, 4, 2)
    assert corners.shape == (1, 3, 4, 2)
    upper_left, upper_right, _, lower_left = corners.unbind(2)
    for i, j in product(range(3), range(3)):
        across, down = (2 * j + 1) / 6, (2 * i + 1) / 6
        wanted = upper_left + across * (upper_right - upper_left) + down * (lower_left - upper_left)  # (1, 3, 2)
        for part, (first, count) in enumerate(stripes(8, "halves")):
            x, y = wanted[0, part].tolist()
            if 0.5 <= x <= 5.5 and first + 0.5 <= y <= first + count - 0.5:  # where nothing outside is mixed in
                torch.testing.assert_close(filters[0, part, :, i, j], wanted[0, part], atol=1e-4, rtol=0)


def test_windows_of_all_levels_are_shares_of_the_image() -> None:
    images = torch.rand(2, 3, 64, 32)
    model = mls(**TINY, levels=(2, 3))
    for attention in model.attentions.values():
        nn.init.zeros_(attention.localisation.embedding.weight)  # centre crops: 3 of 8 and 2 of 4 columns
    found = model.windows(images)
    assert found.shape == (2, 2, 3, 4, 2)
    assert found[0, 0, 0, 0].tolist() == pytest.approx([2.5 / 8, 2.5 / 16])  # a stripe has 8 of 16 rows
    assert found[0, 1, 2, 2].tolist() == pytest.approx([3 / 4, (4 + 3) / 8])
    assert mls(**TINY, parts="crop").windows(images) is None


def test_transformations_start_near_the_centre_crop() -> None:
    torch.manual_seed(0)
    stn, crop = (Attention(4, (12, 6), 4, parts, "halves", "penalty").eval() for parts in ("stn", "crop"))
    assert crop.localisation is None
    nn.init.zeros_(stn.localisation.embedding.weight)
    maps = torch.rand(2, 4, 12, 6)
    with torch.no_grad():
        (filters, theta), (centres, none) = stn(maps), crop(maps)
    assert none is None
    torch.testing.assert_close(theta[0, 0], torch.tensor([[4 / 6, 0, 0], [0, 4 / 6, 0]]))
    torch.testing.assert_close(filters, centres, atol=1e-5, rtol=0)
    torch.testing.assert_close(centres[:, 1], maps[:, :, 4:8, 1:5])  # rows 3 to 8, of them the middle


def test_undivided_maps_have_one_filter_a_level() -> None:
    model = mls(**TINY, parts="none")
    with torch.no_grad():
        output = model(torch.rand(2, 3, 64, 32))
    assert output["encoding"].parts2.shape == (2, 1, 6, 3, 3)
    assert output["theta"].shape == (2, 2, 2, 3)


def test_crops_larger_than_a_stripe_are_refused() -> None:
    with pytest.raises(ValueError, match="crops of 9x9 exceed stripes of 8x8"):
        build("mls", **{**TINY, "sizes": (9, 2, 2)}, parts="crop")


def test_clamped_transformations_stay_inside_and_upright() -> None:
    theta = torch.randn(200, 2, 3, generator=torch.Generator().manual_seed(0))
    held = clamped(theta)
    assert held.abs().sum(-1).max() <= 1 + 1e-6
    assert held.diagonal(dim1=1, dim2=2).min() > 0
    assert stay_inside(held).item() == pytest.approx(0, abs=1e-6)
    fine = torch.tensor([[[0.5, 0.1, -0.2], [0.0, 0.6, 0.4]]])
    torch.testing.assert_close(clamped(fine), fine)


# -- Eqs. 3 to 7 ------------------------------------------------------------------------------------------------


def test_equation_3_with_its_sign_turned() -> None:
    logits, same = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0, 0, 1, 0]).bool()
    p = logits.softmax(1)
    expected = -sum(p[i, 1] if same[i] else p[i, 0] for i in range(5)) / 5
    torch.testing.assert_close(expected_probability(logits, same), expected)


def test_equation_4() -> None:
    d = torch.tensor([0.3, 0.4, 1.6, 0.0, 0.9], dtype=torch.float64, requires_grad=True)
    same = torch.tensor([True, False, False, True, False])
    total = sum(x**2 if y else max(0.0, 1 - x) ** 2 for x, y in zip(d.tolist(), same, strict=True))
    assert contrastive(d, same).item() == pytest.approx(total / 10)
    assert torch.autograd.gradcheck(lambda x: contrastive(x, same, 0.8), d)


def test_priors_of_the_transformations_by_hand() -> None:
    theta = torch.tensor([[[0.5, -0.2, 0.6], [0.1, -0.3, 0.0]], [[0.6, 0.0, 0.1], [0.3, 0.7, -0.4]]])
    # scales 0.5, -0.3, 0.6, 0.7 against 0.1; reaches 1.3, 0.4, 0.7, 1.4 against 1
    assert positive_scale(theta).item() == pytest.approx(0.4 / 4)
    assert stay_inside(theta).item() == pytest.approx((0.3 + 0.4) / 4)
    assert small_rotation(theta).item() == pytest.approx((0.2 + 0.1 + 0.0 + 0.3) / 4)


def test_distance_is_minus_equation_7_and_softmax_alone_on_request() -> None:
    model = mls(**TINY)
    encoding = model.encode(torch.rand(4, 3, 64, 32)).detach()
    a, b = encoding[:2], encoding[2:]
    with torch.no_grad():
        compared = model.compare(a, b)
        d = torch.linalg.vector_norm(a.vector - b.vector, dim=1)
        score = compared["logits"].softmax(1)[:, 1] + 0.2 / (d + 1e-4)
        torch.testing.assert_close(compared["distance"], -score)
        torch.testing.assert_close(compared["separation"], d)
        model.score = "softmax"
        odds = model.compare(a, b)["distance"]
    torch.testing.assert_close(odds, compared["logits"][:, 0] - compared["logits"][:, 1])
    torch.testing.assert_close(encoding.vector.norm(dim=1), torch.ones(4))


def test_without_a_ranking_net_the_score_is_the_softmax() -> None:
    model = mls(**TINY, ranking=False)
    encoding = model.encode(torch.rand(2, 3, 64, 32)).detach()
    with torch.no_grad():
        compared = model.compare(encoding[:1], encoding[1:])
    assert "separation" not in compared
    assert "vector" not in encoding.tensors
    torch.testing.assert_close(compared["distance"], compared["logits"][:, 0] - compared["logits"][:, 1])


@pytest.mark.parametrize(
    "options", [{}, {"levels": THREE}, {"parts": "none", "sim_norm": "batch"}, {"sim_size": "10x4"}], ids=str
)
def test_block_form_at_full_width_is_within_1e5_of_the_printed_network(options: dict) -> None:
    model = mls(**options)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.normal_(norm.bias, std=0.1)  # as if trained
        nn.init.uniform_(norm.weight, -0.5, 1.5)
    encoding = model.encode(torch.rand(4, 3, 160, 60)).detach()
    for model.score in ("eq7", "softmax"):
        block = model.distance(encoding[:2], encoding[1:])
        with torch.no_grad():
            aligned = torch.stack([model.compare(encoding[[i] * 3], encoding[1:])["distance"] for i in range(2)])
        torch.testing.assert_close(block, aligned, atol=1e-5, rtol=1e-6)


# -- training ---------------------------------------------------------------------------------------------------


def batch(count: int = 4) -> Batch:
    pairs = torch.tensor([[0, 1], [0, 2], [1, 3]])
    ids = torch.tensor([1, 1, 2, 2])
    return Batch(torch.rand(count, 3, 64, 32), ids, torch.arange(count), ids - 1, pairs)


def test_the_objective_has_the_terms_of_equation_6_and_the_priors() -> None:
    model = mls(**TINY).train()
    objective, images = OBJECTIVES["mls"](model), batch()
    terms = objective(images)
    assert set(terms) == {"pair", "contrastive", "scale", "inside", "rotation"}
    expected = terms["pair"] + terms["contrastive"] + terms["scale"] + terms["inside"] + 0.01 * terms["rotation"]
    torch.testing.assert_close(objective.total(terms), expected)
    literal = OBJECTIVES["mls"](model, {"pair": 0, "expected_probability": 1, "rotation": 0})
    assert set(literal(images)) == {"expected_probability", "contrastive", "scale", "inside"}


def test_variants_without_a_ranking_net_or_transformations() -> None:
    plain = mls(**TINY, ranking=False, parts="crop").train()
    assert set(OBJECTIVES["mls"](plain, {"contrastive": 0})(batch())) == {"pair"}
    with pytest.raises(ValueError, match="without a ranking net there is no contrastive term"):
        OBJECTIVES["mls"](plain)(batch())


def test_levels_that_nothing_compares_are_not_built() -> None:
    assert list(mls(**TINY, levels=(2,)).trunk) == ["conv1", "conv2"]
    assert list(mls(**TINY, levels=(4,)).trunk) == ["conv1", "conv2", "conv3", "conv3b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (3, 2)}, r"levels \(3, 2\) is unknown"),
        ({"parts": "crops"}, "parts 'crops' is unknown: did you mean 'crop'"),
        ({"sizes": (10, 5)}, "give three, two, one and one positive numbers"),
        ({"width": 2}, "give three, two, one and one positive numbers"),
    ],
)
def test_mistakes_name_what_is_allowed(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("mls", **options)
