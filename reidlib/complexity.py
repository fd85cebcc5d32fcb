"""What a model costs: its parameters, and the operations of encoding an image and of comparing two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reidlib.models.base import ReIDModel


@dataclass(frozen=True)
class Complexity:
    """Parameters and multiply-accumulates (MACs) of the network as its paper prints it, in eval mode.

    A MAC is one product of a convolution or a matrix product and its sum. Tables of the field call it one FLOP or two
    and rarely say which; here it is two. Element-wise work (norms, activations, poolings) is not counted, as in theirs.

    macs_per_image: of encoding an image. macs_per_pair: of comparing two encodings.
    """

    parameters: int
    macs_per_image: int
    macs_per_pair: int

    @property
    def macs_both(self) -> int:
        """Of a pair with both its images, which is what tables print."""
        return 2 * self.macs_per_image + self.macs_per_pair

    @property
    def flops_per_image(self) -> int:
        """Twice `macs_per_image`."""
        return 2 * self.macs_per_image

    @property
    def flops_per_pair(self) -> int:
        """Twice `macs_per_pair`."""
        return 2 * self.macs_per_pair

    @property
    def flops_both(self) -> int:
        """Twice `macs_both`."""
        return 2 * self.macs_both


@torch.no_grad()
def complexity(model: ReIDModel) -> Complexity:
    """Count what a model has and does, by one pass over a pair of blank images on the model's device."""
    training = model.training
    model.eval()
    blank = model.mean.new_zeros(1, 3, *model.image_size)
    image = _macs(lambda: model.encode(blank))
    both = _macs(lambda: model.as_printed(blank, blank))
    model.train(training)
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), image, both - 2 * image)


def _macs(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2
