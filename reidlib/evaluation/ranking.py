"""Ranking without sorting: from distances and labels to scores.

A query's own identity under another camera is a match; the same identity under the same camera is junk, and so
is a gallery image with id -1; id 0 is a distractor, a wrong answer for every query. Ties are broken as a stable
sort of the gallery would: the image with the lower index comes first.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from reidlib.data.splits import JUNK, matched
from reidlib.evaluation.protocols import Evaluation, Protocol, named, subset

ROWS = 128  # queries ranked at once: keeps memory flat
Block = Tensor | np.ndarray


def rank(
    distance: Block | Sequence[Sequence[float]] | Iterable[Block],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cams: ArrayLike,
    gallery_cams: ArrayLike,
    protocol: str | Protocol = "market1501",
) -> Evaluation:
    """Score distances of queries (rows) to a gallery (columns), smaller is nearer.

    distance: (Q, G), NumPy or PyTorch; or an iterable of row blocks (B, G), so that nothing of size Q x G need
    exist (not for single-shot). ids, cams: (Q,) and (G,) integers. Queries without a match are dropped and
    counted. ValueError: shapes that do not fit, NaN or infinite distances (names the query), no query left.
    """
    rule = named(protocol)
    if rule.multi or rule.rerank:
        what, how = ("pools queries", "`evaluate` a model") if rule.multi else ("re-ranks", "`rerank` them first")
        raise ValueError(f"protocol {rule.name} {what}, which takes more than these distances: {how}")
    labels = Labels(query_ids, gallery_ids, query_cams, gallery_cams)  # type: ignore[arg-type]
    if isinstance(distance, Sequence) and distance and np.ndim(distance[0]) == 1:
        distance = np.asarray(distance)
    if not isinstance(distance, (np.ndarray, Tensor)):
        if rule.queries is None and rule.identities is None:
            return rank_blocks(distance, labels, rule)  # type: ignore[arg-type]
        raise ValueError(
            f"protocol {rule.name} picks from a whole matrix, not from row blocks; give a matrix, or let `evaluate`"
            " compute only the distances it needs"
        )
    if tuple(distance.shape) != labels.shape:
        raise ValueError(
            f"distances of shape {tuple(distance.shape)} for {labels.shape[0]} queries and a gallery of"
            f" {labels.shape[1]}; give a (queries, gallery) matrix"
        )
    rows = subset(labels.shape[0], rule.queries, rule.seed)
    if rule.identities is not None:
        return single_shot(lambda q, g: distance[q][:, g], labels, rule, rows)
    if len(rows) == len(distance):
        return rank_blocks([distance], labels, rule)
    return rank_blocks((distance[row : row + 1] for row in rows), labels, rule, rows)


@dataclass(frozen=True, eq=False)
class Labels:
    """Identities and cameras of Q queries and G gallery images."""

    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cams: np.ndarray
    gallery_cams: np.ndarray

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            given = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer) or not len(given):
                raise ValueError(f"{name}: {given.dtype} of shape {given.shape}; give one whole number for each image")
            object.__setattr__(self, name, given.astype(np.int64, copy=False))
        for side in ("query", "gallery"):
            ids, cams = getattr(self, f"{side}_ids"), getattr(self, f"{side}_cams")
            if ids.shape != cams.shape:
                raise ValueError(f"{len(ids)} {side} ids and {len(cams)} {side} cameras; give one of each an image")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.query_ids), len(self.gallery_ids)

    def take(self, rows: np.ndarray | slice, columns: np.ndarray | slice = slice(None)) -> "Labels":
        queries = self.query_ids[rows], self.query_cams[rows]
        gallery = self.gallery_ids[columns], self.gallery_cams[columns]
        return Labels(queries[0], gallery[0], queries[1], gallery[1])

    def counted(self, rows: slice) -> np.ndarray:
        """(B, G) bool: whether the gallery image counts for those queries, being of another person or camera."""
        same = self.query_ids[rows, None] == self.gallery_ids
        return ~(same & (self.query_cams[rows, None] == self.gallery_cams))

    def matched(self) -> np.ndarray:
        """(Q,) bool: the queries with a match in the gallery. ValueError says why there is none."""
        found = matched(self.query_ids, self.query_cams, self.gallery_ids, self.gallery_cams)
        if not found.any():
            known = np.isin(self.query_ids, self.gallery_ids) & (self.query_ids > 0)
            raise ValueError(
                f"none of the {len(found)} queries has a match: {int((~known).sum())} show an identity that is not in"
                f" the gallery (or junk), {int(known.sum())} one that is there under the query's own camera only;"
                " check identities and cameras"
            )
        return found


def rank_blocks(
    blocks: Iterable[Block], labels: Labels, rule: Protocol, queries: np.ndarray | None = None
) -> Evaluation:
    """Score row blocks against the whole gallery of `labels`.

    queries: the rows of `labels` that the blocks hold, in order; None is all.
    """
    queries = np.arange(labels.shape[0]) if queries is None else queries
    found = labels.take(queries).matched()
    ranker, start, parts = _Ranker(labels, rule), 0, []
    for given in blocks:
        block = given if isinstance(given, (np.ndarray, Tensor)) else np.asarray(given)
        if block.ndim != 2 or block.shape[1] != labels.shape[1]:
            raise ValueError(
                f"distances of shape {tuple(block.shape)} for a gallery of {labels.shape[1]}; give (queries, gallery)"
            )
        if start + len(block) > len(queries):
            raise ValueError(f"distances have more than {len(queries)} rows, the number of queries")
        for first in range(0, len(block), ROWS):
            count = min(ROWS, len(block) - first)
            parts.append(ranker(floats(block[first : first + count]), queries[start : start + count]))
            start += count
        del given, block  # before the next one is made
    if start != len(queries):
        raise ValueError(f"distances have {start} rows for {len(queries)} queries; give one row a query")
    return replace(Evaluation.join(parts), dropped=int((~found).sum()))


def floats(block: Block) -> np.ndarray:
    """Distances as contiguous float32 or float64, values unchanged."""
    if isinstance(block, Tensor):
        block = block.detach()
        block = (block.float() if block.dtype in (torch.bfloat16, torch.float16) else block).cpu().numpy()
    if block.dtype not in (np.float32, np.float64):
        block = block.astype(np.float32 if block.dtype == np.float16 else np.float64)
    return np.ascontiguousarray(block)


class _Ranker:
    """Ranks of the matches alone: those of one query are counted among the distances up to its farthest match."""

    def __init__(self, labels: Labels, rule: Protocol) -> None:
        self.labels, self.rule = labels, rule
        self.order = np.argsort(labels.gallery_ids, kind="stable")
        self.sorted_ids = labels.gallery_ids[self.order]
        self.junk = (labels.gallery_ids == JUNK) & (rule.junk == "drop")

    def __call__(self, rows: np.ndarray, queries: np.ndarray) -> Evaluation:
        """rows: (B, G) distances of those queries."""
        ids, cams = self.labels.query_ids[queries], self.labels.query_cams[queries]
        low, high = (np.searchsorted(self.sorted_ids, ids, side) for side in ("left", "right"))
        counts = np.where(ids > 0, high - low, 0)
        owner = np.repeat(np.arange(len(rows)), counts)  # the row of every image of a query's own identity
        image = self.order[np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - low, counts)]
        match = self.labels.gallery_cams[image] != cams[owner]
        cuts = np.searchsorted(owner[~match], np.arange(len(rows) + 1)).tolist()
        same_camera = image[~match]
        junk = [same_camera[a:b] for a, b in pairwise(cuts)]
        owner, image = owner[match], image[match]
        value = rows[owner, image]
        nearest_first = np.lexsort((value, owner))  # stable: ties stay in order of the gallery
        image, value = image[nearest_first], value[nearest_first]
        ends = np.searchsorted(owner, np.arange(len(rows) + 1))

        ranks, upto = self._count(rows, queries, value, ends, junk)
        scored = np.flatnonzero(np.diff(ends))
        begin, sizes = ends[scored], np.diff(ends)[scored]
        if not len(scored):
            return Evaluation(scored, np.empty(0), scored, np.empty(0), np.empty(0, bool), scored)
        equal = np.add.reduceat(value == value[ends[owner]], begin, dtype=int)
        ties = (upto - ranks)[begin] > equal
        for at in np.flatnonzero(upto - ranks > 1):
            same = np.flatnonzero(rows[owner[at]] == value[at])
            same = same[~self.junk[same] & ~np.isin(same, junk[owner[at]])]
            ranks[at] += np.searchsorted(same, image[at])

        position = np.arange(len(value)) - ends[owner]
        precision = (position + 1) / (ranks + 1)
        if self.rule.ap == "trapezoid":
            before = np.where(ranks > 0, position / np.maximum(ranks, 1), 1.0)
            precision = (precision + before) / 2
        ap = np.add.reduceat(precision, begin) / sizes
        inp = sizes / (ranks[begin + sizes - 1] + 1)
        return Evaluation(queries[scored], ap, ranks[begin], inp, ties, ids[scored])

    def _count(
        self,
        rows: np.ndarray,
        queries: np.ndarray,
        value: np.ndarray,
        ends: np.ndarray,
        junk: Sequence[np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many distances of its row, junk aside, are below each match's, and how many are not above it.

        value: distances of the matches, row by row in ascending order; those of row i end at ends[i + 1].
        """
        ones, mask, counted = np.ones(rows.shape[1], rows.dtype), np.empty(rows.shape[1], bool), ~self.junk
        below, upto = np.empty(len(value), np.int64), np.empty(len(value), np.int64)
        with np.errstate(all="ignore"):
            for row, query, same_camera, (a, b) in zip(rows, queries, junk, pairwise(ends.tolist()), strict=True):
                # A sum shows NaN and infinity fastest; it may overflow by itself.
                if not math.isfinite(row.dot(ones)) and not np.isfinite(row).all():
                    raise ValueError(
                        f"query {query} has NaN or infinite distances; look for overflow (fp16?) in its encoding or"
                        " in the model"
                    )
                if a == b:
                    continue
                matches = value[a:b]
                np.less_equal(row, matches[-1], out=mask)
                np.logical_and(mask, counted, out=mask)
                mask[same_camera] = False
                near = row.compress(mask)  # faster than row[mask]
                near.sort()
                below[a:b] = near.searchsorted(matches)
                upto[a:b] = near.searchsorted(matches, "right")
        return below, upto


