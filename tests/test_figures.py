"""Figures say what their data say: read back from the artists, not looked at."""

import re
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers import texts
from matplotlib.patches import Rectangle
from PIL import Image

from reidlib import figures
from reidlib.data.splits import Benchmark, Split
from reidlib.figures.look import BLUE, VERMILLION
from reidlib.figures.pictures import PART_COLOURS
from reidlib.pages import Estimate


@dataclass
class Trial:
    cmc: np.ndarray


def drawn(axes):
    """The lines that hold data, legend entries aside."""
    return [line for line in axes.lines if len(line.get_xdata())]


def by_name(figure, kind):
    return [artist for artist in figure.findobj(kind) if artist.get_gid()]


@pytest.fixture
def trials():
    return [Trial(np.linspace(low, 1, 20)) for low in (0.1, 0.2, 0.6)]


def test_a_cmc_curve_is_the_mean_over_trials(trials):
    axes = figures.cmc_curves({"net": trials}).axes[0]
    (line,) = drawn(axes)
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 21))
    np.testing.assert_allclose(line.get_ydata(), np.mean([trial.cmc for trial in trials], axis=0))
    (band,) = axes.collections
    at_1 = [y for x, y in band.get_paths()[0].vertices if x == 1]
    spread = np.std([0.1, 0.2, 0.6], ddof=1)
    assert (min(at_1), max(at_1)) == pytest.approx((0.3 - spread, 0.3 + spread))


def test_curves_differ_in_colour_and_in_dashes(trials):
    first, second = drawn(figures.cmc_curves({"a": trials, "b": trials}).axes[0])
    assert first.get_color() != second.get_color()
    assert first._dash_pattern != second._dash_pattern


def test_printed_numbers_are_hollow_markers_in_their_curves_colour_and_called_other_data(trials):
    figure = figures.cmc_curves({"net": trials}, {"net": {1: 0.4, 5: 0.7}}, printed_on="Market-1501")
    line, printed = drawn(figure.axes[0])
    np.testing.assert_allclose(printed.get_xydata(), [[1, 0.4], [5, 0.7]])
    assert printed.get_linestyle() == "None"
    assert printed.get_markerfacecolor() == "white"
    assert printed.get_markeredgecolor() == line.get_color()
    assert any("as printed (on Market-1501)" in text.replace("\n", " ") for text in texts(figure))


def test_percent_is_refused_where_fractions_are_expected():
    with pytest.raises(ValueError, match="divide percent by 100"):
        figures.cmc_curves({}, {"net": {1: 37.2}})


def test_no_curve_is_an_error(trials):
    with pytest.raises(ValueError, match="give at least one curve"):
        figures.cmc_curves({})
    with pytest.raises(ValueError, match="no evaluation was given"):
        figures.cmc_curves({"net": []})


def test_no_two_of_many_curves_look_alike():
    one = pd.DataFrame({"step": [10, 20], "accuracy": [0.4, 0.6]})
    lines = drawn(figures.convergence({f"net {number}": [one] for number in range(12)}).axes[0])
    looks = {(line.get_color(), str(line._dash_pattern)) for line in lines}
    assert len(lines) == len(looks) == 12


def test_convergence_is_the_mean_over_trials_and_says_how_many():
    rng = np.random.default_rng(0)
    histories = {
        name: [pd.DataFrame({"step": [10, 20, 30], "accuracy": rng.random(3)}) for _ in range(trials)]
        for name, trials in (("SGD", 3), ("RMSProp", 1))
    }
    figure = figures.convergence(histories, reference={"chance": 0.5})
    axes = figure.axes[0]
    sgd, rmsprop, chance = drawn(axes)
    np.testing.assert_allclose(sgd.get_ydata(), np.mean([h["accuracy"] for h in histories["SGD"]], axis=0))
    np.testing.assert_allclose(rmsprop.get_ydata(), histories["RMSProp"][0]["accuracy"])
    assert set(chance.get_ydata()) == {0.5}
    assert {"SGD (3 trials)", "RMSProp (1 trial)", "chance"} <= set(texts(figure))
    assert axes.get_xlabel() == "training step"


