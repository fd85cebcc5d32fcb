"""3x3 convolutions of small maps as fewer products (Winograd 1980; Lavin and Gray, CVPR 2016), for scoring pairs.

Along an axis, `tile` outputs of a convolution with 3 weights are what `tile` + 2 products give, one at each of as many
points, instead of 3 `tile`: a 10x5 map takes 140 products a channel pair instead of 450. In float32 the result differs
from the direct sum by about as much as either does from the exact one.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.googlenet import Convolution

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)  # and infinity
LONGEST_TILE = 5  # more points cost digits


def matrices(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(out, weight, into) of Toom and Cook: out @ ((weight @ w) * (into @ d)) is the correlation of d with w.

    w: 3 weights. d: `tile` + 2 inputs. The result: `tile` outputs.
    """
    points = POINTS[: tile + 1]

    def evaluated(count: int) -> np.ndarray:
        """Polynomials of `count` coefficients at every point; at infinity that is the last coefficient."""
        return np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1:]])

    # The product of two polynomials is interpolated from its values; the transpose of that is a correlation.
    return evaluated(tile).T, evaluated(3), np.linalg.inv(evaluated(tile + 2)).T


def along(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices for an axis of a zero-padded map: out (size, points, tiles), weight, into (points, tiles, size).

    One tile where it is short enough, else tiles of 2, whose points cost no digits.
    """
    tile = size if size <= LONGEST_TILE else 2
    out, weight, into = matrices(tile)
    tiles = -(-size // tile)
    all_into, all_out = np.zeros((tile + 2, tiles, size + tile + 2)), np.zeros((size + tile, tile + 2, tiles))
    for i in range(tiles):
        all_into[:, i, i * tile : (i + 1) * tile + 2] = into
        all_out[i * tile : (i + 1) * tile, :, i] = out
    return all_out[:size], weight, all_into[:, :, 1 : size + 1]  # without the padding, and what lies past the end


class MapConvolution:
    """A 3x3 convolution with padding 1 of maps of one size, which is transformed once and used for many maps.

    weight: (K, C, 3, 3). bias: (K,).
    """

    def __init__(self, weight: Tensor, bias: Tensor, height: int, width: int) -> None:
        rows, columns = along(height), along(width)
        out = np.einsum("ypt,xqu->yxpqtu", rows[0], columns[0])
        into = np.einsum("pty,qux->pqtuyx", rows[2], columns[2])
        self.points = into.shape[0] * into.shape[1]
        self.into = weight.new_tensor(into.reshape(-1, height * width))  # (points * tiles, H * W)
        self.out = weight.new_tensor(out.reshape(height * width, -1))
        at = [weight.new_tensor(axis[1]) for axis in (rows, columns)]
        self.weight = torch.einsum("pi,qj,kcij->pqkc", *at, weight).flatten(0, 1).contiguous()  # (points, K, C)
        self.bias = bias

    def __call__(self, maps: Tensor) -> Tensor:
        """(H * W, P, C) -> (H * W, P, K), float32 on a CPU, no gradient."""
        places, pairs, channels = maps.shape
        values = (self.into @ maps.reshape(places, -1)).view(self.points, -1, channels)  # (points, tiles * P, C)
        products = [F.linear(v.to_mkldnn(), w).to_dense() for v, w in zip(values, self.weight, strict=True)]
        return (self.out @ torch.cat(products).view(self.out.shape[1], -1)).view(places, pairs, -1).add_(self.bias)


class MapNetwork:
    """`Convolution`s of 3x3 and poolings in eval mode, one after the other, for maps of one size."""

    def __init__(self, layers: Iterable[nn.Module], height: int, width: int) -> None:
        self.steps: list[tuple[MapConvolution | nn.Module, int, int]] = []
        for layer in layers:
            step = MapConvolution(*layer.folded(), height, width) if isinstance(layer, Convolution) else layer
            self.steps.append((step, height, width))
            if isinstance(step, nn.Module):
                height, width = step(torch.zeros(1, 1, height, width)).shape[2:]

    def __call__(self, maps: Tensor) -> Tensor:
        """(H * W, P, C) -> (H' * W', P, K), as `MapConvolution`."""
        for step, height, width in self.steps:
            if isinstance(step, MapConvolution):
                maps = step(maps).relu_()
            else:
                pairs = maps.shape[1]
                image = maps.view(1, height, width, -1).permute(0, 3, 1, 2)  # one image of many channels, these last
                maps = step(image).permute(0, 2, 3, 1).unflatten(3, (pairs, -1)).flatten(0, 2)
        return maps
