"""Bags: backpacks, bags on a strap, bags in the hand."""

import numpy as np

from reidlib.data.synthetic.clothing import backpack_paint, side_bag_paint
from reidlib.data.synthetic.figure import BAG, SIDES, Figure
from reidlib.data.synthetic.palette import rgb


def add_bag(figure: Figure) -> None:
    """Add the layers of the bag a person carries, if they carry one."""
    if figure.who.bag == "backpack":
        _add_backpack(figure)
    elif figure.who.bag in ("shoulder_left", "shoulder_right", "crossbody", "tote"):
        _add_side_bag(figure)
    elif figure.who.bag in ("handbag", "shoppingbag"):
        _add_hand_bag(figure)


def _add_backpack(figure: Figure) -> None:
    who, canvas, part = figure.who, figure.canvas, figure.part(BAG)
    middle = figure.project(0, figure.neck - 0.135, figure.leaning(figure.neck) - 0.105)
    size = who.bag_size * middle.scale
    width = figure.outline(0.088, 0.060) * size
    top, bottom = (middle.at[0], middle.at[1] - 0.105 * size), (middle.at[0], middle.at[1] + 0.115 * size)

    def paint_pack() -> None:
        widths = [width * w for w in (0.55, 0.86, 1, 1, 0.80)]
        canvas.lathe(top, bottom, [0, 0.10, 0.3, 0.85, 1], widths, backpack_paint(who), part, yaw=figure.place.yaw)

    def paint_straps() -> None:
        for sign in SIDES.values():
            upper = figure.project(sign * figure.shoulder_x * 0.58, figure.neck - 0.005, 0.01)
            lower = figure.project(sign * figure.shoulder_x * 0.66, figure.neck - 0.20, 0.055 * who.build)
            radius = 0.0125 * upper.scale
            canvas.limb(upper.at, lower.at, radius, radius, rgb(who.bag_colour), part)

    figure.layers.append(
        (-0.10 * figure.cos_yaw * figure.cos_pitch + (0.05 if figure.cos_yaw < 0 else -0.05), paint_pack)
    )
    if figure.cos_yaw > 0.05:
        figure.layers.append((0.006, paint_straps))


def _add_side_bag(figure: Figure) -> None:
    who, canvas, part = figure.who, figure.canvas, figure.part(BAG)
    side = 1 if who.bag in ("shoulder_left", "crossbody") else -1
    crossing, tote = who.bag == "crossbody", who.bag == "tote"
    middle = figure.project(side * (who.hip + 0.05), figure.pelvis + (0.08 if tote else 0.03), -0.01)
    width = figure.outline(0.050, 0.075) * who.bag_size * middle.scale
    half_height = 0.052 * who.bag_size * (1.35 if tote else 1) * middle.scale
    strap = rgb(who.bag_colour, 0.8)

    def paint_bag() -> None:
        for z in (0.045, -0.045):
            if crossing and (z > 0) != (figure.cos_yaw > 0):
                continue
            top = figure.project((-side if crossing else side) * figure.shoulder_x * 0.62, figure.neck - 0.002, 0)
            chest_x = (-side * 0.1 if crossing else side * 0.9) * figure.shoulder_x
            chest = figure.project(chest_x, figure.neck - 0.16, z * 1.5)
            hip = figure.project(side * (who.hip + 0.03), figure.pelvis + 0.06, z)
            radius = 0.0085 * top.scale
            canvas.limb(top.at, chest.at, radius, radius, strap, part)
            canvas.limb(chest.at, hip.at, radius, radius, strap, part)
        x, y = middle.at
        widths = [width * w for w in (0.9, 1, 1, 0.85)]
        canvas.lathe((x, y - half_height), (x, y + half_height), [0, 0.15, 0.9, 1], widths, side_bag_paint(who), part)

    figure.layers.append((middle.depth + 0.03, paint_bag))


def _add_hand_bag(figure: Figure) -> None:
    who, canvas, part = figure.who, figure.canvas, figure.part(BAG)
    (x, y), scale = figure.keypoints["left_wrist"], figure.place.height_px
    small = who.bag == "handbag"
    half_height = (0.050 if small else 0.085) * who.bag_size * scale
    width = figure.outline(0.06, 0.045) * who.bag_size * scale
    colour = rgb(who.bag_colour) if small else rgb(who.bag_accent, 0.3) + np.float32(0.62)
    top = y + 0.055 * scale

    def paint_bag() -> None:
        for sign in SIDES.values():
            grip = (x + sign * 0.020 * scale, y + 0.012 * scale)
            radius = 0.006 * scale
            canvas.limb(grip, (x + sign * 0.028 * scale, top), radius, radius, colour * 0.7, part)
        canvas.lathe((x, top), (x, top + 2 * half_height), [0, 1], [width * 0.85, width], colour, part)

    figure.layers.append((figure.project(figure.shoulder_x, figure.pelvis, 0).depth + 0.05, paint_bag))
