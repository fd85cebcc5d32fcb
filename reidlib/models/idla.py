"""IDLA, "JointRe-id" (Ahmed, Jones and Marks, CVPR 2015): the network that PersonNet deepens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reidlib.models.base import Encoding, LogitLayer, ReIDModel
from reidlib.models.blocks import PatchSummary, Stage, difference_grid, glorot
from reidlib.models.differences import summed_differences

CHANNELS = 25
WINDOW = 5


class IDLA(ReIDModel):
    """Tied convolutions, cross-input neighbourhood differences both ways, patch summaries, two FC layers.

    The published shapes and the published 2,308,147 parameters hold with valid convolutions, pooling that
    keeps a last half window, and weights of their own for each direction.
    Deviation: ReLU follows every hidden layer; in the paper's text only the differences have it for certain.

    fc: width of the hidden fully connected layer.
    """

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
        sums = []
        for summary, f, h in zip(self.summaries, (a.maps, b.maps), (b.maps, a.maps), strict=True):
            summed = summed_differences(f, h, summary.weight)  # type: ignore[union-attr]
            sums.append(torch.relu(summed + summary.bias[:, None, None]))  # type: ignore[index]
        logits = self._head(sums)
        return {
            "distance": logits[:, 0] - logits[:, 1],
            "logits": logits,
            "difference": torch.cat(sums, 1),
        }

    def _head(self, sums: Sequence[Tensor]) -> Tensor:
        across = [stage(x).flatten(1) for stage, x in zip(self.across, sums, strict=True)]
        return self.logits(torch.relu(self.fc(torch.cat(across, 1))))

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
