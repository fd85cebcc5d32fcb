"""HAGN against loops over its 21 windows, its equations written out, the printed shapes and the released counts."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from reidlib.evaluation import evaluate
from reidlib.models import build
from reidlib.models import options as options_of
from reidlib.models.hagn import HAGN, ORDERS, TABLE_X, ChannelAttention, Linears, SpatialAttention, windows
from reidlib.objectives import Batch, IdentityObjective
from reidlib.papers.hagn import PAPER
from reidlib.recipe import Row, plain
from reidlib.tables import printed_values
from reidlib.training import learning_rate_factor

SMALL = {"trunk": "test_resnet", "image_size": (192, 64), "width": 6, "features": 5, "identities": 7}
CHANNELS = {1: 32, 2: 48, 3: 192, 4: 96}  # of test_resnet


def hagn(**options: object) -> HAGN:
    torch.manual_seed(0)
    model = build("hagn", **{**SMALL, **options}).eval()
    assert isinstance(model, HAGN)
    return model


def pictures(count: int, size: tuple[int, int] = (192, 64)) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))


def rows_of_windows(height: int, levels: int) -> list[slice]:
    """Sec. III-C as it is told: on level p, the blocks 1 to k + 1 - p, then 2 to k + 2 - p, ..., p windows."""
    block = height // levels
    return [
        slice(first * block, (first + levels + 1 - level) * block)
        for level in range(1, levels + 1)
        for first in range(level)
    ]


@pytest.mark.parametrize(("height", "levels"), [(24, 6), (12, 6), (6, 3), (5, 1)])
def test_windows_are_the_poolings_of_21_crops(height: int, levels: int) -> None:
    maps = torch.randn(2, 3, height, 4, dtype=torch.float64)
    crops = [maps[:, :, rows] for rows in rows_of_windows(height, levels)]
    average = windows(F.adaptive_avg_pool2d(maps, (levels, 1)).flatten(2), F.avg_pool1d)
    largest = windows(F.adaptive_max_pool2d(maps, (levels, 1)).flatten(2), F.max_pool1d)
    torch.testing.assert_close(average, torch.stack([crop.mean((2, 3)) for crop in crops], 2))
    assert torch.equal(largest, torch.stack([crop.amax((2, 3)) for crop in crops], 2))


def test_levels_have_windows_of_24_to_4_rows() -> None:
    sizes = [rows.stop - rows.start for rows in rows_of_windows(24, 6)]
    assert sizes == [24, 20, 20, 16, 16, 16, *[12] * 4, *[8] * 5, *[4] * 6]


def test_the_papers_network_has_the_printed_shapes() -> None:
    """Sec. IV-A: 2048x24x8; by hand: 3840x24x8 fused, 21 windows, a descriptor of 10752 values."""
    with torch.device("meta"):
        model = build("hagn")
        assert isinstance(model, HAGN)
        images = torch.rand(2, 3, 384, 128)
        maps, output = model.maps(images), model(images)
    assert maps["Stage 4"].shape == (2, 2048, 24, 8)
    assert maps["Fused"].shape == (2, 3840, 24, 8)
    # Eq. 1 acts before the max-pooling, at each stage's own resolution (HA-20), Eq. 2 on all channels
    assert [maps[f"S{stage}"].shape[1:] for stage in (1, 2, 3, 4)] == [
        (1, 96, 32),
        (1, 48, 16),
        (1, 24, 8),
        (1, 24, 8),
    ]
    assert maps["C"].shape == (2, 3840, 1, 1)
    assert output["encoding"].vector.shape == (2, 21 * 512)
    assert output["logits"].shape == (2, 21, 751)
    assert [output[f"embeddings{level}"].shape[1] for level in range(6)] == [512, 1024, 1536, 2048, 2560, 3072]


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({"identities": 751}, 77.50),
        ({"identities": 767, "order": "c"}, 75.83),  # the released model file: no attention (HA-11)
        ({"identities": 751, "stages": (4,)}, 56.91),
    ],
)
def test_parameter_counts(options: dict, millions: float) -> None:
    with torch.device("meta"):
        model = build("hagn", **options)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_operations_of_one_image() -> None:
    """12.27 G of multiplications and additions, 12.16 G of them in the trunk."""
    with torch.device("meta"):
        model, image = build("hagn"), torch.rand(1, 3, 384, 128)
        assert isinstance(model, HAGN)
        found = []
        for part in (model, model.trunk):
            with FlopCounterMode(display=False) as counter:
                part.eval()(image)
            found.append(counter.get_total_flops() / 1e9)
    assert found == pytest.approx([12.27, 12.16], abs=5e-3)


def sam(module: SpatialAttention, maps: Tensor) -> Tensor:
    """Eq. 1 in loops: the mean and the maximum over channels at each place, a 7x7 sum of products, a sigmoid."""
    batch, _, height, width = maps.shape
    out = torch.zeros(batch, 1, height, width)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                total = 0.0
                for v in range(-3, 4):
                    for u in range(-3, 4):
                        if 0 <= y + v < height and 0 <= x + u < width:
                            place = maps[b, :, y + v, x + u]
                            weight = module.weight[0, :, v + 3, u + 3]
                            total += float(weight[0] * place.mean() + weight[1] * place.max())
                out[b, 0, y, x] = torch.tensor(total).sigmoid()
    return out


def cam(module: ChannelAttention, maps: Tensor) -> Tensor:
    """Eq. 2 in plain products, with the sum after the shared layers, or before them as printed."""
    down, up = module.shared[0].weight, module.shared[2].weight
    average, largest = maps.flatten(2).mean(2), maps.flatten(2).max(2).values

    def shared(vector: Tensor) -> Tensor:
        return torch.stack([up @ (down @ row).clamp_min(0) for row in vector])

    after = shared(average) + shared(largest)
    return (after if module.added == "after" else shared(average + largest)).sigmoid()


@torch.no_grad()
def test_spatial_attention_is_equation_1() -> None:
    torch.manual_seed(0)
    module, maps = SpatialAttention(), torch.randn(2, 5, 6, 4)
    torch.testing.assert_close(module(maps), sam(module, maps))


@torch.no_grad()
def test_a_batch_norm_before_the_sigmoid_keeps_it_from_its_ends_where_maps_are_large() -> None:
    """As Eq. 1 is printed, most weights of large maps are next to 0 or 1, where the sigmoid has no slope."""
    for norm, learns in (("none", False), ("batch", True)):
        torch.manual_seed(0)
        module, maps = SpatialAttention(norm), 100 * torch.randn(4, 5, 12, 4).abs()
        weights = module(maps)
        assert bool(((weights > 0.05) & (weights < 0.95)).float().mean() > 0.5) is learns


@torch.no_grad()
def test_both_readings_of_equation_2_and_that_they_differ() -> None:
    found = []
    for added in ("after", "before"):
        torch.manual_seed(0)
        module, maps = ChannelAttention(32, added), torch.randn(3, 32, 6, 4)
        found.append(module(maps))
        torch.testing.assert_close(found[-1], cam(module, maps)[:, :, None, None])
    assert (found[0] - found[1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("attend", ["native", "pooled"])
@pytest.mark.parametrize(("stages", "order"), [((1, 2, 3, 4), order) for order in ORDERS] + [((4,), "S+c")])
def test_every_order_of_table_9_is_its_operations_one_after_the_other(
    stages: tuple[int, ...], order: str, attend: str
) -> None:
    """The characters from left to right: S and C act on every stage before the concatenation c, on it after."""
    model, images = hagn(stages=stages, order=order, attend=attend), pictures(1)
    maps = list(model.trunk(model.normalise(images)))
    if attend == "pooled":
        maps = [F.adaptive_max_pool2d(m, (12, 4)) for m in maps]
    joined = False
    for character in order.split("+"):
        if character == "c":
            maps, joined = [torch.cat([F.adaptive_max_pool2d(m, (12, 4)) for m in maps], 1)], True
            continue
        modules = [model.after] if joined else model.before
        assert len(modules) == len(maps)
        for at, module in enumerate(modules):
            attention = module[character]
            weights = sam(attention, maps[at]) if character == "S" else cam(attention, maps[at])[:, :, None, None]
            maps[at] = maps[at] * weights
    torch.testing.assert_close(model.maps(images)["Fused"], maps[0])
    before, _, after = order.partition("c")
    for letter, kind in (("S", SpatialAttention), ("C", ChannelAttention)):
        expected = len(stages) * before.count(letter) + after.count(letter)
        assert sum(isinstance(module, kind) for module in model.modules()) == expected


def test_attention_modules_have_the_channels_of_their_maps() -> None:
    """HA-21: four CAMs before the concatenation, one of all channels after it, one of stage 4 for the row "+C"."""

    def channels(**options: object) -> list[int]:
        return [m.shared[0].in_features for m in hagn(**options).modules() if isinstance(m, ChannelAttention)]

    assert channels(order="C+c+S") == [32, 48, 192, 96]
    assert channels(order="S+c+C") == [368]
    assert channels(stages=(4,), order="c+C") == [96]


@pytest.mark.parametrize("stages", TABLE_X)
def test_every_stage_set_of_table_10(stages: tuple[int, ...]) -> None:
    model = hagn(stages=stages)
    found = model.maps(pictures(1))
    assert found["Fused"].shape == (1, sum(CHANNELS[stage] for stage in stages), 12, 4)
    assert len(model.before) == len(stages)
    names = [name for name, _ in model.trunk.network.named_children() if name.startswith("layer")]
    assert names == [f"layer{stage}" for stage in range(1, max(stages) + 1)]  # later stages are not even built


@torch.no_grad()
@pytest.mark.parametrize("extractor", ["max+avg", "avg", "plain"])
@pytest.mark.parametrize("activation", ["relu", "leaky"])
def test_heads_are_21_networks_of_their_own(extractor: str, activation: str) -> None:
    """MPFE (Sec. III-D) window by window: pool, 1x1, batch norm, activation, linear, batch norm, linear."""
    model, images = hagn(extractor=extractor, activation=activation), pictures(3)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    maps, output = model.maps(images)["Fused"], model(images)

    def normalised(norm: torch.nn.BatchNorm1d, x: Tensor, window: int) -> Tensor:
        own = slice(window * x.shape[1], (window + 1) * x.shape[1])
        scale = norm.weight[own] / (norm.running_var[own] + norm.eps).sqrt()
        return (x - norm.running_mean[own]) * scale + norm.bias[own]

    features = []
    for window, rows in enumerate(rows_of_windows(12, 6)):
        x = maps[:, :, rows].mean((2, 3))
        if extractor == "max+avg":
            x = torch.cat([maps[:, :, rows].amax((2, 3)), x], 1)
        triplet = x
        if extractor != "plain":
            x = normalised(model.reduced_norm, x @ model.reduce.weight[window], window)
            x = torch.where(x > 0, x, (0.1 if activation == "leaky" else 0.0) * x)
            triplet = x @ model.feature.weight[window]
            x = normalised(model.feature_norm, triplet, window)
        features.append((triplet, x))
        torch.testing.assert_close(output["logits"][:, window], x @ model.classifiers.weight[window])
    torch.testing.assert_close(output["encoding"].vector, torch.cat([x for _, x in features], 1))
    levels = [output[f"embeddings{number}"] for number in range(6)]
    torch.testing.assert_close(torch.cat(levels, 1), torch.cat([x for x, _ in features], 1))
    sizes = [features[0][0].shape[1] * p for p in range(1, 7)]
    assert [level.shape[1] for level in levels] == sizes


def test_the_baseline_is_average_pooling_and_a_linear_layer() -> None:
    """HA-15: stage 4, no attention, no windows, no MPFE."""
    model = hagn(stages=(4,), order="c", parts=1, extractor="plain")
    assert [type(m) for m in model.modules() if isinstance(m, Linears)] == [Linears]
    images = pictures(2)
    output, maps = model(images), model.trunk(model.normalise(images))[0]
    torch.testing.assert_close(output["encoding"].vector, maps.mean((2, 3)))
    assert output["logits"].shape == (2, 1, 7)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in model.trunk.parameters()) + 96 * 7


@pytest.mark.parametrize(
    ("options", "widths"), [({}, [5, 10, 15, 20, 25, 30]), ({"triplet_per": "window"}, [5] * 21), ({"parts": 1}, [5])]
)
def test_triplets_are_of_levels_or_of_windows(options: dict, widths: Sequence[int]) -> None:
    output = hagn(**options)(pictures(2))
    found = [value for name, value in output.items() if name.startswith("embeddings")]
    assert [value.shape[1] for value in found] == widths


def test_triplet_and_test_features_before_and_after_batch_norm() -> None:
    images = pictures(4)

    def outputs(**options: object) -> tuple[Tensor, Tensor]:
        model = hagn(**options)
        torch.nn.init.constant_(model.feature_norm.weight, 2.0)
        found = model(images)
        return torch.cat([found[f"embeddings{level}"] for level in range(6)], 1), found["encoding"].vector

    triplet, vector = outputs()
    torch.testing.assert_close(vector, 2 * triplet, rtol=1e-4, atol=1e-5)  # fresh batch norm: only its weight acts
    assert torch.equal(outputs(triplets="after")[0], vector)
    assert torch.equal(outputs(test_features="before")[1], triplet)


def test_windows_may_be_made_unit_one_by_one() -> None:
    """HA-4, and as an attribute, for scoring a trained model either way."""
    model, images = hagn(), pictures(2)
    plain = model.encode(images).vector.unflatten(1, (21, 5))
    model.unit = "windows"
    torch.testing.assert_close(model.encode(images).vector.unflatten(1, (21, 5)), F.normalize(plain, dim=2))


def test_equation_5_is_the_mean_of_21_and_of_6() -> None:
    model, images = hagn(), pictures(8)
    labels = torch.arange(4).repeat(2)
    batch = Batch(images, labels, torch.zeros(8), labels, torch.zeros(0, 2, dtype=torch.long))
    terms = IdentityObjective(model, smoothing=0.0, margin=1.0)(batch)
    output = model(images)
    identity = [F.cross_entropy(output["logits"][:, window], labels) for window in range(21)]
    torch.testing.assert_close(terms["identity"], torch.stack(identity).mean())
    triplet = []
    for level in range(6):
        distance = torch.cdist(output[f"embeddings{level}"], output[f"embeddings{level}"])
        losses = []
        for anchor in range(8):
            same = labels == labels[anchor]
            positive = same & (torch.arange(8) != anchor)
            hardest = distance[anchor][positive].max() - distance[anchor][~same].min() + 1.0
            losses.append(hardest.clamp_min(0))
        triplet.append(torch.stack(losses).mean())
    torch.testing.assert_close(terms["triplet"], torch.stack(triplet).mean(), rtol=1e-4, atol=1e-5)


def test_mirror_images_are_added_before_the_length_is_taken(plaza_tiny) -> None:
    """The released code: features of image and mirror image summed, then unit length, then the product (HA-4)."""
    model = hagn(stages=(4,), image_size=(96, 32))
    a, b = pictures(3, (96, 32)), pictures(5, (96, 32)).flip(0)
    with torch.no_grad():
        descriptors = [F.normalize(model.encode(x).vector + model.encode(x.flip(-1)).vector) for x in (a, b)]
        stored = [
            type(e)(vector=(e.vector + m.vector) / 2)
            for e, m in ((model.encode(x), model.encode(x.flip(-1))) for x in (a, b))
        ]
    torch.testing.assert_close(model.distance(*stored), 1 - descriptors[0] @ descriptors[1].T)
    assert len(evaluate(model, plaza_tiny, "market1501-flip", progress=False, queries=4)) == 4


def test_responses_are_the_maps_of_both_images() -> None:
    model = hagn()
    a, b = pictures(4).split(2)
    found = model.responses(a, b)
    assert found["Stage 4"].shape == (2, 2, 96, 12, 4)
    assert found["S1"].shape == (2, 2, 1, 48, 16)
    with torch.no_grad():
        torch.testing.assert_close(found["Fused"][:, 1], model.maps(b)["Fused"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "S+C"}, r"order 'S\+C' is unknown"),
        ({"stages": (4, 3)}, r"stages \(4, 3\) is unknown"),
        ({"parts": 0}, "must be positive"),
        ({"image_size": (64, 32)}, "6 parts need 96 rows of pixels"),
    ],
)
def test_mistakes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hagn(**options)


def rows(table: str) -> list[Row]:
    return [row for row in PAPER.rows if row.table == table]


def test_tables_2_to_10_are_40_trainings() -> None:
    """20 on Market-1501, 17 on DukeMTMC-reID, both CUHK03-NP and MSMT17; cross-domain scores need none."""
    printed = {row.recipe for row in PAPER.rows if row.printed and row.table.startswith("Table")}
    trained = Counter(data.name for recipe in printed for data in recipe.datasets)
    assert trained == {"market1501": 20, "dukemtmc": 17, "cuhk03-np-labeled": 1, "cuhk03-np-detected": 1, "msmt17": 1}
    assert {row.recipe for row in rows("Table VIII") if not row.added} == {
        row.recipe for row in rows("Table VI") if not row.added
    }


def test_every_line_of_the_ablations_has_its_rows() -> None:
    for table in ("Table VI", "Table VII", "Table VIII", "Table IX", "Table X", "official README"):
        printed = printed_values("hagn", table)
        assert {row.printed[1] for row in rows(table) if row.printed} == set(printed.row)


def test_cumulative_rows_differ_by_their_component() -> None:
    """Table VI, HA-12, HA-15: what each step changes, from the baseline to the full model with its default options."""
    recipes = [PAPER.row(f"table6/market-{key}").recipe for key in ("baseline", "tricks", "mpfe", "mgo", "sam", "cam")]
    flat = [{**plain(recipe), **dict(recipe.options), "options": None} for recipe in recipes]
    changed = [{name for name in a | b if a.get(name) != b.get(name)} for a, b in pairwise(flat)]
    assert changed == [
        {"augment", "schedule", "objective_options"},
        {"extractor", "loss_weights"},
        {"parts"},
        {"stages", "order"},
        {"order"},
    ]
    defaults = options_of("hagn")
    assert all(defaults[name] == value for name, value in recipes[-1].options)


@pytest.mark.parametrize(("released", "rates"), [(False, (0, 1.5e-4, 3e-4)), (True, (3e-4, 5.15e-3, 1e-2))])
def test_the_rate_is_equation_6_or_the_released_codes(released: bool, rates: tuple[float, ...]) -> None:
    recipe = PAPER.row("open/warm-up" if released else "table2/ours").recipe

    def rate(epoch: float) -> float:
        return recipe.optimiser.lr * learning_rate_factor(recipe.schedule, epoch / 150)

    assert [rate(0), rate(5), rate(10 - 1e-9)] == pytest.approx(rates)
    assert [rate(epoch) for epoch in (10, 59, 61, 91, 121)] == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.00125])
    assert recipe.steps == 150 * 12936 // 64


def test_claims_compare_rows_of_one_dataset_with_half_the_printed_effect() -> None:
    for claim in PAPER.claims:
        for pair in claim.pairs:
            first, second = (PAPER.row(key) for key in pair)
            assert first.evaluations == second.evaluations
        if claim.printed_effect is not None:
            found = [[float(printed_map(PAPER.row(key))) for key in pair] for pair in claim.pairs]
            assert min(a - b for a, b in found) == pytest.approx(claim.printed_effect)
            assert claim.margin == pytest.approx(min(1.0, max(0.3, claim.printed_effect / 2)))


def printed_map(row: Row) -> str:
    """The printed mAP of a row, in the column of the dataset it is scored on."""
    table, name = row.printed
    values = printed_values("hagn", table)
    target = {"market1501": "Market", "dukemtmc": "Duke"}[row.evaluations[0].data.name]
    found = values[
        (values.row == name) & (values.metric == "mAP") & values.dataset.str.split("->").str[-1].str.startswith(target)
    ]
    return found.value.item()
