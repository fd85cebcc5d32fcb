"""The MSMT17 loader: both versions, the four lists, people numbered twice, and what it refuses."""

import pytest
from miniature import write

from reidlib.data import load

LISTS = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_000_05_0303noon_0300_1_ex.jpg 1"],
    "val": ["0000/0000_001_14_0303noon_0020_2.jpg 0"],
    "query": ["0000/0000_000_01_0114afternoon_0020_0.jpg 0", "0001/0001_003_02_0303morning_0036_1.jpg 1"],
    "gallery": ["0000/0000_001_15_0303noon_0034_0.jpg 0", "0001/0001_004_02_0303morning_0040_0.jpg 1"],
}


def make(folder, train="train", test="test", **lists):
    for name, lines in (LISTS | lists).items():
        side = train if name in ("train", "val") else test
        write(folder / side, [line.split()[0] for line in lines if "jpg" in line])
        (folder / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("below", "train", "test"),
    [
        (".", "train", "test"),
        ("MSMT17_V1", "train", "test"),
        ("msmt17/MSMT17_V1", "train", "test"),
        ("msmt17/MSMT17_V2", "mask_train_v2", "mask_test_v2"),
        ("MSMT17_V2", "mask_train_v2", "mask_test_v2"),
    ],
)
def test_both_versions(tmp_path, below, train, test):
    make(tmp_path / below, train, test)
    benchmark = load("msmt17", root=tmp_path)
    assert benchmark.train.person_ids.tolist() == [1, 2, 1]  # val is of training's people
    assert benchmark.train.camera_ids.tolist() == [1, 5, 14]
    assert benchmark.query.person_ids.tolist() == [3, 4]  # numbered from 0 again, and other people
    assert benchmark.gallery.person_ids.tolist() == [3, 4]
    assert benchmark.gallery.camera_ids.tolist() == [15, 2]
    assert benchmark.matched.tolist() == [True, False]
    assert benchmark.train.paths[2] == tmp_path / below / train / "0000" / "0000_001_14_0303noon_0020_2.jpg"
    assert (benchmark.train.name, benchmark.query.name, benchmark.gallery.name) == ("train", "query", "gallery")


def test_two_versions_are_not_guessed_between(tmp_path):
    make(tmp_path / "MSMT17_V1")
    make(tmp_path / "MSMT17_V2", "mask_train_v2", "mask_test_v2")
    with pytest.raises(ValueError, match=r"several datasets .*\(MSMT17_V1, MSMT17_V2\); give one of them"):
        load("msmt17", root=tmp_path)
    assert len(load("msmt17", root=tmp_path / "MSMT17_V2").train) == 3


@pytest.mark.parametrize("lost", ["list_val.txt", "test"])
def test_a_half_unpacked_archive(tmp_path, lost):
    (make(tmp_path) / lost).rename(tmp_path.parent / f"{tmp_path.name}-{lost}")
    with pytest.raises(
        FileNotFoundError, match=rf"MSMT17 in .* lacks {lost}.* \(found list_gallery\.txt, .*add what is"
    ):
        load("msmt17", root=tmp_path)


def test_listed_images_that_are_not_there(tmp_path):
    make(tmp_path)
    for path in (tmp_path / "test").rglob("*_0114*"):
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"test lacks 1 of the 2 images in list_query\.txt, such as 0000/0000_000"
    ):
        load("msmt17", root=tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"list_query\.txt is empty; lines look like 0000/0000_000_01_0303morning_0008_0\.jpg 0 \(camera 1"),
        (["0000/a.jpg 0"], r"cannot read an image, its camera and its person from '0000/a\.jpg 0'; lines look"),
        (["0000/0000_000_01_0303morning_0015_0.jpg"], r"from '0000/0000_000_01_0303morning_0015_0\.jpg'; lines"),
        (["<html>", "<body>"] * 4, r"from '<html>', '<body>', '<html>' and 5 more; lines look"),
    ],
)
def test_a_list_of_another_kind(tmp_path, lines, message):
    make(tmp_path)
    (tmp_path / "list_query.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        load("msmt17", root=tmp_path)


def test_one_camera_for_everything(tmp_path):
    make(tmp_path, gallery=["0000/0000_001_01_0303noon_0034_0.jpg 0"], query=LISTS["query"][:1])
    with pytest.raises(ValueError, match=r"nothing can be scored \(every test image has camera 1\)"):
        load("msmt17", root=tmp_path)