def single_shot(
    distance: Callable[[np.ndarray, np.ndarray], Block],
    labels: Labels,
    rule: Protocol,
    queries: np.ndarray,
) -> Evaluation:
    """Galleries of one image an identity, `rule.draws` times (PersonNet Sec. V-A: every probe image is ranked).

    A draw takes `rule.identities` of the identities that can be scored (all if there are fewer), those of `queries`
    before others, and of each a first gallery image, then a second one among those of other cameras than the first.
    A query is ranked in the gallery of first images, or, where the first image of its own identity is junk to it
    (same camera), in the gallery of second images: either way its match is uniform among its valid gallery images,
    and a query costs one distance an identity. All query images of the drawn identities are ranked, or with
    `rule.probes` "one" a random one of each, and the results of all draws are pooled, so that a draw counts by its
    number of queries. Draw t depends on (`rule.seed`, t) alone.

    distance: (query rows, gallery columns) -> their block. queries: rows that may be asked.
    """
    parts: list[Evaluation] = []
    ranked: dict[tuple[bytes, bytes], Evaluation] = {}
    for rows, columns in drawn_galleries(labels, rule, queries):
        drawn = rows.tobytes(), columns.tobytes()  # VIPeR's two images a person leave no choice: all draws are one
        if drawn not in ranked:
            ranked[drawn] = rank_blocks([distance(rows, columns)], labels.take(slice(None), columns), rule, rows)
        parts.append(ranked[drawn])
    unmatched = len(queries) - int(labels.take(queries).matched().sum())
    return replace(Evaluation.join(parts), dropped=unmatched)


