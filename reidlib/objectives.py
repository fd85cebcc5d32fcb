"""How a batch becomes named loss terms.

An objective is a module that owns the model, so that autocast and multi-GPU wrapping see every forward pass
that training makes, whatever the paper does in one step.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from reidlib.data.attributes import CLASSES, HIDDEN, attributes
from reidlib.data.splits import Split
from reidlib.losses import (
    attention_consistency,
    batch_hard_triplet,
    contrastive,
    expected_probability,
    identification_attention,
    identity_cross_entropy,
    pair_cross_entropy,
    positive_scale,
    small_rotation,
    stay_inside,
)
from reidlib.models.base import ReIDModel
from reidlib.names import choose


@dataclass  # not frozen: Fabric's mixed precision refuses to convert frozen dataclasses
class Batch:
    """What one training step sees.

    images: (B, 3, H, W) in [0, 1]. person_ids, camera_ids: (B,) as in the dataset. labels: (B,) the person's
    number among the training identities. pairs: (P, 2) rows of this batch, empty for samplers without pairs.
    """

    images: Tensor
    person_ids: Tensor
    camera_ids: Tensor
    labels: Tensor
    pairs: Tensor


class Objective(nn.Module):
    """Owns the model; `forward(batch)` gives named loss terms, `total` weighs them.

    TERMS: every term by name with its weight in the paper, 0 for terms that only a recipe's `loss_weights` turn
    on. A term of weight 0 is not computed: the rows of an ablation are weights.
    """

    TERMS: ClassVar[Mapping[str, float]]

    def __init__(self, model: ReIDModel, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        for name in weights or {}:
            choose("loss term", name, self.TERMS)
        self.model = model
        self.weights = {**self.TERMS, **(weights or {})}

    def wants(self, term: str) -> bool:
        """Whether the term has a weight."""
        return self.weights[term] != 0

    def prepare(self, train: Split) -> None:
        """Learn what has to be known of the training images beside their labels; called once, before training."""

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the loss terms."""
        return sum((self.weights[name] * term for name, term in terms.items()), start=0.0)  # type: ignore[return-value]

    def accuracy(self, batch: Batch) -> Tensor:
        """Right answers as a fraction of the batch's decisions, for held-out curves; scalar.

        Here: how often the nearest image of another camera is of the same person, among images that have one.
        """
        encoding = self.model(batch.images)["encoding"]
        apart = batch.camera_ids[:, None] != batch.camera_ids
        same = (batch.person_ids[:, None] == batch.person_ids) & apart
        nearest_image = self.model.distance(encoding, encoding, apart).masked_fill(~apart, torch.inf).argmin(1)
        right = same.gather(1, nearest_image[:, None])[:, 0]
        return right[same.any(1)].float().mean()


class PairObjective(Objective):
    """Verification: is this pair one person? Every image goes through the trunk once, however many pairs."""

    TERMS: ClassVar[Mapping[str, float]] = {"pair": 1.0}

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(P, 2) logits (different, same) of the batch's pairs, and (P,) whether each is one person."""
        encoding = self.model(batch.images)["encoding"]
        first, second = batch.pairs.unbind(1)
        same = batch.person_ids[first] == batch.person_ids[second]
        return self.model.compare(encoding[first], encoding[second])["logits"], same

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits, same = self.logits(batch)
        return {"pair": pair_cross_entropy(logits.float(), same)}

    def accuracy(self, batch: Batch) -> Tensor:
        logits, same = self.logits(batch)
        return ((logits[:, 1] > logits[:, 0]) == same).float().mean()


class IdentityObjective(Objective):
    """Classification of the training identities and batch-hard triplets, each the mean over the model's heads.

    Heads: "logits" (B, heads, identities), or (B, identities) for one; "embeddings0", "embeddings1", ... (B, D),
    or without them the encoded vector. smoothing: of the labels. margin: of the triplets. single_precision: whether
    triplets' distances are float32 under autocast too.
    """

    TERMS: ClassVar[Mapping[str, float]] = {"identity": 1.0, "triplet": 1.0}

    def __init__(
        self,
        model: ReIDModel,
        weights: Mapping[str, float] | None = None,
        smoothing: float = 0.1,
        margin: float = 0.3,
        single_precision: bool = False,
    ) -> None:
        super().__init__(model, weights)
        self.smoothing, self.margin, self.single_precision = smoothing, margin, single_precision

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.model(batch.images)
        terms = {}
        if self.wants("identity"):
            logits = output["logits"].float()
            heads = logits.shape[1] if logits.ndim == 3 else 1
            labels = batch.labels.repeat_interleave(heads)
            terms["identity"] = identity_cross_entropy(logits.view(len(labels), -1), labels, self.smoothing)
        if self.wants("triplet"):
            features = [value for name, value in output.items() if name.startswith("embeddings")]
            features = features or [output["encoding"].vector]
            exact = torch.autocast(batch.images.device.type, enabled=False) if self.single_precision else nullcontext()
            with exact:
                losses = [batch_hard_triplet(value.float(), batch.labels, self.margin) for value in features]
            terms["triplet"] = torch.stack(losses).mean()
        return terms


