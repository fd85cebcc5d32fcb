"""MLS (Guo and Cheung, CVPR 2018): similarities of two people's parts at several levels of a small network.

MLS-numbers are the open points of the paper; each is settled, or left to an option, where it occurs.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidlib.models.base import Encoding, LogitLayer, ReIDModel, tiles
from reidlib.models.blocks import glorot
from reidlib.models.csn import Attention, correlate, layer, patches

LAMBDA, EPSILON = 0.2, 1e-4  # of Eq. 7
CACHED = 8  # channels whose products stay in a CPU's cache


class RankingNet(nn.Module):
    """The unit vector of one image's attended parts (Sec. 3.1): [(B, n, C, f_j, f_j) a level] -> (B, embedding).

    Each part goes through a convolution and a max-pooling, the parts are stacked from top to bottom, a second
    convolution sees them together. Levels of different sizes cannot be concatenated on channels, so that global
    average pooling comes before (MLS-7).

    sharing: which of both convolutions the levels share (MLS-4). Batch norm is each level's own, because a
    running average over levels would be none's.
    """

    def __init__(self, levels: int, channels: int, embedding: int, sharing: str) -> None:
        super().__init__()
        counts = [1 if sharing in ("both", which) else levels for which in ("first", "second")]
        self.first, self.second = (
            nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(count))
            for count in counts
        )
        self.norms1, self.norms2 = (nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels)) for _ in range(2))
        self.embedding = nn.Linear(channels * levels, embedding)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        features = []
        for i, x in enumerate(parts):
            first, second = self.first[i % len(self.first)], self.second[i % len(self.second)]
            maps = torch.relu(self.norms1[i](first(x.flatten(0, 1))))
            maps = F.max_pool2d(maps, 2, ceil_mode=True)  # (B n, C, 5, 5)
            maps = maps.unflatten(0, x.shape[:2]).transpose(1, 2).flatten(2, 3)  # (B, C, 15, 5)
            features.append(torch.relu(self.norms2[i](second(maps))).mean((2, 3)))
        return F.normalize(self.embedding(torch.cat(features, 1)).float())


class MLS(ReIDModel):
    """Tied convolutions, a similarity network (CSN) a level, a head on all similarities, a ranking net (Fig. 2).

    levels: the convolutions whose outputs are compared; 4 is one more after conv3, of 96 filters.
    layout: which of them are max-pooled (MLS-2). "all_pooled" is Table 1; "conv3_unpooled" leaves out the pooling of
        conv3, which alone meets the operations Table 5 prints for three levels. "printed" takes the latter with
        level 4 and the former without; rows that compare levels give one of the two to all.
    parts: where the filters come from: "stn", transformed from each of three stripes; "none" from the undivided map
        (C1 of Table 4); "crop", the centres of the stripes (C2).
    rows: of the stripes, equal halves of the map or the printed "1 to 20, 10 to 30, 20 to 40" (MLS-6).
    sizes: f_2, f_3, f_4, the sides of the filters; f_4 is not printed (MLS-5).
    constraint: what keeps transformations in the map, "penalty" terms of the loss or a hard "clamp" (MLS-9).
    sim_size: of the similarity maps for 160x60 images (MLS-1): 20x8 are left by the one max-pooling of the text,
        10x4 are printed and take one more at every level. Maps that are smaller by themselves stay as they are.
    sim_norm: of the similarity maps (MLS-20): none, since conv4's batch norm follows, a "batch" norm of their
        own, or a "scale" of 1 / f^2.
    ranking: False leaves out the ranking net ("Ours-cls" of Table 3). sharing: between its levels (MLS-4).
    score: "eq7", or "softmax" to rank by the classification alone (MLS-11, MLS-12); may be changed at any time.
    width: channels of every level, conv1 has a third. head: of conv4 and conv5, and of conv6.
    """

    tile = 64
    pairs_per_block = (4096, 4096)

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "levels": ((2, 3), (2,), (3,), (4,), (2, 3, 4)),
        "layout": ("printed", "conv3_unpooled", "all_pooled"),
        "parts": ("stn", "none", "crop"),
        "rows": ("halves", "inclusive"),
        "constraint": ("penalty", "clamp"),
        "sim_size": ("20x8", "10x4"),
        "sim_norm": ("none", "batch", "scale"),
        "ranking": (True, False),
        "sharing": ("second", "first", "both", "none"),
        "score": ("eq7", "softmax"),
    }

    def __init__(
        self,
        levels: Sequence[int] = (2, 3),
        layout: str = "printed",
        parts: str = "stn",
        rows: str = "halves",
        sizes: Sequence[int] = (10, 5, 5),
        constraint: str = "penalty",
        sim_size: str = "20x8",
        sim_norm: str = "none",
        ranking: bool = True,
        sharing: str = "second",
        score: str = "eq7",
        width: int = 96,
        head: Sequence[int] = (32, 500),
        embedding: int = 256,
        image_size: Sequence[int] = (160, 60),
        identities: int = 751,  # of the common signature; a pair scorer has no classifier
    ) -> None:
        super().__init__(image_size)  # the input's scale is not printed: [0, 1] minus a half
        if len(sizes) != 3 or len(head) != 2 or min(*sizes, *head, embedding) < 1 or width < 3:
            raise ValueError(
                f"sizes {sizes!r}, head {head!r}, embedding {embedding!r}, width {width!r}: give three, two, one and "
                f"one positive numbers such as (10, 5, 5), (32, 500), 256 and 96."
            )
        self.levels, self.score = tuple(levels), score
        unpooled = layout == "conv3_unpooled" or (layout == "printed" and 4 in self.levels)
        stages = {
            "conv1": layer((3, width // 3), 5),
            "conv2": layer((width // 3, width), 3),
            "conv3": layer((width, width), 3, pool=not unpooled),
            "conv3b": layer((width, width), 3),
        }
        self.trunk = nn.ModuleDict(dict(islice(stages.items(), self.levels[-1])))  # nothing after the last level
        self.sizes = {level: sizes[level - 2] for level in self.levels}
        self.scales = {level: size**-2 if sim_norm == "scale" else 1.0 for level, size in self.sizes.items()}
        halvings = {2: 2, 3: 2 if unpooled else 3, 4: 3 if unpooled else 4}
        wanted = max(3 if sim_size == "20x8" else 4, halvings[self.levels[-1]])
        self.cells = {level: 2 ** (wanted - halvings[level]) for level in self.levels}  # max-pooling of each sim
        self.strides = {level: 2 ** halvings[level] for level in self.levels}  # pixels a cell of the maps
        self.filters = 1 if parts == "none" else 3  # an image and level
        maps = width * self.filters * 2 * len(self.levels)  # 1152 in Table 1
        self.sim_norm = nn.BatchNorm2d(maps) if sim_norm == "batch" else nn.Identity()
        self.conv4 = layer((maps, head[0]), 1, pool=False)
        self.conv5 = layer((head[0], head[0]), 3)
        self.conv6 = layer((head[0], head[1]), 1, pool=False)
        self.logits = LogitLayer(head[1], 2)  # MLS-19: a linear layer follows the 500 averages
        self.ranking = RankingNet(len(self.levels), width, embedding, sharing) if ranking else None
        self.apply(glorot)  # not printed
        self.attentions = nn.ModuleDict()
        size = self.image_size
        for level, stage in enumerate(self.trunk.values(), 1):
            size = stage.size(*size)  # type: ignore[operator]
            if level in self.levels:
                attention = Attention(width, size, self.sizes[level], parts, rows, constraint)
                self.attentions[str(level)] = attention

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives the "encoding" and "theta" (B, levels * n, 2, 3) of Eq. 1; no "theta" where parts are cropped.

        The encoding has for every level j `maps<j>` (B, C, H_j, W_j) and `parts<j>` (B, n, C, f_j, f_j), and with a
        ranking net `vector` (B, 256).
        """
        kept: dict[str, Tensor] = {}
        parts, thetas = [], []
        maps = self.normalise(images)
        for level, stage in enumerate(self.trunk.values(), 1):
            maps = stage(maps)
            if level in self.levels:
                filters, theta = self.attentions[str(level)](maps)
                # Plain layout, because Eq. 2 reads channel by channel.
                kept |= {f"maps{level}": maps.contiguous(), f"parts{level}": filters}
                parts.append(filters)
                thetas += [] if theta is None else [theta]
        if self.ranking is not None:
            kept["vector"] = self.ranking(parts)
        output: dict[str, Any] = {"encoding": Encoding(**kept)}
        return output | ({"theta": torch.cat(thetas, 1)} if thetas else {})

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """Gives "distance" (P,), "logits" (P, 2) = (different, same), and with a ranking net "separation" (P,), Eq. 5.

        The distance is minus Eq. 7, or the logit different minus same, which ranks as the softmax does and never
        saturates.
        """
        sims = []
        for level in self.levels:
            cell, found = self.cells[level], self.similarities(level, a, b)
            sims += found if cell == 1 else [F.max_pool2d(sim, cell, ceil_mode=True) for sim in found]
        x = self.sim_norm(torch.cat(sims, 1))  # (P, 1152, 20, 8)
        # conv4 as a product, because a convolution would first bring all of x in the order of its weights.
        weight = self.conv4.conv.weight.flatten(1).expand(len(x), -1, -1)
        output = {"logits": (logits := self._head(torch.bmm(weight, x.flatten(2)).unflatten(2, x.shape[2:])))}
        if self.ranking is not None:
            output["separation"] = torch.linalg.vector_norm(a.vector - b.vector, dim=1)
        return {"distance": self._distance(logits, output.get("separation")), **output}

    def similarities(self, level: int, a: Encoding, b: Encoding) -> list[Tensor]:
        """The six groups of Eq. 2 at one level, each (P, C, H, W): `a` with the parts of `b`, then the other way."""
        return [
            correlate(x.tensors[f"maps{level}"], part)
            for x, y in ((a, b), (b, a))
            for part in self._filters(y, level).unbind(1)
        ]

    def _filters(self, encoding: Encoding, level: int) -> Tensor:
        """(P, n, C, f, f), what the maps of the other image are correlated with."""
        return encoding.tensors[f"parts{level}"] * self.scales[level]

    def _head(self, sums: Tensor) -> Tensor:
        """What follows the sums of conv4, (P, 32, 20, 8): the logits (P, 2)."""
        x = self.conv4.activation(self.conv4.norm(sums))
        return self.logits(self.conv6(self.conv5(x)).mean((2, 3)))

    def _distance(self, logits: Tensor, separation: Tensor | None) -> Tensor:
        """(P,), Eq. 7 with the other sign."""
        different = logits[:, 0] - logits[:, 1]
        if separation is None or self.score == "softmax":
            return different
        return -(torch.sigmoid(-different) + LAMBDA / (separation + EPSILON))

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        """conv4 is linear: a pair adds up what its maps and filters give it, level by level and way by way."""
        weight, bias = self._conv4()
        cell, sides = self.cells[self.levels[0]], queries.tensors[f"maps{self.levels[0]}"].shape[2:]
        height, width = (-(-side // cell) for side in sides)
        sums = bias.repeat(len(queries), len(gallery), 1, height * width)
        for level, ways in zip(self.levels, weight, strict=True):
            self._add(level, queries, gallery, ways[0], sums)
            self._add(level, gallery, queries, ways[1], sums.transpose(0, 1))
        x = sums.flatten(0, 1).unflatten(2, (height, width))
        few = 128 if x.device.type == "cpu" else len(x)
        logits = torch.cat([self._head(x[rows]) for rows in tiles(len(x), few)])
        separation = None
        if self.ranking is not None:
            # Not by products: Eq. 7 asks for small distances precisely.
            precise = "donot_use_mm_for_euclid_dist"
            separation = torch.cdist(queries.vector, gallery.vector, compute_mode=precise).flatten()
        return self._distance(logits, separation).view(len(queries), len(gallery))

    def _conv4(self) -> tuple[Tensor, Tensor]:
        """conv4's weights (levels, 2 ways, 32, C n) and biases (32, 1), a norm of its input included."""
        weight, bias = self.conv4.conv.weight.flatten(1), self.mean.new_zeros(self.conv4.conv.out_channels)
        if isinstance(norm := self.sim_norm, nn.BatchNorm2d):
            blank = self.mean.new_zeros(1, norm.num_features, 1, 1)
            shift = norm(blank).flatten()  # affine in eval mode
            weight, bias = weight * (norm(blank + 1).flatten() - shift), weight @ shift
        weight = weight.unflatten(1, (len(self.levels), 2, self.filters, -1))  # as the channels of `compare`
        return weight.permute(1, 2, 0, 4, 3).flatten(3), bias[:, None]

    def _add(self, level: int, own: Encoding, other: Encoding, weight: Tensor, sums: Tensor) -> None:
        """To conv4's sums, (own, other, 32, positions), what maps of `own` and filters of `other` give them."""
        size, cell, count = self.sizes[level], self.cells[level], len(other)
        filters = self._filters(other, level).flatten(3).permute(2, 1, 0, 3).flatten(1, 2)  # (C, n others, f^2)
        filters = filters.contiguous()
        few = CACHED if filters.device.type == "cpu" else len(filters)
        weight = weight.unflatten(1, (len(filters), -1))  # (32, C, n)
        for maps, row in zip(own.tensors[f"maps{level}"], sums, strict=True):
            for channels in tiles(len(filters), few):
                products = (torch.bmm(filters[channels], looks) for looks in patches(maps[channels], size, cell))
                best = reduce(lambda a, b: torch.maximum(a, b, out=a), products)  # (channels, n others, positions)
                best = best.unflatten(1, (-1, count)).flatten(0, 1).flatten(1)  # (channels n, others positions)
                row += (weight[:, channels].flatten(1) @ best).unflatten(1, (count, -1)).transpose(0, 1)

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """The similarity maps of P pairs, "CSN-2", "CSN-3" ..., each (P, 2, n, C, H_j, W_j), before pooling (Fig. 4).

        First `images_a` with the parts of `images_b`, from top to bottom, then the other way round.
        """
        a, b = self.encode(images_a), self.encode(images_b)
        found = {level: torch.stack(self.similarities(level, a, b), 1) for level in self.levels}
        return {f"CSN-{level}": sims.unflatten(1, (2, -1)) for level, sims in found.items()}

    @torch.no_grad()
    def windows(self, images: Tensor) -> Tensor | None:
        """Corners (B, levels, n, 4, 2) of what each part was sampled from, as (x, y) in shares of the image (Eq. 1).

        Clockwise, levels and parts as in `responses`; None where parts are cropped.
        """
        theta = self(images).get("theta")
        if theta is None:
            return None
        sides = theta.new_tensor(self.image_size).flip(0)
        found = [
            self.attentions[str(level)].windows(parts) * self.strides[level] / sides  # type: ignore[operator]
            for level, parts in zip(self.levels, theta.split(self.filters, 1), strict=True)
        ]
        return torch.stack(found, 1)
