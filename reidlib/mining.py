"""Hard negatives: the pairs of two people that a model takes for one."""

import numpy as np
import torch

from reidlib.models import ReIDModel
from reidlib.training import Pixels

BLOCK = 32  # images a side of a block of candidate pairs
BATCH = 128  # images encoded at once


@torch.inference_mode()
def hardest_negatives(
    model: ReIDModel,
    data: Pixels,
    wanted: int = 1000,
    candidates: int = 20_000,
    seed: int = 0,
) -> np.ndarray:
    """The nearest pairs of two people in two cameras, nearest first: (at most `wanted`, 2) rows of the split.

    The model compares about `candidates` pairs, in blocks of images drawn by `seed`, instead of all negatives as
    MidLevel's Sec. IV-C has it: they grow with the square of the images. Junk and distractors are never drawn.
    The model is left in the mode it came in. ValueError: nothing to draw from.
    """
    ids, cameras = data.split.person_ids, data.split.camera_ids
    known = np.flatnonzero(ids > 0)
    blocks = max(1, round(candidates / BLOCK**2))
    drawn = np.random.default_rng(seed).choice(known, (blocks, 2, BLOCK))
    used, place = np.unique(drawn, return_inverse=True)
    training = model.training
    model.eval()
    encoded = model.encode_all(data.images[used], BATCH)
    pairs, distances = [], []
    for (a, b), (i, j) in zip(drawn, place.reshape(drawn.shape), strict=True):
        distance = model.distance(encoded[torch.from_numpy(i)], encoded[torch.from_numpy(j)]).cpu().numpy()
        row, column = np.nonzero((ids[a][:, None] != ids[b]) & (cameras[a][:, None] != cameras[b]))
        pairs.append(np.stack([a[row], b[column]], 1))
        distances.append(distance[row, column])
    model.train(training)
    if not sum(map(len, pairs)):
        raise ValueError(f"{data.split.name}: hard negatives need two people in two cameras, and none were found")
    found, first = np.unique(np.concatenate(pairs), axis=0, return_index=True)
    nearest = np.argsort(np.concatenate(distances)[first], kind="stable")
    return found[nearest[:wanted]]
