"""Protocols, and the scores they lead to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from reidlib.names import choose

SHORTEST_CMC = 50
SAMPLES_AT_ONCE = 100


@dataclass(frozen=True)
class Reciprocal:
    """k-reciprocal re-ranking (Zhong et al. 2017); the defaults are the paper's.

    k1: neighbours that must be mutual. k2: neighbours whose encodings are averaged, 1 for none. weight: lambda of
    eq. 12, the share of the original distance.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or not 1 <= self.k2 <= self.k1 + 1 or not 0 <= self.weight <= 1:
            raise ValueError(f"{self}: give k1 of at least 1, k2 from 1 to k1 + 1, and a weight in [0, 1]")


@dataclass(frozen=True)
class Protocol:
    """One way to turn distances into scores.

    ap: `step` is the mean precision at the matches, as the field's libraries have it; `trapezoid` averages it
        with the precision one place earlier, as Market-1501's original code does.
    junk: what a gallery image with id -1 is; peers that know no junk count it as a `distractor`.
    flip: average the encodings of an image and its mirror image (encodings of one vector only).
    multi: a query's encoding is the maximum or the mean over its person's images by its camera: the benchmark's
        `multi` images, else its query and gallery images (encodings of one vector only).
    rerank: k-reciprocal re-ranking of the queries asked and the whole gallery, junk included; None is none.
    queries: score a subset of that many queries, drawn with `seed`; None is all.
    identities, draws, probes: single-shot, see `single_shot`; None is the whole gallery. probes: `all` query images
        of the drawn identities, or `one` of each.
    """

    name: str
    ap: Literal["step", "trapezoid"] = "step"
    junk: Literal["drop", "distractor"] = "drop"
    flip: bool = False
    multi: Literal["", "max", "mean"] = ""
    rerank: Reciprocal | None = None
    queries: int | None = None
    identities: int | None = None
    draws: int = 10
    probes: Literal["all", "one"] = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        for field, allowed in CHOICES.items():
            choose(f"protocol {self.name}: {field}", getattr(self, field), allowed)
        for field, least in (("queries", 1), ("identities", 2), ("draws", 1)):
            given = getattr(self, field)
            if given is not None and given < least:
                raise ValueError(f"protocol {self.name}: {field}={given}; give at least {least}")
        if self.identities is not None and (self.multi or self.rerank):
            raise ValueError(
                f"protocol {self.name}: single-shot galleries take neither multi={self.multi!r} nor"
                f" rerank={self.rerank}; leave identities=None for both"
            )
        if self.identities is None and self.probes != "all":
            raise ValueError(f"protocol {self.name}: probes={self.probes!r} is single-shot's; give identities as well")


CHOICES = {
    "ap": ("step", "trapezoid"),
    "junk": ("drop", "distractor"),
    "multi": ("", "max", "mean"),
    "probes": ("all", "one"),
}
EVERYBODY = sys.maxsize  # identities of a single-shot gallery that nobody is left out of
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("market1501"),
        Protocol("market1501-trapezoid", ap="trapezoid"),
        Protocol("market1501-flip", flip=True),
        Protocol("market1501-flip-trapezoid", flip=True, ap="trapezoid"),  # HAGN's released code
        Protocol("market1501-no-junk", junk="distractor"),
        Protocol("market1501-multi-max", multi="max"),
        Protocol("market1501-multi-mean", multi="mean"),
        Protocol("market1501-rerank", rerank=Reciprocal()),
        Protocol("single-shot", identities=100),
        Protocol("single-shot-20", identities=100, draws=20, probes="one"),  # MLS: multiples of 1 / (20 x 100)
        Protocol("single-shot-all", identities=EVERYBODY),
    )
}
USUAL = {  # dataset -> the protocol its papers mean; across domains the test set's
    "market1501": "market1501",
    "dukemtmc": "market1501",
    "msmt17": "market1501",
    "cuhk03-np-labeled": "market1501",
    "cuhk03-np-detected": "market1501",
    "cuhk03-labeled": "single-shot",
    "cuhk03-detected": "single-shot",
    "cuhk01": "single-shot",
    "cuhk01-486": "single-shot-all",
    "cuhk01-all": "single-shot-all",
    "cuhk03-labeled-all": "single-shot-all",
    "viper": "single-shot-all",
}


def named(protocol: str | Protocol) -> Protocol:
    """The protocol of that name in `PROTOCOLS`, or the one given; ValueError names the nearest."""
    if isinstance(protocol, Protocol):
        return protocol
    return PROTOCOLS[choose("protocol", protocol, PROTOCOLS)]


