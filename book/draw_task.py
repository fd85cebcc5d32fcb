"""The figures of the page on the task and its protocols; their numbers come from `reidlib.evaluation`."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reidlib.data.synthetic import PRESETS, World
from reidlib.evaluation import rank

# Okabe and Ito's colours; every use is also told by a mark or a word.
MATCH, WRONG, IGNORED, INK = "#0072b2", "#d55e00", "#8a8a8a", "#222222"
STYLE = {"svg.hashsalt": "task", "svg.fonttype": "path", "font.size": 10, "text.color": INK, "axes.edgecolor": INK,
         "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
         "axes.spines.right": False}  # fmt: skip

# The worked example: the gallery in order of distance; the query is person 1 at camera 1.
PEOPLE = np.array([1, 1, 2, 1, 3, -1, 4, 1, 5, 6])
CAMERAS = np.array([2, 1, 2, 3, 2, 2, 4, 2, 3, 3])

SUBJECT, ALIKE, STRANGER = 1, 2, 20  # people 1 and 2 share a look-alike group


def worked_example(protocol: str) -> tuple[float, float]:
    """(AP, INP) of the worked example's one query under a protocol."""
    distance = np.arange(len(PEOPLE), dtype=np.float32)[None]
    found = rank(distance, np.array([1]), PEOPLE, np.array([1]), CAMERAS, protocol=protocol)
    return float(found.mean_ap), float(found.mean_inp)


def blank(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with frameless axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for axis in axes:
        axis.axis("off")
    return figure, axes


def cast() -> Figure:
    """One query and five kinds of gallery images, as pictures."""
    world = World("plaza", 0, PRESETS["default"])

    def picture(person: int, camera: int, index: int = 0, partial: bool = False) -> np.ndarray:
        return world.render(person, camera, index, size=(256, 128), partial=partial).pixels

    shown = [
        (picture(SUBJECT, 1), "query", "camera 1", INK),
        (picture(SUBJECT, 2), "match", "same person,\ncamera 2", MATCH),
        (picture(SUBJECT, 1, 3), "ignored", "same person,\ncamera 1", IGNORED),
        (picture(ALIKE, 2), "wrong", "dressed alike", WRONG),
        (picture(STRANGER, 4), "wrong", "distractor", WRONG),
        (picture(SUBJECT, 3, partial=True), "ignored", "junk", IGNORED),
    ]
    figure, axes = blank(7.6, 3.1, len(shown))
    for axis, (pixels, verdict, detail, colour) in zip(axes, shown, strict=True):
        height, width = pixels.shape[:2]
        axis.imshow(pixels, aspect="equal")
        axis.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=colour, linewidth=4))
        if verdict == "ignored":
            axis.plot([0, width - 1], [0, height - 1], color=colour, linewidth=3)
        axis.set_title(verdict, color=colour, fontweight="bold", fontsize=11)
        axis.text(width / 2, height + 10, detail, ha="center", va="top", fontsize=8.5)
    return figure


def ranking() -> Figure:
    """The worked example as a row of boxes with ranks and precisions."""
    figure, (axis,) = blank(7.6, 1.8)
    position = matches = 0
    for place, (person, camera) in enumerate(zip(PEOPLE, CAMERAS, strict=True)):
        ignored = person == -1 or (person == 1 and camera == 1)
        match = person == 1 and not ignored
        colour = IGNORED if ignored else MATCH if match else WRONG
        axis.add_patch(Rectangle((place + 0.08, 0), 0.84, 1, facecolor=colour, alpha=0.18 if ignored else 0.9))
        name = "junk" if person == -1 else f"person {person}"
        ink = INK if ignored else "white"
        axis.text(place + 0.5, 0.5, f"{name}\ncamera {camera}", ha="center", va="center", fontsize=8.5, color=ink)
        if ignored:
            axis.plot([place + 0.08, place + 0.92], [0, 1], color=IGNORED, linewidth=1.5)
            axis.text(place + 0.5, 1.12, "ignored", ha="center", fontsize=8.5, color=IGNORED)
            continue
        position, matches = position + 1, matches + match
        axis.text(place + 0.5, 1.12, f"rank {position}", ha="center", fontweight="bold" if match else None)
        if match:
            axis.text(place + 0.5, -0.12, f"precision\n{matches} / {position}", ha="center", va="top", color=MATCH)
    axis.set(xlim=(0, len(PEOPLE)), ylim=(-0.75, 1.4))
    return figure


