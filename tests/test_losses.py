"""Losses against plain loops and hand-worked cases."""

import math

import pytest
import torch

from reidlib.losses import batch_hard_triplet, identity_cross_entropy, pair_cross_entropy


def test_pair_cross_entropy_is_the_mean_negative_log_softmax():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    got = pair_cross_entropy(logits, torch.tensor([True, True]))
    assert got.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)


def test_identity_cross_entropy_smooths_over_all_identities():
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    log_p = logits.log_softmax(1)[0]
    by_hand = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    assert identity_cross_entropy(logits, torch.tensor([0]), 0.1).item() == pytest.approx(by_hand.item())


def loop_triplet(features: torch.Tensor, labels: list[int], margin: float) -> float:
    losses = []
    for i, anchor in enumerate(features):
        positives = [
            float((anchor - other).norm()) for j, other in enumerate(features) if labels[j] == labels[i] and j != i
        ]
        negatives = [float((anchor - other).norm()) for j, other in enumerate(features) if labels[j] != labels[i]]
        if positives and negatives:
            losses.append(max(0.0, max(positives) - min(negatives) + margin))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_hard_triplet_equals_a_loop(dtype):
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(9, 5, generator=generator, dtype=dtype)
    labels = [0, 0, 0, 1, 1, 2, 2, 2, 3]  # the last anchor has no positive and is left out
    got = batch_hard_triplet(features, torch.tensor(labels), 0.3).item()
    assert got == pytest.approx(loop_triplet(features, labels, 0.3), rel=1e-4)


def test_batch_hard_triplet_without_anchors_is_zero_and_has_a_gradient():
    features = torch.randn(3, 4, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([1, 2, 3]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros(3, 4))


def test_batch_hard_triplet_has_a_finite_gradient_for_equal_images():
    features = torch.ones(4, 2, requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(features.grad).all()


def test_gradients_are_right():
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet(x, labels, 5.0), features)
