"""CASN (Zheng, Karanam, Wu and Radke, CVPR 2019): attention that is consistent between two images of one person.

CA-numbers are the open points of the paper; each is settled, or left to an option, where it occurs.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.models.base import Embedder, Encoding, tiles
from reidlib.models.ide import Identification, TwoLayers

# What each base is built with, where the options leave it open: CA-1, CA-3, Sec. 4 "Implementation Details".
BASES: dict[str, dict[str, Any]] = {
    "ide": {"parts": 1, "hidden": 512, "last_stride": 2, "image_size": (288, 144)},
    "pcb": {"parts": 6, "hidden": 256, "last_stride": 1, "image_size": (384, 128)},
}
SAME = 1  # z_1 is the score of "same" (Eq. 3)


def attention_map(gradient: Tensor, maps: Tensor) -> Tensor:
    """Grad-CAM of a score s (Sec. 3.2.2): M = ReLU(sum_k a_k A_k) with a_k the mean over the map of ds/dA_k.

    gradient: (B, parts, C), ds/df. maps: A (B, C, H, W) -> (B, H, W). In closed form: a part of f is the mean of A
    over a window, in which ds/dA_k is ds/df_pk over its size, so that the mean over the map is sum_p ds/df_pk / HW.
    """
    with torch.autocast(maps.device.type, enabled=False):
        weights = gradient.sum(1) / maps[0, 0].numel()  # (B, C)
        return torch.relu(torch.einsum("bc,bchw->bhw", weights, maps.float()))


def align(profile: Tensor, threshold: float | None) -> Tensor:
    """Cut (..., H) from the first to the last element above the threshold and resize the cut to H (Sec. 3.2.2).

    None leaves the profile as it is. Resizing is linear (CA-12); with no element above, all are kept (CA-11).
    """
    if threshold is None:
        return profile
    height = profile.shape[-1]
    above = (profile > threshold).to(torch.uint8)
    first = above.argmax(-1, keepdim=True)  # 0 where none is above
    length = height - above.flip(-1).argmax(-1, keepdim=True) - first
    position = (torch.arange(height, device=profile.device) + 0.5) * length / height - 0.5
    position = torch.minimum(position.clamp_min(0), length - 1)
    low = position.long()
    high = torch.minimum(low + 1, length - 1)
    return torch.lerp(profile.gather(-1, first + low), profile.gather(-1, first + high), position - low)


class CASN(Identification):
    """An identification module with attention, and a Siamese module that compares attention (Fig. 2).

    base: "ide", or "pcb" whose six stripes make f 6x2048 and whose score y_c is the sum of six (CA-19).
    trunk, pretrained, last_stride, image_size: as of that base, whose own values None takes (CA-1).
    between: the identity classifier's, see `TwoLayers` (CA-3).
    difference: what the BCE classifier sees of f1 - f2, "signed" as in Sec. 3.2.1, or its "absolute" value or "square".
        With a linear classifier the signed difference could not tell same from different, hence the ReLU (CA-4).
    hidden: width of the BCE classifier's first layer (CA-3).
    threshold: of the alignment, on a map whose maximum is 1; None does not align (CA-11).
    attention: rank by features and attention, or by features alone: for models whose BCE classifier is not trained.
    features: their distance is that of the "raw" f, or of "unit" vectors (CA-16).
    normalisation: of either term before they are summed: "row" maps the gallery images that count for a query to
        [0, 1], "row-z" gives them mean 0 and deviation 1, "global" maps all pairs of one call to [0, 1]: those of
        up to 128 queries on a full gallery, of all queries in a single-shot draw (CA-16).
    candidates: compare the attention of only so many gallery images a query, the nearest by features (CA-17); the
        others follow in that order.
    """

    normalises_rows = True
    tile = 64
    pairs_per_block = (1024, 4096)

    CHOICES: ClassVar[dict[str, tuple[Any, ...]]] = {
        "base": tuple(BASES),
        "last_stride": (None, 1, 2),
        "between": ("relu", "dropout"),
        "difference": ("signed", "absolute", "square"),
        "attention": (True, False),
        "features": ("raw", "unit"),
        "normalisation": ("row", "row-z", "global"),
    }

    def __init__(
        self,
        base: str = "ide",
        trunk: str = "resnet50",
        pretrained: bool | str = False,  # the paper: True, ImageNet
        last_stride: int | None = None,
        between: str = "relu",
        difference: str = "signed",
        hidden: int = 512,
        threshold: float | None = 0.5,
        attention: bool = True,
        features: str = "raw",
        normalisation: str = "row",
        candidates: int | None = None,
        image_size: Sequence[int] | None = None,
        identities: int = 751,
    ) -> None:
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold {threshold!r} is not a share of the maximum in [0, 1), nor None.")
        if hidden < 1 or (candidates is not None and candidates < 1):
            raise ValueError(f"hidden {hidden!r} and candidates {candidates!r} must be positive.")
        own = BASES[base]
        super().__init__(
            trunk,
            pretrained,
            own["last_stride"] if last_stride is None else last_stride,
            own["parts"],
            own["hidden"],
            between,
            own["image_size"] if image_size is None else image_size,
            identities,
        )
        self.verifier = TwoLayers(self.parts * self.channels, hidden, 2)
        self.difference, self.threshold, self.attention = difference, threshold, attention
        self.features, self.normalisation, self.candidates = features, normalisation, candidates

    # Identification module (Sec. 3.1) ------------------------------------------------------------------------

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Gives "encoding" with `maps` (B, 2048, 9, 5) and `feature` (B, 1, 2048), "logits" (B, 1, C); PCB has 6."""
        maps, f = self.extract(images)
        logits = [head(f[:, part]) for part, head in enumerate(self.classifier)]
        return {"encoding": Encoding(maps=maps, feature=f), "logits": torch.stack(logits, 1)}

    def encode(self, images: Tensor) -> Encoding:
        """What ranking reads: the maps only where attention ranks, for they are 33 times as large as PCB's feature."""
        encoding = super().encode(images)
        return encoding if self.attention else Encoding(feature=encoding.feature)

    def attended(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """`forward`, and "attention" (B, H, W): Grad-CAM of every image's score y_c of class `labels` (Sec. 3.1.2)."""
        maps, f = self.extract(images)
        heads = [head.attend(f[:, part], labels) for part, head in enumerate(self.classifier)]  # type: ignore[operator]
        logits, gradient = (torch.stack(side, 1) for side in zip(*heads, strict=True))
        attention = attention_map(gradient, maps)
        return {"encoding": Encoding(maps=maps, feature=f), "logits": logits, "attention": attention}

    def masked(self, images: Tensor, attention: Tensor, slope: float, centre: float) -> Tensor:
        """I* = I * (1 - sigmoid(slope (M - centre))) (Sec. 3.1.2), (B, 3, H, W).

        M is unbounded: here each map's minimum becomes 0 and its maximum 1 (CA-6), resized bilinearly (CA-24). I is
        what the network sees, the normalised image (unstated): a masked pixel becomes the mean colour.
        """
        low, high = attention.amin((1, 2), keepdim=True), attention.amax((1, 2), keepdim=True)
        scaled = (attention - low) / (high - low).clamp_min(1e-12)
        scaled = F.interpolate(scaled[:, None], images.shape[2:], mode="bilinear")  # (B, 1, H, W)
        return self.mean + (images - self.mean) * torch.sigmoid(slope * (centre - scaled))

    # Siamese module (Sec. 3.2) -------------------------------------------------------------------------------

    def compare(self, a: Encoding, b: Encoding) -> dict[str, Tensor]:
        """The named terms of P pairs, which `distance` normalises over a gallery and adds.

        "features" (P,): ||f1 - f2||. "attention" (P,): ||M*_m1 - M*_m2|| of Eq. 5. "distance" (P,): their plain sum,
        for there is no gallery here. "logits" (P, 2): z = (different, same). "map_a", "map_b" (P, H, W): M1, M2. Of
        encodings without maps nothing about attention.
        """
        with torch.autocast(a.feature.device.type, enabled=False):
            difference = a.feature.float().flatten(1) - b.feature.float().flatten(1)
            x = self.verifier.fc1(self._seen(difference))
            normed = self.verifier.norm(x)
            gate = self.verifier.gate(normed)
            logits = self.verifier.fc2(normed * gate)
            features = torch.linalg.vector_norm(self._vector(a) - self._vector(b), dim=1)
            if "maps" not in a.tensors:
                return {"distance": features, "features": features, "logits": logits}
            alpha = self.indicator(x, gate, None if self.difference == "signed" else difference).view_as(a.feature)
            map_a, map_b = attention_map(alpha, a.maps), attention_map(alpha, b.maps)
            attention = self.profile_distance(map_a, map_b)
        return {
            "distance": features + attention if self.attention else features,
            "features": features,
            "attention": attention,
            "logits": logits,
            "map_a": map_a,
            "map_b": map_b,
        }

    def _seen(self, difference: Tensor) -> Tensor:
        """What the BCE classifier sees of f- = f1 - f2, flat (P, D)."""
        if self.difference == "absolute":
            return difference.abs()
        return difference.square() if self.difference == "square" else difference

    def indicator(self, x: Tensor, gate: Tensor, difference: Tensor | None) -> Tensor:
        """The indicator of Eq. 4, alpha_i = [dz_1 / df-_i > 0], (P, D) of 0 and 1: a constant of training.

        z_1 is the score of "same" for every pair, whatever its label (CA-14). Eq. 4 runs to dim(f-), one too far
        (CA-10). difference: f- where the classifier does not see itself; both d|f-| and d(f-)^2 have its sign.
        """
        with torch.no_grad():
            gradient = self.verifier.gradient(x, gate, SAME)
            if difference is not None:
                gradient = gradient * difference.sign()
            return (gradient > 0).to(gradient)

    def _vector(self, encodings: Encoding) -> Tensor:
        f = encodings.feature.float().flatten(1)
        return F.normalize(f) if self.features == "unit" else f

    def profile_distance(self, map_a: Tensor, map_b: Tensor) -> Tensor:
        """||M*_m1 - M*_m2||_2 of Eq. 5 of maps (..., H, W), not squared (CA-13)."""
        profiles = []
        for m in (map_a, map_b):
            rows = m.amax(-1)  # M_m, the highest response of each row
            rows = rows / rows.amax(-1, keepdim=True).clamp_min(1e-12)  # CA-11
            profiles.append(align(rows, self.threshold))
        return torch.linalg.vector_norm(profiles[0] - profiles[1], dim=-1)

    # Ranking (Sec. 4, "Evaluation Protocol") -------------------------------------------------------------------

    @torch.no_grad()
    def terms(self, queries: Encoding, gallery: Encoding) -> dict[str, Tensor]:
        """ "features" and, where it ranks, "attention" of all pairs, (Q, G), as `compare` has them of aligned ones."""
        found = {"features": self._feature_distance(queries, gallery)}
        return found | ({"attention": self._attention_distance(queries, gallery)} if self.attention else {})

    @torch.no_grad()
    def distance(self, queries: Encoding, gallery: Encoding, counted: Tensor | None = None) -> Tensor:
        """Both terms of all pairs, each normalised and summed (CA-16); (Q, G). counted: (Q, G), None is all."""
        features = self._feature_distance(queries, gallery)
        if not self.attention:
            return features
        counted = torch.ones_like(features, dtype=torch.bool) if counted is None else counted
        if self.candidates is None:
            attention = self._attention_distance(queries, gallery)
            return self._normalised(features, counted) + self._normalised(attention, counted)
        near = features.masked_fill(~counted, torch.inf).topk(min(self.candidates, len(gallery)), largest=False).indices
        among = torch.zeros_like(counted).scatter(1, near, True) & counted
        among |= ~among.any(1, keepdim=True)  # a query without any counted image is not ranked
        attention = torch.zeros_like(features)
        for row, columns in enumerate(near):
            among_row = gallery[columns.to(gallery.feature.device)]
            attention[row, columns] = self._attention_distance(queries[row], among_row)[0]
        attention = self._normalised(attention, among)
        # The others rank as if their attention were the worst candidate's: behind all of them.
        worst = attention.masked_fill(~among, -torch.inf).amax(1, keepdim=True)
        return self._normalised(features, counted) + torch.where(among, attention, worst)

    def _feature_distance(self, queries: Encoding, gallery: Encoding) -> Tensor:
        with torch.autocast(self.mean.device.type, enabled=False):
            precise = "donot_use_mm_for_euclid_dist"  # mm loses the digits of near pairs
            q = self._vector(queries.to(self.mean))
            parts = (self._vector(gallery[rows].to(self.mean)) for rows in tiles(len(gallery), Embedder.tile))
            return torch.cat([torch.cdist(q, g, compute_mode=precise) for g in parts], 1)

    def _attention_distance(self, queries: Encoding, gallery: Encoding) -> Tensor:
        with torch.autocast(self.mean.device.type, enabled=False):  # alpha hangs on signs
            return super().distance(queries, gallery)

    def _normalised(self, term: Tensor, counted: Tensor) -> Tensor:
        """(Q, G) with the counted pairs on a common scale."""
        counted = counted | ~counted.any(1, keepdim=True)  # a query without any is not ranked
        if self.normalisation == "row-z":
            values = term.masked_fill(~counted, torch.nan)
            mean = values.nanmean(1, keepdim=True)
            return (term - mean) / (values - mean).square().nanmean(1, keepdim=True).sqrt().clamp_min(1e-12)
        low = term.masked_fill(~counted, torch.inf).amin(1, keepdim=True)
        high = term.masked_fill(~counted, -torch.inf).amax(1, keepdim=True)
        if self.normalisation == "global":
            low, high = low.amin(), high.amax()
        return (term - low) / (high - low).clamp_min(1e-12)

    def prepare(self, encodings: Encoding) -> Encoding:
        """f, the maps, and what fc1 makes of f, which for the signed difference is half of what it makes of a pair."""
        f = encodings.feature.flatten(1)
        return Encoding(feature=f, maps=encodings.maps.contiguous(), projected=f @ self.verifier.fc1.weight.T)

    def block(self, queries: Encoding, gallery: Encoding) -> Tensor:
        """The attention term alone (Q, G): alpha from one matrix product, both maps from one each, no autograd."""
        difference = None
        if self.difference == "signed":
            x = (queries.projected[:, None] - gallery.projected + self.verifier.fc1.bias).flatten(0, 1)
        else:
            difference = (queries.feature[:, None] - gallery.feature).flatten(0, 1)
            x = self.verifier.fc1(self._seen(difference))
        alpha = self.indicator(x, self.verifier.gate(self.verifier.norm(x)), difference)
        weights = alpha.view(len(queries), len(gallery), self.parts, -1).sum(2)  # (Q, G, C)
        maps_a = weights @ queries.maps.flatten(2)  # (Q, G, HW)
        maps_b = (weights.transpose(0, 1) @ gallery.maps.flatten(2)).transpose(0, 1)
        size = gallery.maps.shape[2:]
        return self.profile_distance(*(torch.relu(m).unflatten(2, size) for m in (maps_a, maps_b)))

    @torch.no_grad()
    def responses(self, images_a: Tensor, images_b: Tensor) -> dict[str, Tensor]:
        """What the figures show of P pairs, first `images_a`: "Siamese attention" M1 and M2 (Figs. 5 and 7), and
        "Identification attention" (Fig. 4), here of the class each image scores highest in, for want of its label;
        both (P, 2, 1, H, W).
        """
        images = torch.cat([images_a, images_b])
        output = self(images)
        a, b = (output["encoding"][half] for half in (slice(len(images_a)), slice(len(images_a), None)))
        pairs = self.compare(a, b)
        attended = self.attended(images, output["logits"].sum(1).argmax(1))["attention"]
        return {
            "Siamese attention": torch.stack([pairs["map_a"], pairs["map_b"]], 1)[:, :, None],
            "Identification attention": attended.unflatten(0, (2, -1)).transpose(0, 1)[:, :, None],
        }
