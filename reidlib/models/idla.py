"""IDLA, "JointRe-id" (Ahmed, Jones and Marks, CVPR 2015): the network that PersonNet deepens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reidlib.models.base import Encoding, LogitLayer, ReIDModel, tiles
from reidlib.models.blocks import PatchSummary, Stage, difference_grid, glorot, neighbourhoods

CHANNELS = 25
WINDOW = 5


class IDLA(ReIDModel):
    """Tied convolutions, cross-input neighbourhood differences both ways, patch summaries, two FC layers.

    The published shapes and the published 2,308,147 parameters hold with valid convolutions, pooling that
    keeps a last half window, and weights of their own for each direction.
    Deviation: ReLU follows every hidden layer; in the paper's text only the differences have it for certain.

    fc: width of the hidden fully connected layer.
    """

    tile = 64  # an unfolded map is 25 times as large as the map
    pairs_per_block = (128, 512)

    def __init__(
        self,
        fc: int = 500,
        image_size: Sequence[int] = (160, 60),
        identities: int = 751,  # of the common signature; a pair scorer has no classifier
    ) -> None:
        super().__init__(image_size)
        if fc < 1:
            raise ValueError(f"fc {fc!r} is not a positive width such as 500.")
        self.conv1 = Stage((3, 20), 5, torch.relu, "ceil")
        self.conv2 = Stage((20, CHANNELS), 5, torch.relu, "ceil")
        between = (CHANNELS, CHANNELS)
        self.summaries = nn.ModuleList(PatchSummary(between, WINDOW, WINDOW // 2) for _ in range(2))
        self.across = nn.ModuleList(Stage(between, 3, torch.relu, "ceil") for _ in range(2))
        height, width = self.across[0].size(*self.conv2.size(*self.conv1.size(*self.image_size)))  # type: ignore[operator]
        if min(height, width) < 1:
            raise ValueError(f"image_size {self.image_size} is too small for IDLA: use (160, 60).")
        self.fc = nn.Linear(2 * CHANNELS * height * width, fc)
        self.logits = LogitLayer(fc, 2)
        self.apply(glorot)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" with `maps` (B, 25, 37, 12)."""
        return {"encoding": Encoding(maps=self.conv2(self.conv1(self.normalise(images))))}

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), "logits" (P, 2) = (different, same), "difference" (P, 50, 37, 12)."""
        # Differences are 25 times the maps. On a CPU few pairs at once stay in its cache, and computing them
        # again in the backward pass is faster than keeping them: 3 times in all for a batch of 64 pairs.
        cpu = self.mean.device.type == "cpu"
        parts = []
        for rows in tiles(len(a), 4 if cpu else len(a)):
            maps = a.maps[rows], b.maps[rows]
            if cpu and torch.is_grad_enabled():
                kept = checkpoint(self._both, *maps, use_reentrant=False, preserve_rng_state=False)
            else:
                kept = self._both(*maps)
            parts.append(kept)
        sums = [torch.cat(side) for side in zip(*parts, strict=True)]
        logits = self._head(sums)
        return {
            "distance": logits[:, 0] - logits[:, 1],
            "logits": logits,
            "difference": torch.cat(sums, 1),
        }

    def _both(self, f: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The summaries of both directions, each (P, 25, H, W), of aligned maps."""
        a, b = self.prepare(Encoding(maps=f)), self.prepare(Encoding(maps=h))
        return self._summary(0, a, b), self._summary(1, b, a)

    def _summary(self, direction: int, own: Encoding, other: Encoding) -> Tensor:
        """ReLU(summary(ReLU(K))), (..., 25, H, W), of prepared images; leading dimensions broadcast."""
        weight, bias = self.summaries[direction].weight, self.summaries[direction].bias
        k = (own.maps.unsqueeze(-3) - other.around).relu_()  # (..., C, 25, H, W)
        # The channel and the place in the window lie as in the convolution's weight (D, C, 5, 5).
        summed = weight.flatten(1) @ k.flatten(-4, -3).flatten(-2)  # type: ignore[operator,union-attr]
        return (summed + bias[:, None]).relu_().unflatten(-1, k.shape[-2:])  # type: ignore[index]

    def _head(self, sums: Sequence[Tensor]) -> Tensor:
        across = [stage(x).flatten(1) for stage, x in zip(self.across, sums, strict=True)]
        return self.logits(torch.relu(self.fc(torch.cat(across, 1))))

    def prepare(self, encodings: Encoding) -> Encoding:
        """The maps, their unfolded neighbourhoods and the summaries of these; ReLU keeps K's from separating."""
        own = {f"summary{i}": summary.other(encodings.maps) for i, summary in enumerate(self.summaries)}  # type: ignore[operator]
        return Encoding(maps=encodings.maps, around=neighbourhoods(encodings.maps, WINDOW, WINDOW // 2), **own)

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        few = 2 if self.mean.device.type == "cpu" else len(gallery)  # differences that stay in a CPU's cache
        sums: tuple[list[Tensor], list[Tensor]] = ([], [])
        for row in range(len(queries)):
            for columns in tiles(len(gallery), few):
                q, g = queries[row], gallery[columns]
                sums[0].append(self._faster_summary(0, q, g))
                sums[1].append(self._faster_summary(1, g, q))
        logits = self._head([torch.cat(side) for side in sums])
        return (logits[:, 0] - logits[:, 1]).view(len(queries), len(gallery))

    def _faster_summary(self, direction: int, own: Encoding, other: Encoding) -> Tensor:
        """`_summary` in one pass over the grid: ReLU(f - h) = max(f, h) - h, whose last term is one image's own.

        Not for training: at f = h the maximum has another subgradient.
        """
        weight, bias = self.summaries[direction].weight.flatten(1), self.summaries[direction].bias  # type: ignore[operator,union-attr]
        larger = torch.maximum(own.maps.unsqueeze(-3), other.around)  # (P, C, 25, H, W)
        columns = larger.flatten(1, 2).flatten(2)  # (P, C 25, H W)
        summed = torch.bmm(weight.expand(len(columns), -1, -1), columns).unflatten(-1, larger.shape[-2:])
        return (summed - other.tensors[f"summary{direction}"] + bias[:, None, None]).relu_()  # type: ignore[index]

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """What every layer puts out for P pairs: maps (P, 2, C, H, W), of both images or both directions."""
        views = (2, len(images_a))
        found: dict[str, Tensor] = {}
        maps = self.normalise(torch.cat([images_a, images_b]))
        for i, stage in enumerate((self.conv1, self.conv2), 1):
            before, maps = stage.responses(maps)
            found[f"Conv{i}"] = before.unflatten(0, views).transpose(0, 1)
            found[f"Pool{i}"] = maps.unflatten(0, views).transpose(0, 1)
        f, h = maps.unflatten(0, views)
        grids = [torch.relu(difference_grid(x, y, WINDOW, WINDOW // 2)) for x, y in ((f, h), (h, f))]
        sums = [torch.relu(summary(k)) for summary, k in zip(self.summaries, grids, strict=True)]
        found["Neighbourhood"] = torch.stack(grids, 1)
        found["Summary"] = torch.stack(sums, 1)
        across = [stage.responses(x) for stage, x in zip(self.across, sums, strict=True)]  # type: ignore[operator]
        found["Across"], found["Pool3"] = (torch.stack(side, 1) for side in zip(*across, strict=True))
        found["FC1"] = torch.relu(self.fc(found["Pool3"].flatten(1)))
        found["Softmax"] = self.logits(found["FC1"]).softmax(1)
        return found
