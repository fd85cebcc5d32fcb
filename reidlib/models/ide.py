"""IDE (Zheng, Yang and Hauptmann 2016) and PCB (Sun et al., ECCV 2018): the baselines that CASN builds on (Sec. 3.1.1).

CA-numbers are CASN's open points; each is settled, or left to an option, where it occurs.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Embedder, Encoding, LogitLayer, ReIDModel
from reidlib.models.trunks import IMAGENET_MEAN, IMAGENET_STD, trunk


class TwoLayers(nn.Module):
    """Two fully connected layers (CASN, Sec. 3.1.1 and 3.2.1), in float32: attention asks for their gradient's sign.

    Width, normalisation and activation are unstated (CA-3). between: batch norm, then "relu", or a "dropout" of one
    half, with which the classifier is linear in eval mode.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, between: str = "relu") -> None:
        super().__init__()
        self.fc1 = LogitLayer(inputs, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = LogitLayer(hidden, outputs)
        self.between = between

    def gate(self, normed: Tensor) -> Tensor:
        """(B, hidden) the factor on each hidden unit: 0 or 1 for ReLU, 0 or 2 for dropout in training."""
        if self.between == "relu":
            return (normed > 0).to(normed)
        return F.dropout(torch.ones_like(normed), 0.5, self.training)

    def hidden(self, f: Tensor) -> Tensor:
        """(B, inputs) -> (B, hidden)."""
        normed = self.norm(self.fc1(f))
        return normed * self.gate(normed)

    def forward(self, f: Tensor) -> Tensor:
        return self.fc2(self.hidden(f))

    def attend(self, f: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, outputs), and the gradient (B, inputs) of each row's score number `output` (B,) in its f."""
        x = self.fc1(f)
        normed = self.norm(x)
        gate = self.gate(normed)
        return self.fc2(normed * gate), self.gradient(x, gate, output)

    def gradient(self, x: Tensor, gate: Tensor, output: Tensor | int) -> Tensor:
        """d score / d f in closed form, (B, inputs) for x = fc1(f) (B, hidden), and itself differentiable.

        Row i's score in row i's f, in training too: there f also moves the mean m and the deviation s of its batch,
        d((x - m) / s) / dx = (1 - (1 + ((x - m) / s)^2) / B) / s. (Autograd of the summed scores would add the other
        rows' scores, which cancel most of it.)
        """
        with torch.autocast(x.device.type, enabled=False):
            if self.training:
                variance, mean = torch.var_mean(x, 0, correction=0)
                scale = (variance + self.norm.eps).rsqrt()
                scale = scale * (1 - (1 + ((x - mean) * scale).square()) / len(x))
            else:
                scale = (self.norm.running_var + self.norm.eps).rsqrt()  # type: ignore[operator,union-attr]
            return (gate * (self.fc2.weight[output] * self.norm.weight * scale)) @ self.fc1.weight


class Identification(ReIDModel):
    """CASN's identification module (Fig. 3): a trunk, the mean of each horizontal stripe, a classifier for each.

    One stripe is IDE's global average pooling, six are PCB's.
    """

    crops = True

    def __init__(
        self,
        trunk_name: str,
        pretrained: bool | str,
        last_stride: int,
        parts: int,
        hidden: int,
        between: str,
        image_size: Sequence[int],
        identities: int,
    ) -> None:
        super().__init__(image_size, IMAGENET_MEAN, IMAGENET_STD)
        if min(hidden, identities) < 1:
            raise ValueError(f"hidden {hidden!r} and identities {identities!r} must be positive.")
        self.trunk = trunk(trunk_name, pretrained, last_stride)
        self.channels, self.parts = self.trunk.channels[-1], parts
        self.classifier = nn.ModuleList(TwoLayers(self.channels, hidden, identities, between) for _ in range(parts))

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last convolutional layer's maps A (B, C, H, W), and the feature f (B, parts, C)."""
        maps = self.trunk(self.normalise(images))[-1]  # after its ReLU, so A >= 0 (CA-20)
        return maps, self.pool(maps.float())

    def pool(self, maps: Tensor) -> Tensor:
        """The mean of A over each stripe, (B, parts, C); stripes overlap where the height is no multiple of them."""
        return F.adaptive_avg_pool2d(maps, (self.parts, 1))[..., 0].transpose(1, 2)


class IDE(Identification, Embedder):
    """The identification baseline: ResNet-50, global average pooling, two fully connected layers (Fig. 3).

    trunk: by timm's name. pretrained: the paper's is True, ImageNet; False, True or a file of weights. last_stride:
        2 is ResNet-50 as published, a 9x5 map, 1 an 18x9 one (CA-1). between: see `TwoLayers` (CA-3).
    hidden: width of the classifier's first layer (CA-3).
    """

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {"last_stride": (2, 1), "between": ("relu", "dropout")}

    def __init__(
        self,
        trunk: str = "resnet50",
        pretrained: bool | str = False,
        last_stride: int = 2,
        between: str = "relu",
        hidden: int = 512,
        image_size: Sequence[int] = (288, 144),
        identities: int = 751,
    ) -> None:
        super().__init__(trunk, pretrained, last_stride, 1, hidden, between, image_size, identities)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives "encoding" (unit `vector`), "maps" (B, 2048, 9, 5), "feature" (B, 2048), "logits" (B, 1, C)."""
        maps, f = self.extract(images)
        f = f[:, 0]
        logits = self.classifier[0](f)[:, None]
        return {"encoding": Encoding(vector=F.normalize(f)), "maps": maps, "feature": f, "logits": logits}


class PCB(Identification, Embedder):
    """The part-based convolutional baseline: the last stride is 1, six stripes are pooled and classified apart.

    Each stripe's classifier is a reduction to 256 and a layer of identities, the two layers of CASN's Sec. 3.1.1.
    feature: an image is ranked by the "pooled" stripes, 6x2048, which CASN takes, or by the "reduced", 6x256.
    refined: refined part pooling (Sun et al., Sec. 3.3): a part classifier `refine` says how much every column vector
        of the map belongs to each part, in place of stripes. It starts from a trained PCB, alone at first.
    """

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "last_stride": (1, 2),
        "between": ("relu", "dropout"),
        "feature": ("pooled", "reduced"),
        "refined": (False, True),
    }

    def __init__(
        self,
        trunk: str = "resnet50",
        pretrained: bool | str = False,
        last_stride: int = 1,
        between: str = "relu",
        parts: int = 6,
        hidden: int = 256,
        feature: str = "pooled",
        refined: bool = False,
        image_size: Sequence[int] = (384, 128),
        identities: int = 751,
    ) -> None:
        if parts < 1:
            raise ValueError(f"parts {parts!r} is not a positive number of stripes such as 6.")
        super().__init__(trunk, pretrained, last_stride, parts, hidden, between, image_size, identities)
        self.feature = feature
        self.refine = nn.Conv2d(self.channels, parts, 1) if refined else None

    def pool(self, maps: Tensor) -> Tensor:
        if self.refine is None:
            return super().pool(maps)
        # The text weighs column vectors by their probability and does not say by what the sum is divided. By the sum
        # of the probabilities: where a part is a stripe with certainty, this is PCB's mean.
        shares = self.refine(maps).float().softmax(1).flatten(2)  # (B, 6, HW)
        shares = shares / shares.sum(2, keepdim=True).clamp_min(1e-12)  # a part may have no place at all
        return shares @ maps.flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives "encoding" (unit `vector`), "maps" (B, 2048, 24, 8), "feature" (B, 12288), "logits" (B, 6, C)."""
        maps, f = self.extract(images)
        reduced = [head.hidden(f[:, part]) for part, head in enumerate(self.classifier)]  # type: ignore[operator]
        logits = torch.stack([head.fc2(h) for head, h in zip(self.classifier, reduced, strict=True)], 1)  # type: ignore[operator]
        f = (f if self.feature == "pooled" else torch.stack(reduced, 1)).flatten(1)
        return {"encoding": Encoding(vector=F.normalize(f)), "maps": maps, "feature": f, "logits": logits}
