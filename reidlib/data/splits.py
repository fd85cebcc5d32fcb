"""What every loader returns: `Split` (a list of labelled images) and `Benchmark` (train, query, gallery)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

JUNK, DISTRACTOR = -1, 0  # Market-1501's person ids for boxes never scored, and for people never asked for


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images in a fixed order; nothing is read from them yet.

    person_ids, camera_ids: (N,) int64 as in the files; 0 is a distractor, -1 junk.
    groups: (N,) int64, the look-alike group of each person; the person's own id where none is known.
    """

    name: str
    paths: tuple[Path, ...]
    person_ids: np.ndarray
    camera_ids: np.ndarray
    groups: np.ndarray

    def __post_init__(self) -> None:
        for label in ("person_ids", "camera_ids", "groups"):
            values = np.array(getattr(self, label), np.int64)
            if values.shape != (len(self.paths),):
                raise ValueError(
                    f"{self.name}: {label} has shape {values.shape}; give one number for each of the"
                    f" {len(self.paths)} images"
                )
            values.flags.writeable = False
            object.__setattr__(self, label, values)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        people, cameras = len(self.identities), len(np.unique(self.camera_ids))
        return f"Split({self.name!r}, {len(self):,} images of {people:,} people by {cameras} cameras)"

    @cached_property
    def identities(self) -> np.ndarray:
        """Sorted unique person ids, junk and distractors aside."""
        return np.unique(self.person_ids[self.person_ids > 0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the sorted file names and sizes; FileNotFoundError names a file that is gone."""
        lines = sorted(f"{path.name}\0{size}\n" for path, (size, _) in zip(self.paths, self.stats(), strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def stats(self) -> list[tuple[int, int]]:
        """(bytes, modification time in ns) of each file, in order."""
        found = []
        for path in self.paths:
            try:
                info = path.stat()
            except OSError as error:
                raise FileNotFoundError(
                    f"{path} is missing or out of reach ({error.strerror}); restore it or load the dataset again"
                ) from None
            found.append((info.st_size, info.st_mtime_ns))
        return found

    def take(self, indices: np.ndarray, name: str | None = None) -> "Split":
        """The images at those indices (or where a boolean mask is true), in that order."""
        rows = np.arange(len(self))[np.asarray(indices)]
        return Split(
            name or self.name,
            tuple(self.paths[row] for row in rows),
            self.person_ids[rows],
            self.camera_ids[rows],
            self.groups[rows],
        )


def matched(
    query_ids: np.ndarray, query_cams: np.ndarray, gallery_ids: np.ndarray, gallery_cams: np.ndarray
) -> np.ndarray:
    """(Q,) bool: the queries with an image of that person in another camera in the gallery."""
    order = np.lexsort((gallery_cams, gallery_ids))
    ids, begin, counts = np.unique(gallery_ids[order], return_index=True, return_counts=True)
    lowest, highest = gallery_cams[order[begin]], gallery_cams[order[begin + counts - 1]]
    at = np.searchsorted(ids, query_ids).clip(max=len(ids) - 1)
    known = (ids[at] == query_ids) & (query_ids > 0)
    return known & ((lowest[at] != query_cams) | (highest[at] != query_cams))


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A training split and the query and gallery it is tested with; construction refuses invalid ones.

    validation: the people, neither trained on nor tested, that the published split sets aside; None where it names
    none. multi: more images of the query people, for multi-query evaluation; None where there are none.
    everybody: all people are in training and in the test set, one of which is to be used with another dataset.
    ValueError where people or look-alike groups are on both sides otherwise, a split is empty, or no query has a
    match in another camera.
    """

    name: str
    train: Split
    query: Split
    gallery: Split
    validation: Split | None = None
    multi: Split | None = None
    everybody: bool = False

    def __post_init__(self) -> None:
        for split in (self.train, self.query, self.gallery):
            if not len(split):
                raise ValueError(f"{self.name}: its {split.name} split is empty; each of the three needs images")
        if len(self.train.identities) < 2:
            raise ValueError(f"{self.name}: training needs at least two people, found {len(self.train.identities)}")
        sides = [("training", self.train), ("the test set", self.query), ("the test set", self.gallery)]
        if self.validation is not None:
            sides.append(("validation", self.validation))
        for (one, first), (other, second) in combinations(sides, 2):
            if one != other and not self.everybody:
                self._refuse_overlap(one, first, other, second)
        if not self.matched.any():
            cameras = np.union1d(self.query.camera_ids, self.gallery.camera_ids)
            reason = f"every test image has camera {cameras[0]}" if len(cameras) == 1 else "see the camera numbers"
            raise ValueError(
                f"{self.name}: no query has an image of the same person in another camera in the gallery,"
                f" so nothing can be scored ({reason}); correct how cameras are read from the file names"
            )

    def _refuse_overlap(self, one: str, first: Split, other: str, second: Split) -> None:
        for label, what, several in (("person_ids", "person", "people"), ("groups", "look-alike group", "groups")):
            both = np.intersect1d(*(getattr(split, label)[split.person_ids > 0] for split in (first, second)))
            if len(both):
                some = ", ".join(map(str, both[:5]))
                which = f"{what} {some} is" if len(both) == 1 else f"{len(both):,} {several}, such as {some}, are"
                raise ValueError(
                    f"{self.name}: {which} both in {one} and in {other}; each {what} must be on one side only"
                )

    @cached_property
    def matched(self) -> np.ndarray:
        """(Q,) bool: the queries with at least one gallery image of that person in another camera."""
        query, gallery = self.query, self.gallery
        return matched(query.person_ids, query.camera_ids, gallery.person_ids, gallery.camera_ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the digests and labels of train, query, gallery, validation and multi.

        A label that is corrected makes another dataset: what was trained and scored with the wrong one does not count.
        """
        parts = []
        for split in (self.train, self.query, self.gallery, self.validation, self.multi):
            if split is not None:
                labels = zip(split.paths, split.person_ids, split.camera_ids, strict=True)
                parts += [
                    split.digest,
                    *sorted(f"{path.name}\0{person}\0{camera}\n" for path, person, camera in labels),
                ]
            parts.append("\n")
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def two_views(name: str, train: Split, test: Split, validation: Split | None = None) -> Benchmark:
    """A two-camera benchmark: the test images of camera 1 are the queries, those of camera 2 the gallery.

    Every image stays in its split; a single-shot protocol draws from them. Where `test` is `train`, it is everybody.
    """
    query, gallery = (test.take(test.camera_ids == camera, part) for camera, part in ((1, "query"), (2, "gallery")))
    return Benchmark(name, train, query, gallery, validation, everybody=test is train)


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """(kept, held out): about `share` of the people, whole look-alike groups, drawn by `seed`.

    Of few people more than that: two with two images each, who make pairs, where two such are left. Junk and
    distractors stay with the kept. ValueError where fewer than two groups leave nothing to divide.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} cannot be held out; give a fraction between 0 and 1")
    people, first, images = np.unique(split.person_ids, return_index=True, return_counts=True)
    groups, member, sizes = np.unique(split.groups[first][people > 0], return_inverse=True, return_counts=True)
    if len(groups) < 2:
        raise ValueError(f"{split.name}: cannot hold out from {len(groups)} look-alike group; at least two are needed")
    order = np.random.default_rng(seed).permutation(len(groups))
    held = np.cumsum(sizes[order])[:-1]  # at least one group is kept
    count = 1 + int(np.argmin(np.abs(held - share * sizes.sum())))
    paired = np.cumsum(np.bincount(member, images[people > 0] > 1)[order])
    enough = np.flatnonzero((paired >= 2) & (paired[-1] - paired >= 2))
    count = max([count, *(1 + enough[:1])])
    out = np.isin(split.groups, groups[order[:count]]) & (split.person_ids > 0)
    return split.take(~out), split.take(out, "validation")


def draw_people(split: Split, people: int, seed: int, name: str = "test") -> tuple[Split, Split]:
    """(the rest, the drawn as `name`): `people` random people drawn by `seed`, whole look-alike groups.

    As many as asked for where some groups have so many together, else as near as they come. ValueError where fewer
    than two groups leave nothing to divide.
    """
    ids, first = np.unique(split.person_ids, return_index=True)
    groups, sizes = np.unique(split.groups[first], return_counts=True)
    if len(groups) < 2:
        raise ValueError(f"{split.name}: cannot divide {len(groups)} look-alike group; at least two are needed")
    order = np.random.default_rng(seed).permutation(len(groups))
    nearest = sorted(range(1, len(ids)), key=lambda total: abs(total - people))
    drawn = next(found for total in nearest if (found := adding_up(sizes[order], total)) is not None)
    chosen = np.isin(split.groups, groups[order[drawn]])
    return split.take(~chosen), split.take(chosen, name)


def adding_up(sizes: np.ndarray, total: int) -> list[int] | None:
    """The places of sizes that add up to `total`, the first ones where that can be; None where none do."""
    sums = [1]  # bit n of sums[i]: some of the last i sizes add up to n
    for size in sizes[::-1]:
        sums.append(sums[-1] | sums[-1] << int(size))
    chosen, missing = [], total
    for place, (size, rest) in enumerate(zip(sizes, sums[-2::-1], strict=True)):
        left = missing - int(size)
        if left >= 0 and rest >> left & 1:
            chosen.append(place)
            missing = left
    return None if missing else chosen


def union(splits: list[Split]) -> Split:
    """Several splits as one: people, cameras and groups of different splits never coincide."""
    if len(splits) == 1:
        return splits[0]
    labels: dict[str, list[np.ndarray]] = {"person_ids": [], "camera_ids": [], "groups": []}
    for label, parts in labels.items():
        offset = 0
        for split in splits:
            values = getattr(split, label)
            moved = (split.person_ids > 0) | (label == "camera_ids")  # junk and distractors stay nobody
            parts.append(np.where(moved, values + offset, values))
            offset += int(values.max()) + 1
    paths = tuple(path for split in splits for path in split.paths)
    joined = {label: np.concatenate(parts) for label, parts in labels.items()}
    return Split("+".join(split.name for split in splits), paths, **joined)


def joined(name: str, *splits: Split) -> Split:
    """The images of several splits of one dataset in order, labels as they are."""
    labels = [np.concatenate([getattr(s, label) for s in splits]) for label in ("person_ids", "camera_ids", "groups")]
    return Split(name, tuple(path for split in splits for path in split.paths), *labels)
