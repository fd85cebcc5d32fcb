"""Fewer products, the same convolution."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reidlib.models.googlenet import Convolution
from reidlib.models.winograd import MapConvolution, MapNetwork, along, matrices


@pytest.mark.parametrize("tile", [1, 2, 3, 4, 5])
def test_products_at_points_give_a_correlation(tile: int) -> None:
    rng = np.random.default_rng(0)
    w, d = rng.normal(size=3), rng.normal(size=tile + 2)
    out, weight, into = matrices(tile)
    assert len(weight) == tile + 2
    expected = [sum(w[j] * d[i + j] for j in range(3)) for i in range(tile)]
    np.testing.assert_allclose(out @ ((weight @ w) * (into @ d)), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 9, 10])
def test_an_axis_is_covered_by_tiles_with_zeros_around(size: int) -> None:
    rng = np.random.default_rng(0)
    w, d = rng.normal(size=3), rng.normal(size=size)
    out, weight, into = along(size)
    found = np.einsum("spt,p,pti,i->s", out, weight @ w, into, d)
    np.testing.assert_allclose(found, np.correlate(np.pad(d, 1), w), atol=1e-12)


@pytest.mark.parametrize(("height", "width", "products"), [(10, 5, 140), (5, 2, 28), (8, 4, 96), (3, 3, 25)])
def test_map_convolution_is_the_convolution(height: int, width: int, products: int) -> None:
    torch.manual_seed(0)
    maps, weight, bias = torch.randn(3, 6, height, width), torch.randn(4, 6, 3, 3), torch.randn(4)
    convolution = MapConvolution(weight, bias, height, width)
    assert len(convolution.into) == products
    with torch.no_grad():
        found = convolution(maps.permute(2, 3, 0, 1).reshape(height * width, 3, 6))
    expected = F.conv2d(maps.double(), weight.double(), bias.double(), padding=1).permute(2, 3, 0, 1)
    torch.testing.assert_close(found.double(), expected.flatten(0, 1), atol=2e-5, rtol=0)


def test_its_error_at_full_width_is_of_rounding() -> None:
    torch.manual_seed(0)
    maps, weight = torch.rand(2, 832, 10, 5), torch.randn(8, 832, 3, 3) / 9 / 832**0.5
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    with torch.no_grad():
        convolution = MapConvolution(weight, torch.zeros(8), 10, 5)
        found = convolution(maps.permute(2, 3, 0, 1).reshape(50, 2, 832)).view(10, 5, 2, 8).permute(2, 3, 0, 1)
    assert (found - exact).abs().max() < 1e-5 * exact.std()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_map_network_is_the_layers_one_after_the_other(batch_norm: bool) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        Convolution(6, 5, 3, batch_norm=batch_norm),
        torch.nn.MaxPool2d(3, 2, ceil_mode=True),
        Convolution(5, 4, 3, batch_norm=batch_norm),
    ).eval()
    for module in layers.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    maps = torch.randn(3, 6, 10, 5)
    with torch.no_grad():
        found = MapNetwork(layers, 10, 5)(maps.permute(2, 3, 0, 1).reshape(50, 3, 6))
        expected = layers(maps).permute(2, 3, 0, 1).flatten(0, 1)  # (5 * 2, 3, 4)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