def test_a_history_without_the_column_names_those_there_are():
    with pytest.raises(ValueError, match=r"net: .*\['mAP'\]; choose from step, accuracy"):
        figures.convergence({"net": [pd.DataFrame({"step": [1], "accuracy": [0.5]})]}, y="mAP")


def test_dots_show_every_run_and_the_mean_of_its_group():
    frame = pd.DataFrame(
        [("easy", "cnn", 0.8), ("easy", "cnn", 0.9), ("easy", "histogram", 0.3), ("hard", "cnn", 0.4)],
        columns=["preset", "method", "rank1"],
    )
    axes = figures.dots(frame, "preset", "rank1", "method").axes[0]
    assert sorted(np.concatenate([line.get_ydata() for line in drawn(axes)])) == [0.3, 0.4, 0.8, 0.9]
    means = sorted(collection.get_segments()[0][0][1] for collection in axes.collections)
    assert means == pytest.approx([0.3, 0.4, 0.85])
    centre = axes.collections[0].get_segments()[0][:, 0].mean()
    assert centre == pytest.approx(np.mean([line.get_xdata() for line in drawn(axes)[:1]]))


def test_bars_stand_at_their_numbers_and_show_their_counts():
    figure = figures.bars(pd.Series({2: 5, 4: 1}), xlabel="differences", ylabel="people")
    axes = figure.axes[0]
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches] == [(2, 5), (4, 1)]
    assert {"5", "1", "differences", "people"} <= set(texts(figure))
    with pytest.raises(ValueError, match="nothing was counted; give at least one number"):
        figures.bars(pd.Series(dtype=int), xlabel="differences", ylabel="people")


def test_panels_of_bars_have_axes_of_their_own():
    counted = {"few": pd.Series({1: 3, 2: 1}), "many": pd.Series({1: 200, 15: 90}), "one": pd.Series({2: 632})}
    figure = figures.bar_panels(counted, xlabel="camera", ylabel="images", columns=2)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == list(counted)
    for axes, series in zip(shown, counted.values(), strict=True):
        bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
        assert bars == series.to_dict()
    assert shown[1].get_ylim()[1] > 200 > shown[0].get_ylim()[1]
    assert {"camera", "images"} <= set(texts(figure))
    for nothing in ({}, {"few": pd.Series(dtype=int)}):
        with pytest.raises(ValueError, match="give at least one panel"):
            figures.bar_panels(nothing, xlabel="camera", ylabel="images")


def test_borders_and_marks_of_a_rank_list_agree_with_its_correctness():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 5, 32, 16, 3), np.uint8)
    correct = np.array([[True, False, False, True], [False, False, True, False]])
    figure = figures.rank_lists(images[:, 0], images[:, 1:], correct)
    borders = [box for box in by_name(figure, Rectangle) if box.get_gid() in ("right", "wrong")]
    assert [box.get_gid() == "right" for box in borders] == correct.ravel().tolist()
    colours = {box.get_gid(): matplotlib.colors.to_hex(box.get_edgecolor()).upper() for box in borders}
    assert colours == {"right": BLUE, "wrong": VERMILLION}
    assert len({str(box.get_linestyle()) for box in borders}) == 2
    marks = [text for text in texts(figure) if text in "✓✗"]
    assert marks == ["✓" if right else "✗" for right in correct.ravel()]


def test_a_rank_list_shows_its_images_where_its_borders_are():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (2, 4, 20, 10, 3), np.uint8)
    figure = figures.rank_lists(images[:, 0], images[:, 1:], np.ones((2, 3), bool))
    canvas = figure.axes[0].images[0].get_array()
    boxes = by_name(figure, Rectangle)
    for box, image in zip(boxes, images.reshape(-1, 20, 10, 3), strict=True):
        left, top = round(box.get_x() + 0.5), round(box.get_y() + 0.5)
        np.testing.assert_array_equal(canvas[top : top + 20, left : left + 10], image)


