"""The maps of networks by which they tell people apart, laid over the pixels of their images."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reidlib.models.base import ReIDModel
from reidlib.models.blocks import Stage
from reidlib.models.casn import CASN
from reidlib.models.csn import Attention
from reidlib.models.hagn import HAGN
from reidlib.models.midlevel import MidLevel
from reidlib.models.mls import MLS
from reidlib.models.personnet import WINDOW, PersonNet

POINTS = 64  # counted along either side of a window


@dataclass(frozen=True, eq=False)
class Layer:
    """One map of each of P pairs, spread over the pixels.

    image: the one that it lies on, 0 or 1; None for a map of the pair, which lies on both. energy: (P, H, W), not
    normalised. reach: (H, W) bool, the pixels that the map can answer to.
    """

    name: str
    image: int | None
    energy: Tensor
    reach: Tensor


def spread(cells: Tensor, size: tuple[int, int], start: float, step: int) -> tuple[Tensor, Tensor]:
    """Maps (P, h, w) on the pixels of images: (P, H, W), and (H, W) bool, where a cell lies.

    Cell i is for the pixels around `start + step i`, the centre of what it sees.
    """
    nearest = [((torch.arange(side) - start) / step + 0.5).floor().long() for side in size]
    rows, columns = ((at >= 0) & (at < sides) for at, sides in zip(nearest, cells.shape[1:], strict=True))
    reach = rows[:, None] & columns
    at = [near.clamp(0, sides - 1) for near, sides in zip(nearest, cells.shape[1:], strict=True)]
    return cells.cpu()[:, at[0]][:, :, at[1]] * reach, reach


def window(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Parallelograms (P, 4, 2), corners (x, y) in shares of the image, on its pixels: (P, H, W).

    Evenly spaced points of each are counted, so that what is folded over itself counts twice, as it is sampled.
    """
    height, width = size
    corners, u = corners.cpu(), (torch.arange(POINTS) + 0.5) / POINTS
    first, across, down = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    points = first[:, None, None] + u[:, None] * across[:, None, None] + u[:, None, None] * down[:, None, None]
    x, y = (points * torch.tensor([width, height])).floor().long().flatten(1, 2).unbind(-1)  # (P, points)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    counts = torch.zeros(len(corners), height * width)
    counts.scatter_add_(1, (y * width + x).where(inside, torch.zeros_like(x)), inside.float())
    return counts.unflatten(1, size)


def centre(layers: Iterable[tuple[int, int, int]]) -> tuple[float, int]:
    """(start, step) of a map's cells in pixels, after layers of (kernel, stride, padding)."""
    start, step = 0.0, 1
    for kernel, stride, padding in layers:
        start += step * ((kernel - 1) / 2 - padding)
        step *= stride
    return start, step


def _mls(model: MLS, a: Tensor, b: Tensor) -> list[Layer]:
    """The attended windows of every level, and the energy of its similarity maps (MLS, Fig. 4)."""
    layers, size, similar = [], model.image_size, model.responses(a, b)
    for image, images in enumerate((a, b)):
        corners = model.windows(images)  # (P, levels, n, 4, 2)
        for number, level in enumerate(model.levels):
            step, side = model.strides[level], model.sizes[level]
            attention = model.attentions[str(level)]
            assert isinstance(attention, Attention)
            names = (
                ["window"]
                if len(attention.stripes) == 1
                else [f"{name} window" for name in ("upper", "middle", "lower")]
            )
            for part, name in enumerate(names if corners is not None else ()):
                reach = torch.zeros(size, dtype=torch.bool)
                first, rows = attention.stripes[part]
                reach[first * step : (first + rows) * step] = True  # beyond its stripe a window samples zeros
                energy = window(corners[:, number, part], size) * reach  # type: ignore[index]
                layers.append(Layer(f"CSN-{level}, {name}", image, energy, reach))
            start = (step - 1) / 2 + (step / 2 if side % 2 == 0 else 0)  # MLS-8
            energy = similar[f"CSN-{level}"][:, image].square().sum((1, 2))
            layers.append(Layer(f"CSN-{level}, similarity", image, *spread(energy, size, start, step)))
    return layers


