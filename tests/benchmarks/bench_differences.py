"""IDLA's rectified differences, summed and back for one batch of training, against the forms one would write first.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_differences.py [--pairs 64]

grid:       the differences of all pairs in memory, and a convolution of stride 5 over them.
recomputed: the same for four pairs at a time, each formed again in the backward pass by `torch.utils.checkpoint`.
ours:       `summed_differences`.
Maps (P, 25, 37, 12), channels last as they come from the convolutions, in float32 and bf16; CPU seconds, the best of
three repeats.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from reidlib.models.base import tiles
from reidlib.models.blocks import difference_grid
from reidlib.models.differences import summed_differences

GOAL = 3.0
Form = Callable[[Tensor, Tensor, Tensor], Tensor]


def grid(f: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(difference_grid(f, h, 5, 2).relu(), weight.to(f.dtype), stride=5)


def recomputed(f: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    few = tiles(len(f), 4)
    return torch.cat([checkpoint(grid, f[rows], h[rows], weight, use_reentrant=False) for rows in few])


def seconds(form: Form, operands: list[Tensor], slope: Tensor, repeats: int = 3) -> float:
    """CPU seconds of a forward and a backward pass, the best of `repeats` after one warm-up."""
    best = float("inf")
    for repeat in range(repeats + 1):
        start = time.process_time()
        torch.autograd.grad(form(*operands), operands, slope)
        if repeat:
            best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=64)
    pairs = parser.parse_args().pairs
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        maps = [torch.randn(pairs, 25, 37, 12, dtype=dtype) for _ in range(2)]
        maps = [x.contiguous(memory_format=torch.channels_last).requires_grad_() for x in maps]
        operands = [*maps, torch.randn(25, 25, 5, 5, requires_grad=True)]
        slope = torch.randn(pairs, 25, 37, 12, dtype=dtype)
        forms: dict[str, Form] = {"grid": grid, "recomputed": recomputed, "ours": summed_differences}
        took = {name: seconds(form, operands, slope) for name, form in forms.items()}
        apart = (grid(*operands) - summed_differences(*operands)).abs().max().item()
        print(f"{pairs} pairs, {str(dtype)[6:]}: ours {1e3 * took['ours']:.0f} ms, largest difference {apart:.1e}")
        for name in ("grid", "recomputed"):
            print(f"  {took[name] / took['ours']:.1f}x {name}" + (f" (goal {GOAL:g}x)" if name == "recomputed" else ""))


if __name__ == "__main__":
    main()