def test_a_rank_list_whose_parts_do_not_fit_is_refused():
    images = np.zeros((2, 3, 8, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"correct \(2, 4\) do not belong together"):
        figures.rank_lists(images[:, 0], images, np.zeros((2, 4), bool))


def test_responses_share_a_scale_between_the_images_and_draw_the_difference():
    image = np.zeros((16, 8, 3), np.uint8)
    a, b = np.zeros((2, 4, 2)), np.zeros((2, 4, 2))
    a[:, 0, 0], b[:, 1, 1] = (3, 5), (-1, -1)
    figure = figures.responses((image, image), {"conv0": (a, b), "joint": (a,)})
    grid = np.array(figure.axes).reshape(3, 3)
    shown = [axes.images[0] for axes in grid[:, 1]]
    np.testing.assert_allclose(shown[0].get_array(), np.abs(a).mean(0))
    np.testing.assert_allclose(shown[2].get_array(), np.abs(a - b).mean(0))
    assert shown[0].get_clim() == shown[1].get_clim() == (0, 4)
    assert [len(axes.images) for axes in grid[:, 2]] == [0, 0, 1]
    assert grid[2, 2].get_title() == "joint"
    with pytest.raises(ValueError, match="two maps of one shape or one map"):
        figures.responses((image, image), {"conv0": (a, b[:, :2])})


def test_leads_draw_every_interval_around_its_mean():
    found = {"a": Estimate(0.2, 0.1, 0.3, 5), "b": Estimate(-0.1, -0.2, 0.05, 1)}
    axes = figures.leads(found, xlabel="lead (fraction)").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    lines = {line.get_gid(): line for line in axes.lines[1:3]}
    assert list(lines["interval"].get_xdata()) == [0.1, 0.3]
    assert list(lines["mean"].get_xdata()) == [0.2]
    assert [text.get_text() for text in axes.texts] == ["5 trials", "1 trial"]
    with pytest.raises(ValueError, match="at least one"):
        figures.leads({}, xlabel="")


def test_recall_curves_have_a_line_an_index_and_exact_search():
    measured = pd.DataFrame(
        {
            "index": ["IVF", "IVF", "PCA"],
            "effort": ["nprobe=1", "nprobe=4", "nprobe=1"],
            "milliseconds": [1.0, 3.0, 0.5],
            "recall": [0.4, 0.9, 0.2],
        }
    )
    figure = figures.recall_curves(measured, exact=40.0)
    *curves, reference = drawn(figure.axes[0])
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in curves] == [
        ([1.0, 3.0], [0.4, 0.9]),
        ([0.5], [0.2]),
    ]
    assert reference.get_xdata()[0] == 40.0
    assert {"IVF", "PCA", "exact search", "nprobe=4"} <= set(texts(figure))
    with pytest.raises(ValueError, match=r"no column \['recall'\]"):
        figures.recall_curves(measured.drop(columns="recall"), exact=1.0)


