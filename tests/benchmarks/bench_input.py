"""Images a second into training on one core: slices of the decoded uint8 array against a per-image DataLoader.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_input.py [--size small] [--height 256] [--width 128]

loader: torchvision's transforms on Pillow images in a DataLoader, as the field's libraries (torchreid) feed a
        training: open, resize, flip, to tensor, normalise, collate.
slices: batches of `PairSampler` cut from `pixels()`, uint8, as they go to the device.
flip, recipe: the same, augmented and as float32 on the CPU, where a training without a GPU needs them; `recipe`
        is flip and translate.
All in one process, as CPU seconds; the best of three repeats counts.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reidlib.data import Split, load
from reidlib.data.augment import augment
from reidlib.data.pixels import pixels
from reidlib.data.sampling import PairSampler

BATCH, GOAL = 64, 20.0


class PerImage(Dataset):
    """What a training loop of the field reads from: one file, one image, one tensor at a time."""

    def __init__(self, split: Split, image_size: tuple[int, int]) -> None:
        self.split = split
        self.transform = transforms.Compose(
            [
                transforms.Resize(image_size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        with Image.open(self.split.paths[index]) as image:
            tensor = self.transform(image.convert("RGB"))
        return tensor, int(self.split.person_ids[index]), int(self.split.camera_ids[index])


def rate(batches: Callable[[], Iterator[Tensor]], repeats: int = 3) -> float:
    """Images per CPU second, best of `repeats` after one warm-up."""
    best = 0.0
    for repeat in range(repeats + 1):
        start, images = time.process_time(), 0
        for batch in batches():
            images += len(batch)
        if repeat:
            best = max(best, images / (time.process_time() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", help="size of the plaza world read (default: tiny)")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200, help="batches of 64 images a repeat, for the slices")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    image_size = (arguments.height, arguments.width)
    train = load("plaza", size=arguments.size).train

    start = time.perf_counter()
    array = pixels(train, image_size, workers=1)
    print(f"{len(train)} images, {image_size[0]}x{image_size[1]}: cached in {time.perf_counter() - start:.2f} s")

    def loader() -> Iterator[Tensor]:
        for images, _, _ in DataLoader(PerImage(train, image_size), BATCH, shuffle=True, drop_last=len(train) > BATCH):
            yield images

    def slices(operations: tuple[tuple[str, float], ...] | None = None) -> Iterator[Tensor]:
        draw, generator = PairSampler(train, BATCH), torch.Generator().manual_seed(0)
        for step in range(arguments.steps):
            images = torch.from_numpy(array[draw.batch(step).indices])
            yield images if operations is None else augment(images, operations, generator)

    naive = rate(loader)
    print(f"loader   {naive:9.0f} images/s")
    flip = (("flip", 0.5),)
    for name, operations in (("slices", None), ("flip", flip), ("recipe", (*flip, ("translate", 0.05)))):
        ours = rate(lambda operations=operations: slices(operations))
        goal = f", goal {GOAL:.0f}: {'met' if ours >= GOAL * naive else 'MISSED'}" if operations is None else ""
        print(f"{name:<8} {ours:9.0f} images/s, {ours / naive:5.1f} x the loader{goal}")


if __name__ == "__main__":
    main()
