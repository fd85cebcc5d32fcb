"""MidLevel against the sizes and counts of its paper, its two images' halves, and the maps of its figures."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from reidlib.models import Encoding, build
from reidlib.models.midlevel import Correspondence, MidLevel

TINY = {"width": 1 / 16, "fc": (16, 16)}


def midlevel(seed: int = 0, **options: object) -> MidLevel:
    torch.manual_seed(seed)
    model = build("midlevel", **{**TINY, **options}).eval()
    assert isinstance(model, MidLevel)
    return model


def trained(**options: object) -> MidLevel:
    """A batch-norm model whose averages and weights are not the initial ones."""
    model = midlevel(batch_norm=True, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return model


def test_map_sizes_are_the_printed_ones() -> None:
    found = midlevel(width=1.0).responses(*torch.rand(2, 1, 3, 160, 80))
    sizes = {name: tuple(response.shape[1:]) for name, response in found.items()}
    assert sizes["Mid-level"] == (2, 832, 10, 5)  # Sec. III-A
    assert sizes["Correspondence"] == (832, 10, 5)  # Sec. III-B
    assert sizes["Relationship"] == (832, 10, 5)  # Sec. III-C: "the input and output shapes are the same"
    assert sizes["Pooled"] == sizes["Rescaled"] == (832, 5, 2)
    assert sizes["Softmax"] == (2,)
    assert midlevel(level="5b").encode(torch.rand(1, 3, 160, 80)).maps.shape[2:] == (5, 2)


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({}, 37.98),
        ({"fc": (512, 512)}, 32.93),
        ({"fc": (4096, 4096)}, 79.28),
        ({"pool": "2x2"}, 37.98),
        ({"pool": "2x2-ceil"}, 42.24),
        ({"correspondence": "grouped"}, 25.54),
        ({"relations": False}, 25.52),
    ],
)
def test_parameter_counts(options: dict, millions: float) -> None:
    model = build("midlevel", **options)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_operations_of_the_trunk_and_of_a_pair() -> None:
    model = midlevel(width=1.0, fc=(1024, 1024))
    images = torch.rand(2, 3, 160, 80)
    with torch.no_grad(), FlopCounterMode(display=False) as trunk:
        encoding = model.encode(images)
    with torch.no_grad(), FlopCounterMode(display=False) as head:
        model.compare(encoding[0], encoding[1])
    assert trunk.get_total_flops() / 2e9 == pytest.approx(0.745, abs=5e-4)
    assert (trunk.get_total_flops() + head.get_total_flops()) / 1e9 == pytest.approx(3.50, abs=5e-3)


@pytest.mark.parametrize("grouped", [False, True])
def test_correspondence_separates_by_image(grouped: bool) -> None:
    torch.manual_seed(0)
    layer = Correspondence(6, grouped).double()
    a, b = torch.randn(2, 3, 6, 10, 5, dtype=torch.float64)
    torch.testing.assert_close(layer.part(a, 0) + layer.part(b, 1), layer(a, b))


def test_correspondence_of_all_maps_is_the_convolution_of_the_concatenation() -> None:
    torch.manual_seed(0)
    layer = Correspondence(3, False)
    a, b = torch.randn(2, 1, 3, 4, 5)
    padded = F.pad(torch.cat([a, b], 1), (1, 1, 1, 1))
    for k in range(3):
        for y in range(4):
            for x in range(5):
                expected = (layer.weight[k] * padded[0, :, y : y + 3, x : x + 3]).sum() + layer.bias[k]
                torch.testing.assert_close(layer(a, b)[0, k, y, x], expected)


def test_grouped_correspondence_sees_one_map_of_either_image() -> None:
    torch.manual_seed(0)
    layer = Correspondence(5, True)
    a, b = torch.randn(2, 1, 5, 4, 4)
    for i in range(5):
        alone = F.conv2d(torch.stack([a[:, i], b[:, i]], 1), layer.weight[i : i + 1], layer.bias[i : i + 1], padding=1)
        torch.testing.assert_close(layer(a, b)[:, i], alone[:, 0])


@pytest.mark.parametrize("options", [{}, {"correspondence": "grouped"}, {"relations": False}, {"average_orders": True}])
def test_block_of_a_trained_network_is_the_printed_form(options: dict) -> None:
    model = trained(width=1 / 8, **options)  # 104 maps are many enough for the faster convolutions
    encoding = model.encode(torch.rand(5, 3, 160, 80)).detach()
    block = model.distance(encoding[:2], encoding)
    assert model.faster is None
    with torch.no_grad():
        expected = model.compare(encoding[[0] * 5 + [1] * 5], encoding[[*range(5)] * 2])["distance"].view(2, 5)
    torch.testing.assert_close(block, expected, atol=1e-5, rtol=0)
    assert block.std() > 1e-3


def test_block_form_at_full_width_is_within_1e5_of_the_concatenation() -> None:
    model = midlevel(width=1.0, fc=(1024, 1024))
    encoding = model.encode(torch.rand(4, 3, 160, 80)).detach()
    with torch.no_grad():
        expected = model.compare(encoding[[0, 0, 0]], encoding[1:])["distance"]
    torch.testing.assert_close(model.distance(encoding[:1], encoding[1:])[0], expected, atol=1e-5, rtol=0)


def test_distance_ranks_as_the_softmax_of_equation_2() -> None:
    model = midlevel()
    a, b = torch.rand(2, 6, 3, 160, 80)
    with torch.no_grad():
        compared = model.compare(model.encode(a), model.encode(b))
    same = model.responses(a, b)["Softmax"][:, 1]
    assert compared["distance"].argsort().tolist() == same.argsort(descending=True).tolist()
    torch.testing.assert_close(same, torch.sigmoid(-compared["distance"]))


def test_average_of_both_orders_is_symmetric_and_of_eval_mode_only() -> None:
    model, plain = midlevel(average_orders=True, dropout=0.0), midlevel(dropout=0.0)
    encoding = model.encode(torch.rand(3, 3, 160, 80)).detach()
    distance, one_way = model.distance(encoding, encoding), plain.distance(encoding, encoding)
    torch.testing.assert_close(distance, (one_way + one_way.T) / 2, atol=1e-5, rtol=0)
    assert not torch.allclose(one_way, one_way.T, atol=1e-4)
    one_order = model.train().compare(encoding[:1], encoding[1:2])["distance"]
    torch.testing.assert_close(one_order, one_way[0, 1:2], atol=1e-5, rtol=0)


def test_dropout_acts_in_training_only() -> None:
    model = midlevel()
    encoding = model.encode(torch.rand(2, 3, 160, 80)).detach()
    assert torch.equal(*(model.compare(encoding, encoding)["logits"] for _ in range(2)))
    model.train()
    assert not torch.equal(*(model.compare(encoding, encoding)["logits"] for _ in range(2)))


def test_images_reach_the_trunk_as_its_weights_want_them() -> None:
    image = torch.rand(1, 3, 160, 80)
    seen = {}

    def entering(**options: object) -> torch.Tensor:
        model = midlevel(**options)
        model.trunk.register_forward_pre_hook(lambda module, inputs: seen.update(images=inputs[0]))
        model.encode(image)
        return seen["images"]

    bgr = 255 * image.flip(1) - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    torch.testing.assert_close(entering(), bgr, atol=1e-3, rtol=0)
    torch.testing.assert_close(entering(layout="torchvision"), 2 * image - 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(entering(normalisation="imagenet"), (image - mean) / std)
    # torchvision's own order: ImageNet's mean and deviation, undone by its `transform_input`.
    from torchvision.models import GoogLeNet

    whole = GoogLeNet(aux_logits=False, transform_input=True, init_weights=False)
    torch.testing.assert_close(whole._transform_input((image - mean) / std), 2 * image - 1)


def test_highest_weighted_map_has_the_largest_product_of_activation_and_weight() -> None:
    model = midlevel()
    maps_a, maps_b = torch.zeros(2, 2, 52, 10, 5)
    maps_a[0, 7], maps_b[0, 7] = 3.0, 2.0
    maps_a[1, 30] = 1.0
    a, b = Encoding(maps=maps_a), Encoding(maps=maps_b)
    assert model.highest_weighted(a, b).tolist() == [7, 30]
    maps_a[0, 8] = 4.0
    assert model.highest_weighted(a, b)[0] == 7
    with torch.no_grad():
        model.correspondence.weight[:, 8] *= 2
    assert model.highest_weighted(a, b)[0] == 8
    images = torch.rand(2, 3, 160, 80)
    found = model.responses(images, images.flip(0))
    chosen = model.highest_weighted(*(Encoding(maps=maps) for maps in found["Mid-level"].unbind(1)))
    for pair, channel in enumerate(chosen.tolist()):
        assert torch.equal(found["Highest weighted"][pair, :, 0], found["Mid-level"][pair, :, channel])


@pytest.mark.parametrize("options", [{}, {"correspondence": "grouped"}])
def test_weights_of_a_map_are_the_norm_over_all_that_read_it(options: dict) -> None:
    model = midlevel(**options)
    weight, found = model.correspondence.weight, model.correspondence.weights()
    assert found.shape == (2, 52)
    if options:
        torch.testing.assert_close(found[1, 3], weight[3, 1].norm())
    else:
        torch.testing.assert_close(found[1, 3], weight[:, 52 + 3].norm())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "3x3"}, "pool '3x3' is unknown: did you mean '3x3-ceil'"),
        ({"correspondence": "group"}, "did you mean 'grouped'"),
        ({"level": "4d"}, "level '4d' is unknown"),
        ({"fc": (1024,)}, "two positive widths"),
        ({"conv_c": 0}, "two positive widths"),
        ({"dropout": 1.0}, "share in"),
        ({"image_size": (40, 20)}, r"\(40, 20\) is too small for MidLevel: use \(160, 80\)"),
    ],
)
def test_mistakes_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("midlevel", **{**TINY, **options})
