"""Pairs a second of CASN at full width: the closed form against autograd, one image's maps cached in all.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_casn.py [--base ide] [--queries 16] [--gallery 64] [--device cpu]

autograd: per pair, dz_1/df- and the Grad-CAM gradients of s1 and s2 as Sec. 3.2.2 has them, 64 pairs a batch.
compare:  the closed form of aligned pairs, 64 pairs a batch.
block:    `CASN.terms`, which `CASN.distance` normalises and adds.
All score the same pairs, in one process, as CPU seconds on a CPU; the fastest of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from reidlib.models import Encoding, build
from reidlib.models.casn import CASN

BATCH = 64
GOALS = {"autograd": 10.0}


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


def by_autograd(model: CASN, a: Encoding, b: Encoding) -> Tensor:
    """(P,) attention terms, every gradient by autograd. Eval mode, so that the gradient of a sum is each pair's own."""
    with torch.enable_grad():
        maps = [encoding.maps.detach().requires_grad_() for encoding in (a, b)]
        f1, f2 = (model.pool(m).flatten(1) for m in maps)
        minus = (f1 - f2).detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.verifier(minus)[:, 1].sum(), minus)
        alpha = (slope > 0).to(f1)
        gradients = torch.autograd.grad((alpha * f1).sum() + (alpha * f2).sum(), maps)
    weights = [gradient.mean((2, 3), keepdim=True) for gradient in gradients]
    attention = [torch.relu((w * m.detach()).sum(1)) for w, m in zip(weights, maps, strict=True)]
    return model._apart(*attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="ide", choices=("ide", "pcb"))
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--gallery", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model = build("casn", base=arguments.base).to(device).eval()
    assert isinstance(model, CASN)
    with torch.no_grad():  # as after training, attention differs from pair to pair
        model.verifier.fc1.weight.mul_(10)
        images = torch.rand(2, 3, *model.image_size, device=device)
        size = model.encode(images).maps.shape[1:]

        def encoded(count: int) -> Encoding:
            maps = torch.randn(count, *size, device=device).relu()
            return Encoding(maps=maps, feature=model.pool(maps))

        queries, gallery = encoded(arguments.queries), encoded(arguments.gallery)
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(len(queries), device=device).repeat_interleave(len(gallery))
    b = torch.arange(len(gallery), device=device).repeat(len(queries))
    rows = [slice(i, i + BATCH) for i in range(0, len(a), BATCH)]

    def compared() -> Tensor:
        with torch.no_grad():
            return torch.cat([model.compare(queries[a[i]], gallery[b[i]])["attention"] for i in rows])

    forms: dict[str, Callable[[], Tensor]] = {
        "autograd": lambda: torch.cat([by_autograd(model, queries[a[i]], gallery[b[i]]) for i in rows]),
        "compare": compared,
        "block": lambda: model.terms(queries, gallery)["attention"].flatten(),
    }
    expected = forms["autograd"]()
    rate = {name: len(a) / seconds(score, device) for name, score in forms.items()}
    print(f"{len(a)} pairs, {arguments.base}, {torch.get_num_threads()} thread(s), {device}, torch {torch.__version__}")
    for name, score in forms.items():
        error = ((score() - expected).abs() / expected.clamp_min(1e-6)).max().item()
        line = f"{name:8s} {rate[name]:10.0f} pairs/s   largest relative difference {error:.1e}"
        if name in GOALS:
            line += f"   block is {rate['block'] / rate[name]:.1f}x (goal {GOALS[name]:.0f}x)"
        print(line)


if __name__ == "__main__":
    main()
