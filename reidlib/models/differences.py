"""Sums over rectified neighbourhood differences that never stand in memory whole (IDLA; X-Corr's second branch)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from reidlib.models.base import tiles

CACHED = 2  # pairs whose differences stay in a CPU's cache


class _Grid:
    """ReLU(f - N[h]) of few pairs at a time, and the way back from its gradient.

    A map lies in memory row by row with `window` - 1 zeros after each row, so that a shift by (v, u) is an offset: the
    neighbourhoods are a view of h, and every pass runs over whole maps. The zeros' own places are computed in vain.
    """

    def __init__(self, f: Tensor, h: Tensor, window: int) -> None:
        _, channels, self.height, self.width = f.shape
        self.window, self.edge = window, window // 2
        self.places = self.height * (self.width + window - 1)
        edges = (self.edge, window - 1 - self.edge)
        self.own = self.spread(f)[:, :, None, None]
        self.padded = F.pad(h, (*edges, edges[0], edges[1] + 1)).contiguous()  # one row more, for the last view's end
        self.around = self.shifts(self.padded)
        few = CACHED if f.device.type == "cpu" else max(1, len(f))
        self.rows = list(tiles(len(f), few))
        self.memory = f.new_empty(few, channels, window, window, self.places)

    def spread(self, maps: Tensor) -> Tensor:
        """(P, C, H, W) -> (P, C, places)."""
        return F.pad(maps, (0, self.window - 1)).contiguous().flatten(2)

    def gathered(self, places: Tensor) -> Tensor:
        """The opposite of `spread`."""
        return places.unflatten(2, (self.height, -1))[..., : self.width]

    def shifts(self, padded: Tensor) -> Tensor:
        """(P, C, H + window, W + window - 1) -> (P, C, window, window, places), a view."""
        images, channels, _, _ = padded.shape
        size = (images, channels, self.window, self.window, self.places)
        return padded.as_strided(size, (*padded.stride()[:3], 1, 1))

    def differences(self, rows: slice) -> Tensor:
        """(few, C, window, window, places), to be used before the next call."""
        memory = self.memory[: rows.stop - rows.start]
        # In a given place: beside two layouts, PyTorch would choose a third, which no pass runs over quickly.
        return torch.sub(self.own[rows], self.around[rows], out=memory).relu_()


@torch.library.custom_op("reidlib::summed_differences", mutates_args=())
def summed_differences(f: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """Sum over c, v, u of weight[d, c, v, u] ReLU(f[c, y, x] - h[c, y + v - r, x + u - r]), of P aligned maps.

    f, h: (P, C, H, W), h zero-padded by r = window // 2. weight: (D, C, window, window). -> (P, D, H, W).
    The differences (Ahmed et al., Sec. 3.2) are window^2 times as large as the maps: they are formed for few pairs at a
    time, and again in the backward pass.
    """
    grid = _Grid(f, h, weight.shape[-1])
    factors = weight.flatten(1).to(f.dtype)
    out = f.new_empty(len(f), len(factors), grid.places)
    for rows in grid.rows:
        k = grid.differences(rows).flatten(1, 3)
        torch.bmm(factors.expand(len(k), -1, -1), k, out=out[rows])
    return grid.gathered(out)


@summed_differences.register_fake
def _shape(f: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    height, width = f.shape[2:]
    return f.new_empty(len(f), len(weight), height, width + weight.shape[-1] - 1)[..., :width]


def _gradients(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f, h, weight = ctx.saved_tensors
    grid = _Grid(f, h, weight.shape[-1])
    factors = weight.flatten(1).T.to(f.dtype).contiguous()
    exact = torch.promote_types(f.dtype, torch.float32)  # of sums over many half-precision terms
    slope = grid.spread(given)
    to_f = f.new_empty(*f.shape[:2], grid.places)
    to_h = torch.zeros_like(grid.padded, dtype=exact)
    to_weight = torch.zeros_like(factors.T, dtype=exact)
    shifted = grid.shifts(to_h)
    for rows in grid.rows:
        k = grid.differences(rows)
        to_weight += torch.bmm(slope[rows], k.flatten(1, 3).mT).sum(0)
        back = torch.bmm(factors.expand(len(k), -1, -1), slope[rows]).view_as(k)
        back *= k.gt_(0)
        torch.sum(back, (2, 3), out=to_f[rows])
        for v in range(grid.window):
            for u in range(grid.window):
                shifted[rows, :, v, u] -= back[:, :, v, u]
    inside = to_h[:, :, grid.edge : grid.edge + grid.height, grid.edge : grid.edge + grid.width]
    return grid.gathered(to_f), inside.to(h.dtype), to_weight.view_as(weight).to(weight.dtype)


summed_differences.register_autograd(
    _gradients, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


@register_flop_formula(torch.ops.reidlib.summed_differences)
def _flops(f: Sequence[int], h: Sequence[int], weight: Sequence[int], **_: Any) -> int:
    """Of the sum alone, two a product, as for a convolution of that stride."""
    pairs, channels, height, width = f
    return 2 * pairs * height * width * weight[0] * channels * weight[2] * weight[3]
