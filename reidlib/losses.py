"""The printed losses as pure functions of tensors."""

import torch
from torch import Tensor
from torch.nn import functional


def pair_cross_entropy(logits: Tensor, same: Tensor) -> Tensor:
    """Two-way softmax cross-entropy over pairs (PersonNet, Sec. V: "the softmax objective").

    logits: (P, 2), column 0 "different", column 1 "same". same: (P,) bool. Returns the mean over P.
    """
    return functional.cross_entropy(logits, same.long())


def identity_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Softmax cross-entropy over identities with label smoothing (HAGN, Eq. 3; CASN, Eq. 1, without smoothing).

    logits: (B, identities). labels: (B,) int in [0, identities). Returns the mean over B.
    """
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Hinge on each anchor's farthest positive and nearest negative in the batch (Hermans et al. 2017).

    features: (B, D), compared by Euclidean distance. labels: (B,). Anchors without a positive or a negative
    are left out; with no anchor left the loss is 0. Returns the mean over the anchors. Under autocast the product of
    features is of its type, bfloat16, whatever theirs: of features that are alike to one part in some hundreds a
    distance is then 0, without a gradient, or a step of rounding.
    """
    # The small constant keeps the square root's gradient finite at distance 0.
    gram = features @ features.T
    squared = (gram.diagonal()[:, None] + gram.diagonal()[None] - 2 * gram).clamp_min(0)
    distance = (squared + 1e-12).sqrt()  # (B, B)
    same = labels[:, None] == labels[None]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors = positive.any(1) & (~same).any(1)
    if not anchors.any():
        return features.sum() * 0
    farthest = distance.masked_fill(~positive, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return (farthest - nearest + margin)[anchors].clamp_min(0).mean()


def identification_attention(logits: Tensor, labels: Tensor, score: str = "logit") -> Tensor:
    """The score y*_c that masked images still have for their own class (CASN, Eq. 2), which training lowers.

    logits: (B, parts, identities), the scores of a part classifier added up (CA-19). labels: (B,). score: "logit", the
    printed one, which has no lower bound, or "probability" (CA-5). Returns the mean over B.
    """
    scores = logits.softmax(-1) if score == "probability" else logits
    return scores[torch.arange(len(labels), device=labels.device), :, labels].sum(1).mean()


def attention_consistency(distance: Tensor, same: Tensor) -> Tensor:
    """The spatial term of CASN's Eq. 5, ||M*_m1 - M*_m2||_2, not squared (CA-13), of pairs of one person (CA-14).

    distance: (P,). same: (P,) bool. Returns the mean over the pairs of one person, 0 without any.
    """
    return (distance * same).sum() / same.sum().clamp_min(1)


def expected_probability(logits: Tensor, same: Tensor) -> Tensor:
    """Minus the mean probability of the true class: Eq. 3 of MLS, without a logarithm, and the sign it lacks (MLS-3).

    logits: (P, 2), column 0 "different", column 1 "same". same: (P,) bool.
    """
    return -logits.softmax(1).gather(1, same.long()[:, None]).mean()


def contrastive(distance: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """L_ctr = 1/(2m) sum [y d^2 + (1 - y) max(0, margin - d)^2] (MLS, Eq. 4).

    distance: (P,), Euclidean, of the same unit as margin. same: (P,) bool.
    """
    apart = (margin - distance).clamp_min(0)
    return torch.where(same, distance, apart).square().mean() / 2


def positive_scale(theta: Tensor) -> Tensor:
    """Hinge that keeps the scales of transformations from turning them upside down (MLS, Sec. 4.2).

    theta: (..., 2, 3) as in Eq. 1. The paper has "larger than 0" and no formula; 0.1 is ours (MLS-9). Returns the mean
    over scales.
    """
    return (0.1 - theta.diagonal(dim1=-2, dim2=-1)).clamp_min(0).mean()


def stay_inside(theta: Tensor) -> Tensor:
    """Hinge that keeps what transformations sample in the map (MLS, Sec. 4.2).

    theta: (..., 2, 3) as in Eq. 1; the farthest corner lies at |s| + |r| + |t| along each side, the border at 1. The
    paper has no formula; this is ours (MLS-9). Returns the mean over transformations and sides.
    """
    return (theta.abs().sum(-1) - 1).clamp_min(0).mean()


def small_rotation(theta: Tensor) -> Tensor:
    """L1 norm of r_w and r_h (MLS, Sec. 4.2). theta: (..., 2, 3) as in Eq. 1. Returns the mean over both and all."""
    return (theta[..., 0, 1].abs() + theta[..., 1, 0].abs()).mean() / 2
