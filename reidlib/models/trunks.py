"""Convolutional trunks by name, through timm: `trunk("resnet50", pretrained="weights.safetensors")`.

Pre-trained weights are asked for, never fetched behind the user's back: `pretrained=True` downloads timm's
weights for that trunk, a path reads a local file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reidlib.names import hint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Trunk(nn.Module):
    """Maps of one or more stages of a network of timm, by its own pyramid: stage 4 of a ResNet is `layer4`.

    channels, strides: of each stage that `forward` returns, in order.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        info: Any = network.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.strides: tuple[int, ...] = tuple(info.reduction())

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised -> one (B, C, H / stride, W / stride) a stage."""
        return self.network(images)


def trunk(
    name: str = "resnet50", pretrained: bool | str = False, last_stride: int = 1, stages: Sequence[int] = (4,)
) -> Trunk:
    """A trunk by timm's name, e.g. "resnet50", "densenet121", or "test_resnet" (0.4 M parameters, for laptops).

    pretrained: False, True (fetched by timm on request: torchvision's first weights, "tv_in1k", where there are any and
    the name asks for no others), or a file of weights (.safetensors, or a PyTorch file that is read with
    `weights_only`). last_stride: of the last stage, 2 is the network as its authors made it, 1 keeps the size of the
    map before it. stages: 1 to 4. ValueError: an unknown name, a trunk that cannot lose its last stride, weights that
    do not fit; FileNotFoundError: no such file; ConnectionError: nothing to fetch from.
    """
    import timm  # takes a second, and half of the systems have no trunk

    if not timm.is_model(name):
        raise ValueError(f"trunk {name!r} is unknown to timm{hint(name, timm.list_models())}")
    if last_stride not in (1, 2) or not stages or not set(stages) <= {1, 2, 3, 4}:
        raise ValueError(f"last_stride {last_stride!r} must be 1 or 2, stages {stages!r} some of 1, 2, 3, 4.")
    stride: dict[str, Any] = {} if last_stride == 2 else {"output_stride": 16}
    try:
        network = timm.create_model(name, features_only=True, out_indices=tuple(stages), **stride)
    except TypeError as error:
        raise ValueError(f"trunk {name!r} cannot keep its last map at 1/16: use last_stride=2 ({error}).") from None
    if last_stride == 1:
        _undilate(network)
    if pretrained:
        weights = _fetched(name) if pretrained is True else read_weights(pretrained)
        # timm flattens some networks, such as DenseNet, when it takes their features.
        flat = {key.replace(".", "_", 1): value for key, value in weights.items()}
        load_weights(network, {**flat, **weights}, name)
    return Trunk(network)


def _undilate(network: nn.Module) -> None:
    """Adjacent pixels for every filter again: timm dilates a stage that loses its stride, PCB, CASN and HAGN do not.

    A trunk whose shortcuts average pixels (`test_resnet`, none of the papers') still averages two by two in that stage.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1):
            layer.dilation = (1, 1)
            layer.padding = tuple(size // 2 for size in layer.kernel_size)


def _fetched(name: str) -> Mapping[str, Tensor]:
    """ImageNet's weights for a network, downloaded unless they are in timm's cache.

    CASN and HAGN name no source; torchvision's were what PyTorch had in 2019. timm's default is a later recipe's.
    """
    import timm

    first = f"{name}.tv_in1k"
    try:
        tagged = first if timm.models.is_model_pretrained(first) else name
        return timm.create_model(tagged, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"the pre-trained weights of {name!r} could not be fetched ({type(error).__name__}): without a network, "
            f"pass pretrained='/path/to/weights.safetensors', or pretrained=False to start from random weights."
        ) from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors file, or from a PyTorch file without running its code.

    FileNotFoundError: no such file. ValueError: not a file of weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"pretrained={str(path)!r}: there is no such file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a whole file of weights, or holds code, which is not run.") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds {type(found).__name__}, not tensors by name.")
    return found


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy `weights` into a module that has some of their layers; a ValueError says what does not fit.

    Weights may hold more than the module needs (the classifier of ImageNet), never less.
    """
    wanted = module.state_dict()
    found = {key.removeprefix("module."): value for key, value in weights.items()}
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(
            f"the weights are not those of {name!r}: {len(missing)} of its {len(wanted)} tensors are missing, "
            f"{missing[0]!r} first."
        )
    for key, value in wanted.items():
        if key in found and found[key].shape != value.shape:
            raise ValueError(
                f"the weights are not those of {name!r}: {key!r} is {tuple(found[key].shape)}, "
                f"{tuple(value.shape)} is needed."
            )
    module.load_state_dict({key: found.get(key, value) for key, value in wanted.items()})
