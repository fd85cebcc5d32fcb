"""Drawings of networks: boxes on a grid, and arrows between them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from reidlib.figures.look import BLACK, BLUE, GREY, PALE, VERMILLION, one_panel

KINDS = {  # fill, edge, dashes of the edge, what it means
    "data": ("white", GREY, "-", "a picture"),
    "one": ("#DCEBF5", BLUE, "-", "sees one picture; weights are shared"),
    "two": ("#FBE3D3", VERMILLION, "-", "sees two pictures"),
    "training": (PALE, BLACK, "--", "in training only"),
}
HALF_WIDTH, HALF_HEIGHT = 0.43, 0.36  # of a box, in columns and rows


class Box(NamedTuple):
    """One box: its title, its middle in (columns, rows) from the top left, its kind, and a line below the title."""

    title: str
    at: tuple[float, float]
    kind: str = "one"
    note: str = ""


def schematic(boxes: Mapping[str, Box], arrows: Iterable[tuple[str, str]]) -> Figure:
    """A network as boxes on a grid; a legend says what each kind of box is.

    boxes: by the names that arrows call them. arrows: (from, to). ValueError: an unknown kind, or an arrow without a
    box at one of its ends.
    """
    if unknown := {box.kind for box in boxes.values()} - set(KINDS):
        raise ValueError(f"kinds of boxes {sorted(unknown)} are unknown; choose from {', '.join(KINDS)}")
    arrows = list(arrows)
    if missing := {end for arrow in arrows for end in arrow} - set(boxes):
        raise ValueError(f"arrows end at {sorted(missing)}, where no box is")
    columns, rows = (max(box.at[side] for box in boxes.values()) for side in (0, 1))
    figure, axes = one_panel(0.62 * (rows + 1) + 0.35)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(rows + 0.5, -0.5))
    axes.set_axis_off()
    letters = min(7.5, 52 / (columns + 1))  # points, so that a title fits its box
    for start, end in arrows:
        _arrow(axes, boxes[start].at, boxes[end].at)
    for box in boxes.values():
        fill, edge, dashes, _ = KINDS[box.kind]
        (x, y), size = box.at, (2 * HALF_WIDTH, 2 * HALF_HEIGHT)
        axes.add_patch(Rectangle((x - HALF_WIDTH, y - HALF_HEIGHT), *size, fc=fill, ec=edge, ls=dashes, lw=1.1))
        axes.text(x, y - 0.13 * bool(box.note), box.title, ha="center", va="center", fontsize=letters)
        axes.text(x, y + 0.17, box.note, ha="center", va="center", fontsize=0.87 * letters, color="#444444")
    used = [KINDS[kind] for kind in KINDS if any(box.kind == kind for box in boxes.values())]
    handles = [Patch(fc=fill, ec=edge, ls=dashes, label=label) for fill, edge, dashes, label in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7.5)
    return figure


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From side to side, or straight up or down within a column."""
    (x, y), (to_x, to_y) = start, end
    if abs(to_x - x) < HALF_WIDTH:
        down = 1 if to_y > y else -1
        ends = (x, y + down * HALF_HEIGHT), (to_x, to_y - down * HALF_HEIGHT)
    else:
        right = 1 if to_x > x else -1
        ends = (x + right * HALF_WIDTH, y), (to_x - right * HALF_WIDTH, to_y)
    style = {"arrowstyle": "-|>", "color": GREY, "lw": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", ends[1], ends[0], arrowprops=style)
