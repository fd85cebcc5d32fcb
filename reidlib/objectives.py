"""How a batch becomes named loss terms.

An objective is a module that owns the model, so that autocast and multi-GPU wrapping see every forward pass
that training makes, whatever the paper does in one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from reidlib.losses import batch_hard_triplet, identity_cross_entropy, pair_cross_entropy
from reidlib.models.base import ReIDModel


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
    """Owns the model; `forward(batch)` gives named loss terms, `total` weighs them."""

    def __init__(self, model: ReIDModel, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.model = model
        self.weights = dict(weights or {})

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the loss terms; a term without a weight counts once."""
        return sum((self.weights.get(name, 1.0) * term for name, term in terms.items()), start=0.0)  # type: ignore[return-value]

    def accuracy(self, batch: Batch) -> Tensor:
        """Right answers as a fraction of the batch's decisions, for held-out curves; scalar."""
        raise TypeError(f"{type(self).__name__} does not define what a right answer is")


class PairObjective(Objective):
    """Verification: is this pair one person? Every image goes through the trunk once, however many pairs."""

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
    """Classification of the training identities plus batch-hard triplets on the encoded vector."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        output = self.model(batch.images)
        return {
            "identity": identity_cross_entropy(output["logits"].float(), batch.labels),
            "triplet": batch_hard_triplet(output["encoding"].vector.float(), batch.labels),
        }

    def accuracy(self, batch: Batch) -> Tensor:
        return (self.model(batch.images)["logits"].argmax(1) == batch.labels).float().mean()


OBJECTIVES: dict[str, type[Objective]] = {"pair": PairObjective, "identity": IdentityObjective}
