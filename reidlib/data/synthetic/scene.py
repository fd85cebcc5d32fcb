"""Where people walk: a background plate for every camera, and the things that stand in front."""

import math

import numpy as np
from PIL import Image

from reidlib.data.synthetic.canvas import Canvas
from reidlib.data.synthetic.palette import CLOTHES, COLOURS, rgb

PLATE_SIZE = (384, 512)  # height, width in pixels
OCCLUDERS = ("post", "bush", "rail", "car")
GROUNDS = {
    "plaza": ((0.52, 0.50, 0.46), (0.60, 0.57, 0.52), (0.44, 0.45, 0.46), (0.56, 0.48, 0.42)),
    "campus": ((0.40, 0.41, 0.42), (0.46, 0.44, 0.41), (0.36, 0.38, 0.35), (0.50, 0.50, 0.50)),
    "harbour": ((0.47, 0.42, 0.36), (0.56, 0.56, 0.55), (0.40, 0.34, 0.29), (0.52, 0.54, 0.58)),
}
WALLS = {
    "plaza": ((0.66, 0.62, 0.54), (0.55, 0.57, 0.60), (0.60, 0.44, 0.36), (0.72, 0.70, 0.66)),
    "campus": ((0.30, 0.36, 0.24), (0.42, 0.40, 0.38), (0.48, 0.36, 0.30), (0.35, 0.38, 0.42)),
    "harbour": ((0.38, 0.50, 0.58), (0.62, 0.68, 0.72), (0.50, 0.27, 0.20), (0.30, 0.42, 0.46)),
}
OPENINGS = ((0.20, 0.24, 0.30), (0.50, 0.60, 0.68), (0.32, 0.20, 0.14), (0.62, 0.20, 0.18), (0.75, 0.72, 0.50))
OBSTACLES = ((0.30, 0.30, 0.31), (0.22, 0.33, 0.15), (0.50, 0.50, 0.50), (0.45, 0.12, 0.12), (0.20, 0.25, 0.35))
LEAF = (0.17, 0.29, 0.11)
PAVINGS = ("slabs", "checks", "crossing")


def background_plate(rng: np.random.Generator, site: np.random.Generator, domain: str) -> np.ndarray:
    """One camera's scene (3, 384, 512) float32 in [0, 1]; images are random crops of it.

    `site` is shared by the cameras of a world, so that paving and walls are mostly the same in all of them.
    """
    height, width = PLATE_SIZE
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None]
    ground = np.array(GROUNDS[domain][int(site.integers(4))], np.float32)
    wall = np.array(WALLS[domain][int(site.integers(4))], np.float32)
    paving = PAVINGS[int(site.integers(3))]
    if rng.random() < 0.25:
        wall = np.array(WALLS[domain][int(rng.integers(4))], np.float32)
    if rng.random() < 0.25:
        paving = PAVINGS[int(rng.integers(3))]
    horizon = float(rng.uniform(0.18, 0.42))
    plate = _pavement(rng, x, y, horizon, ground, paving)
    plate = np.where((y < horizon)[..., None], _wall(rng, x, y, wall), plate)
    _add_openings(rng, plate, horizon)
    for _ in range(int(rng.integers(1, 4)) + (2 if domain == "campus" else 0)):
        plate = _add_bush(rng, plate, x, y, horizon)
    for _ in range(int(rng.integers(0, 3))):
        plate = _add_vehicle(rng, plate, x, y, horizon)
    for _ in range(int(rng.integers(0, 3))):
        _add_trunk(rng, plate, horizon)
    if rng.random() < 0.6:
        angle = rng.uniform(0, math.pi)
        edge = (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle) - rng.uniform(-0.2, 0.2)
        plate = plate * (1 - 0.28 * np.clip(edge * 8 + 0.5, 0, 1))[..., None]  # the shadow of a building
    return np.ascontiguousarray(np.clip(plate, 0.02, 1).astype(np.float32).transpose(2, 0, 1))


