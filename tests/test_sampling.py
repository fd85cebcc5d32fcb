"""Batches: what is in them, how often, and that (seed, step) alone decides."""

from pathlib import Path

import numpy as np
import pytest

from reidlib.data.sampling import IdentitySampler, PairSampler, sampler
from reidlib.data.splits import Split
from reidlib.recipe import Sampling


def make_split(ids: list[int] | np.ndarray, cameras: list[int] | np.ndarray) -> Split:
    paths = tuple(Path(f"{i}.jpg") for i in range(len(ids)))
    return Split("train", paths, np.array(ids), np.array(cameras), np.array(ids))


@pytest.fixture(scope="module")
def market() -> Split:
    """100 people of 2 to 40 images in 2 to 6 cameras, with some junk and distractors, in no order."""
    rng = np.random.default_rng(0)
    ids, cameras = [-1, 0, 0, -1], [1, 2, 3, 4]
    for person in range(1, 101):
        seen = rng.permutation(6)[: rng.integers(2, 7)] + 1
        count = int(rng.integers(len(seen), 41))
        ids += [person] * count
        cameras += [*seen.tolist(), *rng.choice(seen, count - len(seen)).tolist()]
    order = rng.permutation(len(ids))
    return make_split(np.array(ids)[order], np.array(cameras)[order])


