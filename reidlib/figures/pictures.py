"""Figures made of images: rank lists, layer responses, contact sheets, part maps, maps over images."""

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from scipy import ndimage

from reidlib.figures.look import BLACK, BLUE, GREY, VERMILLION, WIDTH, bare

PART_COLOURS = (
    "#262626",
    "#F7C8A8",
    "#7A4A2A",
    "#D5402B",
    "#F2A33A",
    "#F5E663",
    "#3B55C4",
    "#6CB8E8",
    "#A25BC2",
    "#2FA25A",
    "#8C8C8C",
    "#CFCFCF",
)
LETTERS = string.ascii_uppercase  # of the classes of a part map
ROOM = 0.042  # radius of the smallest region that holds a letter, of the image's width
BRIGHT = 128  # mean of a colour from which letters on it are black
RIGHT: tuple[str, Any, str] = (BLUE, "solid", "✓")
WRONG: tuple[str, Any, str] = (VERMILLION, (0, (2, 1.2)), "✗")
HIGHEST = 7.5  # inches
COVER = 0.65  # opacity of a map over its image
GAP = 6  # pixels between the images of a sheet
Place = Callable[[int, int], tuple[int, int]]  # (row, column) -> (left, top), pixels


def rank_lists(
    query_images: Any,
    gallery_images: Any,
    correct: Any,
    *,
    maps: Any = None,
    title: str = "",
) -> Figure:
    """One row a query: the query, then the gallery, nearest first; right and wrong told by border and mark.

    query_images: (Q, H, W, 3) uint8; gallery_images: (Q, K, H, W, 3); correct: (Q, K) bool. Images may be
    channels first. maps: (Q, 1 + K, h, w), non-negative, laid over the same images in a second line, those of a query
    on one scale. title: above all.
    """
    queries, gallery, flags = _images(query_images), _images(gallery_images), np.asarray(correct, bool)
    if gallery.ndim != 5 or gallery.shape[:2] != flags.shape or len(queries) != len(gallery):
        raise ValueError(
            f"query images {queries.shape}, gallery images {gallery.shape} and correct {flags.shape} do not belong"
            " together; give (Q, H, W, 3), (Q, K, H, W, 3) and (Q, K)"
        )
    height, width = queries.shape[1:3]
    gap = max(GAP, height // 12)
    sheet = np.concatenate([queries[:, None], gallery], axis=1)
    if maps is not None:
        sheet = np.stack([sheet, covered(sheet, maps)], axis=1).reshape(-1, *sheet.shape[1:])
    lines = len(sheet) // len(flags)
    margin = 0.65 if title else 0.4
    figure, axes, place = _sheet(sheet, gap=gap, aside=width // 3, margin=margin)
    if title:
        figure.suptitle(title, fontsize=9.5)
    for row in range(len(flags)):
        left, top = place(lines * row, 0)
        _border(axes, left, top, width, height, BLACK, "solid", 0.8, "query")
        for column in range(flags.shape[1]):
            right = flags[row, column]
            colour, line, mark = RIGHT if right else WRONG
            left, top = place(lines * row, column + 1)
            _border(axes, left, top, width, height, colour, line, 2.2, "right" if right else "wrong")
            badge = {"facecolor": "white", "edgecolor": colour, "boxstyle": "circle,pad=0.12"}
            axes.text(left + width, top, mark, color=colour, ha="center", va="center", fontsize=7, bbox=badge)
    for column in range(sheet.shape[1]):
        left, top = place(0, column)
        _text(axes, left + width / 2, top - gap, str(column or "query"), "center", "bottom")
    handles = [
        Patch(facecolor="none", edgecolor=colour, linestyle=line, linewidth=2, label=f"{mark} {meaning}")
        for (colour, line, mark), meaning in ((RIGHT, "same person"), (WRONG, "another person"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def responses(images: Sequence[Any], layers: Mapping[str, Sequence[Any]]) -> Figure:
    """What the layers of a pair network answer to an image pair (PersonNet Fig. 3).

    images: the two images, (H, W, 3) uint8. layers: name -> (map of a, map of b), with |a - b| drawn below, or
    (map of the pair,), drawn in the difference row alone. A map is (h, w), or (C, h, w) drawn as its mean
    magnitude over the channels. Colours run from 0 to the number below each map; a and b share a scale.
    """
    pair = _images(np.stack([np.asarray(image) for image in images]))
    height, width = pair.shape[1:3]
    columns = len(layers) + 1
    tall = 3 * (WIDTH - 0.4) / columns * height / width
    figure = Figure(figsize=(WIDTH, min(tall, 8.5) + 0.6), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    bare(grid)
    for axes, image in zip(grid[:, 0], pair, strict=False):
        axes.imshow(image, interpolation="bilinear")
    grid[0, 0].set_title("input", fontsize=8.5)
    for axes, label in zip(grid[:, 0], ("image a", "image b", "difference"), strict=True):
        axes.set_ylabel(label)
    for column, (name, maps) in enumerate(layers.items(), start=1):
        energies = [_energy(response, name) for response in maps]
        if len(maps) == 2 and np.shape(maps[0]) == np.shape(maps[1]):
            shared = max(float(energy.max()) for energy in energies)
            difference = _energy(np.subtract(maps[0], maps[1], dtype=float), name)
            drawn = [(0, energies[0], shared), (1, energies[1], shared), (2, difference, float(difference.max()))]
        elif len(maps) == 1:
            drawn = [(2, energies[0], float(energies[0].max()))]
        else:
            raise ValueError(f"layer {name!r}: give two maps of one shape or one map of the pair, not {len(maps)}")
        for row, energy, top in drawn:
            _map(grid[row, column], energy, top, (height, width))
            grid[row, column].set_xlabel(f"0 to {top:.2g}", fontsize=7, labelpad=2)
        grid[drawn[0][0], column].set_title(name, fontsize=8.5)
    return figure


def contact_sheet(
    images: Any,
    labels: Sequence[str] | None = None,
    *,
    columns: int = 8,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    widest: float = 0.85,
) -> Figure:
    """Images side by side, row after row: (N, H, W, 3) uint8, or channels first.

    labels: one under each image. row_labels, column_labels: one beside each row, above each column. widest: inches
    that an image is wide at most.
    """
    array = _images(images)
    if labels is not None and len(labels) != len(array):
        raise ValueError(f"{len(array)} images and {len(labels)} labels; give one label for each image")
    height, width = array.shape[1:3]
    columns = min(columns, len(array))
    blank = np.full((-len(array) % columns, *array.shape[1:]), 255, np.uint8)
    sheet = np.concatenate([array, blank]).reshape(-1, columns, *array.shape[1:])
    foot = 0 if labels is None else max(14, height // 7)
    figure, axes, place = _sheet(sheet, foot=foot, beside=_room(row_labels), widest=widest)
    for index, label in enumerate(labels or ()):
        left, top = place(*divmod(index, columns))
        _text(axes, left + width / 2, top + height + 2, label, "center", "top", 7.5)
    for row, label in enumerate(row_labels or ()):
        _text(axes, -GAP, place(row, 0)[1] + height / 2, label, "right", "center")
    for column, label in enumerate(column_labels or ()):
        _text(axes, place(0, column)[0] + width / 2, -GAP, label, "center", "bottom")
    return figure


def part_map(images: Any, parts: Any, names: Sequence[str]) -> Figure:
    """Images over their part maps: (N, H, W, 3) uint8 and (N, H, W) class numbers, or one of each.

    names: the classes, by number. Only classes that occur are in the legend. A region that is large enough carries its
    class's letter.
    """
    array, classes = _images(images), np.asarray(parts)
    array, classes = array.reshape(-1, *array.shape[-3:]), classes.reshape(-1, *classes.shape[-2:])
    if array.shape[:3] != classes.shape:
        raise ValueError(f"images {array.shape} and part maps {classes.shape} differ; give maps of the images' size")
    colours = (np.array([to_rgb(colour) for colour in PART_COLOURS]) * 255).round().astype(np.uint8)
    figure, axes, place = _sheet(np.stack([array, colours[classes]]), beside=1.4)
    for index, one in enumerate(classes):
        left, top = place(1, index)
        for part in np.unique(one):
            inside = np.pad(one == part, 1)
            regions, count = ndimage.label(inside)
            depth = ndimage.distance_transform_edt(inside)  # pixels to the region's edge
            for y, x in ndimage.maximum_position(depth, regions, range(1, count + 1)):
                if depth[y, x] >= ROOM * one.shape[1]:
                    colour = BLACK if colours[part].mean() >= BRIGHT else "white"
                    where = (left + x - 1, top + y - 1)
                    axes.text(*where, LETTERS[part], color=colour, ha="center", va="center", fontsize=5.5)
    handles = [
        Patch(facecolor=PART_COLOURS[part], edgecolor=GREY, label=f"{LETTERS[part]}: {names[part]}")
        for part in np.unique(classes)
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def _images(images: Any) -> np.ndarray:
    """uint8 with the channels last, of any number of leading dimensions; floats in [0, 1] are scaled."""
    array = np.asarray(images)
    if array.ndim >= 3 and array.shape[-1] != 3 and array.shape[-3] == 3:
        array = np.moveaxis(array, -3, -1)
    if array.ndim < 3 or array.shape[-1] != 3:
        raise ValueError(f"images have shape {array.shape}; give (..., height, width, 3) or channels first")
    if not array.size:
        raise ValueError("no image was given; give at least one")
    if array.dtype.kind == "f":
        array = (array.clip(0, 1) * 255).round()
    return array.astype(np.uint8)


def covered(images: Any, maps: Any) -> np.ndarray:
    """(Q, N, H, W, 3) uint8 with (Q, N, h, w) maps laid over them, the colours of a row ending at its largest value.

    Images may be channels first.
    """
    below, heats = _images(images), np.asarray(maps, float)
    if heats.ndim != 4 or heats.shape[:2] != below.shape[:2]:
        raise ValueError(f"maps {heats.shape} do not fit images {below.shape}; give one for each, the queries' first")
    height, width = below.shape[2:4]
    rows, columns = (
        np.arange(side) * cells // side for side, cells in zip((height, width), heats.shape[2:], strict=True)
    )
    top = heats.max(axis=(1, 2, 3), keepdims=True)
    share = (heats / np.where(top > 0, top, 1))[:, :, rows[:, None], columns]
    return ((1 - COVER) * below + COVER * 255 * colormaps["inferno"](share)[..., :3]).round().astype(np.uint8)


def _energy(response: Any, name: str) -> np.ndarray:
    """A (C, h, w) or (h, w) response as one (h, w) map of magnitudes."""
    magnitude = np.abs(np.asarray(response, float))
    if magnitude.ndim not in (2, 3):
        raise ValueError(f"layer {name!r}: a map has shape {magnitude.shape}; give (h, w) or (C, h, w)")
    return magnitude.mean(axis=0) if magnitude.ndim == 3 else magnitude


def _map(
    axes: Axes, heat: np.ndarray, top: float, size: Sequence[int], colours: str = "cividis", alpha: float = 1.0
) -> None:
    """A map at the (height, width) of its image, its colours ending at `top`."""
    extent = (0, size[1], size[0], 0)
    axes.imshow(heat, cmap=colours, vmin=0, vmax=top or 1, alpha=alpha, interpolation="nearest", extent=extent)


def _room(labels: Sequence[str] | None) -> float:
    """Inches that row labels take."""
    return 0.07 * max((len(line) for label in labels or () for line in label.split("\n")), default=0)


def _sheet(
    images: np.ndarray,
    *,
    gap: int = GAP,
    foot: int = 0,
    aside: int = 0,
    margin: float = 0.3,
    beside: float = 0.0,
    widest: float = 0.85,
) -> tuple[Figure, Axes, Place]:
    """(R, C, H, W, 3) images as one picture in one axes whose unit is a pixel, and where each image lies.

    gap: pixels between images. foot: pixels below each row for a label. aside: extra pixels after the first
    column. margin, beside: inches kept above and below, and on the sides, for labels and legend. widest: inches of an
    image.
    """
    rows, columns, height, width = images.shape[:4]

    def place(row: int, column: int) -> tuple[int, int]:
        return column * (width + gap) + (aside if column else 0), row * (height + gap + foot)

    right, bottom = place(rows - 1, columns - 1)
    wide, tall = right + width, bottom + height
    canvas = np.full((tall, wide, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            left, top = place(row, column)
            canvas[top : top + height, left : left + width] = images[row, column]
    # At most the text column wide, a screen high.
    inches = min(WIDTH - beside, wide / width * widest, HIGHEST * wide / tall)
    size = (inches + beside, inches * (tall + foot) / wide + margin)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="bilinear")
    axes.set(xlim=(-gap / 2, wide + gap / 2), ylim=(tall + foot + gap / 2, -gap / 2))
    axes.set_axis_off()
    return figure, axes, place


def _border(
    axes: Axes, left: int, top: int, width: int, height: int, colour: str, line: Any, points: float, name: str
) -> None:
    box = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=points, gid=name)
    box.set_linestyle(line)
    box.set_clip_on(False)
    axes.add_patch(box)


def _text(axes: Axes, x: float, y: float, text: str, ha: Any, va: Any, size: float = 8.5) -> None:
    axes.text(x, y, text, ha=ha, va=va, fontsize=size)