def drawn_galleries(labels: Labels, rule: Protocol, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(query rows, gallery columns) of every gallery that `single_shot` ranks, at most two a draw."""
    queries = queries[labels.take(queries).matched()]
    asked, ids, cams = labels.query_ids[queries], labels.gallery_ids, labels.gallery_cams
    candidates = np.unique(asked)
    others = np.setdiff1d(labels.query_ids[labels.matched()], candidates)
    for draw in range(rule.draws):
        generator = np.random.default_rng((rule.seed, draw))
        # Asked people first: fewer queries must not make the gallery smaller, and so easier.
        people = np.concatenate([generator.permutation(candidates), generator.permutation(others)])
        people = np.sort(people[: rule.identities])
        shuffled = generator.permutation(np.flatnonzero(np.isin(ids, people)))
        first = shuffled[np.unique(ids[shuffled], return_index=True)[1]]  # (identities,), in order of people
        other = shuffled[cams[shuffled] != cams[first][np.searchsorted(people, ids[shuffled])]]
        second = first.copy()
        known, at = np.unique(ids[other], return_index=True)
        second[np.searchsorted(people, known)] = other[at]
        rows = queries[np.isin(asked, people)]
        if rule.probes == "one":
            probes = generator.permutation(rows)
            rows = np.sort(probes[np.unique(labels.query_ids[probes], return_index=True)[1]])
        own = first[np.searchsorted(people, labels.query_ids[rows])]
        again = cams[own] == labels.query_cams[rows]
        yield from ((part, gallery) for part, gallery in ((rows[~again], first), (rows[again], second)) if len(part))
