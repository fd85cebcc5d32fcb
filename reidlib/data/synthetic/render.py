"""A synthetic world: its people, its cameras, and any image of any of them."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from reidlib.data.synthetic.camera import GRAIN_SIDE, Camera, photograph, sample_camera, sensor_grain
from reidlib.data.synthetic.canvas import Canvas, Point
from reidlib.data.synthetic.figure import OCCLUDER, OTHER_PERSON
from reidlib.data.synthetic.identity import Identity, sample_group
from reidlib.data.synthetic.person import draw_person
from reidlib.data.synthetic.scene import crop_plate, draw_occluder
from reidlib.data.synthetic.settings import DOMAINS, GROUP, Knobs, Rig, Stream, generator
from reidlib.data.synthetic.shot import BOXES, plan_shot
from reidlib.names import choose

KEPT_GROUPS = 1024  # look-alike groups that a world remembers, 30 MB: all of a data set of a published size


@dataclass(frozen=True, eq=False)
class Rendering:
    """One image and what is known about it."""

    pixels: np.ndarray  # (H, W, 3) uint8, as read back from JPEG
    parts: np.ndarray  # (H, W) uint8, indices into PARTS
    keypoints: dict[str, Point]  # (x, y) in pixels, hidden ones too; empty if the person is erased
    yaw: float  # radians in [0, 2 pi); 0 faces the camera, pi/2 walks to the right


class World:
    """People and cameras of one domain, fixed by `seed`; what `knobs` and `rig` change are images, never which people.

    A camera is the same in worlds that have more of them.
    """

    def __init__(self, domain: str, seed: int, knobs: Knobs | None = None, rig: Rig | None = None) -> None:
        choose("domain", domain, DOMAINS)
        self.domain, self.seed, self.knobs, self.rig = domain, seed, knobs or Knobs(), rig or Rig()
        self._groups: dict[int, dict[int, Identity]] = {}
        self._cameras: dict[int, Camera] = {}
        self._grain: np.ndarray | None = None

    def group(self, person: int) -> int:
        """The look-alike group of a person: `GROUP` consecutive numbers."""
        return person // GROUP

    def identity(self, person: int) -> Identity:
        """Who a person is; ValueError for numbers below 1 (distractors and junk are drawn from other people)."""
        if person < 1:
            raise ValueError(f"person {person} is nobody: people of a synthetic world are numbered from 1")
        group = self.group(person)
        members = self._groups.pop(group, None)
        if members is None:
            members = sample_group(self.seed, self.domain, group, self.knobs.lookalike)
            if len(self._groups) >= KEPT_GROUPS:
                del self._groups[next(iter(self._groups))]  # the one not asked for the longest
        self._groups[group] = members
        return members[person]

    def camera(self, number: int) -> Camera:
        if not 1 <= number <= self.rig.cameras:
            raise ValueError(
                f"camera {number} does not exist: this synthetic world has cameras 1 to {self.rig.cameras}"
            )
        if number not in self._cameras:
            self._cameras[number] = sample_camera(self.seed, self.domain, number, self.knobs, self.rig.directions)
        return self._cameras[number]

    def render(
        self,
        person: int,
        camera: int,
        index: int,
        size: tuple[int, int] | None = None,
        *,
        labeled: bool = False,
        partial: bool = False,
        erase_person: bool = False,
    ) -> Rendering:
        """Image number `index` of a person under a camera (from 1).

        `size` is (height, width), by default the rig's, below 1,024 pixels. `labeled` boxes are tight as drawn by
        hand, `partial` ones cut the person badly; `erase_person` draws all the rest of the same image.
        """
        image, quality, rendering = self._draw(person, camera, index, size, _box(labeled, partial), erase_person)
        pixels = np.asarray(Image.open(io.BytesIO(_encode(image, quality))).convert("RGB"))
        return Rendering(pixels, rendering.parts, rendering.keypoints, rendering.yaw)

    def jpeg(
        self,
        person: int,
        camera: int,
        index: int,
        size: tuple[int, int] | None = None,
        *,
        labeled: bool = False,
        partial: bool = False,
        erase_person: bool = False,
    ) -> bytes:
        """The same image as a JPEG file, at the camera's quality."""
        image, quality, _ = self._draw(person, camera, index, size, _box(labeled, partial), erase_person)
        return _encode(image, quality)

    def _draw(
        self, person: int, camera_number: int, index: int, size: tuple[int, int] | None, box: str, erase_person: bool
    ) -> tuple[Image.Image, int, Rendering]:
        size = size or self.rig.image_size
        if not all(0 < side < GRAIN_SIDE for side in size):
            raise ValueError(
                f"no image of {size[0]} x {size[1]} pixels can be drawn: give 1 to {GRAIN_SIDE - 1} a side"
            )
        camera, who = self.camera(camera_number), self.identity(person)
        same_frame = self.rig.same_shots and box == "labeled"
        key = (person, camera_number, index, BOXES.index("detected" if same_frame else box))
        rng = generator(self.seed, Stream.IMAGE, self.domain, *key)
        shot = plan_shot(self.seed, self.domain, self.knobs, camera, person, index, size, box, rng)
        canvas = Canvas(crop_plate(rng, camera.plate, size), shot.light, camera.ambient, shot.diffuse)
        if shot.passer_by is not None:
            other = shot.passer_by
            draw_person(canvas, self.identity(other.person), other.pose, other.place, camera, as_part=OTHER_PERSON)
        keypoints = {} if erase_person else draw_person(canvas, who, shot.pose, shot.place, camera)
        if shot.occluded:
            draw_occluder(canvas, camera.occluder, generator(self.seed, Stream.OCCLUDER, self.domain, *key), OCCLUDER)
        if self._grain is None:
            self._grain = sensor_grain(self.seed, self.domain)
        image = photograph(camera, canvas.rgb, rng, shot.exposure, self.knobs, self._grain)
        nothing = np.empty((0, 0, 3), np.uint8)
        return image, camera.jpeg_quality, Rendering(nothing, canvas.parts, keypoints, shot.place.yaw % (2 * np.pi))


def _box(labeled: bool, partial: bool) -> str:
    if labeled and partial:
        raise ValueError("labeled and partial exclude each other: a box drawn by hand does not cut its person")
    return "labeled" if labeled else "partial" if partial else "detected"


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
