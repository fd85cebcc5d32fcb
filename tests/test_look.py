"""Datasets in numbers, worked out by hand on hand-made images."""

import numpy as np
import pytest
from PIL import Image

from reidlib.data import load, look
from reidlib.data.look import appearance, images_per_camera, images_per_person, people_images, present

COLOURS = {1: (100, 50, 0), 2: (120, 70, 20)}


@pytest.fixture
def own(tmp_path):
    """People 1 to 4, two images by camera 1 and one by camera 2, and a distractor; queries are in the gallery too."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "pattern.txt").write_text("{person}_c{camera}_*.png\n")
    for person in (0, 1, 2, 3, 4):
        for camera, shots in ((1, 2), (2, 1)):
            for shot in range(shots):
                image = Image.new("RGB", (20 + camera, 40 + person), COLOURS[camera])
                image.save(folder / f"{person}_c{camera}_{shot}.png")
    return tmp_path


def test_images_are_counted_once_without_distractors(own):
    benchmark = load("folders", root=own)
    assert len(people_images(benchmark)) == 12
    assert images_per_camera(benchmark).to_dict() == {1: 8, 2: 4}
    assert images_per_person(benchmark).to_dict() == {3: 4}


def test_size_and_colour_are_those_of_the_images(own):
    found = appearance(load("folders", root=own))
    assert sorted(found["height_px"].tolist()) == sorted([41, 42, 43, 44] * 3)
    assert sorted(found["width_px"].tolist()) == [21] * 8 + [22] * 4
    np.testing.assert_allclose(found["colour"], (110, 60, 10))  # cameras count the same, not images
    assert found["contrast"] == pytest.approx(0)
    assert found["cameras_apart"] == pytest.approx(np.sqrt(3 * 10**2))


def test_contrast_is_of_brightness(own):
    for path in own.rglob("*.png"):
        picture = np.zeros((40, 20, 3), np.uint8)
        picture[:20] = 200
        Image.fromarray(picture).save(path)
    assert appearance(load("folders", root=own))["contrast"] == pytest.approx(100)


def test_as_many_images_as_asked_for_the_same_from_every_camera(plaza_tiny):
    one, again, other = (appearance(plaza_tiny, images=30, seed=seed) for seed in (0, 0, 1))
    assert len(one["height_px"]) == 30
    assert one["colour"].tolist() == again["colour"].tolist() != other["colour"].tolist()


def test_present_datasets_are_found_and_refused_ones_named(own, copy_of, tmp_path):
    found, refused = present(own)
    assert list(found) == ["a dataset of your own"]
    assert refused == {}
    found, refused = present(copy_of("cuhk01"))
    assert list(found) == ["CUHK01, drawn"]  # two ways to split the same images
    (tmp_path / "cam_a").mkdir()
    (tmp_path / "cam_b").mkdir()
    for camera in "ab":
        Image.new("RGB", (48, 128)).save(tmp_path / f"cam_{camera}" / "portrait.bmp")
    assert "cannot read person and camera from portrait.bmp" in present(tmp_path)[1]["VIPeR"]


def test_present_titles_keep_their_numbers_whole_and_leave_out_how_people_are_divided(monkeypatch):
    def refused(name, root):
        raise ValueError(name)

    monkeypatch.setattr(look, "load", refused)
    titles = set(present(".")[1])
    assert {"Market-1501 with 500,000 distractors", "CUHK01", "VIPeR", "CUHK03, labeled boxes, 1,160/100/100"} <= titles
