"""The skeleton of a person in an image: pose, projection by the camera, and layers to paint.

Body coordinates are shares of the person's height: x to the person's left, y up, z ahead. At yaw 0 the person
faces the camera; at yaw pi/2 they walk to the image's right.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from reidlib.data.synthetic.camera import Camera
from reidlib.data.synthetic.canvas import Canvas, Point
from reidlib.data.synthetic.identity import Identity
from reidlib.data.synthetic.palette import rgb

PARTS = (
    "background", "face", "hair", "torso", "arm", "hand", "thigh", "shin", "shoe", "bag", "occluder", "other person",
)  # fmt: skip
(BACKGROUND, FACE, HAIR, TORSO, ARM, HAND, THIGH, SHIN, SHOE, BAG, OCCLUDER, OTHER_PERSON) = range(len(PARTS))
BODY_PARTS = tuple(range(FACE, OCCLUDER))
SIDES = {"left": 1, "right": -1}  # sign of x


@dataclass(frozen=True)
class Pose:
    """How a person holds themselves in one image; the first two are factors on the person's own gait."""

    phase: float = 0.0  # of the gait, radians
    stride: float = 1.0
    arm_swing: float = 1.0
    lean: float = 0.0
    elbow: float = 0.0  # extra bend, radians
    nod: float = 0.0
    head_turn: float = 0.0  # radians
    phone: str = ""  # the side of the hand at the ear, "left", "right" or none
    has_bag: bool = True


@dataclass(frozen=True)
class Placement:
    """Where a person stands in the image, in pixels, and which way they face (yaw in radians)."""

    centre_x: float
    foot_y: float
    height_px: float
    yaw: float


@dataclass(frozen=True)
class Leg:
    side: str
    knee: tuple[float, float]  # (y, z) below and ahead of the hip
    ankle: tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """A projected point: image position, depth (larger is nearer) and pixels per body height there."""

    at: Point
    depth: float
    scale: float


def between(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


class Figure:
    """One person's joints in one image; parts of the body add layers, which are painted from far to near."""

    def __init__(
        self, canvas: Canvas, who: Identity, pose: Pose, place: Placement, camera: Camera, as_part: int | None
    ) -> None:
        self.canvas, self.who, self.pose, self.place, self.as_part = canvas, who, pose, place, as_part
        self.cos_yaw, self.sin_yaw = math.cos(place.yaw), math.sin(place.yaw)
        self.pitch = camera.pitch
        self.cos_pitch, self.sin_pitch = math.cos(camera.pitch), math.sin(camera.pitch)
        self.distance = camera.distance_m / who.height_m
        self.skin = rgb(who.skin)
        self.layers: list[tuple[float, Callable[[], None]]] = []  # (depth, paint it)
        self.keypoints: dict[str, Point] = {}
        self.lean = who.lean + pose.lean
        self.step = who.stride * pose.stride
        self.legs = self._walk()
        self.pelvis = 0.02 + who.leg_length * 0.04 - min(leg.ankle[0] for leg in self.legs)
        self.neck = self.pelvis + 0.815 - who.leg_length
        self.shoulder_x = who.shoulder * (1 + 0.5 * (who.build - 1))

    def paint(self) -> None:
        for _, paint_layer in sorted(self.layers, key=lambda layer: layer[0]):
            paint_layer()

    def project(self, x: float, y: float, z: float) -> Seen:
        right = x * self.cos_yaw + z * self.sin_yaw
        toward = z * self.cos_yaw - x * self.sin_yaw
        up = (y - 0.5) * self.cos_pitch - toward * self.sin_pitch
        depth = toward * self.cos_pitch + (y - 0.5) * self.sin_pitch
        scale = self.place.height_px * self.distance / (self.distance - depth)
        at = (self.place.centre_x + right * scale, self.place.foot_y - (up + 0.5 * self.cos_pitch) * scale)
        return Seen(at, depth, scale)

    def leaning(self, y: float) -> float:
        return self.lean * (y - self.pelvis)

    def outline(self, half_width: float, half_depth: float, yaw: float | None = None) -> float:
        """Half of the silhouette's width of an elliptic section seen from this yaw."""
        cos, sin = (self.cos_yaw, self.sin_yaw) if yaw is None else (math.cos(yaw), math.sin(yaw))
        return math.hypot(half_width * cos, half_depth * sin)

    def part(self, part: int) -> int:
        return part if self.as_part is None else self.as_part

    def _walk(self) -> list[Leg]:
        thigh, shin = self.who.leg_length * 0.50, self.who.leg_length * 0.46
        legs = []
        for side, sign in SIDES.items():
            swing = self.step * sign * math.sin(self.pose.phase)
            lift = max(0.0, sign * math.cos(self.pose.phase))
            bend = 0.10 + 1.6 * self.step * lift**1.5
            knee = (-math.cos(swing) * thigh, math.sin(swing) * thigh)
            ankle = (knee[0] - math.cos(swing - bend) * shin, knee[1] + math.sin(swing - bend) * shin)
            legs.append(Leg(side, knee, ankle))
        return legs
