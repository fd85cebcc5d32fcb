"""Cameras: where they hang, how people walk past them, and what their sensor does to the colours."""

import math
import pickle
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from reidlib.data.synthetic.scene import OCCLUDERS, background_plate
from reidlib.data.synthetic.settings import CAMERAS, INSTALLATIONS, Knobs, Stream, generator

LUMA = np.array([0.30, 0.59, 0.11], np.float32)
GRAIN_SIDE = 1024  # pixels of the sensor noise tile
REFERENCE_HEIGHT = 128  # pixels for which blur is given


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera of a world; `number` counts from 1, as in file names."""

    number: int
    pitch: float  # radians it looks down
    distance_m: float
    walk_yaw: float  # radians, main walking direction; 0 is towards the camera
    walk_spread: float  # radians
    share_reverse: float  # of the people who walk the other way
    colour_matrix: np.ndarray  # (3, 3) white balance, colour mixing and saturation
    gamma: float
    black_level: float
    contrast: float
    light: np.ndarray  # (3,) unit vector, right, up, towards the camera
    ambient: float
    diffuse: float
    blur_px: float  # standard deviation at REFERENCE_HEIGHT
    noise: float  # standard deviation, share of full scale
    shrink: float  # resolution is lower by this factor
    jpeg_quality: int
    vignette: float
    occluder: str
    plate: np.ndarray = field(repr=False)


def sample_camera(seed: int, domain: str, number: int, knobs: Knobs, directions: int = CAMERAS) -> Camera:
    """Camera `number` of a world. Each domain is an installation of its own (`INSTALLATIONS`)."""
    rng = generator(seed, Stream.CAMERA, domain, number)
    site = generator(seed, Stream.SITE, domain)
    shift = knobs.shift * INSTALLATIONS[domain]
    colour = 0.45 * knobs.colour

    def clipped(spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(0, spread), low, high))

    brightness = clipped(0.15, -0.27, 0.20)
    temperature = clipped(0.12, -0.19, 0.19)
    tint = clipped(0.05, -0.08, 0.08)
    gains = np.exp(colour * (brightness + np.array([temperature, tint, -temperature])))
    gains *= np.exp(shift * np.array([-0.30, -0.20, -0.06]))
    mixing = np.eye(3) + np.clip(rng.normal(0, 0.03, (3, 3)) * colour, -0.05, 0.05)
    mixing /= mixing.sum(1, keepdims=True)
    saturation = float(np.clip(0.88 + rng.normal(0, 0.20) * colour - 0.16 * shift, 0.30, 1.3))
    saturating = saturation * np.eye(3) + (1 - saturation) * LUMA
    azimuth, elevation = rng.uniform(-1.2, 1.2), rng.uniform(0.5, 1.1)
    light = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
    return Camera(
        number=number,
        pitch=float(rng.uniform(0.10, 0.46)) + 0.16 * shift,
        distance_m=float(rng.uniform(5, 14)),
        # Spread directions, so that camera pairs see different sides of a person.
        walk_yaw=2 * math.pi * (number - 1) / directions * knobs.view + float(rng.normal(0, 0.35)),
        walk_spread=0.30 + 0.25 * knobs.view,
        share_reverse=float(rng.uniform(0.2, 0.5)),
        colour_matrix=(gains[:, None] * (mixing @ saturating)).astype(np.float32),
        gamma=math.exp(clipped(0.16, -0.28, 0.28) * colour - 0.06 * shift),
        black_level=float(max(0, 0.015 + rng.normal(0, 0.03) * colour)),
        contrast=math.exp(clipped(0.12, -0.2, 0.2) * colour - 0.08 * shift),
        light=np.array(light, np.float32),
        ambient=float(rng.uniform(0.50, 0.72)),
        diffuse=float(rng.uniform(0.38, 0.62)),
        blur_px=knobs.blur * float(rng.uniform(0.1, 1.0)),
        noise=knobs.noise * float(rng.uniform(0.4, 1.6)) * (1 + 0.4 * shift),
        shrink=1 + knobs.low_resolution * max(0.0, float(rng.normal(0.35, 0.4))) + 0.35 * shift,
        jpeg_quality=int(rng.integers(55, 92)),
        vignette=float(rng.uniform(0, 0.12)),
        occluder=OCCLUDERS[int(rng.choice(4, p=[0.34, 0.17, 0.32, 0.17]))],
        plate=_plate(pickle.dumps((rng, site)), domain),
    )


@lru_cache(maxsize=4 * CAMERAS)
def _plate(streams: bytes, domain: str) -> np.ndarray:
    """A camera's plate from its two random streams: the knobs leave these alone, so that many presets share one."""
    rng, site = pickle.loads(streams)
    plate = background_plate(rng, site, domain)
    plate.flags.writeable = False
    return plate


def sensor_grain(seed: int, domain: str) -> np.ndarray:
    """A tile of unit noise that all images of a world cut their noise from."""
    rng = generator(seed, Stream.GRAIN, domain)
    return rng.standard_normal((GRAIN_SIDE, GRAIN_SIDE, 3), dtype=np.float32)


def photograph(
    camera: Camera, rgb: np.ndarray, rng: np.random.Generator, exposure: float, knobs: Knobs, grain: np.ndarray
) -> Image.Image:
    """What the sensor makes of a scene `rgb` (3, H, W) in [0, 1] at `exposure` (a factor), before JPEG."""
    height, width = rgb.shape[1:]
    softness, sharpness, motion, speed = (float(v) for v in rng.random(4))
    top = int(rng.integers(0, GRAIN_SIDE - height))
    left = int(rng.integers(0, GRAIN_SIDE - width))

    pixels = (camera.colour_matrix * np.float32(exposure)) @ rgb.reshape(3, -1)
    pixels = np.power(np.maximum(pixels, 1e-4), camera.gamma)
    pixels = ((pixels - 0.45) * camera.contrast + (0.45 + camera.black_level)).reshape(3, height, width)
    pixels *= 1 - camera.vignette * np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    levels = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))

    shrink = camera.shrink * (1 + 0.35 * knobs.low_resolution * softness)
    if shrink > 1.08:
        low = (max(8, round(width / shrink)), max(16, round(height / shrink)))
        method = Image.Resampling.BOX if shrink > 1.6 else Image.Resampling.BILINEAR
        image = image.resize(low, method).resize((width, height), Image.Resampling.BILINEAR)
    scale = height / REFERENCE_HEIGHT
    blur = camera.blur_px * scale * (0.6 + 0.8 * sharpness)
    if blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if motion < 0.12 * knobs.blur:
        image = _motion_blur(image, 2 + int(2 * scale * speed))
    if camera.noise * 255 > 0.5:
        speckle = grain[top : top + height, left : left + width] * np.float32(camera.noise * 255)
        noisy = np.asarray(image, np.float32) + speckle
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return image


def _motion_blur(image: Image.Image, pixels: int) -> Image.Image:
    """The mean of `pixels` copies moved sideways, edges repeated."""
    source = np.pad(np.asarray(image, np.float32), ((0, 0), (pixels - 1, 0), (0, 0)), mode="edge")
    copies = np.stack([source[:, j : j + image.width] for j in range(pixels)])
    return Image.fromarray(copies.mean(0).astype(np.uint8))
