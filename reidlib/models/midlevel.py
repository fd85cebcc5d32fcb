"""MidLevel (Lin and Li, FG 2017): correspondence and relationship learning of GoogLeNet's mid-level maps.

ML-numbers are the open points of the paper; each is settled, or left to an option, where it occurs.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Encoding, LogitLayer, ReIDModel
from reidlib.models.blocks import prefers_onednn
from reidlib.models.googlenet import LAYOUTS, Convolution, caffe_fillers, googlenet
from reidlib.models.trunks import IMAGENET_MEAN, IMAGENET_STD
from reidlib.models.winograd import MapNetwork

POOLS = {"3x3-ceil": (3, True), "2x2": (2, False), "2x2-ceil": (2, True)}  # window and ceil_mode, of stride 2
# What each layout's published weights were trained on, as (mean, standard deviation) of RGB in [0, 1]: Caffe's on BGR
# in [0, 255] minus a mean, torchvision's on images in [-1, 1].
INPUTS = {"caffe": ((123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3), "torchvision": ((0.5,) * 3, (0.5,) * 3)}


class Correspondence(nn.Conv2d):
    """C = f*([X_A, X_B], Theta) (Sec. III-B): a 3x3 convolution over the maps of both images.

    grouped: the matching that the paper argues against; feature i sees map i of either image and no other.
    The convolution is linear in its two images, so that it separates into `part(x_a, 0) + part(x_b, 1)`.
    """

    def __init__(self, maps: int, grouped: bool) -> None:
        super().__init__(2 * maps, maps, 3, padding=1, groups=maps if grouped else 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        """(P, maps, H, W) twice -> (P, maps, H, W), one after the other or, grouped, map beside map."""
        pair = torch.cat([a, b], 1) if self.groups == 1 else torch.stack([a, b], 2).flatten(1, 2)
        return super().forward(pair)

    def part(self, maps: Tensor, image: int) -> Tensor:
        """What the first (0) or second (1) image adds to the correspondence features, the bias with the first."""
        bias = self.bias if image == 0 else None
        return F.conv2d(maps, self.weight.chunk(2, 1)[image], bias, padding=1, groups=self.groups)

    def weights(self) -> Tensor:
        """(2, maps) norm of the weights that read each map of the first and the second image."""
        over = (0, 2, 3) if self.groups == 1 else (1, 2, 3)
        return torch.stack([torch.linalg.vector_norm(half, dim=over) for half in self.weight.chunk(2, 1)])


class MidLevel(ReIDModel):
    """Mid-level maps of a shared GoogLeNet, correspondence and relationship convolutions, a metric network (Fig. 2).

    layout: GoogLeNet as in Caffe, which alone gives the printed 10x5 and 5x2, or torchvision's (ML-8).
    level: "4e", or "5b", which Sec. III-A decides against. pretrained: the paper's is True, with ImageNet weights;
        False, True or a file of weights (`googlenet`). normalisation: as those "weights" want it, or "imagenet"'s
        mean and deviation (ML-8).
    correspondence: "all" maps together, or "grouped" map by map (Sec. III-B). relations: False leaves out both
        convolutions of Sec. III-C, so that only the pooling stands before the metric network.
    conv_c: channels after the pooling; None is as many as before, 832 (ML-2). pool: Caffe's 3x3 with ceil, 2x2 with
        floor (both end at 5x2), 2x2 with ceil (ML-3). fc: widths of the two hidden layers (ML-4). dropout: after
        each of them (ML-5).
    batch_norm: after every convolution of Caffe's trunk and of the head; the paper has none (ML-7), and without it
        the network learns much less from random weights. width: a factor on the trunk's channels, in sixteenths.
    average_orders: in eval mode, average the logits of (a, b) and (b, a) (ML-15: [X_A, X_B] has an order).
    """

    tile = 128
    pairs_per_block = (128, 4096)

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "layout": LAYOUTS,
        "level": ("4e", "5b"),
        "normalisation": ("weights", "imagenet"),
        "correspondence": ("all", "grouped"),
        "relations": (True, False),
        "pool": tuple(POOLS),
        "batch_norm": (False, True),
        "average_orders": (False, True),
    }

    def __init__(
        self,
        layout: str = "caffe",
        level: str = "4e",
        pretrained: bool | str = False,
        normalisation: str = "weights",
        correspondence: str = "all",
        relations: bool = True,
        conv_c: int | None = None,
        pool: str = "3x3-ceil",
        fc: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        batch_norm: bool = False,
        width: float = 1.0,
        average_orders: bool = False,
        image_size: Sequence[int] = (160, 80),
        identities: int = 751,  # of the common signature; a pair scorer has no classifier
    ) -> None:
        if len(fc) != 2 or min(fc) < 1 or (conv_c is not None and conv_c < 1):
            raise ValueError(
                f"fc {fc!r} and conv_c {conv_c!r}: give two positive widths such as (1024, 1024), and one."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout!r} is not a share in [0, 1).")
        as_weights = normalisation == "weights"
        super().__init__(image_size, *(INPUTS[layout] if as_weights else (IMAGENET_MEAN, IMAGENET_STD)))
        self.bgr = as_weights and layout == "caffe"
        self.average_orders, self.dropout = average_orders, dropout
        self.trunk = googlenet(level, layout, pretrained, batch_norm, width)
        maps = self.trunk.channels
        self.correspondence = Correspondence(maps, correspondence == "grouped")
        self.norm = nn.BatchNorm2d(maps) if batch_norm else nn.Identity()
        window, ceil = POOLS[pool]
        layers: dict[str, nn.Module] = {"pool": nn.MaxPool2d(window, 2, ceil_mode=ceil)}
        if relations:
            before = Convolution(maps, maps, 3, batch_norm=batch_norm)
            after = Convolution(maps, conv_c or maps, 3, batch_norm=batch_norm)
            layers = {"before": before, **layers, "after": after}
        self.relations = nn.Sequential(OrderedDict(layers))
        self.faster: MapNetwork | None = None  # the same, during `distance`
        self.fc = nn.ModuleList([nn.Linear(self._flat(), fc[0]), nn.Linear(fc[0], fc[1])])
        self.logits = LogitLayer(fc[1], 2)
        for module in (self.correspondence, self.relations, self.fc, self.logits):
            module.apply(caffe_fillers)  # as the trunk's: the paper states none

    @torch.no_grad()
    def _flat(self) -> int:
        """Inputs of the first fully connected layer; a ValueError if the image is too small."""
        self.eval()  # a blank image is not to move batch norm's averages
        try:
            maps = self.trunk(self.mean.new_zeros(1, 3, *self.image_size))
            return self.relations(self.norm(maps)).numel()
        except RuntimeError:
            raise ValueError(f"image_size {self.image_size} is too small for MidLevel: use (160, 80).") from None
        finally:
            self.train()

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" with `maps` (B, 832, 10, 5)."""
        images = self.normalise(images)
        return {"encoding": Encoding(maps=self.trunk(images.flip(1) if self.bgr else images))}

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), "logits" (P, 2) = (different, same), "correspondence" (P, 832, 10, 5), activated.

        The distance is a logit, different minus same: it ranks as the softmax of Sec. III-E does and never saturates.
        """
        features = torch.relu(self.norm(self.correspondence(a.maps, b.maps)))  # ML-1: 1664 maps, not 1664 x 3
        logits = self._head(features)
        if self.average_orders and not self.training:
            logits = (logits + self._head(torch.relu(self.norm(self.correspondence(b.maps, a.maps))))) / 2
        return {"distance": logits[:, 0] - logits[:, 1], "logits": logits, "correspondence": features}

    def _head(self, features: Tensor) -> Tensor:
        """Relationship and metric network (Sec. III-C, III-D): (P, 832, 10, 5) -> logits (P, 2)."""
        return self.metric(self.relations(features).flatten(1))

    def metric(self, x: Tensor) -> Tensor:
        """The metric network (Sec. III-D): pooled features (P, 832 * 5 * 2) -> logits (P, 2)."""
        onednn = prefers_onednn(x)
        x = x.to_mkldnn() if onednn else x
        for layer in self.fc:
            x = F.dropout(torch.relu(layer(x)), self.dropout, self.training)
        return self.logits(x.to_dense() if onednn else x)

    @torch.no_grad()
    def distance(self, queries: Encoding, gallery: Encoding, counted: Tensor | None = None) -> Tensor:
        first = self.relations[0]
        if isinstance(first, Convolution) and prefers_onednn(first.weight):  # many channels on a CPU
            self.faster = MapNetwork(self.relations, *queries.maps.shape[2:])
        try:
            return super().distance(queries, gallery)
        finally:
            self.faster = None

    def prepare(self, encodings: Encoding) -> Encoding:
        """Both halves of the correspondence convolution and of its batch norm, which is affine in eval mode."""
        first, second = (self.correspondence.part(encodings.maps, image) for image in (0, 1))
        return Encoding(first=self.norm(first), second=self.norm(second) - self.norm(torch.zeros_like(second)))

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        logits = self._all_pairs(queries.first, gallery.second)
        if self.average_orders:
            logits = (logits + self._all_pairs(queries.second, gallery.first)) / 2
        return (logits[:, 0] - logits[:, 1]).view(len(queries), len(gallery))

    def _all_pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits (Q * G, 2) of the halves (Q, 832, 10, 5) and (G, 832, 10, 5)."""
        if self.faster is None:
            return self._head((a[:, None] + b).flatten(0, 1).relu_())
        a, b = (half.flatten(2).permute(2, 0, 1).contiguous() for half in (a, b))  # (50, images, 832)
        maps = self.faster((a[:, :, None] + b[:, None]).flatten(1, 2).relu_())  # (10, Q * G, 832)
        return self.metric(maps.permute(1, 2, 0).flatten(1))

    def highest_weighted(self, a: Encoding, b: Encoding) -> Tensor:
        """(P,) the map of each pair that the correspondence features take most from (Sec. IV-D, Figs. 1 and 3).

        The paper does not define "highest weighted": here mean activation times the norm of the weights reading it.
        """
        activations = torch.stack([a.maps.mean((2, 3)), b.maps.mean((2, 3))], 1)  # (P, 2, 832)
        return (activations * self.correspondence.weights()).sum(1).argmax(1)

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """What every stage of Fig. 2 puts out for P pairs.

        "Mid-level" (P, 2, 832, 10, 5), first `images_a`; "Highest weighted" (P, 2, 1, 10, 5), the one map of them
        that `highest_weighted` names; "Correspondence", "Relationship", "Pooled", "Rescaled" (P, 832, H, W);
        "FC1", "FC2" (P, width); "Softmax" (P, 2).
        """
        a, b = self.encode(images_a), self.encode(images_b)
        maps = torch.stack([a.maps, b.maps], 1)
        chosen = self.highest_weighted(a, b)
        found = {"Mid-level": maps, "Highest weighted": maps[torch.arange(len(maps)), :, chosen][:, :, None]}
        x = found["Correspondence"] = torch.relu(self.norm(self.correspondence(a.maps, b.maps)))
        names = {"before": "Relationship", "pool": "Pooled", "after": "Rescaled"}
        for name, layer in self.relations.named_children():
            x = found[names[name]] = layer(x)
        x = x.flatten(1)
        for i, layer in enumerate(self.fc, 1):
            x = found[f"FC{i}"] = torch.relu(layer(x))
        found["Softmax"] = self.logits(x).softmax(1)
        return found