def labels(split: Split, batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(same person, same camera, same image) of each pair."""
    a, b = batch.indices[batch.pairs].T
    return split.person_ids[a] == split.person_ids[b], split.camera_ids[a] == split.camera_ids[b], a == b


def equal(one, other) -> bool:
    return np.array_equal(one.indices, other.indices) and np.array_equal(one.pairs, other.pairs)


@pytest.mark.parametrize("make", [PairSampler, IdentitySampler])
def test_seed_and_step_alone_decide(market, make):
    forwards, backwards = make(market, seed=3), make(market, seed=3)
    there = [forwards.batch(step) for step in range(5)]
    back = [backwards.batch(step) for step in reversed(range(5))][::-1]
    assert all(equal(one, other) for one, other in zip(there, back, strict=True))
    assert not equal(there[0], there[1])
    assert not equal(there[0], make(market, seed=4).batch(0))


def test_every_positive_is_cross_camera_and_half_are_positive(market):
    draw = PairSampler(market, 64)
    for step in range(200):
        batch = draw.batch(step)
        assert batch.indices.shape == (64,)
        assert batch.pairs.shape == (64, 2)
        assert batch.indices.dtype == batch.pairs.dtype == np.int64
        same, same_camera, _ = labels(market, batch)
        assert same.sum() == 32
        assert not same_camera.any()  # negatives too: there is enough choice
        assert (market.person_ids[batch.indices] > 0).all()
        assert len(np.unique(market.person_ids[batch.indices])) == 32
        assert len(np.unique(np.sort(batch.pairs, 1), axis=0)) == 64


def test_pairs_are_in_random_order_of_members(market):
    draw = PairSampler(market, 64)
    batches = [draw.batch(step) for step in range(200)]
    pairs = np.concatenate([batch.pairs for batch in batches])
    same = np.concatenate([labels(market, batch)[0] for batch in batches])
    for kind in (same, ~same):
        share = (pairs[kind, 0] < pairs[kind, 1]).mean()  # 6400 draws: SD 0.006
        assert 0.47 < share < 0.53


def test_people_and_cameras_are_drawn_evenly(market):
    draw = PairSampler(market, 64)
    indices = np.concatenate([draw.batch(step).indices for step in range(2000)])
    people = np.bincount(market.person_ids[indices], minlength=101)[1:] / len(indices)
    assert abs(people * 100 - 1).max() < 0.15  # 640 pairs a person: SD 0.033
    for person in (1, 50, 100):
        own = indices[market.person_ids[indices] == person]
        seen = np.unique(market.camera_ids[market.person_ids == person])
        cameras = np.bincount(market.camera_ids[own], minlength=7)[seen] / len(own)
        assert abs(cameras * len(seen) - 1).max() < 0.3
        assert set(own) == set(np.flatnonzero(market.person_ids == person))


def test_negatives_grow_with_progress(market):
    draw = PairSampler(market, 60, negatives=(1.0, 5.0))
    shares = [labels(market, draw.batch(0, progress))[0].sum() for progress in (0, 0.25, 0.5, 1)]
    assert shares == [30, 20, 15, 10]  # 60 / (1 + 1, 2, 3, 5)
    assert len(draw.batch(0, 1.0).pairs) == 60


def test_both_orders_appends_the_reversed_pairs(market):
    once, twice = PairSampler(market, 64).batch(7), PairSampler(market, 64, both_orders=True).batch(7)
    assert np.array_equal(twice.indices, once.indices)
    assert np.array_equal(twice.pairs, np.concatenate([once.pairs, once.pairs[:, ::-1]]))


def test_one_camera_gives_two_different_images():
    split = make_split([1, 1, 1, 2, 2, 3], [1, 1, 1, 1, 1, 2])
    draw = PairSampler(split, 4)
    for step in range(100):
        batch = draw.batch(step)
        same, _, itself = labels(split, batch)
        assert same.sum() == 2
        assert not itself.any()
        assert 3 not in split.person_ids[batch.indices]  # a single image makes no positive


def test_more_people_than_there_are_repeats_them_evenly():
    split = make_split([1, 1, 2, 2, 3, 3], [1, 2, 1, 2, 1, 2])
    batch = PairSampler(split, 64, negatives=(1.0, 5.0)).batch(0, 1.0)
    counts = np.bincount(split.person_ids[batch.indices])[1:]
    assert counts.sum() == 64
    assert np.ptp(counts) <= 2
    assert labels(split, batch)[0].sum() == 11


def test_few_images_repeat_negatives():
    split = make_split([1, 1, 2, 2], [1, 2, 1, 2])
    batch = PairSampler(split, 3, negatives=(5.0, 5.0)).batch(0)
    assert labels(split, batch)[0].tolist() == [True, False, False]
    assert len(PairSampler(split, 2).batch(0).pairs) == 2


def test_identities_are_people_times_images(market):
    draw = IdentitySampler(market, 16, 4)
    for step in range(100):
        batch = draw.batch(step)
        people = market.person_ids[batch.indices].reshape(16, 4)
        assert (people == people[:, :1]).all()
        assert len(np.unique(people[:, 0])) == 16
        assert people.min() > 0
        assert batch.pairs.shape == (0, 2)
        for person, rows in zip(people[:, 0], batch.indices.reshape(16, 4), strict=True):
            assert len(np.unique(rows)) == min(4, (market.person_ids == person).sum())


def test_a_person_with_few_images_shows_all_before_repeating():
    split = make_split([1] * 3 + [2] * 9, [1] * 12)
    for step in range(50):
        rows = IdentitySampler(split, 2, 7).batch(step).indices
        counts = np.bincount(rows, minlength=12)
        assert sorted(counts[:3]) == [2, 2, 3]
        assert counts[3:].max() == 1


def test_recipes_name_their_sampler(market):
    pairs = sampler(market, Sampling("pairs", pairs=10, negatives=(1.0, 3.0), both_orders=True), seed=5)
    assert equal(pairs.batch(2, 0.5), PairSampler(market, 10, (1.0, 3.0), True, 5).batch(2, 0.5))
    hard = sampler(market, Sampling("pairs", pairs=10, hard=0.5), 5, MINED)
    assert equal(hard.batch(2), PairSampler(market, 10, seed=5, hard=0.5, mined=MINED).batch(2))
    identities = sampler(market, Sampling("identities", people=8, images=2), seed=5)
    assert equal(identities.batch(2), IdentitySampler(market, 8, 2, 5).batch(2))
    with pytest.raises(ValueError, match="choose from pairs, identities"):
        sampler(market, Sampling("triplets"))  # type: ignore[arg-type]


MINED = np.array([[5, 900], [17, 400], [33, 801], [60, 1100], [71, 500]])


def test_a_share_of_the_negatives_is_mined_and_the_batch_does_not_grow(market):
    draw = PairSampler(market, 99, (2.0, 2.0), seed=3, hard=0.25, mined=MINED)
    seen = []
    for step in range(20):
        batch = draw.batch(step)
        assert batch.indices.shape == (2 * (99 // 2),)  # 33 people and 16 mined pairs
        pairs = np.sort(batch.indices[batch.pairs], 1)
        mined = (pairs[:, None] == MINED).all(2)
        seen.append(mined.sum(0))
        assert mined.sum() >= 16  # of 66 negatives; a random one may be among them by chance
        same = labels(market, batch)[0]
        assert len(same) == 99
        assert same.sum() == 33
    assert np.ptp(np.sum(seen, 0)) <= 20  # 64 times each, more or less


def test_more_mined_pairs_than_spare_people_make_the_batch_grow(market):
    batch = PairSampler(market, 99, (2.0, 2.0), hard=1.0, mined=MINED).batch(0)
    assert batch.indices.shape == (2 * (33 + 66),)
    negatives = np.sort(batch.indices[batch.pairs], 1)[~labels(market, batch)[0]]
    assert (negatives[:, None] == MINED).all(2).any(1).all()


def test_without_a_hard_share_mined_pairs_change_nothing(market):
    assert equal(PairSampler(market, 64, mined=MINED).batch(4), PairSampler(market, 64).batch(4))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda split: PairSampler(split, 1), "at least 2"),
        (lambda split: PairSampler(split, negatives=(0.5, 1.0)), "each at least 1"),
        (lambda split: PairSampler(split, hard=0.5), "needs mined pairs"),
        (lambda split: PairSampler(split, hard=1.5, mined=MINED), r"share in \[0, 1\]"),
        (lambda split: PairSampler(split.take(split.person_ids == 5)), "two people with two images each, found 1"),
        (lambda split: IdentitySampler(split, 101), "has 100 people; a batch of 101 is too many"),
        (lambda split: IdentitySampler(split, 1), "at least 2 people"),
    ],
)
def test_impossible_batches_are_refused(market, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(market)