def test_a_contact_sheet_keeps_every_image_and_takes_channels_first():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (5, 3, 12, 6), np.uint8)
    figure = figures.contact_sheet(images, list("abcde"), columns=3, row_labels=["x", "y"])
    canvas = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(canvas[:12, :6], images[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(canvas[-12:, 12:18], images[4].transpose(1, 2, 0))
    assert {*"abcde", "x", "y"} <= set(texts(figure))
    with pytest.raises(ValueError, match="5 images and 2 labels"):
        figures.contact_sheet(images, ["a", "b"])
    with pytest.raises(ValueError, match="no image was given; give at least one"):
        figures.contact_sheet(images[:0])


def test_a_people_sheet_puts_each_person_in_a_column_and_each_camera_in_a_row(tmp_path):
    def split(name, *rows):
        cells = np.array(rows)
        paths = []
        for index, level in enumerate(cells[:, 2].tolist()):
            paths.append(tmp_path / f"{name}{index}.png")
            Image.fromarray(np.full((128, 64, 3), level, np.uint8)).save(paths[-1])
        people, cameras = cells[:, 0], cells[:, 1]
        return Split(name, tuple(paths), people, cameras, people)

    train = split("train", (1, 1, 0), (2, 2, 0))
    query = split("query", (7, 1, 10))
    gallery = split("gallery", (9, 3, 50), (7, 1, 20), (7, 3, 30), (7, 3, 40), (0, 1, 99))
    figure = figures.people_sheet(Benchmark("made up", train, query, gallery), image_size=(16, 8))
    canvas = figure.axes[0].images[0].get_array()
    shown = [[int(canvas[top, left, 0]) for left in (0, 14)] for top in (0, 22)]
    assert shown == [[10, 255], [30, 50]]  # person 7: query, first gallery image; person 9: camera 3 alone
    assert {"person\n7", "person\n9", "camera 1", "camera 3"} <= set(texts(figure))


def test_a_part_map_paints_each_class_and_names_only_those_that_occur():
    parts = np.zeros((8, 4), int)
    parts[2:4] = 2
    figure = figures.part_map(np.zeros((8, 4, 3), np.uint8), parts, ["background", "head", "hair"])
    canvas = figure.axes[0].images[0].get_array()
    below = canvas[-8:]
    for number in (0, 2):
        colour = [round(255 * value) for value in matplotlib.colors.to_rgb(PART_COLOURS[number])]
        assert (below[parts == number] == colour).all()
    assert {"A: background", "C: hair"} <= set(texts(figure))
    assert "B: head" not in texts(figure)
    with pytest.raises(ValueError, match="differ"):
        figures.part_map(np.zeros((8, 4, 3), np.uint8), parts[:4], ["background", "head", "hair"])


def test_a_part_map_has_the_letter_of_its_class_in_every_region_that_is_large_enough():
    parts = np.zeros((2, 64, 32), int)
    parts[0, 10:20, 2:8], parts[0, 10:20, 20:28], parts[0, 30, 2] = 2, 2, 2  # two arms, and a speck
    figure = figures.part_map(np.zeros((2, 64, 32, 3), np.uint8), parts, ["background", "head", "arm"])
    axes = figure.axes[0]
    canvas = np.asarray(axes.images[0].get_array())
    letters = [(text.get_text(), *map(int, text.get_position())) for text in axes.texts]
    assert sorted(letter for letter, *_ in letters) == ["A", "A", "C", "C"]
    for letter, x, y in letters:
        colour = matplotlib.colors.to_rgb(PART_COLOURS["ABC".index(letter)])
        np.testing.assert_allclose(canvas[y, x] / 255, colour, atol=0.01)
    assert {x // 16 for letter, x, _ in letters if letter == "C"} == {0, 1}


def test_a_schematic_has_its_boxes_and_arrows_from_side_to_side():
    boxes = {
        "a": figures.Box("Picture", (0, 0), "data", "160×60"),
        "b": figures.Box("Conv", (1, 0)),
        "c": figures.Box("Loss", (1, 1), "training"),
    }
    figure = figures.schematic(boxes, [("a", "b"), ("b", "c")])
    axes = figure.axes[0]
    middles = [tuple(np.round(patch.get_center(), 6)) for patch in axes.patches]
    assert middles == [(0, 0), (1, 0), (1, 1)]
    assert {"Picture", "160×60", "Conv", "Loss", "in training only"} <= set(texts(figure))
    along, down = ((text.xyann, text.xy) for text in axes.texts if hasattr(text, "xyann"))
    assert along == pytest.approx(np.array([(0.43, 0), (0.57, 0)]))
    assert down == pytest.approx(np.array([(1, 0.36), (1, 0.64)]))
    with pytest.raises(ValueError, match=r"arrows end at \['d'\], where no box is"):
        figures.schematic(boxes, [("a", "d")])
    with pytest.raises(ValueError, match=r"kinds of boxes \['lossy'\] are unknown; choose from data, one"):
        figures.schematic({"a": figures.Box("A", (0, 0), "lossy")}, [])


def square(left: float, top: float, side: float) -> np.ndarray:
    return np.array([[left, top], [left + side, top], [left + side, top + side], [left, top + side]])


def test_similarity_maps_draw_every_part_either_way_and_its_window_on_its_image():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, 16, 8), dtype=np.uint8)
    maps = {"CSN-2": rng.random((2, 3, 8, 4)), "CSN-3": 2 + rng.random((2, 3, 4, 2))}
    windows = np.array([[[square(0.1 * part, 0.2 * image, 0.5) for part in range(3)]] * 2 for image in range(2)])
    figure = figures.similarity_maps(images, maps, windows, tops={"CSN-3": 5.0})
    shown = {
        name: [axes for axes in figure.axes if axes.images][row * 8 : row * 8 + 8] for row, name in enumerate(maps)
    }
    for name, found in maps.items():
        for way, part in np.ndindex(2, 3):
            drawn = shown[name][2 + 3 * way + part].images[0]
            np.testing.assert_array_equal(drawn.get_array(), found[way, part])
            assert drawn.get_clim() == pytest.approx((0, 5 if name == "CSN-3" else maps["CSN-2"].max()))
        for image, axes in enumerate(shown[name][:2]):
            np.testing.assert_array_equal(axes.images[0].get_array(), images[image].transpose(1, 2, 0))
            outlines = [patch for patch in axes.patches if patch.get_gid()]
            for part, patch in enumerate(outlines):
                np.testing.assert_allclose(patch.get_xy()[:4], windows[image, 0, part] * (8, 16))
            styles = [(patch.get_edgecolor(), patch.get_linestyle()) for patch in outlines]
            assert len(set(map(str, styles))) == 3  # told apart by colour and by dashes
    assert "(0 to 5)" in " ".join(texts(figure))


def test_similarity_maps_of_one_part_need_no_windows_and_misfits_are_refused():
    images, maps = np.zeros((2, 16, 8, 3), np.uint8), {"CSN-2": np.ones((2, 1, 8, 4))}
    figure = figures.similarity_maps(images, maps, parts=["all of it"])
    assert not by_name(figure, matplotlib.patches.Polygon)
    with pytest.raises(ValueError, match="name every part"):
        figures.similarity_maps(images, maps)


def test_coverage_puts_every_share_on_its_line_with_its_references():
    rows = [
        {"map": name, "pair": pair, "region": region, "share": share, "low": share - 0.1, "high": share + 0.1}
        for name in ("CSN-2, window", "CSN-3, window")
        for region in ("person", "bag")
        for pair, share in (("same", 0.3), ("stranger", 0.6))
    ]
    summary = pd.DataFrame(rows).assign(area=0.2, centre=0.25, untrained=np.nan)
    figure = figures.coverage(summary)
    assert [axes.get_title() for axes in figure.axes] == ["person", "bag"]
    for axes in figure.axes:
        shown = {line.get_gid(): line for line in axes.lines if line.get_gid() and "window" in line.get_gid()}
        assert [line.get_xdata()[0] for line in shown.values()] == [0.3, 0.6, 0.3, 0.6]
        rows = [line.get_ydata()[0] for line in shown.values()]
        assert rows == sorted(rows)
        ends = [tuple(line.get_xdata()) for line in axes.lines if line.get_gid() == "interval"]
        np.testing.assert_allclose(ends, [(0.2, 0.4), (0.5, 0.7)] * 2)
        assert {line.get_gid() for line in axes.lines} == {*shown, "interval", "area", "centre"}
        assert [line.get_xdata()[0] for line in axes.lines if line.get_gid() == "centre"] == [0.25] * 4
    assert "random weights" not in texts(figure)
    with pytest.raises(ValueError, match="needs rows"):
        figures.coverage(summary[:0])


def test_only_style_changes_settings_and_figures_stay_out_of_pyplot(trials):
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    figures.cmc_curves({"net": trials})
    figures.contact_sheet(np.zeros((2, 8, 4, 3), np.uint8))
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_a_figure_is_the_same_file_twice(trials, tmp_path):
    with matplotlib.rc_context():
        figures.style()
        for name in ("one.svg", "two.svg"):
            figures.cmc_curves({"net": trials}).savefig(tmp_path / name, metadata={"Date": None})
    one, two = ((tmp_path / name).read_text() for name in ("one.svg", "two.svg"))
    assert one == two
    assert not re.search(r"<dc:date>", one)


def test_a_stock_of_runs_adds_up_and_shows_every_training():
    counts = pd.DataFrame({"done": [3, 0], "incomplete": [1, 0], "missing": [4, 5]}, ["a", "b"])
    minutes = pd.DataFrame({"system": ["net", "net", "net", "other"], "minutes": [1.0, 2.0, 9.0, 4.0]})
    left, right = figures.stock(counts, minutes).axes
    spans = [(bar.get_x(), bar.get_width()) for bar in left.patches]
    assert spans == [(0, 3), (0, 0), (3, 1), (0, 0), (4, 4), (0, 5)]
    assert {text.get_text() for text in left.texts} == {"4 of 8", "0 of 5"}
    lines = [line.get_xdata().tolist() for line in drawn(right)]
    assert lines == [[1, 2, 9], [2], [4], [4]]
    assert [label.get_text() for label in right.get_yticklabels()] == ["net", "other"]
    figures.stock(counts, minutes[:0]).draw_without_rendering()  # nothing was run yet


def test_a_nuisance_has_a_row_a_family_a_column_and_a_method_a_line():
    curve = pd.DataFrame(
        {"knob": ["jitter"] * 2 + ["gallery"], "value": [0, 2, 10], "rank1": [0.5, 0.2, 0.9], "low": 0.1, "high": 0.95}
    )
    seen = {"A": curve[curve.value == 2]}
    figure = figures.nuisance_curves(
        {"pairs": {"A": curve, "B": curve}, "vectors": {"C": curve}, "none": {}},
        {"jitter": "boxes", "gallery": "people"},
        {"jitter": 0},
        seen,
    )
    panels = np.reshape(figure.axes, (2, 2))
    assert [[axes.get_xlabel() for axes in row] for row in panels] == [["boxes"] * 2, ["people"] * 2]
    assert [axes.get_title() for axes in panels[0]] == ["pairs", "vectors"]
    first = panels[0, 0]
    lines = [drawn[0] for drawn in first.containers]
    assert [list(line.get_ydata()) for line in lines] == [[50, 20], [20], [50, 20]]  # A, A that saw it, B
    assert [line.get_markerfacecolor() == "white" for line in lines] == [False, True, False]
    assert [text.get_text() for text in first.get_xticklabels()] == ["0", "2"]
    with pytest.raises(ValueError, match="no method was measured"):
        figures.nuisance_curves({"pairs": {}}, {"jitter": "boxes"}, {})


def test_losses_have_a_panel_a_nuisance_and_a_line_a_method():
    lost = pd.DataFrame({"knob": ["jitter", "colour"], "change": [-0.2, 0.1], "low": [-0.3, 0.0], "high": [-0.1, 0.2]})
    figure = figures.losses({"A": lost, "B": lost}, {"jitter": "boxes", "colour": "colours"})
    assert [axes.get_title() for axes in figure.axes] == ["boxes", "colours"]
    interval, mean = figure.axes[0].lines[1:3]
    assert (list(interval.get_xdata()), list(mean.get_xdata())) == ([-30, -10], [-20])
    with pytest.raises(ValueError, match="no method was measured"):
        figures.losses({}, {"jitter": "boxes"})
