"""Augmentation against loops over single images, and its determinism."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from reidlib.data.augment import MEAN, OPERATIONS, augment, to_float

COUNT, HEIGHT, WIDTH = 400, 20, 12
EVERY = (("flip", 0.5), ("translate", 0.1), ("pad_crop", 3), ("affine", 0.05), ("erase", 0.5))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(400, 3, 20, 12) uint8 noise: every shift of an image is recognisable."""
    return torch.randint(1, 256, (COUNT, 3, HEIGHT, WIDTH), generator=generator(9), dtype=torch.uint8)


def as_bytes(images: torch.Tensor) -> np.ndarray:
    return (images * 255).round().to(torch.uint8).numpy()


def shift_naive(image: np.ndarray, dy: int, dx: int, repeat_edge: bool) -> np.ndarray:
    """out[y, x] = in[y + dy, x + dx]."""
    out = np.zeros_like(image)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            sy, sx = y + dy, x + dx
            if repeat_edge:
                sy, sx = min(max(sy, 0), HEIGHT - 1), min(max(sx, 0), WIDTH - 1)
            if 0 <= sy < HEIGHT and 0 <= sx < WIDTH:
                out[:, y, x] = image[:, sy, sx]
    return out


def find_shifts(before: torch.Tensor, after: np.ndarray, py: int, px: int, repeat_edge: bool) -> np.ndarray:
    """(B, 2) the shift of each image; fails where an image is none of the allowed shifts."""
    found = []
    for image, got in zip(before.numpy(), after, strict=True):
        core = got[:, py : HEIGHT - py, px : WIDTH - px]
        shifts = [
            (dy, dx)
            for dy in range(-py, py + 1)
            for dx in range(-px, px + 1)
            if np.array_equal(image[:, py + dy : HEIGHT - py + dy, px + dx : WIDTH - px + dx], core)
        ]
        assert len(shifts) == 1
        assert np.array_equal(shift_naive(image, *shifts[0], repeat_edge), got)
        found.append(shifts[0])
    return np.array(found)


def test_nothing_is_a_conversion(images):
    got = augment(images, (), generator())
    assert got.dtype == torch.float32
    assert torch.equal(got, images / 255)
    assert torch.equal(to_float(got), got)


