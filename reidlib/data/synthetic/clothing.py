"""How clothes look: paints over the surface coordinates of a garment."""

import math

import numpy as np

from reidlib.data.synthetic.canvas import Paint
from reidlib.data.synthetic.identity import Identity
from reidlib.data.synthetic.palette import rgb

TAU = 2 * math.pi


def dim(mask: np.ndarray, factor: float) -> np.ndarray:
    """`factor` where the mask is true and 1 elsewhere, float32."""
    return np.where(mask, np.float32(factor), np.float32(1))


def turn_from(angle: np.ndarray, centre: float) -> np.ndarray:
    """Unsigned distance of angles around the body from `centre`, radians in [0, pi]."""
    return np.abs(np.mod(angle - centre + math.pi, TAU) - math.pi)


def torso_paint(who: Identity) -> Paint:
    """The upper garment: its pattern, the open or zipped front, and folds."""
    base, accent = rgb(who.upper_colour), rgb(who.upper_accent)
    inner, phase = rgb(who.inner_colour), who.pattern_phase
    fold_depth = 0.045 + 0.25 * max(0.0, who.looseness - 1.0)

    def paint(angle: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(angle.shape, along.shape)
        printed = _pattern(who, angle, along)
        colour = np.broadcast_to(base, (3, *shape))
        if printed is not None:
            colour = base + np.broadcast_to(printed, shape).astype(np.float32) * (accent - base)
        front = turn_from(angle, 0)
        if who.open_front:
            opening = front < 0.20 + 0.22 * along
            lapel = opening ^ (front < 0.30 + 0.22 * along)
            colour = np.where(opening, inner, colour * dim(lapel, 0.82))
        elif who.zipped:
            colour = colour * dim(front < 0.07, 0.65)
        elif who.upper in ("polo", "shirt"):
            placket = (front < 0.10) & (along < (0.30 if who.upper == "polo" else 1.0))
            colour = colour * dim(placket, 0.82)
        if who.upper == "hoodie":  # the pouch
            pouch = (np.abs(along - 0.74) < 0.10) & (front < 0.75)
            colour = colour * dim(pouch, 0.87)
        folds = np.sin(along * 13 + 2.2 * across + phase) * np.cos(along * 5 - 3 * across + phase)
        hem = 0.85 + 0.15 * np.clip((1 - along) * 25, 0, 1)
        return colour * ((1 + fold_depth * folds) * hem)

    return paint


def _pattern(who: Identity, angle: np.ndarray, along: np.ndarray) -> np.ndarray | None:
    """Where the accent colour shows, 0 to 1; None for a plain trunk (a raglan's sleeves differ, not its trunk)."""
    pitch, phase, size = who.pattern_pitch, who.pattern_phase, who.pattern_size
    match who.pattern:
        case "hstripe":
            return np.sin(along * (TAU * 5.5 * pitch) + phase) > 0.15
        case "vstripe":
            return np.sin(angle * round(9 * pitch) + phase) > 0.2
        case "plaid":
            across = np.sin(angle * round(7 * pitch) + phase) > 0.2
            return 1 - 0.5 * (dim(np.sin(along * (TAU * 4 * pitch) + phase) > 0.2, 0) + dim(across, 0))
        case "dots":
            return np.cos(angle * round(8 * pitch)) * np.cos(along * (TAU * 4.5 * pitch) + phase) > 0.45
        case "logo":
            u, v = turn_from(angle, 0) / (0.55 * size), (along - 0.36) / (0.11 * size)
            return u * u + v * v < 1 if who.round_print else np.maximum(u, np.abs(v)) < 1
        case "backprint":
            u, v = turn_from(angle, math.pi) / (0.75 * size), (along - 0.34) / (0.16 * size)
            return np.maximum(u, np.abs(v)) < 1
        case "yoke":
            return along < 0.26 + 0.05 * size
        case "band":
            return np.abs(along - (0.30 + 0.05 * phase)) < 0.07 * size
        case "camo":
            blobs = np.sin(angle * 5 + 3 * np.sin(along * 9 + phase))
            return blobs + np.sin(along * 21 + 2 * np.sin(angle * 4 + phase)) > 0.3
    return None


def sleeve_paint(who: Identity) -> Paint:
    """The sleeves, in coordinates of a limb: their share of the trunk's pattern."""
    base = rgb(who.upper_accent if who.pattern == "raglan" else who.upper_colour)
    accent, phase, pitch = rgb(who.upper_accent), who.pattern_phase, 7.0 * who.pattern_pitch

    def paint(along: np.ndarray, across: np.ndarray) -> np.ndarray:
        if who.pattern in ("hstripe", "plaid"):
            printed = np.sin(along * pitch + phase) > 0.15
        elif who.pattern in ("camo", "dots", "vstripe"):
            printed = np.sin(across * 4 + along * 9 + phase) > 0.5
        elif who.pattern == "yoke":
            printed = along < 0.35
        else:
            printed = np.zeros_like(along, bool)
        creases = 1 + 0.025 * np.sin(along * 11 + 4 * across + phase)
        return np.where(printed, accent, base) * creases

    return paint


def trouser_paint(who: Identity, start: float, share: float, seam: float) -> Paint:
    """A trouser leg from `start` over `share` of its length; `seam` is where across the outer seam shows."""
    base, accent, pattern = rgb(who.lower_colour), rgb(who.lower_accent), who.lower_pattern

    def paint(along: np.ndarray, across: np.ndarray) -> np.ndarray:
        down = start + share * along
        colour = np.broadcast_to(base, (3, *np.broadcast_shapes(along.shape, across.shape)))
        if pattern == "side":
            colour = np.where((np.abs(across - seam) < 0.28), accent, colour)
        elif pattern == "fade":
            worn = 0.30 * np.exp(-(((down - 0.45) / 0.3) ** 2) - (across / 0.6) ** 2)
            colour = colour + worn * (0.9 - colour)
        elif pattern == "check":
            check = (np.sin(down * 26) > 0.3) ^ (np.sin(across * 6) > 0.3)
            colour = colour * dim(check, 0.72)
        creases = 1 + 0.06 * np.sin(down * 31 + 2 * across) * np.exp(-(((down - 0.5) / 0.16) ** 2))
        return colour * creases

    return paint


def skirt_paint(who: Identity) -> Paint:
    base, accent = rgb(who.lower_colour), rgb(who.lower_accent)

    def paint(angle: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        if who.lower_pattern == "check":
            return np.where(((np.sin(along * 22) > 0.2) ^ (np.sin(angle * 7) > 0.2)), accent, base)
        return base * dim(np.sin(angle * 9 + 0 * along) > 0.55, 0.86)

    return paint


def head_paint(who: Identity, yaw: float, pitch: float) -> Paint:
    """Face, hair line and close-fitting hats of a head that looks along `yaw` under a camera at `pitch`."""
    skin, hair = rgb(who.skin), rgb(who.hair_colour)
    cover = rgb(who.hat_colour if who.hat == "hijab" else who.upper_colour)
    hat = rgb(who.hat_colour)
    lip = rgb(who.skin, 0.70) * rgb((1.05, 0.8, 0.8))
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    short = who.hair in ("short", "crop")
    hair_line = {"short": 0.36, "crop": 0.44, "afro": 0.25}.get(who.hair, 0.34)

    def paint(nx: np.ndarray, ny: np.ndarray, nz: np.ndarray) -> np.ndarray:
        # From the image's normal to the head's own directions: up, ahead, and to its left.
        up = ny * cos_pitch + nz * sin_pitch
        toward = nz * cos_pitch - ny * sin_pitch
        left = nx * cos_yaw - toward * sin_yaw
        ahead = nx * sin_yaw + toward * cos_yaw
        if who.hair == "bald":
            hairy = (ahead < -0.1) & (up < 0.15) & (up > -0.4)
        else:
            behind = (ahead < (0.05 if short else 0.22)) & (up > (-0.2 if who.hair == "crop" else -0.45))
            hairy = (up > hair_line - 0.10 * np.abs(left)) | behind
        ear = (np.abs(ahead) < 0.16) & (np.abs(up - 0.02) < 0.2)
        strands = hair * (1 + 0.10 * np.sin(left * 22))
        colour = np.where(hairy, strands, skin * dim(ear, 0.88))
        facing = (ahead > 0.3) & ~hairy
        eye = facing & (np.abs(up - 0.04) < 0.075) & (np.abs(np.abs(left) - 0.36) < 0.12)
        brow = facing & (np.abs(up - 0.25) < 0.035) & (np.abs(np.abs(left) - 0.36) < 0.16)
        nose = facing & (np.abs(up + 0.17) < 0.10) & (np.abs(left) < 0.12)
        mouth = facing & (np.abs(up + 0.50) < 0.06) & (np.abs(left) < 0.22)
        colour = np.where((eye | brow), colour * 0.40 + hair * 0.15, colour)
        colour = np.where(nose, colour * 0.86, colour)
        colour = np.where(mouth, lip, colour)
        if who.beard:
            colour = np.where(((up < -0.30) & (ahead > 0.1) & ~mouth), hair * 1.1, colour)
        if who.hat == "cap":
            colour = np.where((up > 0.22), hat, colour)
        elif who.hat == "beanie":
            ribbing = dim(up < 0.30, 0.85) * (1 + 0.06 * np.sin(left * 30))
            colour = np.where((up > 0.14), hat * ribbing, colour)
        elif who.hat in ("hijab", "hood"):
            face = (ahead > 0.35) & (np.abs(left) < 0.62) & (up < 0.45) & (up > -0.75)
            colour = np.where(face, colour, cover)
        return colour

    return paint


def backpack_paint(who: Identity) -> Paint:
    base, accent = rgb(who.bag_colour), rgb(who.bag_accent)

    def paint(angle: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        pocket = (np.abs(along - 0.68) < 0.17) & (np.abs(across) < 0.62)
        seam = np.abs(along - 0.30) < 0.03
        colour = np.where((seam & (across < 2)), base * 0.6, base)
        return np.where(pocket, base * 0.55 + accent * 0.45, colour)

    return paint


def side_bag_paint(who: Identity) -> Paint:
    base, accent = rgb(who.bag_colour), rgb(who.bag_accent)

    def paint(angle: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        if who.bag == "tote":
            return np.where((np.abs(along - 0.5) + np.abs(across) < 0.5), accent, base)
        return np.where(((along < 0.40) & (across < 2)), base * 0.86, base)

    return paint
