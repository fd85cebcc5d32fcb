"""Every published count against ours, in each way of counting: the one that fits, and those that do not."""

from dataclasses import astuple
from functools import cache

import pytest
import torch

from reidlib.complexity import Complexity, complexity
from reidlib.models import MODELS, ReIDModel, build
from reidlib.models.trunks import trunk

GIGA, MILLION, BINARY = 1e9, 1e6, 2**20


@cache
def counted(name: str, **options: object) -> Complexity:
    return complexity(build(name, **options))


def ways(of: Complexity) -> dict[str, float]:
    return {
        "millions": of.parameters / MILLION,
        "2^20": of.parameters / BINARY,
        "FLOP": of.flops_both / GIGA,
        "MAC": of.macs_both / GIGA,
    }


TWO, THREE = {"levels": (2, 3)}, {"levels": (2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "options", "printed", "fits", "misses"),
    [
        # MLS, Table 5. Parameters: to the printed digit. The ranking net shares one of its two convolutions (MLS-4).
        ("mls", TWO, "0.5", "2^20", "millions"),
        ("mls", TWO | {"sharing": "none"}, "0.5", "", "2^20"),
        ("mls", TWO | {"sharing": "both"}, "0.5", "millions", ""),
        ("mls", THREE, "0.8", "2^20", ""),
        ("mls", THREE | {"sharing": "both"}, "0.8", "", "2^20"),
        ("mls", THREE | {"sharing": "none"}, "0.8", "", "2^20"),
        # Operations: a FLOP is two of the MACs, on both images and the pair; conv3 is not pooled (MLS-2).
        ("mls", TWO, "0.96", "FLOP", "MAC"),
        ("mls", TWO | {"rows": "inclusive"}, "0.96", "FLOP", "MAC"),
        ("mls", THREE, "1.31", "FLOP", "MAC"),
        ("mls", THREE | {"layout": "all_pooled"}, "1.31", "", "FLOP"),
        # X-Corr in the same table: the fused network, and millions, not 2^20. Its operations fit in no way (MLS-15).
        ("xcorr", {}, "2.2", "millions", "2^20"),
        ("xcorr", {"branches": "correlation"}, "2.2", "", "millions"),
        ("xcorr", {}, "1.58", "", "FLOP"),
        ("xcorr", {}, "1.58", "", "MAC"),
    ],
    ids=str,
)
def test_printed_counts(name: str, options: dict, printed: str, fits: str, misses: str) -> None:
    """Parameters fit if they round to what is printed, operations within 2 %: element-wise ones are not counted."""
    found = ways(counted(name, **options))

    def meets(way: str) -> bool:
        if way in ("FLOP", "MAC"):
            return found[way] == pytest.approx(float(printed), rel=0.02)
        return f"{found[way]:.1f}" == printed

    assert not fits or meets(fits), (printed, found)
    assert not misses or not meets(misses), (printed, found)


@pytest.mark.parametrize(
    ("name", "options", "parameters", "flops"),
    [
        ("mls", TWO, 560_894, 0.943),
        ("mls", THREE, 812_484, 1.309),
        ("mls", {"sim_size": "10x4"}, 560_894, 0.931),
        ("mls", THREE | {"sim_size": "10x4"}, 812_484, 1.292),
        ("xcorr", {}, 2_222_147, 0.248),
        ("idla", {}, 2_308_147, 0.181),
        ("personnet", {}, 22_892_738, 0.276),  # kernels and pooling of Table I's output sizes (PN-1, PN-2)
        ("personnet", {"kernel": 3}, 22_863_394, 0.187),  # those of the text
        ("casn", {}, 25_994_545, 13.782),  # ResNet-50 as it is (CA-1)
        ("casn", {"last_stride": 1}, 25_994_545, 20.531),
        ("casn", {"base": "pcb"}, 34_110_428, 24.364),  # of which 0.013 for the gradient of Eq. 4
        ("midlevel", {}, 37_980_930, 3.502),  # ML-4, from here
        ("midlevel", {"fc": (512, 512)}, 32_932_610, 3.492),
        ("midlevel", {"fc": (4096, 4096)}, 79_280_898, 3.585),
        ("midlevel", {"pool": "2x2"}, 37_980_930, 3.502),  # ML-3, from here
        ("midlevel", {"pool": "2x2-ceil"}, 42_240_770, 3.573),
    ],
    ids=str,
)
def test_counts_of_a_pair_that_no_paper_prints(name: str, options: dict, parameters: int, flops: float) -> None:
    found = counted(name, **options)
    assert found.parameters == parameters
    assert found.flops_both / GIGA == pytest.approx(flops, abs=6e-4)


