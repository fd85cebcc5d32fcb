"""The hand-made descriptors against what they promise."""

from collections import Counter

import pytest
import torch

from reidlib.models import build
from reidlib.models.descriptors import LOMO, siltp


def test_the_histogram_ignores_a_colour_cast():
    """Grey-world: scaling each channel, as a camera's white balance does, changes nothing."""
    model = build("histogram")
    images = 0.2 + 0.3 * torch.rand(3, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    cast = images * torch.tensor([1.4, 1.0, 0.7])[:, None, None]
    same = (model.encode(images).vector * model.encode(cast).vector).sum(1)
    assert torch.allclose(same, torch.ones(3), atol=1e-5)


def test_the_histogram_tells_colours_apart():
    model = build("histogram")
    images = 0.2 * torch.ones(2, 3, 128, 64)
    images[0, 0, 40:80], images[1, 2, 40:80] = 0.9, 0.9  # a red and a blue shirt
    vectors = model.encode(images).vector
    assert (vectors[0] @ vectors[1]).item() < 0.9
    assert (vectors[0] @ vectors[0]).item() > 0.999


def test_lomo_has_the_published_length() -> None:
    """(8^3 + 2 3^4) bins in 24, 11 and 5 rows of windows."""
    assert build("lomo").encode(torch.rand(1, 3, 128, 48)).vector.shape == (1, 26_960)


def test_occurrence_is_the_largest_count_over_a_row_of_windows() -> None:
    codes = torch.randint(0, 7, (2, 31, 22), generator=torch.Generator().manual_seed(0))
    found = build("lomo").occurrence(codes, 7).view(2, 5, 7)
    for image in range(2):
        for row in range(5):  # windows at rows 0, 5, 10, 15, 20 and columns 0, 5, 10
            windows = [codes[image, 5 * row : 5 * row + 10, left : left + 10] for left in (0, 5, 10)]
            counts = [Counter(window.flatten().tolist()) for window in windows]
            assert found[image, row].tolist() == [max(count[code] for count in counts) for code in range(7)]


@pytest.mark.parametrize("radius", [3, 5])
def test_siltp_is_the_loop_over_neighbours(radius: int) -> None:
    grey = torch.rand(1, 13, 12, generator=torch.Generator().manual_seed(0))
    found = siltp(grey, radius)
    for y in range(13):
        for x in range(12):
            pattern = 0
            for digit, (down, right) in enumerate(((0, 1), (-1, 0), (0, -1), (1, 0))):
                row, column = min(max(y + radius * down, 0), 12), min(max(x + radius * right, 0), 11)
                near, pixel = grey[0, row, column], grey[0, y, x]
                pattern += 3**digit * (1 if near < 0.7 * pixel else 2 if near > 1.3 * pixel else 0)
            assert found[0, y, x] == pattern


def test_retinex_takes_a_gaussian_surround_away() -> None:
    """The light of a lamp, which changes slowly over the image, and a camera's gain of each channel hardly matter."""
    model = build("lomo")
    assert isinstance(model, LOMO)
    images = 0.2 + 0.5 * torch.rand(1, 3, 128, 48, generator=torch.Generator().manual_seed(0))
    lit = images * torch.linspace(0.7, 1.3, 128)[:, None] * torch.tensor([1.1, 1.0, 0.8])[:, None, None]
    inside = (..., slice(20, -20), slice(12, -12))
    before, after = (
        (lit - images)[inside].abs().mean(),
        (model.retinex(lit) - model.retinex(images))[inside].abs().mean(),
    )
    assert after < 0.2 * before
    assert model.retinex(images).amin() == 0
    assert model.retinex(images).amax() == 1
    y, x = torch.arange(128)[:, None] - 100, torch.arange(48) - 3
    for sigma, rows, columns in zip(model.SIGMAS, model.rows, model.columns, strict=True):
        weight = torch.exp(-(y**2 + x**2) / (2 * sigma**2))  # what lies beyond the border counts for nothing
        expected = (weight * images).sum((2, 3)) / weight.sum()
        torch.testing.assert_close((rows @ images @ columns.T)[:, :, 100, 3], expected)


def test_lomo_refuses_images_smaller_than_its_neighbourhoods() -> None:
    with pytest.raises(ValueError, match="too small for LOMO"):
        build("lomo", image_size=(64, 10))