def crop_plate(rng: np.random.Generator, plate: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A random view of the plate at `size` (height, width): nearest pixels, the sensor's blur hides it."""
    height, width = size
    plate_height, plate_width = PLATE_SIZE
    crop_height = int(plate_height * rng.uniform(0.55, 1.0))
    crop_width = min(plate_width, max(8, crop_height * width // height))
    rows = rng.integers(0, plate_height - crop_height + 1) + np.arange(height) * crop_height // height
    columns = rng.integers(0, plate_width - crop_width + 1) + np.arange(width) * crop_width // width
    return plate.take(rows, axis=1).take(columns, axis=2)


def draw_occluder(canvas: Canvas, kind: str, rng: np.random.Generator, part: int) -> None:
    """Something of the camera's `kind` (`OCCLUDERS`) in front of the person."""
    height, width = canvas.height, canvas.width
    colour = rgb(OBSTACLES[int(rng.integers(len(OBSTACLES)))])
    place, extent, tone = (float(v) for v in rng.random(3))
    if kind == "post":
        x, radius = width * (0.15 + 0.7 * place), width * (0.04 + 0.06 * extent)
        canvas.limb((x, -20), (x, height + 20), radius, radius, colour, part)
    elif kind == "bush":
        bush_height = height * (0.30 - 0.2 * place)
        for clump in range(9):
            centre = (width * (clump * 0.125 - 0.05 + 0.1 * extent), height * 1.02 - bush_height * 0.35 * (clump % 3))
            green = rgb(LEAF, 0.7 + 0.4 * tone + 0.12 * (clump % 2))
            canvas.ball(centre, width * 0.14, bush_height * 0.6, green, part)
    elif kind == "rail":
        top, radius = height * (0.52 + 0.25 * place), height * 0.012
        for bar in range(3):
            y = top + bar * height * 0.085
            canvas.limb((-5, y), (width + 5, y + 2 * extent), radius, radius, colour, part)
        canvas.limb((width * tone, top), (width * tone, height + 4), radius, radius, colour, part)
    else:
        roof = height * (0.66 + 0.2 * place)
        centre = (width * (0.1 + 0.8 * extent), height * 1.05)
        canvas.ball(centre, width * 0.75, height * 1.05 - roof, colour * 1.2, part)


def _clouds(rng: np.random.Generator, cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise around 0 over a plate, (384, 512, 1), `cells` blobs high."""
    height, width = PLATE_SIZE
    total = np.zeros(PLATE_SIZE, np.float32)
    for octave in range(octaves):
        rows = cells * 2**octave
        blobs = Image.fromarray(rng.random((rows, rows * width // height)).astype(np.float32))
        total += (np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC)) - 0.5) * 0.5**octave
    return total[..., None]


def _pavement(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, horizon: float, colour: np.ndarray, paving: str
) -> np.ndarray:
    nearness = np.clip((y - horizon) / (1 - horizon), 0, 1)
    depth = 1 / (0.25 + nearness)
    colour = np.clip(colour * (1 + rng.normal(0, 0.06)) + rng.normal(0, 0.012, 3), 0, 1).astype(np.float32)
    plate = np.broadcast_to(colour * (0.82 + 0.30 * nearness)[..., None], (*PLATE_SIZE, 3))
    sideways = (x - 0.5) * depth
    if paving == "slabs":
        joint = (np.abs((depth * 5) % 1 - 0.5) > 0.46) | (np.abs((sideways * 7) % 1 - 0.5) > 0.465)
        plate = plate * np.where(joint, 0.86, 1.0)[..., None]
    elif paving == "checks":
        plate = plate * (1 - 0.07 * ((np.floor(depth * 6) + np.floor(sideways * 8)) % 2))[..., None]
    else:
        stripe = (np.abs((sideways * 1.4 + 0.2) % 1 - 0.5) > 0.45) & (nearness > 0.05)
        plate = np.where(stripe[..., None], plate * 0.4 + 0.5, plate)
    return plate + _clouds(rng, 6) * 0.10


def _wall(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, colour: np.ndarray) -> np.ndarray:
    wall = colour * (1 + 0.15 * _clouds(rng, 8))
    if rng.random() < 0.5:
        course = np.floor(y * 60)
        joint = (np.abs((y * 60) % 1) < 0.14) | (np.abs((x * 40 + 0.5 * (course % 2)) % 1) < 0.06)
        wall = wall * np.where(joint, 0.88, 1.0)[..., None]
    return wall


def _add_openings(rng: np.random.Generator, plate: np.ndarray, horizon: float) -> None:
    """Windows, doors and posters."""
    height, width = PLATE_SIZE
    for _ in range(int(rng.integers(2, 6))):
        left = int(rng.uniform(0, 0.9) * width)
        right = left + int(rng.uniform(0.05, 0.16) * width)
        bottom = int(horizon * height * rng.uniform(0.6, 1.0))
        top = int(bottom * rng.uniform(0.1, 0.5))
        colour = np.array(OPENINGS[int(rng.integers(len(OPENINGS)))])
        fade = np.linspace(-1, 1, max(1, bottom - top))[:, None, None]
        plate[top:bottom, left:right] = colour * (1 + 0.2 * fade)
        plate[top:bottom, left : left + 2] *= 0.6
        plate[top : top + 2, left:right] *= 0.6


def _add_bush(rng: np.random.Generator, plate: np.ndarray, x: np.ndarray, y: np.ndarray, horizon: float) -> np.ndarray:
    centre_x, centre_y = rng.uniform(0, 1), horizon + rng.uniform(-0.12, 0.08)
    rx, ry = rng.uniform(0.04, 0.14), rng.uniform(0.06, 0.18)
    radius = np.sqrt(((x - centre_x) / rx) ** 2 + ((y - centre_y) / ry) ** 2)[..., None]
    mask = np.clip((1.1 - radius + 1.1 * _clouds(rng, 20, 2)) * 4, 0, 1)
    leaves = np.array(LEAF) * rng.uniform(0.7, 1.4) * (1 + 0.9 * _clouds(rng, 40, 2))
    return plate * (1 - mask) + leaves * mask


def _add_vehicle(
    rng: np.random.Generator, plate: np.ndarray, x: np.ndarray, y: np.ndarray, horizon: float
) -> np.ndarray:
    """A parked car or a bin."""
    left, width = rng.uniform(-0.05, 0.9), rng.uniform(0.12, 0.26)
    bottom, height = horizon + rng.uniform(0.02, 0.16), rng.uniform(0.08, 0.13)
    colour = np.array(COLOURS[CLOTHES[int(rng.integers(14))]])
    u, v = (x - left - width / 2) / (width / 2), (y - bottom + height / 2) / (height / 2)
    mask = np.clip((1 - np.maximum(np.abs(u), np.abs(v)) ** 6) * 6, 0, 1)[..., None]
    shade = (1.2 - 0.6 * (y - bottom + height) / height)[..., None]
    return plate * (1 - mask) + colour * shade * mask


def _add_trunk(rng: np.random.Generator, plate: np.ndarray, horizon: float) -> None:
    """A lamp post or a tree trunk, round across."""
    height, width = PLATE_SIZE
    left, thickness = int(rng.uniform(0, 0.97) * width), int(rng.uniform(0.008, 0.03) * width) + 1
    bottom = int((horizon + rng.uniform(0, 0.25)) * height)
    tone = np.linspace(0.7, 1.2, min(thickness, width - left))[None, :, None]
    plate[:bottom, left : left + thickness] = np.array([0.25, 0.24, 0.23]) * tone
