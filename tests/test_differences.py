"""Summed neighbourhood differences against the differences themselves, their gradients and their count."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from reidlib.models.blocks import difference_grid
from reidlib.models.differences import CACHED, summed_differences


def plain(f: torch.Tensor, h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The whole grid of differences, and a convolution of the window's stride over it."""
    window = weight.shape[-1]
    return torch.nn.functional.conv2d(difference_grid(f, h, window, window // 2).relu(), weight, stride=window)


def operands(window: int, pairs: int = CACHED + 1) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((pairs, 3, 7, 4), (pairs, 3, 7, 4), (5, 3, window, window))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("window", [1, 3, 5])
def test_sums_and_gradients_are_those_of_the_whole_grid(window: int) -> None:
    given = operands(window)
    got, expected = summed_differences(*given), plain(*given)
    torch.testing.assert_close(got, expected)
    slope = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(got, given, slope), torch.autograd.grad(expected, given, slope), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_compiler_is_told_the_shapes() -> None:
    f, h, weight = (x.detach().float() for x in operands(5))
    expected = summed_differences(f, h, weight)
    with FakeTensorMode() as mode:
        got = summed_differences(*map(mode.from_tensor, (f, h, weight)))
    assert (got.shape, got.dtype, got.stride()) == (expected.shape, expected.dtype, expected.stride())


def test_gradients_are_those_of_small_steps() -> None:
    assert torch.autograd.gradcheck(summed_differences, operands(3, pairs=2))


def test_layout_and_half_precision_change_roundings_only() -> None:
    f, h, weight = (x.detach().float() for x in operands(5))
    expected = plain(f, h, weight)
    last = summed_differences(*(x.to(memory_format=torch.channels_last) for x in (f, h)), weight)
    torch.testing.assert_close(last, expected)
    half = summed_differences(f.bfloat16(), h.bfloat16(), weight)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


def test_a_large_batch_of_half_precision_gradients_is_summed_exactly() -> None:
    f, h, weight = operands(3, pairs=400)
    exact = torch.autograd.grad(plain(f, h, weight).sum(), weight)[0]
    rounded = [x.detach().bfloat16() for x in (f, h)]
    got = torch.autograd.grad(summed_differences(*rounded, weight.bfloat16()).float().sum(), weight)[0]
    torch.testing.assert_close(got, exact, rtol=0.02, atol=0.0)


def test_count_is_that_of_the_convolution() -> None:
    given = operands(5)
    counts = []
    for form in (summed_differences, plain):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            form(*given)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