def _midlevel(model: MidLevel, a: Tensor, b: Tensor) -> list[Layer]:
    """The map that the correspondence features take most from (MidLevel, Figs. 1 and 3)."""
    where = _centre_of(model.trunk)
    maps = model.responses(a, b)["Highest weighted"][:, :, 0].square()
    return [Layer("strongest map", image, *spread(maps[:, image], model.image_size, *where)) for image in (0, 1)]


def _hagn(model: HAGN, a: Tensor, b: Tensor) -> list[Layer]:
    """The map of every stage as it is fused, and the spatial attention of the stages that have one (HAGN, Fig. 8)."""
    layers, found = [], model.responses(a, b)
    last = math.ceil(model.image_size[0] / model.size[0])  # pixels a cell of what is fused
    for stage, step in zip(model.stages, model.trunk.strides, strict=True):
        for name, what in ((f"Stage {stage}", "activation"), (f"S{stage}", "attention")):
            if name not in found:
                continue
            energy = found[name].square().sum(2)
            # A ResNet's padding centres its first cell on pixel 0; max-pooling takes several cells together.
            pooled = energy.shape[2:] == model.size
            where = ((last - step) / 2, last) if pooled else (0.0, step)
            spreads = [spread(energy[:, image], model.image_size, *where) for image in (0, 1)]
            layers += [Layer(f"stage {stage}, {what}", image, *laid) for image, laid in enumerate(spreads)]
    return layers


def _personnet(model: PersonNet, a: Tensor, b: Tensor) -> list[Layer]:
    """The difference layer (PersonNet, Fig. 3)."""
    layers: list[tuple[int, int, int]] = []
    for stage in model.trunk.values():
        assert isinstance(stage, Stage)
        layers.append((_side(stage.conv.kernel_size), 1, _side(stage.conv.padding)))
        layers += [(2, 2, 0)] if stage.pool else []
    layers.append((WINDOW, 1, model.edge))
    energy = model.compare(model.encode(a), model.encode(b))["difference"].square().sum(1)
    return [Layer("difference layer", None, *spread(energy, model.image_size, *centre(layers)))]


def _casn(model: CASN, a: Tensor, b: Tensor) -> list[Layer]:
    """Identification attention of either image, and Siamese attention of models that compare it (CASN, Figs. 4, 5)."""
    names = ("Identification attention", "Siamese attention")[: 1 + model.attention]
    where, found = _centre_of(model.trunk), model.responses(a, b)
    return [
        Layer(name, image, *spread(found[name][:, image, 0].square(), model.image_size, *where))
        for name in names
        for image in (0, 1)
    ]


MAPS: dict[type[ReIDModel], Callable[..., list[Layer]]] = {
    CASN: _casn,
    HAGN: _hagn,
    MLS: _mls,
    MidLevel: _midlevel,
    PersonNet: _personnet,
}


def in_figure(model: ReIDModel) -> str:
    """The name of the map that the paper's figure says lies on the person: CASN's Fig. 4, HAGN's Fig. 8; else ""."""
    if isinstance(model, CASN):
        return "Identification attention"
    return f"stage {model.stages[-1]}, activation" if isinstance(model, HAGN) else ""


def _centre_of(trunk: nn.Module) -> tuple[float, int]:
    """`centre` of a convolutional trunk's last map; branches side by side neither stride nor shift by themselves."""
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    along = [part for name, part in trunk.named_modules() if isinstance(part, kinds) and "downsample" not in name]
    shape = [[_side(getattr(part, name)) for name in ("kernel_size", "stride", "padding")] for part in along]
    return centre((kernel, stride, padding) for kernel, stride, padding in shape)


def _side(value: int | tuple[int, ...] | str) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
