"""The DukeMTMC-reID loader: spellings, names, and what it refuses."""

import pytest
from miniature import write

from reidlib.data import load

FILES = [
    "bounding_box_train/0001_c2_f0046182.jpg",
    "bounding_box_train/0001_c5_f0051341.jpg",
    "bounding_box_train/0007_c8_f0060000.jpg",
    "query/0005_c2_f0046985.jpg",
    "bounding_box_test/0005_c5_f0051781.jpg",
    "bounding_box_test/0005_c2_f0047000.jpg",
    "bounding_box_test/7140_c1_f0000100.jpg",
]


@pytest.mark.parametrize("below", [".", "DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmcreid", "x"])
def test_people_and_cameras(tmp_path, below):
    write(tmp_path / below, FILES)
    benchmark = load("dukemtmc", root=tmp_path)
    assert (benchmark.name, benchmark.multi) == ("dukemtmc", None)
    assert benchmark.train.person_ids.tolist() == [1, 1, 7]
    assert benchmark.train.camera_ids.tolist() == [2, 5, 8]
    assert benchmark.gallery.person_ids.tolist() == [5, 5, 7140]
    assert benchmark.gallery.camera_ids.tolist() == [2, 5, 1]


def test_market_1501s_files_are_not_taken_for_dukes(tmp_path):
    write(tmp_path, [*FILES, "query/0003_c1s6_015971_00.jpg"])
    with pytest.raises(ValueError, match=r"0003_c1s6_015971_00\.jpg; names look like 0001_c2_f0046182\.jpg \(person 1"):
        load("dukemtmc", root=tmp_path)
    with pytest.raises(ValueError, match=r"0001_c2_f0046182\.jpg, .*names look like 0002_c1s1_000451_03\.jpg"):
        load("market1501", root=tmp_path)


def test_both_datasets_side_by_side(tmp_path):
    write(tmp_path / "DukeMTMC-reID", FILES)
    with pytest.raises(FileNotFoundError, match=r"no Market-1501 in .*found DukeMTMC-reID/"):
        load("market1501", root=tmp_path)
    assert len(load("dukemtmc", root=tmp_path).train) == 3


def test_a_half_unpacked_archive(tmp_path):
    write(tmp_path / "DukeMTMC-reID", FILES[:4])
    with pytest.raises(
        FileNotFoundError, match=r"DukeMTMC-reID in .* lacks bounding_box_test/ \(found bounding_box_tr"
    ):
        load("dukemtmc", root=tmp_path)
    (tmp_path / "DukeMTMC-reID" / "bounding_box_test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"bounding_box_test holds no .* image; unpack the archive again"):
        load("dukemtmc", root=tmp_path)


def test_a_person_on_both_sides(tmp_path):
    write(tmp_path, [*FILES, "bounding_box_train/0005_c6_f0046985.jpg"])
    with pytest.raises(ValueError, match=r"person 5 is both in training and in the test set"):
        load("dukemtmc", root=tmp_path)


def test_one_camera_for_everything(tmp_path):
    write(tmp_path, [*FILES[:4], "bounding_box_test/0005_c2_f0047000.jpg"])
    with pytest.raises(ValueError, match=r"nothing can be scored \(every test image has camera 2\)"):
        load("dukemtmc", root=tmp_path)
