"""The hand-made descriptors against what they promise."""

import torch

from reidlib.models import build


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
