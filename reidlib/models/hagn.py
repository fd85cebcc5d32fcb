"""HAGN (2020): a hybrid-attention guided network over ResNet-50 maps of four resolutions and 21 windows.

HA-numbers are the open points of the paper; each is settled, or left to an option, where it occurs. "The released
code" is the authors' own, whose model file is the one without attention (HA-11).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Embedder, Encoding
from reidlib.models.trunks import IMAGENET_MEAN, IMAGENET_STD
from reidlib.models.trunks import trunk as build_trunk

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # no lambda: it could not go to another process
    "relu": torch.relu,
    "leaky": partial(F.leaky_relu, negative_slope=0.1),
}
# Table IX: what acts on the map of every stage, and what on their concatenation (c), in the order of the characters.
# The text under the table reads "S+C+(c)" from the right, against its own rule (HA-18). The rows without (c) use
# stage 4 alone, of which the concatenation is itself (HA-21): `stages=(4,)` with "c", "S+c" or "c+C".
ORDERS = {
    "S+c+C": ("S", "C"),
    "c": ("", ""),
    "S+c": ("S", ""),
    "c+C": ("", "C"),
    "c+C+S": ("", "CS"),
    "C+S+c": ("CS", ""),
    "C+c+S": ("C", "S"),
    "c+S+C": ("", "SC"),
    "S+C+c": ("SC", ""),
}
TABLE_X = ((1, 2, 3, 4), (1,), (2,), (3,), (4,), (1, 2), (1, 2, 3), (2, 3, 4))


class SpatialAttention(nn.Conv2d):
    """M_SAM(F) = sigma(f([AvgPool(F); MaxPool(F)])) (Eq. 1): (B, C, H, W) -> (B, 1, H, W), pooled over channels.

    norm: "none" is Eq. 1 as printed. "batch" normalises what the sigmoid sees, as the released code of CBAM does, whose
        module this is: what the convolution adds up has no bound, and the sigmoid's ends have no gradient.
    """

    def __init__(self, norm: str = "none") -> None:
        super().__init__(2, 1, 7, padding=3, bias=False)  # f's size is the released code's (HA-11)
        self.norm = nn.BatchNorm2d(1) if norm == "batch" else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return torch.sigmoid(self.norm(super().forward(torch.stack([maps.mean(1), maps.max(1).values], 1))))


class ChannelAttention(nn.Module):
    """M_CAM(F) (Eq. 2): (B, C, H, W) -> (B, C, 1, 1), pooled over positions.

    added: "after" is sigma(f(avg) + f(max)), as the text, Fig. 4 and the released code have it; "before" is
    sigma(f(avg + max)), as Eq. 2 prints it: another function, because f has a ReLU inside (HA-5).
    """

    def __init__(self, channels: int, added: str) -> None:
        super().__init__()
        inside = max(1, channels // 16)  # HA-11
        self.shared = nn.Sequential(
            nn.Linear(channels, inside, bias=False), nn.ReLU(), nn.Linear(inside, channels, bias=False)
        )
        self.added = added

    def forward(self, maps: Tensor) -> Tensor:
        average, largest = maps.mean((2, 3)), F.adaptive_max_pool2d(maps, 1).flatten(1)
        if self.added == "before":
            weights = self.shared(average + largest)
        else:
            weights = self.shared(average) + self.shared(largest)
        return torch.sigmoid(weights)[:, :, None, None]


class Attention(nn.ModuleDict):
    """SAM ("S") and CAM ("C") in the order of `letters`, each over the maps that the one before it weighted."""

    def __init__(self, letters: str, channels: int, cam_sum: str, sam_norm: str) -> None:
        modules = {"S": lambda: SpatialAttention(sam_norm), "C": lambda: ChannelAttention(channels, cam_sum)}
        super().__init__({letter: modules[letter]() for letter in letters})

    def forward(self, maps: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted maps, and the weights of each module by its letter."""
        weights = {}
        for letter, attention in self.items():
            weights[letter] = attention(maps)
            maps = maps * weights[letter]
        return maps, weights


