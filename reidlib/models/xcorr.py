"""X-Corr (Subramaniam, Chatterjee and Mittal, NIPS 2016): inexact matching by normalised correlation.

The layers are those of the authors' released code. The network that MLS compares with is the "fused" one, by its
2,222,147 parameters: normalised correlation, and beside it the neighbourhood differences of IDLA.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Encoding, LogitLayer, ReIDModel, tiles
from reidlib.models.blocks import Stage, neighbourhoods
from reidlib.models.differences import summed_differences

CHANNELS = 25
WINDOW = 5  # side of a patch
ROWS = 5  # a patch is matched with those at most two rows higher or lower, in all columns
EPSILON = 0.01  # added to every patch's standard deviation
CACHE = 1 << 20  # bytes of correlations at once on a CPU


def unit_patches(maps: Tensor) -> Tensor:
    """Every 5x5 patch of a zero-padded map, minus its mean, over its deviation: (B, C, H, W) -> (B, C, H + 4, W, 25).

    The first and last two rows are patches that are centred beyond the map's border. The product of two patches is
    their normalised correlation sum((e - mean e)(f - mean f)) / (24 sd_e sd_f), with EPSILON in both deviations.
    """
    above = F.pad(maps, (0, 0, ROWS // 2, ROWS // 2))
    patches = neighbourhoods(above, WINDOW, WINDOW // 2)  # (B, C, 25, H + 4, W)
    patches = patches - patches.mean(2, keepdim=True)
    scale = (WINDOW**2 - 1) ** 0.5
    patches = patches / (torch.linalg.vector_norm(patches, dim=2, keepdim=True) + EPSILON * scale)
    return patches.permute(0, 1, 3, 4, 2)


class Branch(nn.Module):
    """What follows a matching layer: 1x1 convolution, ReLU, 3x3 convolution, 2x2 max-pooling, fully connected layer.

    The released code has no ReLU between the 3x3 convolution and the fully connected layer.
    """

    def __init__(self, matches: int, height: int, width: int, fc: int) -> None:
        super().__init__()
        self.summary = nn.Conv2d(matches, CHANNELS, 1)
        self.across = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.fc = nn.Linear(CHANNELS * ((height - 2) // 2) * ((width - 2) // 2), fc)

    def after(self, summary: Tensor) -> Tensor:
        """(P, 25, H, W) -> (P, fc)."""
        return self.fc(F.max_pool2d(self.across(torch.relu(summary)), 2).flatten(1))


class XCorr(ReIDModel):
    """Tied convolutions, every patch of one map against 60 of the other's, and a network on these correlations.

    branches: "fused" is the network with IDLA's differences beside the correlations, "correlation" has none.
    fc: width of the hidden fully connected layer of each branch.
    """

    tile = 64  # the patches of a map are 25 times as large as the map
    pairs_per_block = (512, 1024)

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {"branches": ("fused", "correlation")}

    def __init__(
        self,
        branches: str = "fused",
        fc: int = 500,
        image_size: Sequence[int] = (160, 60),
        identities: int = 751,  # of the common signature; a pair scorer has no classifier
    ) -> None:
        super().__init__(image_size)
        if fc < 1:
            raise ValueError(f"fc {fc!r} is not a positive width such as 500.")
        self.conv1 = Stage((3, 20), 5, torch.relu, "floor")
        self.conv2 = Stage((20, CHANNELS), 5, torch.relu, "floor")
        height, width = self.conv2.size(*self.conv1.size(*self.image_size))
        if min(height, width) < 4:
            raise ValueError(f"image_size {self.image_size} is too small for X-Corr: use (160, 60).")
        self.correlation = Branch(CHANNELS * ROWS * width, height, width, fc)
        self.difference = Branch(2 * CHANNELS * WINDOW**2, height, width, fc) if branches == "fused" else None
        # PyTorch's initial weights are Torch's, which the released code starts from.
        self.logits = LogitLayer(2 * fc if branches == "fused" else fc, 2)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" with `maps` (B, 25, 37, 12)."""
        return {"encoding": Encoding(maps=self.conv2(self.conv1(self.normalise(images))))}

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), "logits" (P, 2) = (different, same), "correlation" (P, 25, 5, 12, 37, 12).

        "correlation" [p, c, r, z, y, x]: of channel c, a's patch at (y, x) with b's at row y + r - 2 and column z.
        """
        height = a.maps.shape[2]
        own, other = unit_patches(a.maps)[:, :, ROWS // 2 : ROWS // 2 + height], unit_patches(b.maps)
        correlation = torch.stack(
            [torch.einsum("pcyxk,pcyzk->pczyx", own, other[:, :, row : row + height]) for row in range(ROWS)], 2
        )
        sums = [self.correlation.summary(torch.relu(correlation).flatten(1, 3))]
        if self.difference is not None:
            sums.append(self._difference_summary(a.maps, b.maps))
        logits = self._head(sums)
        return {"distance": logits[:, 0] - logits[:, 1], "logits": logits, "correlation": correlation}

    def _head(self, sums: Sequence[Tensor]) -> Tensor:
        """From both branches' summaries, each (P, 25, H, W), to logits (P, 2)."""
        branches = [branch for branch in (self.correlation, self.difference) if branch is not None]
        hidden = [branch.after(x) for branch, x in zip(branches, sums, strict=True)]
        return self.logits(torch.relu(torch.cat(hidden, 1)))

    def prepare(self, encodings: Encoding) -> Encoding:
        """The maps and their patches."""
        return Encoding(maps=encodings.maps, patches=unit_patches(encodings.maps))

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        # Images beside the columns, so that every product below takes its tensors as they lie.
        own = queries.patches[:, :, ROWS // 2 : -(ROWS // 2)].permute(2, 1, 4, 0, 3).contiguous()  # (H, C, 25, Q, W)
        other = gallery.patches.permute(2, 1, 3, 0, 4)  # (H + 4, C, W, G, 25)
        height, channels, _, _, width = own.shape
        side = self._side(4 * ROWS * channels * width**2)
        sums = queries.maps.new_empty(len(queries), len(gallery), CHANNELS, height, width)
        for columns in tiles(len(gallery), side):
            near = other[:, :, :, columns].contiguous()
            for rows in tiles(len(queries), side):
                sums[rows, columns] = self._correlation_summary(own[:, :, :, rows], near)
        summaries = [sums.flatten(0, 1)]
        if self.difference is not None:
            q = torch.arange(len(queries), device=self.mean.device).repeat_interleave(len(gallery))
            summaries.append(self._difference_summary(queries.maps[q], gallery.maps.repeat(len(queries), 1, 1, 1)))
        logits = self._head(summaries)
        return (logits[:, 0] - logits[:, 1]).view(len(queries), len(gallery))

    def _side(self, size: int) -> int:
        """Queries, and gallery images, whose pairs of `size` bytes each stay in a CPU's cache."""
        return max(1, int((CACHE / size) ** 0.5)) if self.mean.device.type == "cpu" else 16

    def _correlation_summary(self, own: Tensor, other: Tensor) -> Tensor:
        """(q, g, 25, H, W) of patches (H, C, 25, q, W) of queries and (H + 4, C, W, g, 25) of the gallery."""
        _, channels, _, q, width = own.shape
        weight = self.correlation.summary.weight.view(CHANNELS, channels, ROWS, width).transpose(1, 2).flatten(1)
        rows = []
        for y, patches in enumerate(own):
            found = other[y : y + ROWS].flatten(2, 3) @ patches.flatten(2)  # (5, C, W g, q W)
            rows.append(weight @ found.relu_().view(weight.shape[1], -1))  # (25, g q W)
        summary = torch.stack(rows).unflatten(2, (-1, q, width)).permute(3, 2, 1, 0, 4)
        return summary + self.correlation.summary.bias.view(-1, 1, 1)  # type: ignore[union-attr]

    def _difference_summary(self, f: Tensor, h: Tensor) -> Tensor:
        """(P, 25, H, W) of aligned maps: IDLA's differences of either image, through one 1x1 convolution."""
        summary = self.difference.summary  # type: ignore[union-attr]
        first, second = summary.weight.view(CHANNELS, 2, -1, WINDOW, WINDOW).unbind(1)  # type: ignore[operator]
        summed = summed_differences(f, h, first) + summed_differences(h, f, second)
        return summed + summary.bias[:, None, None]  # type: ignore[index]
