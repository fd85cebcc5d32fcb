"""What varies from image to image: where the box lies, how the person holds themselves, the light."""

import math
from dataclasses import dataclass, replace

import numpy as np

from reidlib.data.synthetic.camera import Camera
from reidlib.data.synthetic.figure import Placement, Pose
from reidlib.data.synthetic.settings import INSTALLATIONS, PASSERS_BY, Knobs, Stream, generator

WALK = 4  # consecutive images of a person under a camera that are one walk: direction and light are shared
CROWD = 800  # people who may walk by
BOXES = ("detected", "labeled", "partial")


@dataclass(frozen=True)
class PasserBy:
    """Another pedestrian, farther away."""

    person: int
    pose: Pose
    place: Placement


@dataclass(frozen=True)
class Shot:
    """One image before it is drawn."""

    place: Placement
    pose: Pose
    light: np.ndarray  # (3,) unit vector
    diffuse: float
    exposure: float
    passer_by: PasserBy | None
    occluded: bool


def plan_shot(
    seed: int,
    domain: str,
    knobs: Knobs,
    camera: Camera,
    person: int,
    index: int,
    size: tuple[int, int],
    box: str,
    rng: np.random.Generator,
) -> Shot:
    """Draw an image's circumstances; `rng` is the image's own generator."""
    walk = generator(seed, Stream.WALK, domain, person, camera.number, index // WALK)
    reverse = walk.random() < camera.share_reverse
    yaw = camera.walk_yaw + (math.pi if reverse else 0.0) + float(walk.normal(0, camera.walk_spread))
    sun = float(walk.normal(0, 0.10 * knobs.light))
    light = camera.light + np.array([walk.normal(0, 0.35 * knobs.light), 0, 0], np.float32)

    yaw += float(rng.normal(0, 0.16))
    exposure = math.exp(sun + 0.05 * knobs.light * float(rng.normal()))
    pose = _pose(rng, knobs)
    place = _place(rng, knobs, camera, size, box, knobs.shift * INSTALLATIONS[domain], yaw)
    return Shot(
        place=place,
        pose=pose,
        light=(light / np.linalg.norm(light)).astype(np.float32),
        diffuse=camera.diffuse * max(0.2, 1 + 1.5 * sun),
        exposure=exposure,
        passer_by=_passer_by(rng, knobs, place, pose, size),
        occluded=bool(rng.random() < knobs.occlusion),
    )


def _pose(rng: np.random.Generator, knobs: Knobs) -> Pose:
    standing = rng.random() < 0.14
    stride, arm_swing, lean, elbow, nod, turn = (float(v) for v in rng.normal(size=6))
    phone_side = "left" if rng.random() < 0.5 else "right"
    return Pose(
        phase=float(rng.uniform(0, 2 * math.pi)),
        stride=0.12 if standing else max(0.15, 1 + 0.25 * stride),
        arm_swing=max(0.1, 1 + 0.3 * arm_swing),
        lean=0.02 * lean,
        elbow=0.1 * abs(elbow),
        nod=0.006 * nod,
        head_turn=knobs.head_turn * turn,
        phone=phone_side if rng.random() < knobs.phone else "",
        has_bag=bool(rng.random() > knobs.bag_down),
    )


def _place(
    rng: np.random.Generator,
    knobs: Knobs,
    camera: Camera,
    size: tuple[int, int],
    box: str,
    shift: float,
    yaw: float,
) -> Placement:
    """The box around the person: drawn by hand ("labeled"), by a detector, or cutting the person badly."""
    height, width = size
    loose, scale, right, down = (float(v) for v in rng.normal(size=4))
    cut, amount, end = (float(v) for v in rng.random(3))
    tight = box == "labeled"
    offset_spread = (0.025 if tight else 0.060) * knobs.jitter
    scale_spread = (0.02 if tight else 0.085) * knobs.jitter
    fill = (0.86 - 0.06 * shift) * math.exp(0.6 * scale_spread * (scale - abs(loose)))
    if box == "partial":
        return _partial_place(rng, size, fill, yaw)
    centre_x = width * (0.5 + 1.1 * offset_spread * right)
    foot_y = height * (0.5 + 0.5 * fill * math.sqrt(math.cos(camera.pitch)) + 0.8 * offset_spread * down)
    if not tight and cut < 0.07 * knobs.jitter:  # the detector cut the feet or the head off
        foot_y += height * (0.10 + 0.10 * amount) * (1 if end < 0.7 else -1)
    return Placement(centre_x, foot_y, height * fill, yaw)


def _partial_place(rng: np.random.Generator, size: tuple[int, int], fill: float, yaw: float) -> Placement:
    """A box around part of a person, much too large for its person, or half beside them."""
    height, width = size
    kind, level, side = (float(v) for v in rng.random(3))
    sign = 1 if side < 0.5 else -1
    if kind < 0.15:  # too large: a small person off the centre
        height_px = height * fill * rng.uniform(0.45, 0.6)
        centre_x = width * (0.5 + sign * rng.uniform(0.15, 0.3))
        return Placement(centre_x, height * rng.uniform(0.7, 0.98), height_px, yaw)
    if kind < 0.4:  # beside: half of the person
        return Placement(width * (0.5 + sign * rng.uniform(0.38, 0.5)), height * 0.94, height * fill, yaw)
    # too small: the legs, the trunk, or head and shoulders
    height_px = height * fill * rng.uniform(1.4, 2.2)
    centre_x = width * (0.5 + sign * rng.uniform(0.0, 0.2))
    return Placement(centre_x, height * 0.5 + (0.25 + 0.5 * level) * height_px, height_px, yaw)


def _passer_by(
    rng: np.random.Generator, knobs: Knobs, place: Placement, pose: Pose, size: tuple[int, int]
) -> PasserBy | None:
    present, side, away = (float(v) for v in rng.random(3))
    person = PASSERS_BY + int(rng.integers(CROWD))
    distance = 0.62 + 0.25 * float(rng.random())
    yaw = place.yaw + (math.pi if rng.random() < 0.5 else 0.0) + float(rng.normal(0, 0.3))
    phase = float(rng.uniform(0, 2 * math.pi))
    if present >= knobs.passer_by:
        return None
    height, width = size
    return PasserBy(
        person=person,
        pose=replace(pose, phase=phase, phone="", has_bag=True),
        place=Placement(
            centre_x=place.centre_x + width * (0.42 if side < 0.5 else -0.42) * (0.8 + 0.4 * away),
            foot_y=place.foot_y - height * (0.10 * (1 - distance) + 0.03),
            height_px=place.height_px * distance,
            yaw=yaw,
        ),
    )
