"""X-Corr (Subramaniam, Chatterjee and Mittal, NIPS 2016): inexact matching by normalised correlation.

The layers are those of the authors' released code. The network that MLS compares with is the "fused" one, by its
2,222,147 parameters: normalised correlation, and beside it the neighbourhood differences of IDLA.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Encoding, LogitLayer, ReIDModel, choose, tiles
from reidlib.models.blocks import Stage, neighbourhoods

CHANNELS = 25
WINDOW = 5  # side of a patch
ROWS = 5  # a patch is matched with those at most two rows higher or lower, in all columns
EPSILON = 0.01  # added to every patch's standard deviation


def unit_patches(maps: Tensor) -> Tensor:
    """Every 5x5 patch of a zero-padded map, minus its mean, over its deviation: (B, C, H, W) -> (B, C, H + 4, W, 25).

    The first and last two rows are patches that are centred beyond the map's border. The product of two patches is
    their normalised correlation sum((e - mean e)(f - mean f)) / (24 sd_e sd_f), with EPSILON in both deviations.
    """
    reach = WINDOW // 2
    above = F.pad(maps, (0, 0, ROWS // 2, ROWS // 2))
    patches = neighbourhoods(above, WINDOW, reach).permute(0, 1, 3, 4, 2)
    patches = patches - patches.mean(-1, keepdim=True)
    scale = (WINDOW**2 - 1) ** 0.5
    return patches / (torch.linalg.vector_norm(patches, dim=-1, keepdim=True) + EPSILON * scale)


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
        choose("branches", branches, self.CHOICES["branches"])
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
            around = [neighbourhoods(maps, WINDOW, WINDOW // 2) for maps in (a.maps, b.maps)]
            both = torch.cat([a.maps[:, :, None] - around[1], b.maps[:, :, None] - around[0]], 1)
            sums.append(self.difference.summary(torch.relu(both).flatten(1, 2)))
        logits = self._head(sums)
        return {"distance": logits[:, 0] - logits[:, 1], "logits": logits, "correlation": correlation}

    def _head(self, sums: Sequence[Tensor]) -> Tensor:
        """From both branches' summaries, each (P, 25, H, W), to logits (P, 2)."""
        branches = [branch for branch in (self.correlation, self.difference) if branch is not None]
        hidden = [branch.after(x) for branch, x in zip(branches, sums, strict=True)]
        return self.logits(torch.relu(torch.cat(hidden, 1)))

    def prepare(self, encodings: Encoding) -> Encoding:
        """The maps, their patches and, for the differences, their neighbourhoods."""
        found = {"maps": encodings.maps, "patches": unit_patches(encodings.maps)}
        if self.difference is not None:
            found["around"] = neighbourhoods(encodings.maps, WINDOW, WINDOW // 2)
        return Encoding(**found)

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        cpu = self.mean.device.type == "cpu"  # in whose cache few correlations stay
        # The images beside the columns: every product below takes tensors as they lie.
        patches = [
            gallery.patches[columns].permute(2, 1, 3, 0, 4).contiguous()  # (H + 4, C, W, n, 25)
            for columns in tiles(len(gallery), 8 if cpu else len(gallery))
        ]
        sums: tuple[list[Tensor], list[Tensor]] = ([], [])
        for row in range(len(queries)):
            query = queries[row]
            sums[0].extend(self._correlation_summary(query.patches[0], part) for part in patches)
            if self.difference is not None:
                for columns in tiles(len(gallery), 2 if cpu else len(gallery)):
                    sums[1].append(self._difference_summary(query, gallery[columns]))
        logits = self._head([torch.cat(side) for side in sums if side])
        return (logits[:, 0] - logits[:, 1]).view(len(queries), len(gallery))

    def _correlation_summary(self, query: Tensor, gallery: Tensor) -> Tensor:
        """(n, 25, H, W) of one query's patches (C, H + 4, W, 25) and those of n images (H + 4, C, W, n, 25)."""
        channels, _, width, _ = query.shape
        height, count = len(gallery) - ROWS + 1, gallery.shape[3]
        weight = self.correlation.summary.weight.view(CHANNELS, channels, ROWS, width).transpose(1, 2).flatten(1)
        rows = []
        for y in range(height):
            near = gallery[y : y + ROWS].flatten(2, 3)  # (5, C, W n, 25)
            found = near @ query[:, y + ROWS // 2].transpose(1, 2)  # (5, C, W n, W)
            rows.append(weight @ found.relu_().view(-1, count * width))  # (25, n W)
        summary = torch.stack(rows, 1).unflatten(2, (count, width)).permute(2, 0, 1, 3)
        return summary + self.correlation.summary.bias.view(-1, 1, 1)  # type: ignore[union-attr]

    def _difference_summary(self, query: Encoding, gallery: Encoding) -> Tensor:
        """(n, 25, H, W) of one query and n images."""
        summary = self.difference.summary  # type: ignore[union-attr]
        first, second = summary.weight.flatten(1).chunk(2, 1)  # type: ignore[operator]
        one = (query.maps[:, :, None] - gallery.around).relu_().flatten(1, 2).flatten(2)  # (n, C 25, H W)
        other = (gallery.maps[:, :, None] - query.around).relu_().flatten(1, 2).flatten(2)
        summed = first @ one + second @ other + summary.bias[:, None]  # type: ignore[index]
        return summed.unflatten(2, query.maps.shape[2:])
