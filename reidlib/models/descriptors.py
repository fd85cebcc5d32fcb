"""Baselines that learn nothing: raw pixels, a colour histogram, LOMO."""

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


class LOMO(Descriptor):
    """Local maximal occurrence (Liao, Hu, Zhu and Li, CVPR 2015), (B, 26960) for 128x48.

    Of the image after `retinex` a joint histogram of hue, saturation and value (8x8x8 bins), of its grey values two of
    scale-invariant local ternary patterns (3^4 bins each, `siltp` of radius 3 and 5), in every 10x10 window at steps of
    5; over a row of windows the largest count of each bin. The same for the image halved once and twice, logarithms
    of the counts, and unit length for each of the three histograms.
    What the paper leaves open: Retinex has one gain and one offset an image; a halved image is the mean of its colours
    (the released code takes the mean of its bins' numbers).
    """

    WINDOW, STEP, SCALES = 10, 5, 3
    RADII = (3, 5)
    SIGMAS = (5.0, 20.0)  # of Retinex's surrounds, in pixels
    rows: Tensor
    columns: Tensor

    def __init__(self, image_size: Sequence[int] = (128, 48), identities: int = 751) -> None:
        super().__init__(image_size, mean=(0.0,) * 3)
        if min(self.image_size) < 2 * max(self.RADII) + 1:
            raise ValueError(f"image_size {self.image_size} is too small for LOMO: use (128, 48).")
        for axis, side in zip(("rows", "columns"), self.image_size, strict=True):
            apart = torch.arange(side)[:, None] - torch.arange(side)
            blurs = torch.stack([torch.exp(-0.5 * (apart / sigma) ** 2) for sigma in self.SIGMAS])
            self.register_buffer(axis, blurs / blurs.sum(2, keepdim=True), persistent=False)  # (2, side, side)

    def forward(self, images: Tensor) -> dict[str, Any]:
        rgb = self.normalise(images).float()
        grey = (rgb * rgb.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
        colour = self.retinex(rgb)
        parts: list[list[Tensor]] = [[], [], []]
        for _ in range(self.SCALES):
            if min(grey.shape[1:]) < self.WINDOW:
                break
            levels = [(8 * channel).long().clamp_max(7) for channel in hsv(colour.flatten(2))]
            joint = (levels[0] + 8 * levels[1] + 64 * levels[2]).view_as(grey)
            parts[0].append(self.occurrence(joint, 8**3))
            for part, radius in zip(parts[1:], self.RADII, strict=True):
                if min(grey.shape[1:]) > 2 * radius:
                    part.append(self.occurrence(siltp(grey, radius), 3**4))
            grey, colour = F.avg_pool2d(grey, 2), F.avg_pool2d(colour, 2)
        whole = torch.cat([F.normalize((torch.cat(part, 1) + 1.0).log()) for part in parts], 1)
        return {"encoding": Encoding(vector=F.normalize(whole))}

    def retinex(self, rgb: Tensor) -> Tensor:
        """Log ratios of every pixel to its Gaussian surrounds, their mean stretched to [0, 1]; (B, 3, H, W)."""
        with torch.autocast(rgb.device.type, enabled=False):
            levels = 255 * rgb + 1
            blurred = [rows @ levels @ columns.T for rows, columns in zip(self.rows, self.columns, strict=True)]
            ratio = levels.log() - torch.stack(blurred).log().mean(0)
        low, high = ratio.amin((1, 2, 3), keepdim=True), ratio.amax((1, 2, 3), keepdim=True)
        return (ratio - low) / (high - low).clamp_min(1e-6)

    def occurrence(self, codes: Tensor, bins: int) -> Tensor:
        """(B, H, W) of 0 ... bins - 1 -> (B, rows * bins): the largest count of each bin over a row's windows."""
        rows, columns = ((side - self.WINDOW) // self.STEP + 2 for side in codes.shape[1:])  # of cells, half a window
        codes = codes[:, : rows * self.STEP, : columns * self.STEP]
        cell = torch.arange(rows * columns, device=codes.device).view(rows, columns)
        cell = cell.repeat_interleave(self.STEP, 0).repeat_interleave(self.STEP, 1)
        cell = cell + rows * columns * torch.arange(len(codes), device=codes.device).view(-1, 1, 1)
        counts = torch.bincount((cell * bins + codes).flatten(), minlength=len(codes) * rows * columns * bins)
        counts = counts.to(torch.uint8).view(len(codes), rows, columns, bins)  # at most 100 in a window
        counts = counts[:, 1:] + counts[:, :-1]
        return (counts[:, :, 1:] + counts[:, :, :-1]).amax(2).flatten(1)


def siltp(grey: Tensor, radius: int, tau: float = 0.3) -> Tensor:
    """Scale-invariant local ternary patterns of (B, H, W), 0 ... 80: one digit for each of four neighbours.

    A digit is 1 where the neighbour at that distance is darker than (1 - tau) of the pixel, 2 where it is lighter than
    (1 + tau) of it, else 0. Borders are repeated.
    """
    around = F.pad(grey[:, None], (radius,) * 4, mode="replicate")[:, 0]
    height, width = grey.shape[1:]
    pattern = torch.zeros_like(grey, dtype=torch.long)
    for digit, (y, x) in enumerate(((radius, 2 * radius), (0, radius), (radius, 0), (2 * radius, radius))):
        near = around[:, y : y + height, x : x + width]
        pattern += 3**digit * ((near < (1 - tau) * grey).long() + 2 * (near > (1 + tau) * grey).long())
    return pattern


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