def subset(count: int, queries: int | None, seed: int) -> np.ndarray:
    """Sorted rows of a seeded subset of `count` queries; all of them for None or more than there are."""
    if queries is None or queries >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:queries])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores per valid query, and what is derived from them; fractions throughout.

    query_index: (N,) row of the query in its split; under single-shot once per draw it took part in.
    ap, inp: (N,) average precision, and matches / rank of the last match (inverse negative penalty).
    first_hit: (N,) 0-based rank of the first match. ties: (N,) whether that match ties a wrong answer.
    groups: (N,) clusters for `interval`: identities, or look-alike groups. dropped: queries without a match.
    """

    query_index: np.ndarray
    ap: np.ndarray
    first_hit: np.ndarray
    inp: np.ndarray
    ties: np.ndarray
    groups: np.ndarray
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.ap)

    @property
    def mean_ap(self) -> float:
        """Mean average precision."""
        return float(self.ap.mean())

    @property
    def mean_inp(self) -> float:
        """Mean inverse negative penalty (mINP)."""
        return float(self.inp.mean())

    @property
    def tied(self) -> float:
        """Share of queries whose first hit ties a wrong answer: their rank hangs on the gallery's order."""
        return float(self.ties.mean())

    @property
    def cmc(self) -> np.ndarray:
        """Share of queries with a match among the first k, at k - 1; at least 50 long, and ends at 1."""
        return np.cumsum(np.bincount(self.first_hit, minlength=SHORTEST_CMC)) / len(self)

    def rank_k(self, k: int) -> float:
        """Share of queries with a match among the first `k`."""
        if k < 1:
            raise ValueError(f"rank-{k} does not exist; ranks start at 1")
        return float((self.first_hit < k).mean())

    def interval(
        self,
        measure: Literal["mean_ap", "mean_inp", "rank1"] = "mean_ap",
        clusters: ArrayLike | None = None,
        level: float = 0.95,
        samples: int = 2000,
        seed: int = 0,
    ) -> tuple[float, float]:
        """(lower, upper) percentile bootstrap over whole clusters: queries of one person are not independent.

        clusters: (N,) labels, one per entry of `ap`; default `groups`. ValueError below two clusters.
        """
        values = {"mean_ap": self.ap, "mean_inp": self.inp, "rank1": self.first_hit < 1}
        chosen = values[choose("measure", measure, values)]
        return bootstrap(chosen, self.groups if clusters is None else clusters, level, samples, seed)

    def frame(self) -> pd.DataFrame:
        """One row per entry: query, ap, first_hit, inp, tied, group."""
        columns = ("query_index", "ap", "first_hit", "inp", "ties", "groups")
        names = ("query", "ap", "first_hit", "inp", "tied", "group")
        return pd.DataFrame({name: getattr(self, column) for name, column in zip(names, columns, strict=True)})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Evaluation":
        """Back from `frame`; without a `group` column every query is its own, without `tied` `tied` is NaN."""
        return cls(
            frame["query"].to_numpy(np.int64),
            frame["ap"].to_numpy(np.float64),
            frame["first_hit"].to_numpy(np.int64),
            frame["inp"].to_numpy(np.float64),
            frame["tied"].to_numpy(bool) if "tied" in frame else np.full(len(frame), np.nan),
            frame["group" if "group" in frame else "query"].to_numpy(np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence["Evaluation"]) -> "Evaluation":
        """Several evaluations as one, entries in order."""
        names = [field.name for field in fields(cls) if field.name != "dropped"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, dropped=sum(part.dropped for part in parts))


def interval(values: ArrayLike, clusters: ArrayLike) -> tuple[float, float]:
    """95 % `bootstrap` interval of a mean, NaN where there is one cluster."""
    return bootstrap(values, clusters) if len(np.unique(clusters)) > 1 else (np.nan, np.nan)


def bootstrap(
    values: ArrayLike, clusters: ArrayLike, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """(lower, upper) percentile bootstrap of a mean over whole clusters.

    values, clusters: (N,), numbers and the labels of what they belong to. ValueError below two clusters.
    """
    numbers, labels = np.asarray(values, float), np.asarray(clusters)
    if labels.shape != numbers.shape:
        raise ValueError(f"{labels.shape} cluster labels for {len(numbers)} values; give one for each")
    if not 0 < level < 1 or samples < 1:
        raise ValueError(f"level={level}, samples={samples}: give a level in (0, 1) and at least one sample")
    _, member, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("a bootstrap needs at least two clusters; all queries belong to one")
    totals = np.bincount(member, weights=numbers)
    generator, means = np.random.default_rng(seed), np.empty(samples)
    for part in range(0, samples, SAMPLES_AT_ONCE):
        drawn = generator.integers(len(sizes), size=(min(SAMPLES_AT_ONCE, samples - part), len(sizes)))
        means[part : part + SAMPLES_AT_ONCE] = totals[drawn].sum(1) / sizes[drawn].sum(1)
    lower, upper = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(lower), float(upper)
