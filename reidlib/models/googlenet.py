"""GoogLeNet (Szegedy et al., CVPR 2015) in the layout of Caffe's bvlc_googlenet, and in torchvision's.

They are two networks. Caffe's has no batch norm but local response normalisation, true 5x5 branches, and 3x3
pooling of stride 2 everywhere; torchvision's, ported from TensorFlow, has batch norm, 3x3 convolutions in place of
the 5x5, and 2x2 pooling before 5a. In both, 4e has 832 maps and 5b 1024.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from reidlib.models.trunks import load_weights, read_weights
from reidlib.names import choose

# Branches of each module: 1x1; 3x3 and 5x5, each behind a 1x1 reduction; 1x1 behind pooling.
INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
LAYOUTS = ("caffe", "torchvision")


def caffe_fillers(module: nn.Module) -> None:
    """Caffe's "xavier" weights, of variance 1 / inputs, and biases of 0.2 (bvlc_googlenet); for `Module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        bound = (3 / module.weight[0].numel()) ** 0.5
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.2)


class Convolution(nn.Conv2d):
    """A convolution that keeps the size (but for its stride), batch norm or none, and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, batch_norm: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(super().forward(x)))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of one convolution that does what this and its batch norm do in eval mode."""
        norm = self.norm
        if isinstance(norm, nn.Identity):
            return self.weight, self.bias  # type: ignore[return-value]
        mean, variance = norm.running_mean, norm.running_var
        return fuse_conv_bn_weights(self.weight, None, mean, variance, norm.eps, norm.weight, norm.bias)  # type: ignore[arg-type]


class Inception(nn.ModuleDict):
    """Four branches side by side; their channels one after the other."""

    def __init__(
        self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int, batch_norm: bool
    ) -> None:
        sizes = {
            "1x1": (inputs, one, 1),
            "3x3_reduce": (inputs, three[0], 1),
            "3x3": (*three, 3),
            "5x5_reduce": (inputs, five[0], 1),
            "5x5": (*five, 5),
            "pool_proj": (inputs, pooled, 1),
        }
        super().__init__({name: Convolution(*size, batch_norm=batch_norm) for name, size in sizes.items()})

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self["1x1"](x),
            self["3x3"](self["3x3_reduce"](x)),
            self["5x5"](self["5x5_reduce"](x)),
            self["pool_proj"](F.max_pool2d(x, 3, 1, 1)),
        )
        return torch.cat(branches, 1)


class GoogLeNet(nn.Sequential):
    """(B, 3, H, W), normalised -> the maps of one level, (B, channels, about H / 16 or H / 32, ...)."""

    def __init__(self, layers: dict[str, nn.Module], channels: int) -> None:
        super().__init__(OrderedDict(layers))
        self.channels = channels


def googlenet(
    level: str = "4e",
    layout: str = "caffe",
    pretrained: bool | str = False,
    batch_norm: bool = False,
    width: float = 1.0,
) -> GoogLeNet:
    """GoogLeNet from the image to an inception module.

    level: "3a" to "5b". pretrained: False; True fetches torchvision's weights; or a file of weights of that layout,
    Caffe's under the layer names of its prototxt ("inception_4e/5x5_reduce.weight", the slash may be a dot).
    batch_norm: of Caffe's layout after every convolution, in place of local response normalisation; torchvision's
    always has it. width: a factor on all channels, in sixteenths. ValueError: an unknown level or layout, a width
    that is none, weights that do not fit; FileNotFoundError: no such file; ConnectionError: nothing to fetch from.
    """
    choose("level", level, INCEPTION)
    choose("layout", layout, LAYOUTS)
    if not 0 < width <= 1 or 16 * width % 1:
        raise ValueError(f"width {width!r} is not a number of sixteenths up to 1, such as 0.25.")

    def count(channels: int) -> int:
        return max(1, round(channels * width))

    layers = _caffe(level, batch_norm, count) if layout == "caffe" else _torchvision(level, count)
    one, three, five, pooled = INCEPTION[level]
    network = GoogLeNet(layers, sum(map(count, (one, three[1], five[1], pooled))))
    if layout == "caffe":
        network.apply(caffe_fillers)
    if pretrained:
        weights = _fetched(layout) if pretrained is True else read_weights(pretrained)
        load_weights(network, {name.replace("/", "."): value for name, value in weights.items()}, f"{layout} googlenet")
    return network


def _caffe(level: str, batch_norm: bool, count: Callable[[int], int]) -> dict[str, nn.Module]:
    """Caffe's layers under its names, a dot for the slash."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)  # Caffe keeps a last window that is not full

    def normalisation() -> nn.Module:
        return nn.Identity() if batch_norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)

    first, inputs = count(64), count(192)
    stem = {"7x7_s2": Convolution(3, first, 7, 2, batch_norm)}
    second = {
        "3x3_reduce": Convolution(first, first, 1, batch_norm=batch_norm),
        "3x3": Convolution(first, inputs, 3, batch_norm=batch_norm),
    }
    layers: dict[str, nn.Module] = {
        "conv1": nn.Sequential(OrderedDict(stem)),
        "pool1": pool(),
        "norm1": normalisation(),
        "conv2": nn.Sequential(OrderedDict(second)),
        "norm2": normalisation(),
        "pool2": pool(),
    }
    for name, (one, three, five, pooled) in INCEPTION.items():
        if name in ("4a", "5a"):
            layers["pool3" if name == "4a" else "pool4"] = pool()
        reduced = (count(three[0]), count(three[1])), (count(five[0]), count(five[1]))
        layers[f"inception_{name}"] = Inception(inputs, count(one), *reduced, count(pooled), batch_norm)
        inputs = count(one) + reduced[0][1] + reduced[1][1] + count(pooled)
        if name == level:
            break
    return layers


def _torchvision(level: str, count: Callable[[int], int]) -> dict[str, nn.Module]:
    """torchvision's own modules under its names."""
    from torchvision.models import GoogLeNet as Whole
    from torchvision.models.googlenet import BasicConv2d, InceptionAux
    from torchvision.models.googlenet import Inception as Module

    def convolution(inputs: int, outputs: int, **kwargs: Any) -> nn.Module:
        return BasicConv2d(inputs if inputs == 3 else count(inputs), count(outputs), **kwargs)

    def inception(*channels: int) -> nn.Module:
        return Module(*map(count, channels))

    blocks = [convolution, inception, InceptionAux]
    children = list(Whole(aux_logits=False, init_weights=False, blocks=blocks).named_children())
    last = [name for name, _ in children].index(f"inception{level}")
    return dict(children[: last + 1])


def _fetched(layout: str) -> dict[str, Tensor]:
    """torchvision's weights for its layout, downloaded unless they are in its cache."""
    if layout == "caffe":
        raise ValueError(
            "pretrained=True: no weights of Caffe's layout are published for PyTorch; save those of bvlc_googlenet "
            "under their Caffe names as pretrained='/path/to/weights.safetensors', or choose layout='torchvision'."
        )
    from torchvision.models import GoogLeNet_Weights

    try:
        return dict(GoogLeNet_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"torchvision's weights of GoogLeNet could not be fetched ({type(error).__name__}): without a network, "
            f"pass pretrained='/path/to/weights.pth', or pretrained=False to start from random weights."
        ) from error
