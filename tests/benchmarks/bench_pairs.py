"""Pairs a second at full width: each system's block form against what one would write first.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_pairs.py [personnet midlevel mls casn-ide casn-pcb xcorr]
        [--queries 16] [--gallery 64] [--device cpu]

naive:    every pair runs both images through the whole network; the first 128 pairs only.
cached:   the same with maps, parts and vectors once an image.
compare:  the model's own printed form on cached encodings, where that is not "cached".
grouped:  PersonNet's neighbourhoods by a grouped convolution with one-hot filters, cached.
autograd: CASN's attention term on cached maps with every gradient of Sec. 3.2.2 by autograd.
block:    `distance`, of CASN the attention term of `terms`. bf16: the same under autocast, for speed alone.
Forms of one system score the same pairs, 64 a batch, in one process, as CPU seconds on a CPU; the fastest of three
repeats counts.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from reidlib.models import Encoding, build
from reidlib.models.base import ReIDModel, tiles
from reidlib.models.blocks import difference_grid
from reidlib.models.casn import CASN
from reidlib.models.mls import MLS
from reidlib.models.personnet import PersonNet

BATCH = 64
NAIVE = 2 * BATCH  # pairs
Form = Callable[..., Tensor]  # (model, encodings of P images, of P others) -> distances (P,)


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


def compared(model: ReIDModel, a: Encoding, b: Encoding) -> Tensor:
    return model.compare(a, b)["distance"]


def from_grid(model: PersonNet, grid: Tensor) -> Tensor:
    """Distances (P,) from difference grids (P, C, 3H, 3W), layer by layer."""
    x = model.activation(model.summaries[0](grid))
    x = F.max_pool2d(model.activation(model.conv4.conv(x)), 2, 2, ceil_mode=True).flatten(1)
    for layer in model.fc:
        x = model.activation(layer(x))
    logits = model.logits(x)
    return logits[:, 0] - logits[:, 1]


def indexed(model: PersonNet, a: Encoding, b: Encoding) -> Tensor:
    """Eq. 2 for every pair, then its convolution of stride 3."""
    return from_grid(model, difference_grid(a.maps, b.maps, 3, 1))


def one_hot(model: PersonNet, a: Encoding, b: Encoding) -> Tensor:
    """Eq. 2 with the neighbourhoods as a grouped convolution of 9 one-hot filters a channel."""
    batch, channels, height, width = b.maps.shape
    filters = torch.eye(9, device=b.maps.device).view(9, 1, 3, 3).repeat(channels, 1, 1, 1)
    around = F.conv2d(b.maps, filters, padding=1, groups=channels).view(batch, channels, 3, 3, height, width)
    k = a.maps[:, :, None, None] - around
    return from_grid(model, k.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, 3 * height, 3 * width))


def grouped(model: MLS, a: Encoding, b: Encoding) -> Tensor:
    """Eq. 2 as one convolution whose groups are the channels of all pairs."""
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


def by_autograd(model: CASN, a: Encoding, b: Encoding) -> Tensor:
    """Attention terms (P,). In eval mode, where the gradient of a sum is each pair's own."""
    with torch.enable_grad():
        maps = [encoding.maps.detach().requires_grad_() for encoding in (a, b)]
        f1, f2 = (model.pool(m).flatten(1) for m in maps)
        minus = (f1 - f2).detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.verifier(minus)[:, 1].sum(), minus)
        alpha = (slope > 0).to(f1)
        gradients = torch.autograd.grad((alpha * f1).sum() + (alpha * f2).sum(), maps)
    weights = [gradient.mean((2, 3), keepdim=True) for gradient in gradients]
    attention = [torch.relu((w * m.detach()).sum(1)) for w, m in zip(weights, maps, strict=True)]
    return model.profile_distance(*attention)


def attention_of(model: CASN, a: Encoding, b: Encoding) -> Tensor:
    return model.compare(a, b)["attention"]


@dataclass(frozen=True)
class System:
    """What is timed of a system. cached: forms on cached encodings by name. naive: the form that encodes each pair."""

    name: str
    cached: dict[str, Form]
    naive: Form | None
    goals: dict[str, float]
    options: dict[str, object] = field(default_factory=dict)
    bf16: bool = False


