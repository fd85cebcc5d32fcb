"""X-Corr against its released shapes and parameter counts, and its correlations against plain loops."""

import pytest
import torch

from reidlib.models import Encoding, build
from reidlib.models.xcorr import XCorr, unit_patches


def xcorr(**options: object) -> XCorr:
    torch.manual_seed(0)
    model = build("xcorr", **{"fc": 8, **options}).eval()
    assert isinstance(model, XCorr)
    return model


@pytest.mark.parametrize(("branches", "count"), [("fused", 2_222_147), ("correlation", 1_121_222)])
def test_parameter_counts(branches: str, count: int) -> None:
    """MLS's Table 5 prints 2.2 M: the fused network, not the one of correlations alone."""
    model = build("xcorr", branches=branches)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_shapes_of_the_released_code() -> None:
    model = xcorr()
    encoding = model.encode(torch.rand(1, 3, 160, 60)).detach()
    assert encoding.maps.shape == (1, 25, 37, 12)
    assert model.compare(encoding, encoding)["correlation"].shape == (1, 25, 5, 12, 37, 12)
    assert model.correlation.summary.in_channels == 1500
    assert model.difference.summary.in_channels == 1250
    assert model.correlation.fc.in_features == 25 * 17 * 5


def test_correlations_are_the_loop_over_patches() -> None:
    """Zeros beyond the border, patches centred two rows beyond it too, 0.01 added to every standard deviation."""
    model = xcorr(image_size=(80, 32)).double()
    f, h = torch.randn(2, 25, 17, 5, dtype=torch.float64)
    h[4] = 0.0  # a dead channel: constant patches correlate with nothing
    found = model.compare(Encoding(maps=f[None]), Encoding(maps=h[None]))["correlation"][0]

    def patch(maps: torch.Tensor, channel: int, y: int, x: int) -> torch.Tensor:
        values = torch.zeros(5, 5, dtype=torch.float64)
        for v in range(5):
            for u in range(5):
                row, column = y + v - 2, x + u - 2
                if 0 <= row < 17 and 0 <= column < 5:
                    values[v, u] = maps[channel, row, column]
        return values

    for channel, y, x in ((0, 0, 0), (24, 16, 4), (3, 8, 2), (4, 5, 1)):
        e = patch(f, channel, y, x)
        for row in range(5):
            for column in range(5):
                p = patch(h, channel, y + row - 2, column)
                expected = ((e - e.mean()) * (p - p.mean())).sum() / (24 * (e.std() + 0.01) * (p.std() + 0.01))
                torch.testing.assert_close(found[channel, row, column, y, x], expected, atol=1e-12, rtol=0)


def test_differences_are_both_ways_without_their_sign() -> None:
    model = xcorr(image_size=(80, 32)).double()
    model.correlation.summary.weight.data.zero_()  # leaves the differences alone
    a, b = torch.randn(2, 2, 25, 17, 5, dtype=torch.float64)
    weight = model.difference.summary.weight.view(25, 2, 25, 25).transpose(0, 1).clone()
    forth = model.compare(Encoding(maps=a), Encoding(maps=b))["logits"]
    model.difference.summary.weight.data = weight.flip(0).transpose(0, 1).reshape(25, 1250, 1, 1)
    torch.testing.assert_close(model.compare(Encoding(maps=b), Encoding(maps=a))["logits"], forth)


def test_blank_images_give_finite_gradients() -> None:
    """The deviation of a constant patch is zero, where a root has no slope."""
    model = xcorr(image_size=(80, 32)).train()
    maps = torch.zeros(2, 25, 17, 5, requires_grad=True)
    assert not unit_patches(maps).any()
    model.compare(Encoding(maps=maps), Encoding(maps=maps.flip(0)))["logits"].square().sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="branches 'fuse' is unknown: did you mean 'fused'"):
        build("xcorr", branches="fuse")
    with pytest.raises(ValueError, match="positive width"):
        build("xcorr", fc=0)
    with pytest.raises(ValueError, match="too small for X-Corr"):
        build("xcorr", image_size=(40, 20))
