"""Baselines that learn nothing: raw pixels and a colour histogram."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.models.base import Descriptor, Encoding


class PixelDescriptor(Descriptor):
    """The image at 16x8 pixels, minus its mean, as a unit vector of 384 values."""

    def __init__(self, image_size: Sequence[int] = (128, 64), identities: int = 751) -> None:
        super().__init__(image_size)

    def forward(self, images: Tensor) -> dict[str, Any]:
        small = F.adaptive_avg_pool2d(self.normalise(images), (16, 8)).flatten(1)
        return {"encoding": Encoding(vector=F.normalize(small - small.mean(1, keepdim=True)))}


class HistogramDescriptor(Descriptor):
    """Hue, saturation and value histograms of six stripes after a grey-world correction, (B, 288).

    16 bins a histogram; a pixel is shared linearly between its two nearest bins and counts by a Gaussian
    around the vertical axis (the person), for hue also by its saturation and, when dark, its value. The three
    histograms weigh the same; the root makes the cosine a Bhattacharyya coefficient.
    """

    STRIPES = 6
    BINS = 16
    GREY = 118 / 255  # mean level after the correction
    weight: Tensor
    stripe: Tensor

    def __init__(self, image_size: Sequence[int] = (128, 64), identities: int = 751) -> None:
        super().__init__(image_size, mean=(0.0,) * 3)
        height, width = self.image_size
        column = (torch.arange(width) + 0.5 - width / 2) / (0.18 * width)
        weight = torch.exp(-0.5 * column**2).repeat(height)  # (H W,)
        stripe = torch.arange(height) * self.STRIPES // height
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("stripe", stripe.repeat_interleave(width), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Any]:
        pixels = self.normalise(images).float().flatten(2)  # (B, 3, H W)
        level = pixels.mean(2, keepdim=True).clamp(min=8 / 255)  # of each channel: that is the grey-world correction
        hue, saturation, value = hsv((pixels * (self.GREY / level)).clamp(max=1.0))
        colourful = self.weight * saturation * (2 * value).clamp(max=1.0)
        histograms = [
            self._histogram(hue * self.BINS, colourful, cyclic=True),
            self._histogram(saturation * self.BINS - 0.5, self.weight.expand_as(hue), cyclic=False),
            self._histogram(value * self.BINS - 0.5, self.weight.expand_as(hue), cyclic=False),
        ]
        shares = [histogram / (histogram.sum(1, keepdim=True) + 1e-6) for histogram in histograms]
        return {"encoding": Encoding(vector=F.normalize(torch.cat(shares, 1).sqrt()))}

    def _histogram(self, position: Tensor, weight: Tensor, cyclic: bool) -> Tensor:
        """Soft counts (B, stripes * bins) of pixels at `position` (B, H W), in bins."""
        lower = position.floor()
        above = position - lower
        counts = position.new_zeros(len(position), self.STRIPES * self.BINS)
        for index, share in ((lower.long(), 1 - above), (lower.long() + 1, above)):
            index = index % self.BINS if cyclic else index.clamp(0, self.BINS - 1)
            counts.scatter_add_(1, self.stripe * self.BINS + index, weight * share)
        return counts


def hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value in [0, 1] of colours (B, 3, N) in [0, 1]; greys have hue 0."""
    red, green, blue = rgb.unbind(1)
    value, low = rgb.amax(1), rgb.amin(1)
    span = value - low
    safe = span.clamp(min=1e-12)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = torch.where(span > 0, (sector / 6) % 1.0, torch.zeros_like(span))
    return hue, span / value.clamp(min=1e-12), value
