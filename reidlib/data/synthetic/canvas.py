"""A software rasteriser of shaded 2.5-D primitives: NumPy only.

Every pixel of a primitive knows its coverage (anti-aliased signed distance), a normal and its coordinates on the
body's surface, so that shading, patterns and front and back follow from geometry and a part map is free.
Image coordinates are pixels, y down; normals have y up and z towards the viewer. A paint is a colour or a function
of surface coordinates that returns (3, H, W) colours; a constant colour is (3, 1, 1).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Point = tuple[float, float]
Paint = np.ndarray | Callable[..., np.ndarray]


def _clip(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.minimum(np.maximum(values, low), high)  # a third of np.clip's time on small arrays


class Canvas:
    """An image under construction: `rgb` (3, H, W) float32 in [0, 1] and `parts` (H, W) uint8."""

    def __init__(self, background: np.ndarray, light: np.ndarray, ambient: float, diffuse: float) -> None:
        """`background` is painted over; `light` is a unit vector (right, up, towards the viewer)."""
        self.rgb = background
        self.height, self.width = background.shape[1:]
        self.parts = np.zeros((self.height, self.width), np.uint8)
        self.light = tuple(float(component) for component in light)
        self.ambient, self.diffuse = float(ambient), float(diffuse)
        self._columns = np.arange(self.width, dtype=np.float32) + 0.5
        self._rows = np.arange(self.height, dtype=np.float32)[:, None] + 0.5

    def limb(self, start: Point, end: Point, r0: float, r1: float, paint: Paint, part: int, rim: float = 0.35) -> None:
        """A capsule from radius `r0` to `r1`; paint(along 0..1, across -1..1, left positive if it points down)."""
        reach = max(r0, r1)
        window = self._window(
            min(start[0], end[0]) - reach,
            min(start[1], end[1]) - reach,
            max(start[0], end[0]) + reach,
            max(start[1], end[1]) + reach,
        )
        if window is None:
            return
        dx, dy = end[0] - start[0], end[1] - start[1]
        length_sq = dx * dx + dy * dy + 1e-6
        length = math.sqrt(length_sq)
        x = self._columns[window[1]] - start[0]
        y = self._rows[window[0]] - start[1]
        along = _clip(x * (dx / length_sq) + y * (dy / length_sq), 0, 1)
        radius = r0 + along * (r1 - r0)
        off_x, off_y = x - along * dx, y - along * dy
        distance = np.sqrt(off_x * off_x + off_y * off_y) - radius
        across = _clip((y * (dx / length) - x * (dy / length)) / radius, -1, 1)
        colour = paint(along, across) if callable(paint) else paint
        tilt = across * 0.97
        self._blend(window, distance, tilt * (-dy / length), tilt * (-dx / length), colour, part, rim)

    def ball(self, centre: Point, rx: float, ry: float, paint: Paint, part: int, rim: float = 0.25) -> None:
        """An ellipsoid; paint(nx, ny, nz) of the surface normal."""
        window = self._window(centre[0] - rx, centre[1] - ry, centre[0] + rx, centre[1] + ry)
        if window is None:
            return
        u = (self._columns[window[1]] - centre[0]) / rx
        v = (centre[1] - self._rows[window[0]]) / ry
        radius = np.sqrt(u * u + v * v)
        shrink = 1 / np.maximum(1, radius)
        nx, ny = u * shrink, v * shrink
        colour = paint(nx, ny, np.sqrt(np.maximum(0, 1 - nx * nx - ny * ny))) if callable(paint) else paint
        self._blend(window, (radius - 1) * min(rx, ry), nx, ny, colour, part, rim)

    def lathe(
        self,
        start: Point,
        end: Point,
        stations: Sequence[float] | np.ndarray,
        half_widths: Sequence[float] | np.ndarray,
        paint: Paint,
        part: int,
        yaw: float = 0.0,
        rim: float = 0.30,
    ) -> None:
        """A body of revolution with `half_widths` (pixels) at `stations` (0..1 along the axis).

        paint(angle around the body in radians, 0 in front; along 0..1; across -1..1, right positive).
        """
        widest = float(max(half_widths))
        window = self._window(
            min(start[0], end[0]) - widest,
            min(start[1], end[1]) - 2,
            max(start[0], end[0]) + widest,
            max(start[1], end[1]) + 2,
        )
        if window is None:
            return
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.sqrt(dx * dx + dy * dy) + 1e-6
        ux, uy = dx / length, dy / length
        x = self._columns[window[1]] - start[0]
        y = self._rows[window[0]] - start[1]
        down = x * ux + y * uy
        sideways = x * uy - y * ux
        along = down / length
        upright = abs(ux) < 0.02
        half = np.interp(along[:, :1] if upright else along, stations, half_widths).astype(np.float32)
        distance = np.maximum(np.abs(sideways) - half, np.maximum(-down, down - length))
        across = _clip(sideways / np.maximum(half, 1e-3), -1, 1)
        if callable(paint):
            colour = paint(np.arcsin(across) - yaw, _clip(along, 0, 1), across)
        else:
            colour = paint
        self._blend(window, distance, across * 0.96, 0.08, colour, part, rim)

    def shadow(self, centre: Point, rx: float, ry: float, strength: float) -> None:
        """Darken a soft ellipse."""
        window = self._window(centre[0] - 2 * rx, centre[1] - 2 * ry, centre[0] + 2 * rx, centre[1] + 2 * ry)
        if window is None:
            return
        u = (self._columns[window[1]] - centre[0]) / rx
        v = (self._rows[window[0]] - centre[1]) / ry
        self.rgb[:, *window] *= 1 - strength * np.exp(-(u * u + v * v))

    def _window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice] | None:
        x0, y0 = max(0, int(left) - 1), max(0, int(top) - 1)
        x1, y1 = min(self.width, int(right) + 2), min(self.height, int(bottom) + 2)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def _blend(
        self,
        window: tuple[slice, slice],
        distance: np.ndarray,
        nx: np.ndarray,
        ny: np.ndarray | float,
        colour: np.ndarray,
        part: int,
        rim: float,
    ) -> None:
        """Shade `colour` by the normal and lay it over the window; `distance` is negative inside, pixels."""
        coverage = _clip(0.5 - distance, 0, 1)
        nz = np.sqrt(np.maximum(0, 1 - nx * nx - ny * ny))
        light = nx * self.light[0] + ny * self.light[1] + nz * self.light[2]
        shade = (self.ambient + self.diffuse * np.maximum(0, light)) * (1 - rim + rim * nz)
        target = self.rgb[:, *window]
        target += coverage * (colour * shade - target)
        np.copyto(self.parts[window], part, where=coverage > 0.5)
