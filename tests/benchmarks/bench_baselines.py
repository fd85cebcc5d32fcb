"""Pairs a second of X-Corr's block form against what one would write first, and images a second of LOMO.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_baselines.py [--queries 8] [--gallery 64] [--device cpu]

naive:  every pair runs both images through the whole network, 16 pairs a batch.
cached: trunk maps once an image; `XCorr.compare` for every pair.
block:  `XCorr.distance`.
lomo:   `LOMO.encode` of 128x64 images, 64 a batch.
All in one process, as CPU seconds on a CPU; the fastest of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from reidlib.models import Encoding, build

BATCH = 16
GOALS = {"naive": 5.0, "cached": 4.0}


def seconds(run: Callable[[], Tensor], device: torch.device, repeats: int = 3) -> float:
    """Best of `repeats` after one warm-up: CPU seconds on a CPU, wall-clock seconds on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    best = float("inf")
    for repeat in range(repeats + 1):
        start = clock()
        run().sum().item()  # waits for a GPU
        if repeat:
            best = min(best, clock() - start)
    return best


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--gallery", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model = build("xcorr").to(device).eval()
    queries = torch.rand(arguments.queries, 3, *model.image_size, device=device)
    gallery = torch.rand(arguments.gallery, 3, *model.image_size, device=device)
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(len(queries), device=device).repeat_interleave(len(gallery))
    b = torch.arange(len(gallery), device=device).repeat(len(queries))
    batches = [slice(i, i + BATCH) for i in range(0, len(a), BATCH)]
    asked, encoded = (Encoding.cat([model.encode(x) for x in images.split(BATCH)]) for images in (queries, gallery))

    def scored(encode: Callable[[slice], tuple[Encoding, Encoding]]) -> Tensor:
        return torch.cat([model.compare(*encode(i))["distance"] for i in batches])

    forms: dict[str, Callable[[], Tensor]] = {
        "naive": lambda: scored(lambda i: (model.encode(queries[a[i]]), model.encode(gallery[b[i]]))),
        "cached": lambda: scored(lambda i: (asked[a[i]], encoded[b[i]])),
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
    lomo, images = build("lomo", image_size=(128, 64)).to(device), torch.rand(64, 3, 128, 64, device=device)
    rate["lomo"] = len(images) / seconds(lambda: lomo.encode(images).vector, device)
    print(f"{'lomo':8s} {rate['lomo']:10.0f} images/s (goal 300)")


if __name__ == "__main__":
    main()
