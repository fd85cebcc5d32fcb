"""k-reciprocal re-ranking (Zhong et al. 2017, Sec. 3), sparse and streamed: nothing of size N x N exists.

All N images, queries and gallery, are one crowd without labels. An image is encoded by those among its nearest
that also have it among theirs, and two images are near where their encodings overlap. What is kept of a row of
distances are its nearest few, its least and its greatest value.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from torch import Tensor

from reidlib.evaluation.protocols import Reciprocal
from reidlib.evaluation.ranking import floats
from reidlib.models.base import tiles

BLOCK_BYTES = 64 << 20  # of distances at once
ROWS = 128  # whose distances are asked for at once
SAMPLE = 4096  # columns from which a row's bound is guessed
CHUNK = 2048  # rows whose neighbours' neighbours are compared at once

Distances = Callable[[slice, slice | np.ndarray], Tensor | np.ndarray]  # rows and columns of N -> a fresh block


def rerank(
    query_query: ArrayLike,
    query_gallery: ArrayLike,
    gallery_gallery: ArrayLike,
    settings: Reciprocal = Reciprocal(),  # noqa: B008  (frozen)
) -> np.ndarray:
    """(Q, G) re-ranked distances from the distances of Q queries and G gallery images; smaller is nearer.

    The paper's distances are squared Euclidean: for unit vectors 1 minus the cosine gives the same result. ValueError:
    matrices that do not fit together, NaN or infinite distances.
    """
    qq, qg, gg = (np.asarray(part) for part in (query_query, query_gallery, gallery_gallery))
    if qg.ndim != 2 or qq.shape != (len(qg),) * 2 or gg.shape != (qg.shape[-1],) * 2:
        raise ValueError(
            f"distances of shapes {qq.shape}, {qg.shape} and {gg.shape}; give (Q, Q), (Q, G) and (G, G), of the queries"
            " among each other, to the gallery, and of the gallery among itself"
        )
    whole = np.block([[qq, qg], [qg.T, gg]])
    return np.concatenate(list(reranked(lambda r, c: whole[r][:, c].copy(), len(qg), qg.shape[1], settings)))


def reranked(
    distance: Distances,
    queries: int,
    gallery: int,
    settings: Reciprocal = Reciprocal(),  # noqa: B008  (frozen)
) -> Iterator[np.ndarray]:
    """Row blocks (B, G) of the re-ranked distances, eq. 12, of the first Q of N = Q + G images to the others.

    distance: blocks of the distances among the N images, three times: whole rows, then the few columns that the
    encodings need, then the queries' rows to the gallery. Every row is scaled to [0, 1] from its least to its
    greatest, so that distances may be logits, and an image is at distance 0 from itself.
    """
    count = queries + gallery
    crowd = _Crowd(distance, count)
    nearest = crowd.nearest(min(settings.k1 + 1, count))
    encoded = crowd.encode(nearest, settings.k1)
    if settings.k2 > 1:  # local query expansion, eq. 11
        first = nearest[:, : settings.k2]
        share = np.full(first.size, 1 / first.shape[1], np.float32)
        average = csr_array((share, first.ravel(), np.arange(count + 1) * first.shape[1]), (count, count))
        encoded = average @ encoded
    images = encoded[queries:].tocsc()
    for rows in tiles(queries, crowd.rows):
        jaccard = _jaccard(encoded[rows], images)
        direct = crowd.scaled(rows, slice(queries, count))
        yield (1 - settings.weight) * jaccard + settings.weight * direct


class _Crowd:
    """N images by their distances; a row's least and greatest are known after `nearest`."""

    def __init__(self, distance: Distances, count: int) -> None:
        self.distance, self.count = distance, count
        self.rows = max(1, min(ROWS, BLOCK_BYTES // (4 * count)))
        self.least, self.span = np.empty((count, 1)), np.empty((count, 1))

    def nearest(self, k: int) -> np.ndarray:
        """(N, k) int32 indices: the image itself, then others ascending by distance, ties by index."""
        found = np.empty((self.count, k), np.int32)
        for rows in tiles(self.count, self.rows):
            block = floats(self.distance(rows, slice(0, self.count)))
            least, greatest = block.min(1, keepdims=True), block.max(1, keepdims=True)
            bad = ~(np.isfinite(least) & np.isfinite(greatest))
            if bad.any():
                raise ValueError(
                    f"image {rows.start + int(bad.argmax())} has NaN or infinite distances; look for overflow (fp16?)"
                    " in its encoding or in the model"
                )
            self.least[rows] = least
            self.span[rows] = np.where(greatest > least, greatest.astype(float) - least, 1)
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
            found[rows] = smallest(block, k)
        return found

    def scaled(self, rows: slice, columns: slice | np.ndarray) -> np.ndarray:
        """Distances with each row scaled to [0, 1]."""
        block = floats(self.distance(rows, columns))
        return ((block - self.least[rows]) / self.span[rows]).astype(np.float32)

    def encode(self, nearest: np.ndarray, k1: int) -> csr_array:
        """(N, N) weights of each image's expanded k-reciprocal neighbours, eqs. 2 to 7; a row sums to 1."""
        mutual = _mutual(nearest)
        # Half of k1, rounded to even as the released code has it, and the image itself.
        close = nearest[:, : round(k1 / 2) + 1]
        mutual_close = _mutual(close)
        owners, members = [], []
        for rows in tiles(self.count, CHUNK):
            owner, member = _expanded(nearest[rows], mutual[rows], close, mutual_close)
            owners.append(owner + rows.start)
            members.append(member)
        owner, member = np.concatenate(owners), np.concatenate(members)
        ends = np.searchsorted(owner, np.arange(self.count + 1))
        weight = np.empty(len(owner), np.float32)
        for rows in tiles(self.count, 32):  # few rows need few columns
            part = slice(ends[rows.start], ends[rows.stop])
            columns, at = np.unique(member[part], return_inverse=True)
            block = self.scaled(rows, columns)[owner[part] - rows.start, at]
            block[owner[part] == member[part]] = 0
            weight[part] = np.exp(-block)
        weight /= np.add.reduceat(weight, ends[:-1])[owner]
        return csr_array((weight, member, ends), (self.count, self.count))


def smallest(block: np.ndarray, k: int) -> np.ndarray:
    """(B, k) columns of each row's least values in ascending order, as a stable sort gives them."""
    count = block.shape[1]
    stride = count // SAMPLE
    if stride < 2:
        bound = np.partition(block, k - 1, axis=1)[:, k - 1 : k]
    else:  # the k-th least of a sample is not below the k-th least of all
        bound = np.partition(block[:, ::stride], k - 1, axis=1)[:, k - 1 : k]
    flat = np.flatnonzero(block <= bound)
    row = flat // count
    order = np.lexsort((block.ravel()[flat], row))
    start = np.searchsorted(row, np.arange(len(block)))
    return flat[order[start[:, None] + np.arange(k)]] % count


def _mutual(nearest: np.ndarray) -> np.ndarray:
    """(N, k) bool: which of an image's nearest have it among theirs."""
    found = np.empty(nearest.shape, bool)
    for rows in tiles(len(nearest), CHUNK):
        own = np.arange(rows.start, rows.stop)[:, None, None]
        found[rows] = (nearest[nearest[rows]] == own).any(2)
    return found


def _expanded(
    nearest: np.ndarray, mutual: np.ndarray, close: np.ndarray, mutual_close: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(row, member) of the expanded sets of those rows, sorted: eq. 5.

    A reciprocal neighbour brings its own close reciprocal neighbours where more than two thirds of them are the
    image's reciprocal neighbours already.
    """
    reciprocal = np.where(mutual, nearest, -1)  # (B, k1 + 1)
    offered = np.where(mutual_close[nearest], close[nearest], -2)  # (B, k1 + 1, k1 / 2 + 1)
    known = np.zeros(offered.shape, bool)
    for place in reciprocal.T:
        known |= offered == place[:, None, None]
    size = (offered >= 0).sum(2)
    taken = mutual & (3 * known.sum(2) > 2 * size)
    row, which = np.nonzero(mutual)
    more, place, inner = np.nonzero(taken[:, :, None] & (offered >= 0))
    count = len(close)
    own, brought = row * count + nearest[row, which], more * count + offered[more, place, inner]
    return np.divmod(np.unique(np.concatenate([own, brought])), count)


def _jaccard(asked: csr_array, images: csr_array) -> np.ndarray:
    """(B, G) Jaccard distances, eq. 10, of row encodings to the columns of `images`: of encodings that sum to 1.

    Only pairs that share a neighbour differ from 1: for each of a query's neighbours the images that have it too.
    """
    size, gallery = asked.shape[0], images.shape[0]
    row = np.repeat(np.arange(size), np.diff(asked.indptr))
    start, length = images.indptr[asked.indices], np.diff(images.indptr)[asked.indices]
    entry = np.repeat(np.arange(len(row)), length)
    place = np.arange(len(entry)) + np.repeat(start - np.cumsum(length) + length, length)
    least = np.minimum(asked.data[entry], images.data[place])
    key = row[entry] * gallery + images.indices[place]
    shared = np.bincount(key, least, size * gallery).reshape(size, gallery)
    return 1 - shared / (2 - shared)
