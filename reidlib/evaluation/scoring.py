"""From a model and a benchmark to scores: encode once, compare in blocks, rank."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from reidlib.data.folders import writing
from reidlib.data.pixels import pixels
from reidlib.data.splits import JUNK, Benchmark, Split
from reidlib.evaluation.protocols import Evaluation, Protocol, named, subset
from reidlib.evaluation.ranking import ROWS, Block, Labels, drawn_galleries, floats, rank_blocks, single_shot
from reidlib.evaluation.reranking import BLOCK_BYTES, reranked
from reidlib.models.base import Encoding, ReIDModel, model_input, tiles

RESIDENT_BYTES = 4 << 30  # of encodings in memory; more go to a temporary file


@torch.inference_mode()
def evaluate(
    model: ReIDModel,
    benchmark: Benchmark,
    protocol: str | Protocol = "market1501",
    *,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    batch_size: int = 128,
    cache: str | Path | None = None,
    progress: bool = True,
    queries: int | None = None,
    seed: int | None = None,
) -> Evaluation:
    """Score a model on a benchmark's query and gallery; `groups` of the result are its look-alike groups.

    precision: "bf16" encodes under autocast; distances are the model's own. queries, seed: override the
    protocol's. cache: of `pixels`. Single-shot computes distances to the drawn galleries alone. The model is moved to
    `device`, and left in the mode it came in. ValueError: as `rank`, or flip or multi where encodings are no vector.
    """
    rule = named(protocol)
    rule = replace(rule, queries=rule.queries if queries is None else queries, seed=rule.seed if seed is None else seed)
    query, gallery = benchmark.query, benchmark.gallery
    labels = Labels(query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids)
    asked = subset(len(query), rule.queries, rule.seed)
    with _Scorer(model, rule, torch.device(device), precision, batch_size, cache, progress) as scorer:
        if rule.identities is None:
            labels.take(asked).matched()  # refuse before the work
            counted = _compared(gallery, rule)
            labels = labels.take(slice(None), counted)
            probes, images = scorer.encode_both(benchmark, asked, counted)
            found = rank_blocks(scorer.blocks(probes, images, labels.take(asked)), labels, rule, asked)
        else:
            draws = list(drawn_galleries(labels, rule, asked))
            rows, columns = (np.unique(np.concatenate(part)) for part in zip(*draws, strict=True))
            probes, images = scorer.encode(query, rows), scorer.encode(gallery, columns)
            total = sum(len(part) for part, _ in draws)
            with tqdm(total=total, desc="rank", unit="query", disable=not progress, leave=False) as bar:

                def distance(q: np.ndarray, g: np.ndarray) -> Tensor:
                    near = images[torch.from_numpy(np.searchsorted(columns, g))]
                    found = model.distance(probes[torch.from_numpy(np.searchsorted(rows, q))], near)
                    bar.update(len(q))
                    return found

                found = single_shot(distance, labels, rule, asked)
    return replace(found, groups=query.groups[found.query_index])


def _compared(gallery: Split, rule: Protocol) -> np.ndarray:
    """The gallery's rows that are compared at all.

    Junk counts for nothing: a fifth of Market-1501's pairs need not be. Re-ranking knows no labels.
    """
    return np.flatnonzero((gallery.person_ids != JUNK) | (rule.junk != "drop") | bool(rule.rerank))


@dataclass(frozen=True, eq=False)
class RankList:
    """The nearest gallery images of some queries, junk removed, for figures.

    query_index: (N,). gallery_index, distance, correct: (N, k); -1, inf and False past the end of a gallery.
    """

    query_index: np.ndarray
    gallery_index: np.ndarray
    distance: np.ndarray
    correct: np.ndarray


@torch.inference_mode()
def rank_list(
    model: ReIDModel,
    benchmark: Benchmark,
    query_indices: np.ndarray,
    k: int = 10,
    *,
    protocol: str | Protocol = "market1501",
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    batch_size: int = 128,
    cache: str | Path | None = None,
    progress: bool = True,
) -> RankList:
    """The `k` nearest images of the whole gallery for some queries, under the protocol's junk rule.

    Re-ranking sees these queries alone.
    """
    rule, asked = named(protocol), np.asarray(query_indices, np.int64)
    query, gallery = benchmark.query, benchmark.gallery
    if k < 1 or not len(asked) or asked.min() < 0 or asked.max() >= len(query):
        raise ValueError(f"k={k}, queries {asked.tolist()}: give k >= 1 and indices below {len(query)}")
    shape = (len(asked), min(k, len(gallery)))
    index, near = np.full(shape, -1), np.full(shape, np.inf, np.float32)
    compared = _compared(gallery, rule)
    labels = Labels(query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids).take(asked, compared)
    with _Scorer(model, rule, torch.device(device), precision, batch_size, cache, progress) as scorer:
        probes, images = scorer.encode_both(benchmark, asked, compared)
        blocks = scorer.blocks(probes, images, labels)
        for at, row in enumerate(row for block in blocks for row in floats(block)):
            counted = labels.counted(slice(at, at + 1))[0]
            if rule.junk == "drop":
                counted &= labels.gallery_ids != JUNK
            order = np.argsort(np.where(counted, row, np.inf), kind="stable")[: min(k, int(counted.sum()))]
            index[at, : len(order)], near[at, : len(order)] = compared[order], row[order]
    correct = (gallery.person_ids[index] == query.person_ids[asked][:, None]) & (index >= 0)
    return RankList(asked, index, near, correct)


class _Scorer:
    """A model in eval mode with what encoding and comparing need; a context, as big encodings go to a file."""

    def __init__(
        self,
        model: ReIDModel,
        rule: Protocol,
        device: torch.device,
        precision: str,
        batch_size: int,
        cache: str | Path | None,
        progress: bool,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision {precision!r}; choose 'fp32' or 'bf16'")
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size!r}: encode one image or more at a time")
        self.model, self.rule, self.device, self.batch_size = model, rule, device, batch_size
        self.precision, self.cache, self.progress = precision, cache, progress

    def __enter__(self) -> "_Scorer":
        self.training = self.model.training
        self.model.to(self.device).eval()
        self.files = tempfile.TemporaryDirectory(prefix="reidlib-encodings-")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what training left reserved is room for encodings
        # Else a GPU's convolutions round float32 to ten bits.
        self.tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        return self

    def __exit__(self, *error: object) -> None:
        torch.backends.cudnn.allow_tf32 = self.tf32
        self.model.train(self.training)
        self.files.cleanup()

    def encode(self, split: Split, rows: np.ndarray) -> Encoding:
        """The encodings of those images; half precision for a GPU, where they lie if they fit."""
        images = pixels(split, self.model.image_size, self.cache)
        bar = tqdm(total=len(rows), desc=f"encode {split.name}", unit="image", disable=not self.progress, leave=False)
        kept: dict[str, Tensor] = {}
        with bar, torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            for start in range(0, len(rows), self.batch_size):
                part = rows[start : start + self.batch_size]
                batch = model_input(images[part], self.device)
                found = self._encode(batch)
                kept = kept or {name: self._room(len(rows), value) for name, value in found.tensors.items()}
                for name, value in found.tensors.items():
                    kept[name][start : start + len(part)] = value
                bar.update(len(part))
        return Encoding(**kept)

    def _encode(self, batch: Tensor) -> Encoding:
        found = self.model.encode(batch)
        if not self.rule.flip:
            return found
        name = self._vector(found, "averages the encodings of mirror images", "flip")
        straight, mirrored = found.tensors[name], self.model.encode(batch.flip(-1)).tensors[name]
        return Encoding(**{name: _as_long((straight + mirrored) / 2, straight)})

    def _vector(self, found: Encoding, what: str, field: str) -> str:
        """The name of an encoding's one vector an image; ValueError where it is something else."""
        names = list(found.tensors)
        if len(names) != 1 or found.tensors[names[0]].ndim != 2:
            raise ValueError(
                f"protocol {self.rule.name} {what}, which needs one vector an image; this model encodes to {names}:"
                f" choose a protocol without {field}"
            )
        return names[0]

    def encode_both(self, benchmark: Benchmark, asked: np.ndarray, counted: np.ndarray) -> tuple[Encoding, Encoding]:
        """Encodings of the queries asked, pooled if the protocol says so, and of those gallery images."""
        query, gallery, multi = benchmark.query, benchmark.gallery, benchmark.multi
        if not self.rule.multi:
            return self.encode(query, asked), self.encode(gallery, counted)
        cells = {cell: number for number, cell in enumerate(dict.fromkeys(_cells(query, asked)))}
        own = _members(query, cells)
        rows = np.flatnonzero(own >= 0)
        probes = self.encode(query, rows)
        name = self._vector(probes, "pools the encodings of a person's images by one camera", "multi")
        images = self.encode(gallery, counted)
        if multi is None:
            parts = [(probes, own[rows]), (images, _members(gallery, cells)[counted])]
        else:
            member = _members(multi, cells)
            alone = np.where(np.isin(own, member), -1, own)  # a query that has no further images stays as it is
            parts = [(probes, alone[rows])]
            if (more := np.flatnonzero(member >= 0)).size:
                parts.append((self.encode(multi, more), member[more]))
        pooled = _pool([(part.tensors[name], member) for part, member in parts], len(cells), self.rule.multi)
        return Encoding(**{name: _as_long(pooled, probes.tensors[name])[torch.from_numpy(own[asked])]}), images

    def _room(self, count: int, value: Tensor) -> Tensor:
        """Memory for `count` encodings such as `value`: on the device, in memory, or in a temporary file."""
        shape = (count, *value.shape[1:])
        half = self.device.type == "cuda" and value.is_floating_point()
        dtype = torch.float16 if half else value.dtype
        if value.dtype == torch.bfloat16 and not half:
            dtype = torch.float32
        size = int(np.prod(shape)) * dtype.itemsize
        if self.device.type == "cuda" and size < torch.cuda.mem_get_info(self.device)[0] // 2:
            return torch.empty(shape, dtype=dtype, device=self.device)
        if size < RESIDENT_BYTES:
            return torch.empty(shape, dtype=dtype)
        with tempfile.NamedTemporaryFile(dir=self.files.name, delete=False) as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that is full ends the process, where the file is mapped
                with writing(f"encodings ({size / 1e9:.0f} GB)", Path(self.files.name), "TMPDIR"):
                    os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_file(file.name, shared=True, size=int(np.prod(shape)), dtype=dtype).view(shape)

    def blocks(self, queries: Encoding, gallery: Encoding, labels: Labels) -> Iterator[Block]:
        """Distances of a few queries at a time to the whole gallery, re-ranked if the protocol says so.

        labels: of these queries and this gallery.
        """
        found = self._reranked(queries, gallery) if self.rule.rerank else self._distances(queries, gallery, labels)
        with tqdm(total=len(queries), desc="rank", unit="query", disable=not self.progress, leave=False) as bar:
            for block in found:
                yield block
                bar.update(len(block))

    def _distances(self, queries: Encoding, gallery: Encoding, labels: Labels) -> Iterator[Tensor]:
        for rows in tiles(len(queries), max(1, min(ROWS, BLOCK_BYTES // (4 * len(gallery))))):
            if self.model.normalises_rows:
                counted = torch.from_numpy(labels.counted(rows)).to(self.device)
                yield self.model.distance(queries[rows], gallery, counted)
            else:
                yield self.model.distance(queries[rows], gallery)

    def _reranked(self, queries: Encoding, gallery: Encoding) -> Iterator[np.ndarray]:
        assert self.rule.rerank is not None
        # Each lies where it fits: a large gallery in memory, its queries perhaps on the GPU.
        images = Encoding.cat([queries.to(gallery.device), gallery])

        def distance(rows: slice, columns: slice | np.ndarray) -> Tensor:
            if self.model.normalises_rows:  # over all that there is
                return self.model.distance(images[rows], images)[:, columns]
            return self.model.distance(images[rows], images[columns])

        return reranked(distance, len(queries), len(gallery), self.rule.rerank)


def _as_long(vectors: Tensor, like: Tensor) -> Tensor:
    """Averaged or pooled vectors as unit vectors, if those they come from are."""
    length = like.float().norm(dim=1)
    return F.normalize(vectors, dim=1) if torch.allclose(length, torch.ones_like(length), atol=1e-2) else vectors


def _cells(split: Split, rows: np.ndarray | slice = slice(None)) -> Iterator[tuple[int, int]]:
    """(person, camera) of images."""
    return zip(split.person_ids[rows].tolist(), split.camera_ids[rows].tolist(), strict=True)


def _members(split: Split, cells: dict[tuple[int, int], int]) -> np.ndarray:
    """(N,) the number of each image's person and camera in `cells`, -1 where they are not in it."""
    return np.array([cells.get(cell, -1) for cell in _cells(split)])


def _pool(parts: list[tuple[Tensor, np.ndarray]], count: int, how: str) -> Tensor:
    """(count, D) float32: the maximum or the mean of the vectors of each member; those of member -1 are left out."""
    first = parts[0][0]
    pooled = torch.full((count, first.shape[1]), 0.0 if how == "mean" else -torch.inf, device=first.device)
    for vectors, member in parts:
        for rows in tiles(len(vectors), 4096):
            inside = torch.from_numpy(np.flatnonzero(member[rows] >= 0))
            index = torch.from_numpy(member[rows])[inside].to(first.device)
            values = vectors[rows][inside.to(vectors.device)].to(first.device).float()
            if how == "mean":
                pooled.index_add_(0, index, values)
            else:
                pooled.scatter_reduce_(0, index[:, None].expand_as(values), values, "amax")
    if how == "mean":
        sizes = np.bincount(np.concatenate([member[member >= 0] for _, member in parts]), minlength=count)
        pooled /= torch.from_numpy(sizes).to(pooled)[:, None]
    return pooled