class Linears(nn.Module):
    """One linear layer without bias a window, all at once: (B, windows, inputs) -> (B, windows, outputs)."""

    def __init__(self, windows: int, inputs: int, outputs: int) -> None:
        super().__init__()
        # No biases, as the released file's 75.83 M parameters say. The paper is silent on initial weights: PyTorch's,
        # here and in `BatchNorms`; the released code draws the classifier's from N(0, 0.001), these from Kaiming's.
        self.weight = nn.Parameter(torch.empty(windows, inputs, outputs).uniform_(-(inputs**-0.5), inputs**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1).contiguous()


class BatchNorms(nn.BatchNorm1d):
    """One batch norm a window, all at once: (B, windows, features) unchanged in shape."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)).view_as(x)


def windows(blocks: Tensor, pool: Callable[..., Tensor]) -> Tensor:
    """MGO (Sec. III-C) over pooled blocks (B, C, k) -> (B, C, k (k + 1) / 2) windows, level by level.

    Level p has p windows of k + 1 - p neighbouring blocks each, from the whole map (p = 1) to single blocks (p = k).
    pool: `F.avg_pool1d` for means, `F.max_pool1d` for maxima: the mean or maximum of equal blocks' means or maxima
    is the window's own, so that a map is read once, not 21 times.
    """
    return torch.cat([pool(blocks, size, 1) for size in range(blocks.shape[2], 0, -1)], 2)


class HAGN(Embedder):
    """Fused maps of several stages (FMR), attention (SAM, CAM), windows (MGO), a feature of each (MPFE) (Fig. 2).

    stages: of the trunk, fused by channel (Table X). order: of the attention modules and the concatenation
        (`ORDERS`, Table IX). attend: stage maps get their attention at "native" resolution or once "pooled" (HA-20).
    cam_sum: "after" or "before" the shared layers (HA-5). sam_norm: "none" or "batch", before SAM's sigmoid (Eq. 1).
    parts: levels k of MGO; 1 is the whole map alone, without MGO. extractor: MPFE with "max+avg" pooling or "avg"
        alone; "plain" is average pooling and a classifier, the baseline's (HA-15) and with `parts` of 6 Table
        VII's MGO alone (HA-14).
    width: of the 1x1 convolution (HA-2). features: of each window. activation: "relu" of the text or the released
        code's "leaky" of slope 0.1 (HA-1).
    triplets: features "before" the last batch norm, as in Sec. III-D, or "after" it, as in the released code (HA-3).
    triplet_per: one loss a "level" on its windows side by side, as in the released code, or one a "window".
    test_features: "after" the last batch norm, as in the released code, or "before" it. unit: the descriptor has unit
        length as a "whole", or every window's feature has ("windows") (HA-4).
    trunk, pretrained: as `reidlib.models.trunks.trunk`; the paper's is ResNet-50 with ImageNet weights, True.
    """

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "stages": TABLE_X,
        "order": tuple(ORDERS),
        "attend": ("native", "pooled"),
        "cam_sum": ("after", "before"),
        "sam_norm": ("none", "batch"),
        "extractor": ("max+avg", "avg", "plain"),
        "activation": tuple(ACTIVATIONS),
        "triplets": ("before", "after"),
        "triplet_per": ("level", "window"),
        "test_features": ("after", "before"),
        "unit": ("whole", "windows"),
    }

    def __init__(
        self,
        stages: Sequence[int] = (1, 2, 3, 4),
        order: str = "S+c+C",
        attend: str = "native",
        cam_sum: str = "after",
        sam_norm: str = "none",
        parts: int = 6,
        extractor: str = "max+avg",
        width: int = 256,
        features: int = 512,
        activation: str = "relu",
        triplets: str = "before",
        triplet_per: str = "level",
        test_features: str = "after",
        unit: str = "whole",
        trunk: str = "resnet50",
        pretrained: bool | str = False,
        image_size: Sequence[int] = (384, 128),
        identities: int = 751,
    ) -> None:
        super().__init__(image_size, IMAGENET_MEAN, IMAGENET_STD)
        if min(width, features, parts, identities) < 1:
            given = {"width": width, "features": features, "parts": parts, "identities": identities}
            raise ValueError(f"{given}: all of them must be positive.")
        self.stages, self.parts, self.attend, self.extractor = tuple(stages), parts, attend, extractor
        self.triplets, self.triplet_per = triplets, triplet_per
        self.test_features, self.unit = test_features, unit
        self.activation = ACTIVATIONS[activation]
        self.trunk = build_trunk(trunk, pretrained, last_stride=1, stages=self.stages)  # Sec. IV-A
        self.size = (math.ceil(self.image_size[0] / 16), math.ceil(self.image_size[1] / 16))  # of stage 4: 24x8
        if self.size[0] < parts:
            raise ValueError(
                f"image_size {self.image_size} is too small: {parts} parts need {16 * parts} rows of pixels."
            )
        before, after = ORDERS[order]
        fused, count = sum(self.trunk.channels), parts * (parts + 1) // 2
        self.before = nn.ModuleList(Attention(before, channels, cam_sum, sam_norm) for channels in self.trunk.channels)
        self.after = Attention(after, fused, cam_sum, sam_norm)
        if extractor == "plain":
            features = fused
        else:
            self.reduce = Linears(count, 2 * fused if extractor == "max+avg" else fused, width)  # 1x1 convolutions
            self.reduced_norm = BatchNorms(count * width)
            self.feature = Linears(count, width, features)
            self.feature_norm = BatchNorms(count * features)
        self.classifiers = Linears(count, features, identities)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Every map up to the fused one by name, after attention and pooling: "Stage 1" ... "Stage 4", "Fused".

        With them the attention of each: "S1" ... (B, 1, H, W) or "C1" ... (B, C, 1, 1), and "S", "C" of "Fused".
        """
        found: dict[str, Tensor] = {}
        stages = []
        for stage, attention, maps in zip(self.stages, self.before, self.trunk(self.normalise(images)), strict=True):
            maps, weights = attention(maps if self.attend == "native" else self._pooled(maps))
            found |= {f"{letter}{stage}": weight for letter, weight in weights.items()}
            stages.append(self._pooled(maps))
            found[f"Stage {stage}"] = stages[-1]
        maps, weights = self.after(torch.cat(stages, 1))  # (B, 3840, 24, 8)
        return {**found, **weights, "Fused": maps}

    def _pooled(self, maps: Tensor) -> Tensor:
        """FMR (Sec. III-A): max-pooled to the size of stage 4."""
        return maps if maps.shape[2:] == self.size else F.adaptive_max_pool2d(maps, self.size)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives "encoding" (`vector` (B, 10752)), "logits" (B, 21, classes), "embeddings0" to "embeddings5" of levels.

        Those of a level are its windows' features side by side: (B, 512) for the first to (B, 3072) for the sixth.
        """
        maps = self.maps(images)["Fused"]
        # A height that six does not divide gives blocks that overlap by a row.
        pooled = windows(F.adaptive_avg_pool2d(maps, (self.parts, 1)).flatten(2), F.avg_pool1d)  # (B, 3840, 21)
        if self.extractor == "max+avg":
            largest = windows(F.adaptive_max_pool2d(maps, (self.parts, 1)).flatten(2), F.max_pool1d)
            pooled = torch.cat([largest, pooled], 1)  # (B, 7680, 21)
        before = after = pooled.transpose(1, 2)
        if self.extractor != "plain":  # MPFE (Sec. III-D, Fig. 5)
            before = self.feature(self.activation(self.reduced_norm(self.reduce(after))))  # (B, 21, 512)
            after = self.feature_norm(before)
        vector = (after if self.test_features == "after" else before).float()
        if self.unit == "windows":
            vector = F.normalize(vector, dim=2)
        output = {"encoding": Encoding(vector=vector.flatten(1)), "logits": self.classifiers(after)}
        triplet = before if self.triplets == "before" else after
        sizes = range(1, self.parts + 1) if self.triplet_per == "level" else [1] * triplet.shape[1]
        for number, level in enumerate(triplet.split(list(sizes), 1)):
            output[f"embeddings{number}"] = level.flatten(1)
        return output

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), 1 minus the cosine."""
        return {"distance": 1 - F.cosine_similarity(a.vector, b.vector)}

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        # The released code adds an image's and its mirror image's features before it makes them unit (HA-4): encodings
        # have their length, and it goes here.
        with torch.autocast(self.mean.device.type, enabled=False):
            q, g = queries.vector, gallery.vector
            return 1 - F.normalize(q) @ g.T / g.norm(dim=1).clamp_min(1e-12)

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """`maps` of P pairs, each (P, 2, C, H, W), first `images_a` (Fig. 8: "Stage 4")."""
        found = self.maps(torch.cat([images_a, images_b]))
        return {name: maps.unflatten(0, (2, len(images_a))).transpose(0, 1) for name, maps in found.items()}
