"""What every model keeps: `forward`, `compare`, `encode`, `distance`.

Training, evaluation, tables and notebooks know these four methods and never ask which paper is running.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoding:
    """A small named bundle of tensors with a shared first dimension: what is worth caching of N images.

    `Encoding(maps=..., vector=...)` has the attributes `maps` and `vector`. Indexing with an integer keeps
    the first dimension, so that every part of an encoding is an encoding.
    """

    def __init__(self, **tensors: Tensor) -> None:
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"an encoding needs tensors of one common first dimension; got {lengths}.")
        self.tensors = tensors

    def __getattr__(self, name: str) -> Tensor:
        tensors = self.__dict__.get("tensors", {})  # absent while unpickled or copied
        if name not in tensors:
            raise AttributeError(f"this encoding has {sorted(tensors)}, not {name!r}")
        return tensors[name]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: Any) -> "Encoding":
        if isinstance(index, int | np.integer):
            index = slice(index, index + 1 or None)
        return Encoding(**{name: tensor[index] for name, tensor in self.tensors.items()})

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={tuple(tensor.shape)}" for name, tensor in self.tensors.items())
        return f"Encoding({inside})"

    def to(self, *args: Any, **kwargs: Any) -> "Encoding":
        """`Tensor.to` for every tensor: a device, a floating dtype, both, or those of another tensor."""
        return Encoding(**{name: tensor.to(*args, **kwargs) for name, tensor in self.tensors.items()})

    def detach(self) -> "Encoding":
        """The same numbers without their history."""
        return Encoding(**{name: tensor.detach() for name, tensor in self.tensors.items()})

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return next(iter(self.tensors.values())).device

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @staticmethod
    def cat(parts: Iterable["Encoding"]) -> "Encoding":
        """Encodings of the same kind, one after the other."""
        parts = list(parts)
        if not parts:
            raise ValueError("nothing to concatenate: give at least one encoding.")
        return Encoding(**{name: torch.cat([p.tensors[name] for p in parts]) for name in parts[0].tensors})


def tiles(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def model_input(images: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Images (N, 3, H, W) uint8, as `reidlib.data.pixels` reads them, as models take them: float in [0, 1]."""
    return torch.from_numpy(np.array(images, order="C")).to(device).float() / 255


class ReIDModel(nn.Module, ABC):
    """The contract. Images are float in [0, 1], (B, 3, H, W) of `image_size` (H, W); the model normalises.

    A pre-trainable trunk is the submodule `trunk`, a classifier of identities `classifier`: optimisers and
    fine-tuning treat them apart.

    tile: images a side that `prepare` sees at once.
    pairs_per_block: pairs that `block` scores at once, on a CPU and on a GPU.
    normalises_rows: `distance` depends on which gallery images the protocol counts, and is told.
    crops: may be trained on images that an augmentation made smaller.
    CHOICES: options that take one of a few values, the default first; `build` holds to them.
    """

    image_size: tuple[int, int]
    mean: Tensor
    std: Tensor
    tile: int = 512
    pairs_per_block: tuple[int, int] = (256, 4096)
    normalises_rows: bool = False
    crops: bool = False
    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def __init__(
        self, image_size: Sequence[int], mean: Sequence[float] = (0.5,) * 3, std: Sequence[float] = (1.0,) * 3
    ) -> None:
        super().__init__()
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f"image_size {image_size!r} is not (height, width) in pixels.")
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """(images - mean) / std; a ValueError for what is not a float batch of `image_size`."""
        height, width = self.image_size
        fits = images.ndim == 4 and images.shape[1:] == (3, height, width)
        if self.crops and self.training and images.ndim == 4:
            fits = images.shape[1] == 3 and images.shape[2] <= height and images.shape[3] <= width
        if not fits:
            raise ValueError(
                f"images of shape {tuple(images.shape)} given, (B, 3, {height}, {width}) expected: resize "
                f"them, or build the model with image_size=(height, width)."
            )
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}; give floats in [0, 1], such as images.float() / 255.")
        return (images - self.mean) / self.std

    @abstractmethod
    def forward(self, images: Tensor) -> dict[str, Any]:
        """(B, 3, H, W) -> "encoding" and named extras; one pass a batch, differentiable."""

    @abstractmethod
    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Row i of `a` with row i of `b` -> "distance" (P,), smaller is nearer; extras; differentiable."""

    def encode(self, images: Tensor) -> Encoding:
        """What is worth caching, once per image."""
        return self(images)["encoding"]

    def encode_all(self, images: np.ndarray, batch_size: int = 256) -> Encoding:
        """The encodings of uint8 images (N, 3, H, W), `batch_size` at a time."""
        parts = (model_input(images[rows], self.mean.device) for rows in tiles(len(images), batch_size))
        return Encoding.cat(self.encode(part) for part in parts)

    def as_printed(self, images_a: Tensor, images_b: Tensor) -> Any:
        """All that the paper's network computes for P pairs; where `compare` takes a shorter way, without it."""
        return self.compare(self(images_a)["encoding"], self(images_b)["encoding"])

    @torch.no_grad()
    def distance(self, queries: Encoding, gallery: Encoding, counted: Tensor | None = None) -> Tensor:
        """All pairs (Q, G), smaller is nearer, in eval mode; encodings may be of half precision.

        counted: (Q, G) bool, the pairs that count, for models with `normalises_rows`; None is all.
        """
        out = self.mean.new_empty(len(queries), len(gallery))
        pairs = self.pairs_per_block[out.device.type == "cuda"]
        for columns in tiles(len(gallery), self.tile):
            nearby = self.prepare(gallery[columns].to(out))
            for rows in tiles(len(queries), self.tile):
                asked, target = self.prepare(queries[rows].to(out)), out[rows, columns]
                for j in tiles(len(nearby), pairs):
                    for i in tiles(len(asked), max(1, pairs // (j.stop - j.start))):
                        target[i, j] = self.block(asked[i], nearby[j]).to(out.dtype)
        return out

    def prepare(self, encodings: Encoding) -> Encoding:
        """What `block` wants of each image; computed once a tile."""
        return encodings

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        """(Q, G) distances of few prepared images: `compare` unless a model has a faster form."""
        q = torch.arange(len(queries), device=self.mean.device).repeat_interleave(len(gallery))
        g = torch.arange(len(gallery), device=self.mean.device).repeat(len(queries))
        return self.compare(queries[q], gallery[g])["distance"].view(len(queries), len(gallery))


class Embedder(ReIDModel):
    """A model whose encoding is one unit `vector` an image; the distance is 1 minus the cosine.

    All pairs are one matrix product a tile: a gallery that is too large for the device passes through it in parts.
    """

    tile = 4096
    pairs_per_block = (4096**2, 4096**2)

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        return {"distance": 1 - (a.vector * b.vector).sum(1)}

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        with torch.autocast(self.mean.device.type, enabled=False):  # rounding to bf16 would tie neighbours
            return 1 - queries.vector @ gallery.vector.T


class Descriptor(Embedder):
    """An embedder without parameters; what it has to learn, it learns in `estimate`: here nothing."""

    def estimate(self, encodings: Encoding, person_ids: Tensor, camera_ids: Tensor) -> None:
        """Called once with the N encoded training images, and their people and cameras (N,), in place of steps."""


class LogitLayer(nn.Linear):
    """The last linear layer, in the precision of its weights: under autocast near logits would tie."""

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.to(self.weight.dtype), self.weight, self.bias)
