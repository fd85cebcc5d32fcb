"""Pairs a second of PersonNet at full width: the block form against what one would write first.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_personnet.py [--queries 4] [--gallery 256] [--device cpu]

naive:   every pair runs both images through the whole network, 64 pairs a batch.
cached:  trunk maps once an image; the grid of Eq. 2 and its stride-3 convolution for every pair.
grouped: the same with the neighbourhoods taken by a grouped convolution with one-hot filters.
block:   `PersonNet.distance`.
All score the same pairs, in one process, as CPU seconds on a CPU; the fastest of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.models import Encoding, build
from reidlib.models.blocks import difference_grid
from reidlib.models.personnet import PersonNet

BATCH = 64
GOALS = {"naive": 8.0, "cached": 4.0, "grouped": 4.0}


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


def from_grid(model: PersonNet, grid: Tensor) -> Tensor:
    """Distances (P,) from difference grids (P, C, 3H, 3W), layer by layer."""
    x = model.activation(model.summaries[0](grid))
    x = F.max_pool2d(model.activation(model.conv4.conv(x)), 2, 2, ceil_mode=True).flatten(1)
    for layer in model.fc:
        x = model.activation(layer(x))
    logits = model.logits(x)
    return logits[:, 0] - logits[:, 1]


def grouped_grid(f: Tensor, h: Tensor) -> Tensor:
    """Eq. 2 with the neighbourhoods as a grouped convolution of 9 one-hot filters a channel."""
    batch, channels, height, width = h.shape
    one_hot = torch.eye(9, device=h.device).view(9, 1, 3, 3).repeat(channels, 1, 1, 1)
    around = F.conv2d(h, one_hot, padding=1, groups=channels).view(batch, channels, 3, 3, height, width)
    k = f[:, :, None, None] - around
    return k.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, 3 * height, 3 * width)


def batches(count: int) -> list[slice]:
    return [slice(i, i + BATCH) for i in range(0, count, BATCH)]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--gallery", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model = build("personnet").to(device).eval()
    assert isinstance(model, PersonNet)
    queries = torch.rand(arguments.queries, 3, *model.image_size, device=device)
    gallery = torch.rand(arguments.gallery, 3, *model.image_size, device=device)
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(len(queries), device=device).repeat_interleave(len(gallery))
    b = torch.arange(len(gallery), device=device).repeat(len(queries))
    encoded = Encoding.cat([model.encode(gallery[i]) for i in batches(len(gallery))])
    asked = model.encode(queries)

    def naive() -> Tensor:
        parts = []
        for i in batches(len(a)):
            f, h = model.encode(queries[a[i]]).maps, model.encode(gallery[b[i]]).maps
            parts.append(from_grid(model, difference_grid(f, h, 3, 1)))
        return torch.cat(parts)

    def cached(grid: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.cat([from_grid(model, grid(asked.maps[a[i]], encoded.maps[b[i]])) for i in batches(len(a))])

    forms: dict[str, Callable[[], Tensor]] = {
        "naive": naive,
        "cached": lambda: cached(lambda f, h: difference_grid(f, h, 3, 1)),
        "grouped": lambda: cached(grouped_grid),
        "block": lambda: model.distance(asked, encoded).flatten(),
    }
    expected = forms["cached"]()
    rate = {name: len(a) / seconds(score, device) for name, score in forms.items()}
    print(f"{len(a)} pairs, {torch.get_num_threads()} thread(s), {device}, torch {torch.__version__}")
    for name, score in forms.items():
        error = (score() - expected).abs().max().item()
        line = f"{name:8s} {rate[name]:10.0f} pairs/s   largest difference {error:.1e}"
        if name in GOALS:
            line += f"   block is {rate['block'] / rate[name]:.1f}x (goal {GOALS[name]:.0f}x)"
        print(line)


if __name__ == "__main__":
    main()
