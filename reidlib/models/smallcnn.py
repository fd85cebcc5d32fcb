"""A small residual embedding network: how hard the synthetic benchmark is for something that learns."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Embedder, Encoding


def conv_bn(channels: tuple[int, int], kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (but for its stride), and batch norm."""
    conv = nn.Conv2d(*channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels[1]))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a projection."""

    def __init__(self, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        inside = (channels[1], channels[1])
        self.body = nn.Sequential(conv_bn(channels, 3, stride), nn.ReLU(), conv_bn(inside, 3))
        self.skip = conv_bn(channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class SmallCNN(Embedder):
    """Four stages to a 16x8 map, average plus maximum over its upper and lower half, batch norm, classifier.

    width: channels of the first stage; the embedding has 16 x width values. 354,576 parameters at width 16
    for 200 identities.
    """

    def __init__(self, width: int = 16, image_size: Sequence[int] = (128, 64), identities: int = 751) -> None:
        super().__init__(image_size, mean=(0.45,) * 3, std=(0.25,) * 3)
        if width < 1 or identities < 1:
            raise ValueError(f"width {width!r} and identities {identities!r} must be positive.")
        w = width
        self.trunk = nn.Sequential(
            conv_bn((3, w), 3, 2),
            nn.ReLU(),
            Residual((w, 2 * w), 2),
            Residual((2 * w, 4 * w), 2),
            Residual((4 * w, 8 * w), 1),
        )
        self.neck = nn.BatchNorm1d(16 * w)
        self.classifier = nn.Linear(16 * w, identities, bias=False)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives "encoding" (unit `vector`), "embedding" before the neck (B, 256), "logits" (B, classes)."""
        maps = self.trunk(self.normalise(images))  # (B, 128, 16, 8)
        halves = maps.split([maps.shape[2] // 2, maps.shape[2] - maps.shape[2] // 2], 2)
        embedding = torch.cat([half.mean((2, 3)) + half.amax((2, 3)) for half in halves], 1)
        features = self.neck(embedding)
        vector = F.normalize(features.float())
        return {
            "encoding": Encoding(vector=vector),
            "embedding": embedding,
            "logits": self.classifier(features),
        }
