"""Pieces that more than one network uses: convolution stages, neighbourhood differences, patch summaries."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def scaled_tanh(x: Tensor) -> Tensor:
    """sigma(x) = tanh(3x/2) (PersonNet, Sec. III-A)."""
    return torch.tanh(1.5 * x)


# All of them are monotone: `Stage` relies on it.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled_tanh": scaled_tanh,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


class Stage(nn.Module):
    """A convolution of stride 1, an activation, and 2x2 max-pooling of stride 2 unless `pool` is None.

    pool: "ceil" keeps a last half window, "floor" drops it. batch_norm: between convolution and activation.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        activation: Callable[[Tensor], Tensor],
        pool: str | None = None,
        padding: int = 0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, padding=padding, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(channels[1]) if batch_norm else nn.Identity()
        self.activation = activation
        self.pool = pool

    def pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, 2, ceil_mode=self.pool == "ceil") if self.pool else x

    def forward(self, x: Tensor) -> Tensor:
        # The activation is monotone, so it may follow the maximum: same numbers, a quarter of the work.
        return self.activation(self.pooled(self.norm(self.conv(x))))

    def responses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The activated maps before and after pooling."""
        before = self.activation(self.norm(self.conv(x)))
        return before, self.pooled(before)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of this size."""
        shrink = self.conv.kernel_size[0] - 1 - 2 * int(self.conv.padding[0])
        height, width = height - shrink, width - shrink
        if self.pool:
            half = 1 if self.pool == "ceil" else 0
            height, width = (height + half) // 2, (width + half) // 2
        return height, width


def neighbourhoods(maps: Tensor, window: int, padding: int) -> Tensor:
    """N[h(x, y)]: the window x window values around every position, zero-padded.

    (B, C, H, W) -> (B, C, window^2, H', W') with H' = H + 2 padding - window + 1.
    """
    batch, channels, height, width = maps.shape
    height, width = (side + 2 * padding - window + 1 for side in (height, width))
    return F.unfold(maps, window, padding=padding).view(batch, channels, window * window, height, width)


def difference_grid(f: Tensor, h: Tensor, window: int, padding: int) -> Tensor:
    """K(x, y) = f(x, y) 1 - N[h(x, y)] (PersonNet Eq. 2), the blocks laid out side by side.

    f, h: (B, C, H, W) -> (B, C, window H', window W'): block (y, x) of the grid is K(x, y). Without padding
    the centres are those whose neighbourhood lies inside the map.
    """
    around = neighbourhoods(h, window, padding)
    batch, channels, _, height, width = around.shape
    k = centres(f, window, padding)[:, :, None] - around  # (B, C, window^2, H', W')
    k = k.view(batch, channels, window, window, height, width).permute(0, 1, 4, 2, 5, 3)
    return k.reshape(batch, channels, window * height, window * width)


def centres(maps: Tensor, window: int, padding: int) -> Tensor:
    """The positions that are centres of neighbourhoods: all with padding window // 2, inner ones with 0."""
    edge = window // 2 - padding
    return maps[..., edge : maps.shape[-2] - edge, edge : maps.shape[-1] - edge]


class PatchSummary(nn.Conv2d):
    """One value per filter for each block of a difference grid: a window x window convolution of that stride.

    Nothing stands between the difference and this convolution in PersonNet, so it separates by image:
    summary(K(f, h)) = own(f) - other(h), each computed once an image instead of once a pair.
    """

    def __init__(self, channels: tuple[int, int], window: int, padding: int) -> None:
        super().__init__(*channels, window, stride=window)
        self.window, self.edge = window, padding

    def own(self, f: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W'): the half of the image whose value is repeated over the block."""
        summed = self.weight.sum((2, 3), keepdim=True)
        return F.conv2d(centres(f, self.window, self.edge), summed, self.bias)

    def other(self, h: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W'): the half of the image whose neighbourhoods are subtracted."""
        return F.conv2d(h, self.weight, padding=self.edge)


def prefers_onednn(x: Tensor) -> bool:
    """Whether fully connected layers should see `x` as `x.to_mkldnn()`: many rows, float32, a CPU, no gradient.

    Same numbers to rounding, at twice the speed of PyTorch's default product on AMD processors.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and len(x) >= 64 and not torch.is_grad_enabled() and torch.backends.mkldnn.is_available()


def glorot(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases; for `Module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
