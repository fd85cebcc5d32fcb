"""From a model and a benchmark to scores: encode once, compare in blocks, rank."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from reidlib.data.pixels import pixels
from reidlib.data.splits import JUNK, Benchmark, Split
from reidlib.evaluation.protocols import Evaluation, Protocol, named, subset
from reidlib.evaluation.ranking import ROWS, Labels, drawn_galleries, rank_blocks, single_shot
from reidlib.models.base import Encoding, ReIDModel

BLOCK_BYTES = 64 << 20  # of distances at once
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
    protocol's. cache: of `pixels`. Single-shot computes distances to the drawn galleries alone. The model is
    moved to `device`, and left in the mode it came in. ValueError: as `rank`, or flip with map encodings.
    """
    rule = named(protocol)
    rule = replace(rule, queries=queries or rule.queries, seed=rule.seed if seed is None else seed)
    query, gallery = benchmark.query, benchmark.gallery
    labels = Labels(query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids)
    asked = subset(len(query), rule.queries, rule.seed)
    with _Scorer(model, rule, torch.device(device), precision, batch_size, cache, progress) as scorer:
        if rule.identities is None:
            labels.take(asked).matched()  # refuse before the work
            # Junk counts for nothing: a fifth of Market-1501's pairs need not be compared.
            counted = np.flatnonzero((gallery.person_ids != JUNK) | (rule.junk != "drop"))
            labels = labels.take(slice(None), counted)
            probes, images = scorer.encode(query, asked), scorer.encode(gallery, counted)
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
    """The `k` nearest images of the whole gallery for some queries, under the protocol's junk rule."""
    rule, asked = named(protocol), np.asarray(query_indices, np.int64)
    query, gallery = benchmark.query, benchmark.gallery
    if k < 1 or not len(asked) or asked.min() < 0 or asked.max() >= len(query):
        raise ValueError(f"k={k}, queries {asked.tolist()}: give k >= 1 and indices below {len(query)}")
    shape = (len(asked), min(k, len(gallery)))
    index, near = np.full(shape, -1), np.full(shape, np.inf, np.float32)
    with _Scorer(model, rule, torch.device(device), precision, batch_size, cache, progress) as scorer:
        probes, images = scorer.encode(query, asked), scorer.encode(gallery, np.arange(len(gallery)))
        labels = Labels(query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids).take(asked)
        distances = (row for block in scorer.blocks(probes, images, labels) for row in block.float().cpu().numpy())
        for at, row in enumerate(distances):
            same = gallery.person_ids == query.person_ids[asked[at]]
            junk = same & (gallery.camera_ids == query.camera_ids[asked[at]])
            if rule.junk == "drop":
                junk |= gallery.person_ids == JUNK
            order = np.argsort(np.where(junk, np.inf, row), kind="stable")[: min(k, int((~junk).sum()))]
            index[at, : len(order)], near[at, : len(order)] = order, row[order]
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
        self.model, self.rule, self.device, self.batch_size = model, rule, device, batch_size
        self.precision, self.cache, self.progress = precision, cache, progress

    def __enter__(self) -> "_Scorer":
        self.training = self.model.training
        self.model.to(self.device).eval()
        self.files = tempfile.TemporaryDirectory(prefix="reidlib-encodings-")
        return self

    def __exit__(self, *error: object) -> None:
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
                batch = torch.from_numpy(np.ascontiguousarray(images[part])).to(self.device).float() / 255
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
        names = list(found.tensors)
        if len(names) != 1 or found.tensors[names[0]].ndim != 2:
            raise ValueError(
                f"protocol {self.rule.name} averages the encodings of mirror images, which needs one vector an image;"
                f" this model encodes to {names}: choose a protocol without flip"
            )
        straight, mirrored = found.tensors[names[0]], self.model.encode(batch.flip(-1)).tensors[names[0]]
        mean = (straight + mirrored) / 2
        unit = torch.allclose(straight.float().norm(dim=1), torch.ones(len(mean), device=mean.device), atol=1e-2)
        return Encoding(**{names[0]: F.normalize(mean, dim=1) if unit else mean})

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
            return torch.from_file(file.name, shared=True, size=int(np.prod(shape)), dtype=dtype).view(shape)

    def blocks(self, queries: Encoding, gallery: Encoding, labels: Labels) -> Iterator[Tensor]:
        """Distances of a few queries at a time to the whole gallery; labels: of these queries and this gallery."""
        step = max(1, min(ROWS, BLOCK_BYTES // (4 * len(gallery))))
        with tqdm(total=len(queries), desc="rank", unit="query", disable=not self.progress, leave=False) as bar:
            for start in range(0, len(queries), step):
                rows = queries[start : start + step]
                if self.model.normalises_rows:
                    counted = torch.from_numpy(labels.counted(slice(start, start + step))).to(self.device)
                    yield self.model.distance(rows, gallery, counted)
                else:
                    yield self.model.distance(rows, gallery)
                bar.update(len(rows))
