"""The two descriptors against pixel-by-pixel loops."""

import colorsys
import math

import torch

from reidlib.models import build


def test_histogram_is_the_loop_over_pixels() -> None:
    height, width, bins = 12, 5, 16
    model = build("histogram", image_size=(height, width))
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    image[:, 0, 0] = 0.5  # a grey has no hue
    image[:, 1, 1] = 0.0
    corrected = (image * (118 / 255) / image.mean()).clamp(max=1.0)
    counts = [[0.0] * 6 * bins for _ in range(3)]
    for y in range(height):
        for x in range(width):
            hue, saturation, value = colorsys.rgb_to_hsv(*corrected[:, y, x].tolist())
            weight = math.exp(-0.5 * ((x + 0.5 - width / 2) / (0.18 * width)) ** 2)
            stripe = y * 6 // height
            vivid = weight * saturation * min(1.0, 2 * value)
            positions = ((hue * bins, vivid), (saturation * bins - 0.5, weight), (value * bins - 0.5, weight))
            for histogram, (position, amount) in enumerate(positions):
                low = math.floor(position)
                for index, share in ((low, low + 1 - position), (low + 1, position - low)):
                    index = index % bins if histogram == 0 else min(max(index, 0), bins - 1)
                    counts[histogram][stripe * bins + index] += amount * share
    expected = torch.cat([(torch.tensor(row) / sum(row)).sqrt() for row in counts]) / math.sqrt(3)
    torch.testing.assert_close(model.encode(image[None]).vector[0], expected, atol=1e-4, rtol=0)


def test_histogram_ignores_the_light_and_pixels_its_offset() -> None:
    image = 0.2 + 0.3 * torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    histogram, pixels = build("histogram"), build("pixels")
    assert torch.allclose(histogram.encode(image).vector, histogram.encode(1.3 * image).vector, atol=1e-4)
    assert torch.allclose(pixels.encode(image).vector, pixels.encode(image + 0.2).vector, atol=1e-5)
    assert histogram.encode(image).vector.shape == (1, 288)
    assert pixels.encode(image).vector.shape == (1, 384)


def test_a_black_image_has_a_finite_encoding() -> None:
    for name in ("histogram", "pixels"):
        assert build(name).encode(torch.zeros(1, 3, 128, 64)).vector.isfinite().all()


def test_the_small_network_has_its_stated_size() -> None:
    assert sum(p.numel() for p in build("smallcnn", identities=200).parameters()) == 354_576