class ConsistentAttention(Objective):
    """CASN's L = L_ide + 0.5 L_ia + 0.05 (L_bce + 0.2 ||M*_m1 - M*_m2||) (Eqs. 5 and 6, CA-23), each term a mean.

    "identity": Eq. 1, of every image, summed over a part classifier's heads as PCB has it. "ia": Eq. 2, of every image.
    "bce": Eq. 3. "attention": the spatial term of Eq. 5. score: see `identification_attention` (CA-5). slope, centre:
    of the soft mask (CA-6). through_map: whether L_ia also moves the attention that masks, or only what is left (CA-7).
    """

    TERMS: ClassVar[Mapping[str, float]] = {"identity": 1.0, "ia": 0.5, "bce": 0.05, "attention": 0.05 * 0.2}

    def __init__(
        self,
        model: ReIDModel,
        weights: Mapping[str, float] | None = None,
        score: str = "logit",
        slope: float = 10.0,
        centre: float = 0.5,
        through_map: bool = True,
    ) -> None:
        super().__init__(model, weights)
        self.score = choose("score", score, ("logit", "probability"))
        self.slope, self.centre, self.through_map = slope, centre, through_map

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        attended = self.wants("ia")
        output = self.model.attended(batch.images, batch.labels) if attended else self.model(batch.images)  # type: ignore[operator]
        if self.wants("identity"):
            logits = output["logits"].float()  # (B, parts, identities)
            parts = logits.shape[1]
            labels = batch.labels.repeat_interleave(parts)
            terms["identity"] = parts * identity_cross_entropy(logits.flatten(0, 1), labels, smoothing=0.0)
        if attended:
            attention = output["attention"] if self.through_map else output["attention"].detach()
            masked = self.model.masked(batch.images, attention, self.slope, self.centre)  # type: ignore[operator]
            # The same batch norm sees whole and masked images (CA-8).
            terms["ia"] = identification_attention(self.model(masked)["logits"].float(), batch.labels, self.score)
        if self.wants("bce") or self.wants("attention"):
            encoding, (first, second) = output["encoding"], batch.pairs.unbind(1)
            same = batch.person_ids[first] == batch.person_ids[second]
            pairs = self.model.compare(encoding[first], encoding[second])
            if self.wants("bce"):
                terms["bce"] = pair_cross_entropy(pairs["logits"], same)
            if self.wants("attention"):
                terms["attention"] = attention_consistency(pairs["attention"], same)
        return terms


class MultiLevelSimilarity(PairObjective):
    """MLS's L_com = L_cls + L_ctr (Eq. 6) and the priors of its transformations (Sec. 4.2), whose weights are ours.

    "pair": cross-entropy for Eq. 3, which as printed rewards mistakes (MLS-3); "expected_probability": that equation
    with its sign turned. "contrastive": Eq. 4. "scale", "inside", "rotation": the priors (MLS-9), which a model
    without transformations has not. margin: alpha of Eq. 4.
    """

    TERMS: ClassVar[Mapping[str, float]] = {
        "pair": 1.0,
        "expected_probability": 0.0,
        "contrastive": 1.0,
        "scale": 1.0,
        "inside": 1.0,
        "rotation": 0.01,
    }
    PRIORS: ClassVar[Mapping[str, Callable[[Tensor], Tensor]]] = {
        "scale": positive_scale,
        "inside": stay_inside,
        "rotation": small_rotation,
    }

    def __init__(self, model: ReIDModel, weights: Mapping[str, float] | None = None, margin: float = 1.0) -> None:
        super().__init__(model, weights)
        self.margin = margin

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.model(batch.images)
        encoding, (first, second) = output["encoding"], batch.pairs.unbind(1)
        same = batch.person_ids[first] == batch.person_ids[second]
        pairs = self.model.compare(encoding[first], encoding[second])
        terms = {}
        if self.wants("pair"):
            terms["pair"] = pair_cross_entropy(pairs["logits"], same)
        if self.wants("expected_probability"):
            terms["expected_probability"] = expected_probability(pairs["logits"], same)
        if self.wants("contrastive"):
            if "separation" not in pairs:
                raise ValueError("without a ranking net there is no contrastive term: set its weight to 0.")
            terms["contrastive"] = contrastive(pairs["separation"], same, self.margin)
        if "theta" in output:
            terms |= {name: prior(output["theta"]) for name, prior in self.PRIORS.items() if self.wants(name)}
        return terms


class AttributesObjective(Objective):
    """What drawn people wear, which trunks learn first, in place of ImageNet's classes.

    "attributes": the cross-entropy of each attribute, the mean over those that can be seen. One linear layer on the
    mean of the last map has the scores of all; it is no part of the model, and begins at zero.
    """

    TERMS: ClassVar[Mapping[str, float]] = {"attributes": 1.0}
    table: Tensor

    def __init__(self, model: ReIDModel, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(model, weights)
        self.classifier = nn.Linear(model.channels, sum(CLASSES.values()))  # type: ignore[arg-type]
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def prepare(self, train: Split) -> None:
        self.register_buffer("table", torch.from_numpy(attributes(train)), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        _, f = self.model.extract(batch.images)  # type: ignore[operator]
        wanted = self.table[batch.labels]  # (B, attributes)
        scores = self.classifier(f.mean(1)).float().split(list(CLASSES.values()), 1)
        losses = [
            functional.cross_entropy(score, answer, ignore_index=HIDDEN, reduction="sum")
            for score, answer in zip(scores, wanted.unbind(1), strict=True)
        ]
        return {"attributes": torch.stack(losses).sum() / (wanted != HIDDEN).sum()}


OBJECTIVES: dict[str, type[Objective]] = {
    "attributes": AttributesObjective,
    "pair": PairObjective,
    "identity": IdentityObjective,
    "casn": ConsistentAttention,
    "mls": MultiLevelSimilarity,
}
