"""Which images and pairs make a batch: a function of (seed, step), so that a resumed run sees the same batches."""

from dataclasses import dataclass

import numpy as np

from reidlib.data.splits import Split
from reidlib.names import choose
from reidlib.recipe import Sampling


@dataclass(frozen=True, eq=False)
class IndexBatch:
    """indices: (B,) int64 into the split. pairs: (P, 2) int64 into the batch; (0, 2) where whole batches are used."""

    indices: np.ndarray
    pairs: np.ndarray


def _shuffled(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """`wanted` of range(count) in random order; each comes up once before any comes up again."""
    rounds = -(-wanted // count)
    return np.concatenate([rng.permutation(count) for _ in range(rounds)])[:wanted]


class PairSampler:
    """Balanced online pairs: `max(2, pairs // 2)` people with two images of different cameras each.

    The first of them are the positive pairs, one in `1 + negatives` with `negatives` rising from its first to
    its second value over training progress; the negatives are different people of the batch, seen by different
    cameras as far as these go round. An image of a pair is equally often first and second.
    both_orders: every pair once more, reversed. People with a single image are left out, those with a single
    camera give two of its images. A batch of more people than the split has repeats people.
    hard: share of the negatives that are drawn from `mined`, (M, 2) rows of the split. Their images take the place
    of people without a positive pair, so that up to `hard` = 1/4 (at two negatives per positive) no batch grows.
    """

    def __init__(
        self,
        split: Split,
        pairs: int = 64,
        negatives: tuple[float, float] = (1.0, 1.0),
        both_orders: bool = False,
        seed: int = 0,
        hard: float = 0.0,
        mined: np.ndarray | None = None,
    ) -> None:
        if pairs < 2:
            raise ValueError(f"{pairs} pairs cannot hold a positive and a negative; ask for at least 2")
        if len(negatives) != 2 or min(negatives) < 1:
            raise ValueError(f"negatives {negatives}: give two numbers of negatives per positive, each at least 1")
        if not 0 <= hard <= 1 or (hard > 0 and (mined is None or not len(mined))):
            raise ValueError(f"hard {hard} is a share in [0, 1], and above 0 it needs mined pairs")
        self.pairs, self.negatives, self.both_orders, self.seed = pairs, negatives, both_orders, seed
        self.hard, self.mined = hard, np.empty((0, 2), np.int64) if mined is None else mined
        self.person_ids, self.camera_ids = split.person_ids, split.camera_ids
        # Images sorted by person, then camera; a cell is one person in one camera.
        known = np.flatnonzero(split.person_ids > 0)
        people, images = np.unique(split.person_ids[known], return_counts=True)
        known = known[np.isin(split.person_ids[known], people[images > 1])]
        self._order = known[np.lexsort((known, split.camera_ids[known], split.person_ids[known]))]
        labels = np.stack([split.person_ids[self._order], split.camera_ids[self._order]], 1)
        cells, self._cell_start, self._cell_images = np.unique(labels, axis=0, return_index=True, return_counts=True)
        self._people, self._person_cell, self._person_cells = np.unique(
            cells[:, 0], return_index=True, return_counts=True
        )
        if len(self._people) < 2:
            raise ValueError(
                f"{split.name}: pairs need two people with two images each, found {len(self._people)}; a training takes"
                " four, two of whom are held out"
            )

    def batch(self, step: int, progress: float = 0.0) -> IndexBatch:
        """The batch of that step; progress: share of training done, in [0, 1]."""
        rng = np.random.default_rng([self.seed, step])
        ratio = self.negatives[0] + (self.negatives[1] - self.negatives[0]) * progress
        count = max(2, self.pairs // 2)
        positives = min(count, max(1, round(self.pairs / (1 + ratio))))
        hard = round(self.hard * (self.pairs - positives))
        count = max(2, positives, count - hard)
        chosen = _shuffled(len(self._people), count, rng)
        u = rng.random((4, count))
        cameras = self._person_cells[chosen]
        one = (u[0] * cameras).astype(np.int64)
        other = (one + 1 + (u[1] * (cameras - 1)).astype(np.int64)) % cameras
        single = cameras == 1
        cell_a, cell_b = self._person_cell[chosen] + one, self._person_cell[chosen] + other
        images_a, images_b = self._cell_images[cell_a], self._cell_images[cell_b]
        a = (u[2] * images_a).astype(np.int64)
        apart = (a + 1 + (u[3] * (images_b - 1)).astype(np.int64)) % images_b  # another image of the one camera
        b = np.where(single, apart, (u[3] * images_b).astype(np.int64))
        first, second = self._order[self._cell_start[cell_a] + a], self._order[self._cell_start[cell_b] + b]
        indices = np.stack([first, second], 1).reshape(-1)  # (2 * count,): person k at 2k and 2k + 1

        same = np.arange(2 * positives).reshape(-1, 2)
        pairs = np.concatenate([same, self._negatives(indices, self.pairs - positives - hard, rng)])
        if hard:
            near = self.mined[_shuffled(len(self.mined), hard, rng)]
            pairs = np.concatenate([pairs, len(indices) + np.arange(2 * hard).reshape(-1, 2)])
            indices = np.concatenate([indices, near.reshape(-1)])
        pairs = np.where(rng.random((len(pairs), 1)) < 0.5, pairs, pairs[:, ::-1])
        return IndexBatch(indices, np.concatenate([pairs, pairs[:, ::-1]]) if self.both_orders else pairs)

    def _negatives(self, indices: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
        i, j = np.triu_indices(len(indices), 1)
        people, cameras = self.person_ids[indices], self.camera_ids[indices]
        cross = people[i] != people[j]
        i, j = i[cross], j[cross]
        last = cameras[i] == cameras[j]
        order = np.argsort(last + rng.random(len(i)))  # different cameras first, at random within
        order = np.resize(order, wanted)  # all of them again where too few
        return np.stack([i[order], j[order]], 1)


class IdentitySampler:
    """`people` identities x `images` images (Hermans et al. 2017), image k of person p at p * images + k.

    A person with fewer images shows all of them before repeating any; `people` is at most the split's.
    """

    def __init__(self, split: Split, people: int = 16, images: int = 4, seed: int = 0) -> None:
        if people < 2 or images < 1:
            raise ValueError(f"{people} people x {images} images: ask for at least 2 people and 1 image")
        if people > len(split.identities):
            raise ValueError(f"{split.name} has {len(split.identities)} people; a batch of {people} is too many")
        self.people, self.images, self.seed = people, images, seed
        self._rows = [np.flatnonzero(split.person_ids == person) for person in split.identities]

    def batch(self, step: int, progress: float = 0.0) -> IndexBatch:
        """The batch of that step; progress plays no part."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.permutation(len(self._rows))[: self.people]
        parts = [self._rows[p][_shuffled(len(self._rows[p]), self.images, rng)] for p in chosen]
        return IndexBatch(np.concatenate(parts), np.empty((0, 2), np.int64))


def sampler(
    split: Split, sampling: Sampling, seed: int = 0, mined: np.ndarray | None = None
) -> PairSampler | IdentitySampler:
    """The sampler a recipe asks for; mined: (M, 2) hard negatives. ValueError names the samplers there are."""
    if choose("sampling", sampling.name, ("pairs", "identities")) == "identities":
        return IdentitySampler(split, sampling.people, sampling.images, seed)
    return PairSampler(split, sampling.pairs, sampling.negatives, sampling.both_orders, seed, sampling.hard, mined)
