"""The hardest negatives, against all pairs one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reidlib.data.splits import Split
from reidlib.mining import hardest_negatives
from reidlib.models import build
from reidlib.training import Pixels

SIZE = (16, 8)


def pictures(ids: list[int], cameras: list[int]) -> Pixels:
    paths = tuple(Path(f"{i}.jpg") for i in range(len(ids)))
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 3, *SIZE), np.uint8)
    return Pixels(Split("train", paths, np.array(ids), np.array(cameras), np.array(ids)), images)


@pytest.fixture
def data() -> Pixels:
    return pictures([1, 1, 2, 2, 3, 3, 4, -1, 0], [1, 2, 1, 2, 1, 3, 2, 1, 3])


@pytest.fixture
def model() -> torch.nn.Module:
    return build("pixels", image_size=SIZE)


def test_all_pairs_drawn_the_nearest_come_first(data: Pixels, model: torch.nn.Module) -> None:
    encoding = model.encode(torch.from_numpy(data.images).float() / 255)
    ids, cameras = data.split.person_ids, data.split.camera_ids
    expected = []
    for i in range(9):
        for j in range(9):
            if min(ids[i], ids[j]) > 0 and ids[i] != ids[j] and cameras[i] != cameras[j]:
                expected.append((model.compare(encoding[i], encoding[j])["distance"].item(), i, j))
    mined = hardest_negatives(model, data, wanted=1000)
    assert len(mined) == len(expected)
    distances = {(i, j): distance for distance, i, j in expected}
    found = [distances[i, j] for i, j in mined.tolist()]
    np.testing.assert_allclose(found, sorted(distances.values()), atol=1e-6)
    assert np.array_equal(hardest_negatives(model, data, wanted=3), mined[:3])


def test_the_seed_alone_decides_which_pairs_are_compared(data: Pixels, model: torch.nn.Module) -> None:
    many = pictures([*range(1, 301)] * 2, [1] * 300 + [2] * 300)
    first, again, other = (hardest_negatives(model, many, 50, 2000, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first, axis=0)) == 50


def test_the_model_keeps_its_mode(data: Pixels, model: torch.nn.Module) -> None:
    for mode in (True, False):
        hardest_negatives(model.train(mode), data)
        assert model.training == mode


def test_one_camera_or_one_person_is_refused(model: torch.nn.Module) -> None:
    for single in (pictures([1, 2, 3], [1, 1, 1]), pictures([1, 1], [1, 2])):
        with pytest.raises(ValueError, match="two people in two cameras"):
            hardest_negatives(model, single)