@pytest.mark.parametrize(
    ("options", "parameters", "flops"),
    [
        ({}, 77_498_824, 12.272),
        ({"stages": (4,)}, 56_912_034, 12.228),
        ({"order": "c", "identities": 767}, 75_827_264, 12.264),  # the released file has no attention (HA-11)
    ],
    ids=str,
)
def test_counts_of_one_image_of_hagn(options: dict, parameters: int, flops: float) -> None:
    found = counted("hagn", **options)
    assert found.parameters == parameters
    assert found.flops_per_image / GIGA == pytest.approx(flops, abs=6e-4)
    assert found.macs_per_pair == 0  # two vectors


@pytest.mark.parametrize(("last_stride", "sides"), [(1, (24, 8)), (2, (12, 4))])
def test_hagns_printed_map_needs_a_last_stride_of_1(last_stride: int, sides: tuple[int, int]) -> None:
    """Printed: 2048x24x8."""
    (maps,) = trunk("resnet50", last_stride=last_stride)(torch.zeros(1, 3, 384, 128))
    assert tuple(maps.shape[1:]) == (2048, *sides)


@pytest.mark.parametrize(("layout", "sides"), [("caffe", (5, 2)), ("torchvision", (5, 3))])
def test_midlevels_printed_map_needs_caffes_pooling(layout: str, sides: tuple[int, int]) -> None:
    """Printed: 1024 maps of 5x2 for inception 5b."""
    model = build("midlevel", level="5b", layout=layout, relations=False)
    assert tuple(model.encode(torch.zeros(1, 3, 160, 80)).maps.shape[1:]) == (1024, *sides)


def test_a_pair_costs_what_is_added_up_by_hand() -> None:
    """X-Corr: trunk, correlations, differences, both heads, in MACs."""
    found = counted("xcorr")
    assert found.macs_per_image == 156 * 56 * 20 * 75 + 74 * 24 * 25 * 500
    matching = 37 * 12 * 60 * 25 * 25 + 37 * 12 * (1500 + 1250) * 25
    heads = 2 * (35 * 10 * 25 * 225 + 25 * 17 * 5 * 500) + 1000 * 2
    assert found.macs_per_pair == matching + heads
    assert found.macs_both == 2 * found.macs_per_image + found.macs_per_pair
    flops = found.flops_per_image, found.flops_per_pair, found.flops_both
    assert flops == (2 * found.macs_per_image, 2 * found.macs_per_pair, 2 * found.macs_both)


class Small(ReIDModel):
    """Stands for a model with a short cut, in training mode."""

    def __init__(self) -> None:
        super().__init__((4, 3))
        self.linear = torch.nn.Linear(36, 5)

    def forward(self, images: torch.Tensor) -> dict:
        raise AssertionError

    def encode(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        assert not self.training
        return self.linear(images.flatten(1))

    def compare(self, a: torch.Tensor, b: torch.Tensor) -> dict:  # type: ignore[override]
        raise AssertionError("the short cut")

    def as_printed(self, images_a: torch.Tensor, images_b: torch.Tensor) -> torch.Tensor:
        return self.encode(images_a) @ self.encode(images_b).T


def test_what_is_printed_is_counted_in_eval_mode() -> None:
    model = Small()
    assert astuple(complexity(model)) == (36 * 5 + 5, 36 * 5, 5)
    assert model.training


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_counted(name: str) -> None:
    found = counted(name)
    assert found.macs_per_pair >= 0
    assert (found.parameters > 0) == (found.macs_per_image > 0) or name in ("lomo", "kissme", "xqda")
