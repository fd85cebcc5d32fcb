"""Pairs a second of MidLevel at full width: the block form against what one would write first.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_midlevel.py [--queries 16] [--gallery 64] [--device cpu]

naive:  every pair runs both images through the whole network, 64 pairs a batch; the first 128 pairs only.
concat: maps once an image; every pair convolves the 1664 maps of both.
block:  `MidLevel.distance`. bf16: the same under autocast, for speed; its differences are those of rounding.
All score the same pairs, in one process, as CPU seconds on a CPU; the fastest of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from reidlib.models import Encoding, build

BATCH = 64
GOALS = {"concat": 2.3}


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
    model = build("midlevel").to(device).eval()
    queries = torch.rand(arguments.queries, 3, *model.image_size, device=device)
    gallery = torch.rand(arguments.gallery, 3, *model.image_size, device=device)
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(len(queries), device=device).repeat_interleave(len(gallery))
    b = torch.arange(len(gallery), device=device).repeat(len(queries))
    encoded = Encoding.cat([model.encode(gallery[i]) for i in batches(len(gallery))])
    asked = model.encode(queries)

    def naive() -> Tensor:
        pairs = (model.compare(model.encode(queries[a[i]]), model.encode(gallery[b[i]])) for i in batches(2 * BATCH))
        return torch.cat([pair["distance"] for pair in pairs])

    def concat() -> Tensor:
        return torch.cat([model.compare(asked[a[i]], encoded[b[i]])["distance"] for i in batches(len(a))])

    def block() -> Tensor:
        return model.distance(asked, encoded).flatten()

    def bf16() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model.distance(asked, encoded).flatten()

    forms: dict[str, Callable[[], Tensor]] = {"naive": naive, "concat": concat, "block": block, "bf16": bf16}
    expected = concat()
    rate = {name: (2 * BATCH if name == "naive" else len(a)) / seconds(form, device) for name, form in forms.items()}
    print(f"{len(a)} pairs, {torch.get_num_threads()} thread(s), {device}, torch {torch.__version__}")
    for name, score in forms.items():
        found = score()
        error = (found - expected[: len(found)]).abs().max().item()
        line = f"{name:8s} {rate[name]:10.0f} pairs/s   largest difference {error:.1e}"
        if name in ("naive", "concat"):
            goal = f" (goal {GOALS[name]:.1f}x)" if name in GOALS else ""
            line += f"   block is {rate['block'] / rate[name]:.1f}x{goal}"
        print(line)


if __name__ == "__main__":
    main()
