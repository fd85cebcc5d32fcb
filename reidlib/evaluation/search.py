"""Big galleries: features larger than memory, compared in tiles; exact search, and approximate search through FAISS.

Features are rows of a NumPy array, a memory-mapped file among them, float16 or float32; wider ones are rounded to
float32. Similarity is the inner product, for unit vectors the cosine, and the distance 1 minus it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from tqdm import tqdm

from reidlib.models.base import tiles

TILE_BYTES = 16 << 20  # of gallery features as float32 at once
BLOCK_BYTES = 64 << 20  # of distances at once
ROWS = 512  # queries that meet a tile at once
PAIRS = 128  # of vectors whose products are computed in float64 at once


@dataclass(frozen=True, eq=False)
class Neighbours:
    """index, distance: (Q, k), nearest first."""

    index: np.ndarray
    distance: np.ndarray


def feature_distances(queries: np.ndarray, gallery: np.ndarray) -> Iterator[np.ndarray]:
    """Row blocks (B, G) of float32 distances, for `rank`: 120 MB beyond the features, however many there are."""
    _check(queries, gallery)
    rows_at_once = max(1, min(ROWS, BLOCK_BYTES // (4 * len(gallery))))
    for rows in tiles(len(queries), rows_at_once):
        asked, block = queries[rows].astype(np.float32), np.empty((rows.stop - rows.start, len(gallery)), np.float32)
        for columns, images in _float_tiles(gallery):
            np.matmul(asked, images.T, out=block[:, columns])
        yield np.subtract(1, block, out=block)
        del block  # before the next one is made


def search(queries: np.ndarray, gallery: np.ndarray, k: int = 10, *, progress: bool = False) -> Neighbours:
    """The `k` nearest gallery images of each query, exactly: ties go to the lower index. The gallery is read once.

    queries: (Q, D). gallery: (G, D). A tile's float32 products, whose rounding is bounded, decide which pairs are worth
    a float64 product; that one decides. Products of float16 unit vectors are exact in float64. ValueError: shapes that
    do not fit, no query, a `k` beyond the gallery, features that are NaN or infinite.
    """
    _check(queries, gallery)
    if not len(queries):
        raise ValueError("no query was given; give at least one")
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k={k} for a gallery of {len(gallery)}; give from 1 to as many as there are")
    best = [_Best(queries[rows], k) for rows in tiles(len(queries), ROWS)]
    with tqdm(total=len(gallery), desc="search", unit="image", disable=not progress, leave=False) as bar:
        for columns, images in _float_tiles(gallery):
            longest = float(np.sqrt(np.einsum("id,id->i", images, images).max()))
            if not np.isfinite(longest):
                raise ValueError(f"gallery images {columns.start} to {columns.stop - 1} have NaN or infinite features")
            for part in best:
                part.meet(images, columns.start, longest)
            bar.update(len(images))
    return Neighbours(
        np.concatenate([part.index for part in best]), 1 - np.concatenate([part.similarity for part in best])
    )


class _Best:
    """The `k` most similar images so far of some queries, by exact similarity, ties by index."""

    def __init__(self, queries: np.ndarray, k: int) -> None:
        self.asked, self.k = queries.astype(np.float32), k
        self.length = np.linalg.norm(self.asked, axis=1)
        if not np.isfinite(self.length).all():
            raise ValueError("the queries have NaN or infinite features; look for overflow (fp16?) in the model")
        self.similarity = np.empty((len(queries), 0))
        self.index = np.empty((len(queries), 0), np.int64)

    def meet(self, images: np.ndarray, start: int, longest: float) -> None:
        """Take the images in; start: the index of the first. longest: the greatest length of a vector."""
        rough = self.asked @ images.T
        # |fl(x . y) - x . y| <= D u / (1 - D u) |x| |y|, in any order of summation (Higham 2002, Sec. 3.1).
        rounding = images.shape[1] * 2.0**-24
        error = rounding / (1 - rounding) * self.length * longest
        if self.similarity.shape[1] == self.k:
            bound = self.similarity[:, -1] - error
        elif len(images) >= self.k:
            bound = np.partition(rough, -self.k, axis=1)[:, -self.k] - 2 * error
        else:
            bound = np.full(len(rough), -np.inf)
        row, column = np.nonzero(rough >= bound[:, None])
        exact = np.empty(len(row))
        for pairs in tiles(len(row), PAIRS):
            left, right = self.asked[row[pairs]], images[column[pairs]]
            exact[pairs] = np.einsum("id,id->i", left, right, dtype=np.float64)
        kept = self.index.shape[1]
        row = np.concatenate([np.repeat(np.arange(len(rough)), kept), row])
        index = np.concatenate([self.index.ravel(), column + start])
        similarity = np.concatenate([self.similarity.ravel(), exact])
        order = np.lexsort((index, -similarity, row))
        first = np.searchsorted(row[order], np.arange(len(rough)))
        chosen = order[first[:, None] + np.arange(min(self.k, kept + len(images)))]
        self.index, self.similarity = index[chosen], similarity[chosen]


class Index:
    """Approximate search through FAISS (`pip install faiss-cpu`); ImportError says so where it is missing.

    gallery: (G, D), read in tiles. description: of FAISS's index factory, such as "IVF1024,SQfp16": 1,024 cells of
    float16 vectors. sample: images that the index is fitted to, drawn with `seed`.
    """

    def __init__(
        self,
        gallery: np.ndarray,
        description: str = "IVF1024,SQfp16",
        *,
        sample: int = 50_000,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.faiss = _faiss()
        try:
            index = self.faiss.index_factory(gallery.shape[1], description, self.faiss.METRIC_INNER_PRODUCT)
        except RuntimeError:
            raise ValueError(
                f"index {description!r} is not one of FAISS's; give its index factory's words, such as 'IVF1024,SQfp16'"
            ) from None
        drawn = np.sort(np.random.default_rng(seed).permutation(len(gallery))[:sample])
        index.train(gallery[drawn].astype(np.float32))
        with tqdm(total=len(gallery), desc=description, unit="image", disable=not progress, leave=False) as bar:
            for _, images in _float_tiles(gallery):
                index.add(images)
                bar.update(len(images))
        self.index = index

    def search(self, queries: np.ndarray, k: int = 10, effort: str = "") -> Neighbours:
        """Up to `k` images for each query, index -1 where none was found; effort: FAISS's, such as "nprobe=16"."""
        if effort:
            self.faiss.ParameterSpace().set_index_parameters(self.index, effort)
        similarity, index = self.index.search(queries.astype(np.float32), k)
        return Neighbours(index, 1 - similarity)


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Share of the exact neighbours that were found, both to the same depth."""
    if found.index.shape != exact.index.shape:
        raise ValueError(f"neighbours of shape {found.index.shape} and {exact.index.shape}; search both equally deep")
    return float((found.index[:, :, None] == exact.index[:, None]).any(1).mean())


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "approximate search needs FAISS, which is not installed: pip install faiss-cpu brings it,"
            " and `search` is exact without it"
        ) from None
    return faiss


def _check(queries: np.ndarray, gallery: np.ndarray) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(gallery):
        raise ValueError(
            f"queries of shape {queries.shape} and a gallery of {gallery.shape}; give (Q, D) and (G, D) with one D"
        )


def _float_tiles(gallery: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Consecutive rows as float32, and where they are."""
    for columns in tiles(len(gallery), max(1, TILE_BYTES // (4 * gallery.shape[1]))):
        yield columns, np.ascontiguousarray(gallery[columns], np.float32)
