"""The pieces of MLS's Convolution Similarity Network: attended parts, and maps correlated with them (Sec. 3.1)."""

from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import LogitLayer
from reidlib.models.blocks import Stage, glorot

LEAST_SCALE = 0.1  # of a transformation; the paper has "larger than 0" (MLS-9)


def layer(channels: tuple[int, int], kernel: int, pool: bool = True) -> Stage:
    """A convolution of Table 1. Where batch norm and ReLU stand is not printed: here after every convolution."""
    return Stage(channels, kernel, torch.relu, "ceil" if pool else None, kernel // 2, batch_norm=True)


class Localisation(nn.Module):
    """The localisation net of Table 1: parts (N, C, h, w) -> theta (N, 2, 3) of Eq. 1, within [-1, 1].

    start: (s_w, s_h) of the untrained net, which neither turns nor moves (MLS-9).
    """

    def __init__(self, channels: int, start: tuple[float, float]) -> None:
        super().__init__()
        self.conv1, self.conv2 = layer((channels, 32), 3), layer((32, 32), 3)
        self.conv3 = layer((32, 128), 1, pool=False)
        self.embedding = LogitLayer(128, 6)
        self.apply(glorot)
        with torch.no_grad():
            self.embedding.weight.mul_(0.1)  # images differ little at first
            self.embedding.bias.copy_(torch.tensor([start[0], 0, 0, 0, start[1], 0]).atanh())

    def forward(self, parts: Tensor) -> Tensor:
        features = self.conv3(self.conv2(self.conv1(parts))).mean((2, 3))  # (N, 128)
        return torch.tanh(self.embedding(features)).view(-1, 2, 3)


class Attention(nn.Module):
    """Filters out of one level's maps (B, C, H, W): of every part, what a spatial transformer samples (Sec. 3.1).

    maps: height and width of the maps. size: f, the side of the filters. parts, rows, constraint: as in MLS.
    Transformations start as the centre crop of C2, from which they have a person to look for.
    """

    def __init__(self, channels: int, maps: tuple[int, int], size: int, parts: str, rows: str, constraint: str) -> None:
        super().__init__()
        self.size, self.constraint = size, constraint
        height, width = self.maps = maps
        self.stripes = [(0, height)] if parts == "none" else stripes(height, rows)
        tall = min(stripe[1] for stripe in self.stripes)
        if parts == "crop" and size > min(tall, width):
            raise ValueError(
                f"crops of {size}x{size} exceed stripes of {tall}x{width}: lower sizes, or enlarge images."
            )
        start = (min(size / width, 0.9), min(size / tall, 0.9))
        self.localisation = None if parts == "crop" else Localisation(channels, start)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Filters (B, n, C, f, f) and their theta (B, n, 2, 3), None for crops."""
        filters, thetas = [], []
        # All parts share one net; those of one height go through it together, so that batch norm sees them all.
        for rows, group in groupby(self.stripes, key=lambda stripe: stripe[1]):
            parts = torch.stack([maps[:, :, first : first + rows] for first, _ in group], 1)  # (B, n', C, h, W)
            if self.localisation is None:
                top, left = (rows - self.size) // 2, (maps.shape[3] - self.size) // 2
                filters.append(parts[..., top : top + self.size, left : left + self.size])
                continue
            x = parts.flatten(0, 1)
            theta = self.localisation(x)
            if self.constraint == "clamp":
                theta = clamped(theta)
            grid = F.affine_grid(theta, [len(x), 1, self.size, self.size], align_corners=False)  # Eq. 1
            sampled = F.grid_sample(x.to(grid.dtype), grid, align_corners=False)  # bilinear
            filters.append(sampled.unflatten(0, parts.shape[:2]))
            thetas.append(theta.unflatten(0, parts.shape[:2]))
        return torch.cat(filters, 1), torch.cat(thetas, 1) if thetas else None

    def windows(self, theta: Tensor) -> Tensor:
        """Corners (B, n, 4, 2) of what each part's theta (B, n, 2, 3) samples, as (x, y) in cells of the map (Eq. 1).

        Clockwise, from the corner that becomes the filter's upper left.
        """
        corners = theta.new_tensor([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
        x, y = ((corners @ theta.transpose(-1, -2) + 1) / 2).unbind(-1)  # shares of the stripe, (B, n, 4)
        first, rows = theta.new_tensor(self.stripes).T[..., None]
        return torch.stack([x * self.maps[1], first + y * rows], -1)


def stripes(height: int, rows: str) -> list[tuple[int, int]]:
    """(first row, number of rows) of the upper, middle and lower part of maps of that height (Sec. 4.2, MLS-6)."""
    half, quarter = -(-height // 2), height // 4
    if rows == "inclusive":  # "row 1 to 20 [...] 10 to 30 [...] 20 to 40" of 40 rows are 20, 21 and 21
        return [(0, half), (max(quarter - 1, 0), half + 1), (half - 1, height - half + 1)]
    return [(0, half), ((height - half) // 2, half), (height - half, half)]


def clamped(theta: Tensor) -> Tensor:
    """The nearest transformations (..., 2, 3) that stay in the map, with scales of at least `LEAST_SCALE` (MLS-9)."""
    linear, shift = theta[..., :2], theta[..., 2:]
    scale = torch.eye(2, dtype=torch.bool, device=theta.device)
    linear = torch.where(scale, linear.clamp_min(LEAST_SCALE), linear)
    linear = linear / linear.abs().sum(-1, keepdim=True).clamp_min(1)
    room = 1 - linear.abs().sum(-1, keepdim=True)
    return torch.cat([linear, torch.minimum(torch.maximum(shift, -room), room)], -1)


class _Correlation(torch.autograd.Function):
    """Map n with filter n: (N, H, W) and (N, f, f) -> (N, H, W).

    Both gradients are correlations again, which a CPU computes several times faster than PyTorch's backward pass
    of a grouped convolution.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(maps, filters)
        return _convolved(maps, filters, *_zeros(filters.shape[-1]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        maps, filters = ctx.saved_tensors
        before, behind = _zeros(filters.shape[-1])
        to_maps = _convolved(gradient, filters.flip(-1, -2), behind, before)
        return to_maps, _convolved(maps, gradient, before, behind)


def _zeros(size: int) -> tuple[int, int]:
    """Zeros before and behind a side that keep its length; of an even size one more lies behind (MLS-8)."""
    return (size - 1) // 2, size // 2


def _convolved(maps: Tensor, filters: Tensor, before: int, behind: int) -> Tensor:
    """Map n with filter n, with so many zeros before and behind either side of the map."""
    both = min(before, behind)
    if before != behind:
        maps = F.pad(maps, (before - both, behind - both) * 2)
    return F.conv2d(maps[None], filters[:, None], padding=both, groups=len(maps))[0]


def correlate(maps: Tensor, filters: Tensor) -> Tensor:
    """s = x * x', every channel by itself (MLS, Eq. 2): (P, C, H, W) with (P, C, f, f) -> (P, C, H, W)."""
    dtype = torch.get_autocast_dtype(maps.device.type) if torch.is_autocast_enabled(maps.device.type) else maps.dtype
    found = _Correlation.apply(maps.flatten(0, 1).to(dtype), filters.flatten(0, 1).to(dtype))
    return found.unflatten(0, maps.shape[:2])


def patches(maps: Tensor, size: int, cell: int) -> Tensor:
    """Where a filter looks, sorted by pooling: (C, H, W) -> (cell^2, C, size^2, positions).

    Position p of cell k is the k-th of the cell x cell outputs that max-pooling, which keeps a last part window,
    brings together at p; outputs beyond the map repeat the last one.
    """
    channels, height, width = maps.shape
    rows, columns = -(-height // cell), -(-width // cell)
    before, behind = _zeros(size)
    padded = F.pad(maps, (before, behind + columns * cell - width, before, behind + rows * cell - height))
    looks = padded.unfold(1, size, 1).unfold(2, size, 1)  # (C, rows cell, columns cell, size, size)
    looks = looks.unflatten(2, (columns, cell)).unflatten(1, (rows, cell))
    looks = looks.permute(2, 4, 0, 5, 6, 1, 3).contiguous()  # (cell, cell, C, size, size, rows, columns)
    for k in range(1, cell):
        if (rows - 1) * cell + k >= height:
            looks[k, ..., -1, :] = looks[k - 1, ..., -1, :]
        if (columns - 1) * cell + k >= width:
            looks[:, k, ..., -1] = looks[:, k - 1, ..., -1]
    return looks.view(cell * cell, channels, size * size, rows * columns)