SYSTEMS = {
    "personnet": System(
        "personnet",
        {"cached": indexed, "grouped": one_hot},
        indexed,
        {"naive": 8.0, "cached": 4.0, "grouped": 4.0},
    ),
    "midlevel": System("midlevel", {"cached": compared}, compared, {"cached": 2.3}, bf16=True),
    "mls": System(
        "mls",
        {"cached": grouped, "compare": compared},
        grouped,
        {"naive": 8.0, "cached": 4.0},
    ),
    "xcorr": System("xcorr", {"cached": compared}, compared, {"naive": 5.0, "cached": 4.0}),
} | {
    f"casn-{base}": System(
        "casn",
        {"autograd": by_autograd, "compare": attention_of},
        None,
        {"autograd": 10.0},
        {"base": base},
    )
    for base in ("ide", "pcb")
}


def attentive(model: CASN, count: int) -> Encoding:
    """Random maps, since a random trunk gives all images much the same."""
    channels, height, width = model.encode(model.mean.new_zeros(1, 3, *model.image_size)).maps.shape[1:]
    maps = torch.randn(count, channels, height, width, device=model.mean.device).relu()
    return Encoding(maps=maps, feature=model.pool(maps))


@torch.no_grad()
def measure(system: System, queries: int, gallery: int, device: torch.device) -> None:
    """Print a line a form."""
    torch.manual_seed(0)
    model = build(system.name, **system.options).to(device).eval()
    images = torch.rand(queries + gallery, 3, *model.image_size, device=device)
    if isinstance(model, CASN):
        model.verifier.fc1.weight.mul_(10)  # as after training, attention differs from pair to pair
        encoded = attentive(model, len(images))
    else:
        encoded = Encoding.cat([model.encode(images[i]) for i in tiles(len(images), BATCH)])
    # (a, b) of all pairs, rows of the distance matrix one after the other
    a = torch.arange(queries, device=device).repeat_interleave(gallery)
    b = queries + torch.arange(gallery, device=device).repeat(queries)

    def block() -> Tensor:
        asked, others = encoded[:queries], encoded[queries:]
        found = model.terms(asked, others)["attention"] if isinstance(model, CASN) else model.distance(asked, others)
        return found.flatten()

    def rounded() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return block()

    def aligned(form: Form) -> Callable[[], Tensor]:
        return lambda: torch.cat([form(model, encoded[a[i]], encoded[b[i]]) for i in tiles(len(a), BATCH)])

    def naive() -> Tensor:
        pairs = tiles(min(NAIVE, len(a)), BATCH)
        encode, form = model.encode, system.naive
        return torch.cat([form(model, encode(images[a[i]]), encode(images[b[i]])) for i in pairs])

    forms = {"naive": naive} if system.naive else {}
    forms |= {name: aligned(form) for name, form in system.cached.items()}
    forms |= {"block": block} | ({"bf16": rounded} if system.bf16 else {})
    expected = forms[next(iter(system.cached))]()
    found = {name: form() for name, form in forms.items()}
    rate = {name: len(found[name]) / seconds(form, device) for name, form in forms.items()}
    for name, scores in found.items():
        error = (scores - expected[: len(scores)]).abs().max().item()
        line = f"{name:8s} {rate[name]:10.0f} pairs/s   largest difference {error:.1e}"
        if name not in ("block", "bf16"):
            goal = f" (goal {system.goals[name]:g}x)" if name in system.goals else ""
            line += f"   block is {rate['block'] / rate[name]:.1f}x{goal}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, "all"], default="all", help="default: all")
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--gallery", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    machine = f"{torch.get_num_threads()} thread(s), {device}, torch {torch.__version__}"
    print(f"{given.queries * given.gallery} pairs, {machine}")
    for name in SYSTEMS if "all" in given.systems else given.systems:
        print(f"\n{name}")
        measure(SYSTEMS[name], given.queries, given.gallery, device)


if __name__ == "__main__":
    main()
