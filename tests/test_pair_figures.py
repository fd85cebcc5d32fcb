"""Figures of image pairs: every panel holds the map it is titled by, on the scale that is written beside it."""

import matplotlib
import numpy as np
import pytest
from helpers import texts
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reidlib import figures


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 2, 32, 16, 3), np.uint8), rng.random((2, 2, 4, 2))


def test_both_maps_of_a_pair_lie_over_their_images_on_one_scale(pairs):
    images, maps = pairs
    maps[1] *= 10
    figure = figures.paired_maps(np.moveaxis(images, -1, -3), maps, ["one person", "two people"])
    grid = np.array(figure.axes[:8]).reshape(2, 4)
    for pair in range(2):
        for image in range(2):
            bare, covered = grid[pair, 2 * image : 2 * image + 2]
            below, above = covered.images
            np.testing.assert_array_equal(bare.images[0].get_array(), images[pair, image])
            np.testing.assert_array_equal(below.get_array(), images[pair, image])
            np.testing.assert_allclose(above.get_array(), maps[pair, image])
            assert above.get_clim() == (0, maps[pair].max())
            assert above.get_extent() == below.get_extent() == [0, 16, 32, 0]
    assert grid[1, 0].get_ylabel() == f"two people\n0 to {maps[1].max():.2g}"
    assert [axes.get_title() for axes in grid[0]] == ["probe", "its map", "gallery", "its map"]


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_the_bar_has_the_colours_that_maps_have_over_a_white_picture(share):
    maps = np.full((1, 2, 1, 1), share)
    maps[0, 1] = 1
    figure = figures.paired_maps(np.full((1, 2, 32, 16, 3), 255, np.uint8), maps, ["one"])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())

    def colour(axes, x, y):
        across, up = axes.transAxes.transform((x, y))
        return drawn[len(drawn) - int(up), int(across), :3].astype(int)

    assert np.abs(colour(figure.axes[1], 0.5, 0.5) - colour(figure.axes[4], 0.5, share)).max() <= 3


def test_a_blank_map_is_drawn(pairs):
    images, maps = pairs
    assert "one\n0 to 0" in texts(figures.paired_maps(images[:1], 0 * maps[:1], ["one"]))


def test_stages_stand_beside_their_pair_and_share_a_scale(pairs):
    images, maps = pairs
    joint = np.arange(16.0).reshape(2, 4, 2)
    figure = figures.pair_stages(images, {"Mid-level": maps, "Pooled": joint}, ["one person", "two people"])
    grid = np.array(figure.axes).reshape(2, 5)
    titles = ["probe", "gallery", "Mid-level,\nprobe", "Mid-level,\ngallery", "Pooled"]
    assert [axes.get_title() for axes in grid[0]] == titles
    for pair in range(2):
        shown = [axes.images[0] for axes in grid[pair]]
        np.testing.assert_array_equal(shown[1].get_array(), images[pair, 1])
        np.testing.assert_allclose(shown[3].get_array(), maps[pair, 1])
        np.testing.assert_allclose(shown[4].get_array(), joint[pair])
        assert [shown[k].get_clim() for k in (2, 3, 4)] == [(0, maps.max()), (0, maps.max()), (0, 15)]
    assert grid[1, 4].get_xlabel() == "0 to 15"


def test_parts_that_do_not_belong_together_are_refused(pairs):
    images, maps = pairs
    with pytest.raises(ValueError, match=r"maps \(1, 2, 4, 2\) and 2 labels do not belong together"):
        figures.paired_maps(images, maps[:1], ["a", "b"])
    with pytest.raises(ValueError, match=r"stage 'FC1' has shape \(2, 8\)"):
        figures.pair_stages(images, {"FC1": np.ones((2, 8))}, ["a", "b"])


def test_a_rank_list_has_its_order_in_its_title(pairs):
    images, _ = pairs
    figure = figures.rank_lists(images[:, 0], images[:, 1:], np.ones((2, 1), bool), title="nearest first")
    assert "nearest first" in texts(figure)


def test_maps_of_a_rank_list_lie_in_a_second_line_on_one_scale_a_query(pairs):
    images, maps = pairs
    correct = np.array([[True], [False]])
    figure = figures.rank_lists(images[:, 0], images[:, 1:], correct, maps=maps)
    canvas = np.asarray(figure.axes[0].images[0].get_array(), float)
    boxes = [box for box in figure.findobj(matplotlib.patches.Rectangle) if box.get_gid()]
    assert [box.get_gid() for box in boxes] == ["query", "right", "query", "wrong"]
    for box, image, one, top in zip(
        boxes, images.reshape(4, 32, 16, 3), maps.reshape(4, 4, 2), maps.max((1, 2, 3)).repeat(2), strict=True
    ):
        left, above = round(box.get_x() + 0.5), round(box.get_y() + 0.5)
        np.testing.assert_array_equal(canvas[above : above + 32, left : left + 16], image)
        below = next(y for y in range(above + 32, len(canvas)) if (canvas[y, left] != 255).any())
        colour = matplotlib.colormaps["inferno"](np.kron(one, np.ones((8, 8))) / top)[..., :3]
        expected = 0.35 * image + 0.65 * 255 * colour
        np.testing.assert_allclose(canvas[below : below + 32, left : left + 16], expected, atol=0.51)
    with pytest.raises(ValueError, match=r"maps \(2, 1, 4, 2\) do not fit"):
        figures.rank_lists(images[:, 0], images[:, 1:], correct, maps=maps[:, :1])


def test_attended_pairs_stand_above_their_maps_on_a_scale_of_their_own(pairs):
    images, maps = pairs
    maps[1] *= 10
    figure = figures.attended(images, {"one": maps, "another": maps[:, ::-1]}, ["a", "b"])
    canvas = figure.axes[0].images[0].get_array()
    first = figures.covered(images, maps)
    for line, shown in enumerate((images, first, figures.covered(images, maps[:, ::-1]))):
        for pair, image in np.ndindex(2, 2):
            top, left = line * (32 + 6), pair * (2 * 16 + 2 + 6) + image * (16 + 2)
            np.testing.assert_array_equal(canvas[top : top + 32, left : left + 16], shown[pair, image])
    alone = figures.covered(images[1:], maps[1:])
    np.testing.assert_array_equal(first[1:], alone)
    assert {"images", "one", "another", "a", "b"} <= set(texts(figure))


def test_profiles_are_drawn_from_top_to_bottom():
    figure = figures.profiles({"alike": ([0.2, 1.0], [0.2, 1.0]), "not": ([1.0, 0.1, 0.3], [0.0, 0.5, 1.0])}, 0.5)
    alike, unlike = figure.axes
    assert unlike.lines[0].get_xdata().tolist() == [1.0, 0.1, 0.3]
    assert alike.lines[1].get_ydata().tolist() == [0.25, 0.75]
    assert alike.get_ylim() == (1, 0)
    assert [axes.get_title() for axes in figure.axes] == ["alike", "not"]
    with pytest.raises(ValueError, match="at least one pair"):
        figures.profiles({})