def cmc() -> Figure:
    """The CMC curve of four queries with first matches at ranks 1, 1, 2 and 5."""
    gallery = 8
    distance = np.tile(np.arange(gallery, dtype=np.float32), (4, 1))
    for query, first in enumerate([1, 1, 2, 5]):
        distance[query, [query, first - 1]] = distance[query, [first - 1, query]]  # person `query` moves there
    people = np.arange(1, gallery + 1)
    found = rank(distance, people[:4], people, np.ones(4, int), np.full(gallery, 2), protocol="market1501")
    figure = Figure(figsize=(5, 2.7), layout="constrained")
    axis = figure.add_subplot()
    ranks = np.arange(1, gallery + 1)
    axis.step(ranks, found.cmc[:gallery], where="post", color=MATCH, linewidth=2)
    axis.plot(ranks, found.cmc[:gallery], "o", color=MATCH)
    axis.set(xlabel="rank k", ylabel="CMC(k)", ylim=(0, 1.06), xticks=ranks)
    return figure


def precision() -> Figure:
    """Precision over recall of the worked example, filled by the step and the trapezoid rule."""
    figure = Figure(figsize=(7.6, 3), layout="constrained")
    at = np.array([1, 2 / 3, 1 / 2])  # precision at the matches, ranks 1, 3 and 6
    before = np.array([1, 1 / 2, 2 / 5])  # and just before them
    for column, (rule, protocol) in enumerate([("step", "market1501"), ("trapezoid", "market1501-trapezoid")]):
        axis = figure.add_subplot(1, 2, column + 1)
        area, _ = worked_example(protocol)
        for match in range(3):
            left, right = match / 3, (match + 1) / 3
            start = at[match] if rule == "step" else before[match]
            axis.fill([left, left, right, right], [0, start, at[match], 0], color=MATCH, alpha=0.25)
            axis.plot([left, right], [start, at[match]], color=MATCH, linewidth=2)
        axis.plot(np.arange(1, 4) / 3, at, "o", color=MATCH, label="at a match")
        if rule == "trapezoid":
            axis.plot(np.arange(3) / 3, before, "s", color=WRONG, clip_on=False, label="just before a match")
        axis.set(
            title=f"{rule}: area {area:.3f}",
            xlabel="recall",
            ylabel="precision",
            xlim=(0, 1.03),
            ylim=(0, 1.25),
            yticks=np.arange(6) / 5,
        )
        axis.legend(frameon=False, loc="upper right")
    return figure


def single_shot() -> Figure:
    """A multi-shot and a single-shot gallery of six people as boxes."""
    images = [3, 5, 4, 2, 5, 3]
    drawn, again = [1, 3, 0, 1, 2, 2], [0, 1, 3, 0, 4, 0]
    figure, axes = blank(7.6, 2.7, 2)
    for axis, title in zip(axes, ["multi-shot", "single-shot"], strict=True):
        for person, count in enumerate(images):
            for image in range(count):
                kept = title == "multi-shot" or image == drawn[person]
                following = title == "single-shot" and image == again[person]
                axis.add_patch(
                    Rectangle(
                        (person + 0.2, image + 0.1), 0.5, 0.8, facecolor=MATCH if kept else "#e6e6e6",
                        edgecolor=WRONG if following else "none", linestyle="--", linewidth=2,
                    )
                )  # fmt: skip
            axis.text(person + 0.45, -0.2, f"{person + 1}", ha="center", va="top")
        axis.text(3, -0.85, "person", ha="center", va="top")
        axis.set(xlim=(0, 6), ylim=(-1.4, 5.2))
        axis.set_title(title if title == "multi-shot" else "single-shot (dashed: the next draw)", fontsize=11)
    return figure


def draw(folder: Path) -> None:
    """Write every figure as SVG into `folder`, the same bytes every time."""
    with matplotlib.rc_context(STYLE):
        for figure in (cast, ranking, cmc, precision, single_shot):
            figure().savefig(folder / f"{figure.__name__}.svg", metadata={"Date": None})
