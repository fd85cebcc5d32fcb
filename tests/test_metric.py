"""KISSME and XQDA against plain loops over pairs and against SciPy's generalised eigenvectors."""

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load, save
from torch import Tensor

from reidlib.models import Encoding, build
from reidlib.models.metric import Metric, pair_covariances, principal_directions

PEOPLE, IMAGES, WIDTH = 12, 4, 384  # the width of the pixel descriptor


def world(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(features (N, 384), person_ids, camera_ids): 12 people, four images each, in four directions out of eight.

    Along the others, images and cameras differ far more. Every seed has other people and images, the same directions.
    """
    directions = np.random.default_rng(99).normal(size=(8, WIDTH)) / 40
    shifts = np.random.default_rng(98).normal(size=(3, 4))
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), IMAGES)
    cameras = rng.integers(0, 3, len(people))
    telling = rng.normal(size=(PEOPLE, 4))[people] + 0.1 * rng.normal(size=(len(people), 4))
    other = 4 * rng.normal(size=(len(people), 4)) + shifts[cameras]
    features = np.concatenate([telling, other], 1) @ directions
    return torch.from_numpy(features).float(), torch.from_numpy(people), torch.from_numpy(cameras)


def metric(name: str, **options: object) -> Metric:
    model = build(name, descriptor="pixels", image_size=(32, 16), **options).eval()
    assert isinstance(model, Metric)
    return model


def loop_covariances(x: np.ndarray, people: Tensor, cameras: Tensor) -> tuple[np.ndarray, np.ndarray]:
    found: tuple[list, list] = ([], [])
    for i, j in combinations(range(len(x)), 2):
        if cameras[i] != cameras[j]:
            difference = x[i] - x[j]
            found[int(people[i] != people[j])].append(np.outer(difference, difference))
    return np.mean(found[0], 0), np.mean(found[1], 0)


def reduced(features: Tensor, components: int) -> np.ndarray:
    """Principal components, by another decomposition."""
    x = features.double().numpy()
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return x @ directions[:components].T


def distances(model: Metric, features: Tensor) -> np.ndarray:
    encoding = Encoding(vector=features @ model.projection[:, : int(model.kept)])
    return model.distance(encoding, encoding).double().numpy()


def mahalanobis(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    return np.array([[(a - b) @ m @ (a - b) for b in x] for a in x])


def test_covariances_are_the_loop_over_pairs() -> None:
    features, people, cameras = world()
    x = features[:, :5].double()
    for got, expected in zip(
        pair_covariances(x, people, cameras), loop_covariances(x.numpy(), people, cameras), strict=True
    ):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [20, 600])
def test_principal_directions_are_those_of_a_singular_value_decomposition(count: int) -> None:
    """From the images' products where they are few, from the covariance where they are many."""
    x = torch.randn(count, 50, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 3, 50)
    basis = principal_directions(x, 8)
    torch.testing.assert_close(basis.T @ basis, torch.eye(8), atol=1e-4, rtol=0)
    expected = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:8]
    torch.testing.assert_close((expected @ basis).abs(), torch.eye(8), atol=1e-3, rtol=0)
    assert principal_directions(x[:5], 8).shape == (50, 4)  # five points span four directions


def test_kissme_is_the_difference_of_inverse_covariances() -> None:
    features, people, cameras = world()
    model = metric("kissme", components=8)
    model.estimate(Encoding(vector=features), people, cameras)
    x = reduced(features, 8)
    similar, dissimilar = loop_covariances(x, people, cameras)
    values, vectors = np.linalg.eigh(np.linalg.inv(similar) - np.linalg.inv(dissimilar))
    assert values[0] < 0 < values[-1]  # so that there is something to cut off
    expected = mahalanobis(x, (vectors * values.clip(0)) @ vectors.T)
    np.testing.assert_allclose(distances(model, features), expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_xqda_is_the_metric_in_the_span_of_generalised_eigenvectors() -> None:
    features, people, cameras = world()
    model = metric("xqda", components=8, ridge=0.01)
    model.estimate(Encoding(vector=features), people, cameras)
    x = reduced(features, 8)
    similar, dissimilar = loop_covariances(x, people, cameras)
    similar = similar + 0.01 * np.eye(8)
    values, vectors = scipy.linalg.eigh(dissimilar, similar)
    w = vectors[:, values > 1]
    assert 0 < w.shape[1] == int(model.kept) < 8
    m = np.linalg.inv(w.T @ similar @ w) - np.linalg.inv(w.T @ dissimilar @ w)
    expected = mahalanobis(x, w @ m @ w.T)
    np.testing.assert_allclose(distances(model, features), expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize("name", ["kissme", "xqda"])
def test_a_metric_finds_unseen_people_where_euclid_does_not(name: str) -> None:
    features, people, cameras = world()
    model = metric(name, components=8)
    model.estimate(Encoding(vector=features), people, cameras)
    unseen, people, _ = world(1)

    def rank1(distance: np.ndarray) -> float:
        np.fill_diagonal(distance, np.inf)
        return float((people.numpy()[distance.argmin(1)] == people.numpy()).mean())

    assert rank1(torch.cdist(unseen, unseen).double().numpy()) < 0.5
    assert rank1(distances(model, unseen)) > 0.9


def test_what_is_learnt_survives_safetensors() -> None:
    images = torch.rand(24, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    people, cameras = torch.arange(8).repeat_interleave(3), torch.arange(3).repeat(8)
    model, other = metric("kissme", components=4), metric("kissme", components=4)
    untrained = model.encode(images)
    assert untrained.vector.shape == (24, WIDTH)  # Euclid on the descriptor
    model.estimate(untrained, people, cameras)
    other.load_state_dict(load(save(model.state_dict())))
    assert other.encode(images).vector.shape == (24, 4)
    assert torch.equal(other.encode(images).vector, model.encode(images).vector)


def test_mistakes_are_refused_in_one_sentence() -> None:
    features, people, cameras = world()
    encoding = Encoding(vector=features)
    with pytest.raises(ValueError, match="hold no pairs of both kinds across cameras"):
        metric("xqda").estimate(encoding, people, torch.zeros_like(cameras))
    with pytest.raises(ValueError, match="fewer than there are images minus people"):
        metric("kissme", components=8).estimate(encoding[:8], people[:8], cameras[:8])
    with pytest.raises(ValueError, match=r"lower ridge=100\.0"):
        metric("xqda", ridge=100.0).estimate(encoding, people, cameras)
    with pytest.raises(ValueError, match="descriptor 'histogramm' is unknown: did you mean 'histogram'"):
        build("xqda", descriptor="histogramm")
    with pytest.raises(ValueError, match="positive number"):
        build("kissme", descriptor="pixels", components=0)
    with pytest.raises(ValueError, match="positive variance"):
        build("xqda", descriptor="pixels", ridge=0.0)
