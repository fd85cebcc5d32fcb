"""Augmentation of whole uint8 batches on their device: index arithmetic, no loop over images.

Every draw comes from the generator passed in, on the CPU, so that a seed gives the same augmentation on any device.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.names import choose

MEAN = (0.485, 0.456, 0.406)  # ImageNet's; what erased pixels become, about 0 once a model has normalised
STAYS_PUT = 1 / 6  # PN-17: five translated copies and the original


def to_float(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 as float32 in [0, 1]; float images unchanged."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def _crop(padded: Tensor, dy: Tensor, dx: Tensor, height: int, width: int) -> Tensor:
    """Image b cut from row dy[b] and column dx[b] of its padded form."""
    count, channels, rows, columns = padded.shape
    planes = torch.arange(count * channels, device=padded.device).view(count, channels) * (rows * columns)
    starts = planes + (dy * columns + dx).to(padded.device)[:, None]  # (B, 3)
    padded = padded.contiguous()
    places = padded.numel() - (height - 1) * columns - width + 1
    windows = padded.as_strided((places, height, width), (1, columns, 1))  # every crop of every plane, a view
    return windows.index_select(0, starts.flatten()).view(count, channels, height, width)


def _repeat_edge(images: Tensor, dim: int, count: int) -> Tensor:
    """Padded along dim by its first and last line (`F.pad` knows no uint8)."""
    first, last = images.narrow(dim, 0, 1), images.narrow(dim, -1, 1)
    shape = [count if d == dim else -1 for d in range(4)]
    return torch.cat([first.expand(shape), images, last.expand(shape)], dim)


def _flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror left and right."""
    chosen = torch.rand(len(images), generator=generator) < probability
    source = torch.arange(len(images)) + len(images) * chosen
    return torch.cat([images, images.flip(-1)]).index_select(0, source.to(images.device))  # 4x torch.where


def _translate(images: Tensor, share: float, generator: torch.Generator, stays: float = STAYS_PUT) -> Tensor:
    """Move by whole pixels, uniform up to `share` of height and width; edges are repeated. `stays`: share unmoved."""
    count, _, height, width = images.shape
    py, px = round(share * height), round(share * width)
    columns = 2 * px + 1
    places = (2 * py + 1) * columns
    if places == 1:
        return images
    centre = places // 2
    place = torch.randint(places - 1, (count,), generator=generator)
    place += place >= centre  # anywhere but the centre
    place[torch.rand(count, generator=generator) < stays] = centre
    padded = _repeat_edge(_repeat_edge(images, 2, py), 3, px)
    return _crop(padded, place // columns, place % columns, height, width)


def _pad_crop(images: Tensor, pixels: float, generator: torch.Generator) -> Tensor:
    """Pad with black on every side, crop the original size anywhere (strong baseline: 10 pixels)."""
    pad = int(pixels)
    place = torch.randint(2 * pad + 1, (2, len(images)), generator=generator)
    return _crop(F.pad(images, (pad,) * 4), place[0], place[1], images.shape[2], images.shape[3])


def _crop_smaller(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A window anywhere in the image, smaller by `share` of both sides; models with `crops` train on these."""
    sides = [round((1 - share) * side) for side in images.shape[2:]]
    top, left = (
        torch.randint(whole - side + 1, (len(images),), generator=generator)
        for whole, side in zip(images.shape[2:], sides, strict=True)
    )
    return _crop(images, top, left, *sides)


def _affine(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Small affine jitter, all uniform (0.05: translation +-5 % of the size, rotation +-5 degrees, scale +-5 %).

    Bilinear, edges repeated.
    """
    u = 2 * torch.rand(4, len(images), generator=generator) - 1  # (4, B) in [-1, 1)
    angle, scale = u[2] * math.radians(100 * share), 1 + share * u[3]
    height, width = images.shape[2:]
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # Output to input, in grid_sample's units where either side spans [-1, 1].
    rows = [cos, -sin * height / width, 2 * share * u[0], sin * width / height, cos, 2 * share * u[1]]
    theta = torch.stack(rows, 1).reshape(-1, 2, 3).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(to_float(images), grid, "bilinear", "border", align_corners=False)


def _erase(images: Tensor, probability: float, generator: torch.Generator, centred: bool = False) -> Tensor:
    """Random erasing (Zhong et al. 2020): 2-40 % of the area, aspect 0.3-3.3, filled with the mean colour.

    The box lies anywhere inside the image; centred: around any pixel, cut off at the image's edges.
    """
    count, _, height, width = images.shape
    chosen = torch.rand(count, generator=generator) < probability
    u = torch.rand(4, 20, count, generator=generator)  # twenty tries an image, the first that fits is taken
    area, aspect = height * width * (0.02 + 0.38 * u[0]), 0.3 + (1 / 0.3 - 0.3) * u[1]
    h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (h < height) & (w < width)
    first = fits.to(torch.uint8).argmax(0, keepdim=True)  # (1, B)
    h, w, uy, ux = (values.gather(0, first)[0] for values in (h, w, u[2], u[3]))
    h = torch.where(chosen & fits.any(0), h, 0.0)
    if centred:
        top, left = (uy * height).floor() - (h / 2).floor(), (ux * width).floor() - (w / 2).floor()
    else:
        top, left = (uy * (height - h + 1)).floor(), (ux * (width - w + 1)).floor()
    box = torch.stack([top, top + h, left, left + w]).to(images.device)[:, :, None]  # (4, B, 1)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside = ((y >= box[0]) & (y < box[1]))[:, None, :, None] & ((x >= box[2]) & (x < box[3]))[:, None, None, :]
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    return torch.where(inside, mean, to_float(images))


# name -> (operation, largest amount)
OPERATIONS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], float]] = {
    "flip": (_flip, 1.0),
    "translate": (_translate, 0.5),
    "translate_only": (partial(_translate, stays=0.0), 0.5),
    "pad_crop": (_pad_crop, 64.0),
    "crop": (_crop_smaller, 0.5),
    "affine": (_affine, 0.5),
    "erase": (_erase, 1.0),
    "erase_centred": (partial(_erase, centred=True), 1.0),  # HAGN, Sec. III-F; HA-10
}


def check(operations: tuple[tuple[str, float], ...]) -> None:
    """ValueError for an unknown operation (the nearest is named) or an amount outside its range."""
    for name, amount in operations:
        top = OPERATIONS[choose("augmentation", name, OPERATIONS)][1]
        if not 0 <= amount <= top:
            raise ValueError(f"augmentation {name!r} takes an amount from 0 to {top:g}, not {amount}")


def augment(images: Tensor, operations: tuple[tuple[str, float], ...], generator: torch.Generator) -> Tensor:
    """The operations in order on (B, 3, H, W) uint8 images, as float32 in [0, 1] on their device, "crop" smaller.

    operations: (name, amount) of `OPERATIONS`. Amounts: flip, erase and erase_centred a probability; translate and
    translate_only a share of height and width, crop the share cut off; pad_crop pixels; affine a share, and 100 times
    as many degrees.
    generator: on the CPU.
    """
    check(operations)
    for name, amount in operations:
        if amount > 0 and len(images):
            images = OPERATIONS[name][0](images, amount, generator)
    return to_float(images)
