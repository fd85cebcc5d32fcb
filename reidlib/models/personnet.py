"""PersonNet (Wu, Shen and van den Hengel, 2016): ten weight layers over a pair of images.

PN-numbers are the open points of the paper; each is settled, or left to an option, where it occurs.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Encoding, LogitLayer, ReIDModel, tiles
from reidlib.models.blocks import ACTIVATIONS, PatchSummary, Stage, difference_grid, glorot, prefers_onednn

CHANNELS = 32
WINDOW = 3


class PersonNet(ReIDModel):
    """A tied trunk, neighbourhood differences of the two maps, and a network on them (Sec. III, Table I).

    kernel: 4 fits the output sizes of Table I, 3 the text and its "FS" column (PN-1). 4 pools with ceil, as
        Theano does, and pads neighbourhoods with zeros; 3 pools with floor and takes inner centres (PN-2).
    conv4: "valid" has the trunk's kernel and keeps the 960 inputs of FC1, "same3" the table's 32x7 of Conv4,
        "valid3" is 3x3 (PN-3): Conv4 32x7 and Pool4 15x2 cannot both hold.
    activation: tanh(3x/2) of Sec. III-A, or the plain tanh of the caption (PN-5), or "relu".
    difference: "one_sided" is Eq. 2; "symmetric" adds the other direction with a summary of its own (PN-6).
    average_orders: in eval mode, average the logits of (a, b) and (b, a) (PN-6).
    layers: 10, or 7 weight layers (PN-12): without Conv2, Conv3 and FC2, that is IDLA's layout (two trunk
        convolutions, summary, one convolution across patches) and one fully connected layer more.
    fc: widths of FC1, FC2, FC3. dropout: share dropped after every hidden FC but the last.
    """

    pairs_per_block = (512, 8192)

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "kernel": (4, 3),
        "conv4": ("valid", "same3", "valid3"),
        "activation": tuple(ACTIVATIONS),
        "difference": ("one_sided", "symmetric"),
        "average_orders": (False, True),
        "layers": (10, 7),
    }

    def __init__(
        self,
        kernel: int = 4,
        conv4: str = "valid",
        activation: str = "scaled_tanh",
        difference: str = "one_sided",
        average_orders: bool = False,
        layers: int = 10,
        fc: Sequence[int] = (4096, 4096, 512),
        dropout: float = 0.5,
        image_size: Sequence[int] = (160, 60),
        identities: int = 751,  # of the common signature; a pair scorer has no classifier
    ) -> None:
        super().__init__(image_size)  # PN-9: [0, 1] minus a fixed mean
        if len(fc) != 3 or min(fc) < 1:
            raise ValueError(f"fc {fc!r} is not three positive widths such as (4096, 4096, 512).")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout!r} is not a share in [0, 1).")
        self.average_orders, self.dropout = average_orders, dropout
        self.activation = act = ACTIVATIONS[activation]
        pool = "ceil" if kernel == 4 else "floor"  # PN-2
        self.edge = 1 if kernel == 4 else 0  # PN-1: padded borders, or inner centres only
        between = (CHANNELS, CHANNELS)
        self.trunk = nn.ModuleDict(
            {"conv0": Stage((3, CHANNELS), kernel, act, pool), "conv1": Stage(between, kernel, act, pool)}
        )
        if layers == 10:
            self.trunk["conv2"] = Stage(between, kernel, act)
            self.trunk["conv3"] = Stage(between, kernel, act)
        directions = 2 if difference == "symmetric" else 1
        # PN-4: the "Difference" row of Table I is Eq. 2 and this convolution of stride 3.
        self.summaries = nn.ModuleList(PatchSummary(between, WINDOW, self.edge) for _ in range(directions))
        size, padding = (kernel, 0) if conv4 == "valid" else (3, int(conv4 == "same3"))
        self.conv4 = Stage((CHANNELS * directions, CHANNELS), size, act, pool, padding)
        widths = [self._flat(self.conv4), *(fc if layers == 10 else (fc[0], fc[2]))]
        self.fc = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.logits = LogitLayer(widths[-1], 2)
        self.apply(glorot)  # PN-9

    def _flat(self, conv4: Stage) -> int:
        """Inputs of FC1; a ValueError if the image is too small for the valid convolutions."""
        height, width = self.image_size
        for stage in self.trunk.values():
            height, width = stage.size(height, width)  # type: ignore[operator]
        inner = WINDOW - 1 - 2 * self.edge
        height, width = conv4.size(height - inner, width - inner)
        if min(height, width) < 1:
            raise ValueError(f"image_size {self.image_size} is too small for PersonNet: use (160, 60).")
        return CHANNELS * height * width

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" with `maps` (B, 32, 32, 7)."""
        maps = self.normalise(images)
        for stage in self.trunk.values():
            maps = stage(maps)
        return {"encoding": Encoding(maps=maps)}

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), "logits" (P, 2) = (different, same), "difference" (P, 32, 32, 7).

        "difference" is that row of Table I, the activated summaries. The distance is a logit, different minus
        same: it ranks as the softmax does and never saturates.
        """
        difference = self._activated(self.prepare(a), self.prepare(b))
        logits = self._head(difference)
        if self.average_orders and not self.training:
            logits = (logits + self._head(self._activated(self.prepare(b), self.prepare(a)))) / 2
        return {"distance": logits[:, 0] - logits[:, 1], "logits": logits, "difference": difference}

    def prepare(self, encodings: Encoding) -> Encoding:
        """Both halves of every patch summary, which is linear in its two images."""
        halves = {}
        for i, summary in enumerate(self.summaries):
            halves[f"own{i}"] = summary.own(encodings.maps)  # type: ignore[operator]
            halves[f"other{i}"] = summary.other(encodings.maps)  # type: ignore[operator]
        # Channels last: Conv4 and its pooling run over whole vectors of channels.
        return Encoding(**halves).to(memory_format=torch.channels_last)

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        q = Encoding(**{name: half[:, None] for name, half in queries.tensors.items()})
        # On a CPU the maps of a few pairs stay in cache; the fully connected layers want many pairs.
        width = 32 if self.mean.device.type == "cpu" else len(gallery)
        orders = []
        for swapped in (False, True)[: 1 + self.average_orders]:
            parts = []
            for columns in tiles(len(gallery), width):
                g = Encoding(**{name: half[None, columns] for name, half in gallery.tensors.items()})
                maps = self._activated(g, q) if swapped else self._activated(q, g)  # (Q, n, 32, 32, 7)
                parts.append(self.conv4(maps.flatten(0, 1)).flatten(1).unflatten(0, maps.shape[:2]))
            orders.append(self._dense(torch.cat(parts, 1).flatten(0, 1)))
        logits = torch.stack(orders).mean(0)
        return (logits[:, 0] - logits[:, 1]).view(len(queries), len(gallery))

    def _activated(self, a: Encoding, b: Encoding) -> Tensor:
        """sigma(summary(K)) of prepared images, channels of both directions together."""
        sums = [a.own0 - b.other0]
        if len(self.summaries) == 2:
            sums.append(b.own1 - a.other1)
        return self.activation(torch.cat(sums, -3) if len(sums) > 1 else sums[0])

    def _head(self, difference: Tensor) -> Tensor:
        return self._dense(self.conv4(difference).flatten(1))

    def _dense(self, x: Tensor) -> Tensor:
        onednn = prefers_onednn(x)
        x = x.to_mkldnn() if onednn else x
        for i, layer in enumerate(self.fc):
            x = self.activation(layer(x))
            if i < len(self.fc) - 1:
                x = F.dropout(x, self.dropout, self.training)
        return self.logits(x.to_dense() if onednn else x)

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """What every row of Table I puts out for P pairs (Fig. 3), by its printed name.

        Trunk layers: (P, 2, C, H, W), first `images_a`. "Neighbourhood": the grid of Eq. 2, (P, C, 3H, 3W).
        "Difference", "Conv4", "Pool4": (P, C, H, W). "FC1" ...: (P, width). "Softmax": (P, 2).
        """
        found: dict[str, Tensor] = {}
        maps = self.normalise(torch.cat([images_a, images_b]))
        views = (2, len(images_a))
        for name, stage in self.trunk.items():
            before, maps = stage.responses(maps)  # type: ignore[operator]
            found[name.capitalize()] = before.unflatten(0, views).transpose(0, 1)
            if stage.pool:
                found[f"Pool{name[-1]}"] = maps.unflatten(0, views).transpose(0, 1)
        f, h = maps.unflatten(0, views)
        grids = [difference_grid(f, h, WINDOW, self.edge), difference_grid(h, f, WINDOW, self.edge)]
        found["Neighbourhood"] = torch.cat(grids[: len(self.summaries)], 1)
        sums = [summary(grid) for summary, grid in zip(self.summaries, grids, strict=False)]
        found["Difference"] = self.activation(torch.cat(sums, 1))
        found["Conv4"], found["Pool4"] = self.conv4.responses(found["Difference"])
        x = found["Pool4"].flatten(1)
        for i, layer in enumerate(self.fc, 1):
            x = found[f"FC{i}"] = self.activation(layer(x))
        found["Softmax"] = self.logits(x).softmax(1)
        return found

    as_printed = responses  # `compare` does not lay out the grid of Eq. 2

    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Output size of every layer as Table I prints it: (height, width, depth), or (width,) for FC."""
        blank = self.mean.new_zeros(1, 3, *self.image_size)
        shapes = {}
        for name, response in self.responses(blank, blank).items():
            depth, *sides = response.shape[2 if response.ndim == 5 else 1 :]
            shapes[name] = (*sides, depth)
        return shapes

    @property
    def weight_layers(self) -> int:
        """Layers with weights, as the paper counts them; both directions of a difference are one."""
        return len(self.trunk) + 1 + 1 + len(self.fc) + 1
