"""Pairs a second of MLS at full width: the block form against what one would write first.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_mls.py [--queries 16] [--gallery 64] [--device cpu]

naive:   every pair runs both images through the whole network, 64 pairs a batch.
cached:  maps, parts and ranking vectors once an image; Eq. 2 as one grouped convolution a level and way.
aligned: `MLS.compare` on cached encodings, one depth-wise convolution a part.
block:   `MLS.distance`.
All score the same pairs, the naive form only the first 64 of them, in one process, as CPU seconds on a CPU; the
fastest of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.models import Encoding, build
from reidlib.models.mls import MLS

BATCH = 64
GOALS = {"naive": 8.0, "cached": 4.0}
PAPER = 1250 / 1.6  # pairs a second on a TitanX (Sec. 4.2)


def seconds(score: Callable[[], Tensor], device: torch.device, repeats: int = 3) -> float:
    """Best of `repeats` after one warm-up: CPU seconds on a CPU, wall-clock seconds on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    best = float("inf")
    for repeat in range(repeats + 1):
        start = clock()
        score().sum().item()  # waits for a GPU
        if repeat:
            best = min(best, clock() - start)
    return best


def grouped(model: MLS, a: Encoding, b: Encoding) -> Tensor:
    """Distances (P,) with Eq. 2 as one convolution whose groups are the channels of all pairs."""
    sims = []
    for level, size in model.sizes.items():
        for x, y in ((a, b), (b, a)):
            maps = x.tensors[f"maps{level}"]
            padded = F.pad(maps, ((size - 1) // 2, size // 2) * 2).flatten(0, 1)[None]
            filters = y.tensors[f"parts{level}"].transpose(1, 2).flatten(0, 2)[:, None]
            sim = F.conv2d(padded, filters, groups=padded.shape[1])[0]  # (P C n, H, W)
            sim = sim.view(len(maps), maps.shape[1], -1, *maps.shape[2:]).transpose(1, 2).flatten(1, 2)
            sims.append(F.max_pool2d(sim, model.cells[level], ceil_mode=True))
    logits = model.logits(model.conv6(model.conv5(model.conv4(torch.cat(sims, 1)))).mean((2, 3)))
    separation = torch.linalg.vector_norm(a.vector - b.vector, dim=1)
    return -(logits.softmax(1)[:, 1] + 0.2 / (separation + 1e-4))


def batches(count: int) -> list[slice]:
    return [slice(i, i + BATCH) for i in range(0, count, BATCH)]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--gallery", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model = build("mls").to(device).eval()
    assert isinstance(model, MLS)
    queries = torch.rand(arguments.queries, 3, *model.image_size, device=device)
    gallery = torch.rand(arguments.gallery, 3, *model.image_size, device=device)
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(len(queries), device=device).repeat_interleave(len(gallery))
    b = torch.arange(len(gallery), device=device).repeat(len(queries))
    encoded = Encoding.cat([model.encode(gallery[i]) for i in batches(len(gallery))])
    asked = Encoding.cat([model.encode(queries[i]) for i in batches(len(queries))])

    def aligned(i: slice) -> Tensor:
        return model.compare(asked[a[i]], encoded[b[i]])["distance"]

    forms: dict[str, tuple[Callable[[slice], Tensor], list[slice]]] = {
        "naive": (lambda i: grouped(model, model.encode(queries[a[i]]), model.encode(gallery[b[i]])), batches(BATCH)),
        "cached": (lambda i: grouped(model, asked[a[i]], encoded[b[i]]), batches(len(a))),
        "aligned": (aligned, batches(len(a))),
        "block": (lambda _: model.distance(asked, encoded).flatten(), [slice(0, len(a))]),
    }
    expected = torch.cat([aligned(i) for i in batches(len(a))])
    found, rate = {}, {}
    for name, (score, parts) in forms.items():
        whole = lambda score=score, parts=parts: torch.cat([score(i) for i in parts])  # noqa: E731
        found[name] = whole()
        rate[name] = len(found[name]) / seconds(whole, device)
    print(f"{len(a)} pairs, {torch.get_num_threads()} thread(s), {device}, torch {torch.__version__}")
    for name, scores in found.items():
        error = (scores - expected[: len(scores)]).abs().max().item()
        line = f"{name:8s} {rate[name]:10.0f} pairs/s   largest difference {error:.1e}"
        if name in GOALS:
            line += f"   block is {rate['block'] / rate[name]:.1f}x (goal {GOALS[name]:.0f}x)"
        print(line)
    print(f"The paper: {PAPER:.0f} pairs/s on a TitanX.")


if __name__ == "__main__":
    main()