@pytest.mark.parametrize("name", OPERATIONS)
def test_amount_zero_changes_nothing(images, name):
    assert torch.equal(augment(images, ((name, 0.0),), generator()), images / 255)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_seed_decides_and_the_input_is_left_alone(images, name):
    before, operations = images.clone(), ((name, 3 if name == "pad_crop" else 0.4),)
    one, same, other = (augment(images, operations, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(images, before)
    height, width = (round(0.6 * side) if name == "crop" else side for side in images.shape[2:])
    assert one.shape == (COUNT, 3, height, width)
    assert one.dtype == torch.float32
    assert one.min() >= 0
    assert one.max() <= 1


def test_flip_mirrors_half(images):
    got = as_bytes(augment(images, (("flip", 0.5),), generator()))
    source = images.numpy()
    same = (got == source).all((1, 2, 3))
    mirrored = (got == source[..., ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6  # SD 0.025
    assert np.array_equal(as_bytes(augment(images, (("flip", 1.0),), generator())), source[..., ::-1])


def test_translation_is_a_whole_shift_with_repeated_edges(images):
    got = as_bytes(augment(images, (("translate", 0.1),), generator()))
    shifts = find_shifts(images, got, 2, 1, repeat_edge=True)
    still = (shifts == 0).all(1)
    assert 0.1 < still.mean() < 0.24  # 1 in 6: SD 0.019
    assert len(np.unique(shifts, axis=0)) == 15
    assert abs(shifts.mean(0)).max() < 0.2


def test_translate_only_never_stays_put(images):
    got = as_bytes(augment(images, (("translate_only", 0.1),), generator()))
    shifts = find_shifts(images, got, 2, 1, repeat_edge=True)
    assert (shifts != 0).any(1).all()
    counts = np.unique(shifts, axis=0, return_counts=True)[1]
    assert len(counts) == 14
    assert counts.min() > 10  # 28.6 expected, SD 5.2
    assert counts.max() < 50


def test_pad_crop_is_a_whole_shift_over_black(images):
    got = as_bytes(augment(images, (("pad_crop", 3),), generator()))
    shifts = find_shifts(images, got, 3, 3, repeat_edge=False)
    assert shifts.min() == -3
    assert shifts.max() == 3
    assert abs(shifts.mean(0)).max() < 0.4


def test_crop_is_a_window_anywhere(images):
    places = torch.arange(HEIGHT)[:, None] * WIDTH + torch.arange(WIDTH)  # a pixel says where it is
    images = places.to(torch.uint8).expand_as(images).clone()
    got = as_bytes(augment(images, (("crop", 0.25),), generator())).astype(int)
    corner = got[:, 0, 0, 0]
    window = np.arange(round(0.75 * HEIGHT))[:, None] * WIDTH + np.arange(round(0.75 * WIDTH))
    assert (got == corner[:, None, None, None] + window).all()
    assert set(corner // WIDTH) == set(range(HEIGHT - round(0.75 * HEIGHT) + 1))
    assert set(corner % WIDTH) == set(range(WIDTH - round(0.75 * WIDTH) + 1))


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_affine_is_pillows(share):
    """The same draws, image by image, with Pillow's inverse mapping about the centre."""
    height, width = 64, 32
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    smooth = 127 + 60 * torch.sin(x / 5) + 60 * torch.cos(y / 7)
    batch = smooth.to(torch.uint8).expand(8, 3, height, width).contiguous()
    got = augment(batch, (("affine", share),), generator(4))
    u = (2 * torch.rand(4, 8, generator=generator(4)) - 1).tolist()
    for b in range(8):
        angle, scale = math.radians(100 * share) * u[2][b], 1 + share * u[3][b]
        a, c = math.cos(angle) / scale, math.sin(angle) / scale
        cx, cy = width / 2, height / 2
        tx, ty = share * width * u[0][b], share * height * u[1][b]
        matrix = (a, -c, cx - a * cx + c * cy + tx, c, a, cy - c * cx - a * cy + ty)
        image = Image.fromarray(batch[b].permute(1, 2, 0).numpy())
        kept = image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        inside = Image.new("L", (width, height), 255).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST
        )
        seen = np.asarray(inside)[1:-1, 1:-1] > 0
        difference = abs(np.asarray(kept)[..., 0].astype(float) - got[b, 0].numpy() * 255)[1:-1, 1:-1]
        assert seen.mean() > 0.4
        assert np.quantile(difference[seen], 0.98) < 2
    assert torch.equal(got[:, 0], got[:, 2])


def test_erase_is_one_box_of_the_mean_colour(images):
    got = augment(images, (("erase", 0.5),), generator()).numpy()
    areas, touched = [], 0
    for before, after in zip((images / 255).numpy(), got, strict=True):
        changed = (before != after).any(0)
        if not changed.any():
            continue
        touched += 1
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.allclose(box, np.array(MEAN)[:, None, None])
        assert changed.sum() == box[0].size
        areas.append(box[0].size / (HEIGHT * WIDTH))
    assert 0.4 < touched / COUNT < 0.6
    assert 0.01 < min(areas) < 0.06
    assert 0.34 < max(areas) < 0.46
    assert 0.1 < np.mean(areas) < 0.25


def test_centred_erasing_is_a_box_around_any_pixel_cut_off_at_the_edges(images):
    """The same draws as loops over single pixels: the first of twenty boxes that fits, around a point of the image."""
    got = augment(images, (("erase_centred", 0.5),), generator(5))
    draws = generator(5)
    chosen = (torch.rand(COUNT, generator=draws) < 0.5).tolist()
    u = torch.rand(4, 20, COUNT, generator=draws).double()
    outside = 0
    for b in range(COUNT):
        expected = images[b] / 255
        for area, aspect, point_y, point_x in u[:, :, b].T.tolist() if chosen[b] else []:
            pixels, ratio = HEIGHT * WIDTH * (0.02 + 0.38 * area), 0.3 + (1 / 0.3 - 0.3) * aspect
            h, w = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if h < HEIGHT and w < WIDTH:
                y, x = int(point_y * HEIGHT), int(point_x * WIDTH)
                for row in range(y - h // 2, y - h // 2 + h):
                    for column in range(x - w // 2, x - w // 2 + w):
                        if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                            expected[:, row, column] = torch.tensor(MEAN)
                        else:
                            outside += 1
                break
        torch.testing.assert_close(got[b], expected, atol=1e-6, rtol=0)
    assert outside > 1000


def test_operations_run_in_order(images):
    chained = augment(images, (("flip", 1.0), ("translate_only", 0.1)), generator(3))
    moves = generator(3)
    torch.rand(COUNT, generator=moves)  # what flip drew
    assert torch.equal(chained, augment(images.flip(-1), (("translate_only", 0.1),), moves))


def test_float_batches_pass_through_the_same_way(images):
    whole = (("flip", 0.5), ("translate", 0.1), ("pad_crop", 3))
    assert torch.equal(augment(images / 255, whole, generator()), augment(images, whole, generator()))


def test_an_empty_batch_is_empty(images):
    assert augment(images[:0], EVERY, generator()).shape == (0, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (("flipp", 0.5), "did you mean 'flip'? choose from flip, translate"),
        (("blur", 1.0), "choose from flip"),
        (("flip", 1.5), "amount from 0 to 1, not 1.5"),
        (("translate", -0.1), "amount from 0 to 0.5, not -0.1"),
        (("pad_crop", float("nan")), "not nan"),
    ],
)
def test_impossible_operations_are_refused(images, operation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        augment(images, (operation,), generator())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_augments_as_the_cpu_does(images):
    on_cpu, on_gpu = augment(images, EVERY, generator()), augment(images.cuda(), EVERY, generator())
    assert on_gpu.is_cuda
    assert (on_cpu - on_gpu.cpu()).abs().max() < 1e-4
