"""The Market-1501 loader: spellings, file names, junk and distractors, and what it says when something is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidlib.data import load
from reidlib.data.layout import find
from reidlib.data.market1501 import MARKET1501, load_market1501

NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000551_01.jpg", "0007_c3s3_077419_03.jpg"],
    "query": ["0003_c1s6_015971_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c2s1_000151_01.jpg",
        "0003_c2s3_064744_02.jpg",
        "0003_c1s6_015996_02.jpg",
    ],
}


def write(folder: Path, names: dict[str, list[str]] = NAMES) -> Path:
    for below, files in names.items():
        (folder / below).mkdir(parents=True, exist_ok=True)
        for name in files:
            Image.new("RGB", (64, 128), (90, 60, 30)).save(folder / below / name)
    return folder


def with_names(**changed: list[str]) -> dict[str, list[str]]:
    return {**NAMES, **changed}


def test_reads_people_and_cameras_in_name_order(tmp_path):
    write(tmp_path)
    (tmp_path / "bounding_box_train" / "Thumbs.db").write_bytes(b"windows leaves this")
    (tmp_path / "bounding_box_train" / "._0002_c1s1_000451_03.jpg").write_bytes(b"and a Mac this")
    benchmark = load_market1501(tmp_path)
    assert benchmark.train.person_ids.tolist() == [2, 2, 7]
    assert benchmark.train.camera_ids.tolist() == [1, 2, 3]
    assert benchmark.gallery.person_ids.tolist() == [-1, 0, 3, 3]
    assert benchmark.gallery.camera_ids.tolist() == [1, 2, 1, 2]
    assert benchmark.query.name == "query"
    assert [path.name for path in benchmark.gallery.paths] == sorted(NAMES["bounding_box_test"])


def test_junk_and_distractors_are_dropped_from_train_and_query(tmp_path):
    extra = ["-1_c1s1_000001_01.jpg", "0000_c1s1_000002_01.jpg"]
    names = with_names(bounding_box_train=[*NAMES["bounding_box_train"], *extra], query=[*NAMES["query"], *extra])
    benchmark = load_market1501(write(tmp_path, names))
    assert len(benchmark.train) == 3
    assert len(benchmark.query) == 1
    assert len(benchmark.gallery) == 4


@pytest.mark.parametrize(
    "below",
    [
        ".",
        "Market-1501-v15.09.15",
        "Market-1501",
        "market1501",
        "market1501/Market-1501-v15.09.15",
        "Market1501/market-1501",
        "plaza-tiny-w0-default",
    ],
)
def test_spellings(tmp_path, below):
    write(tmp_path / below)
    (tmp_path / "another dataset").mkdir()
    assert find(tmp_path, MARKET1501).folder == tmp_path / below
    assert len(load("market1501", root=str(tmp_path)).train) == 3


def test_the_usual_name_goes_before_others(tmp_path):
    write(tmp_path / "a-copy")
    write(tmp_path / "market1501")
    assert find(tmp_path, MARKET1501).folder == tmp_path / "market1501"


def test_several_unnamed_datasets_are_not_guessed_between(tmp_path):
    for name in ("plaza", "campus"):
        write(tmp_path / name)
    with pytest.raises(ValueError, match=r"several datasets .*\(campus, plaza\); give one"):
        load_market1501(tmp_path)


def test_a_missing_folder_says_what_was_looked_for_and_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere, which does not exist"):
        load_market1501(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"bounding_box_test.*found nothing"):
        load_market1501(tmp_path)
    (tmp_path / "DukeMTMC-reID").mkdir()
    with pytest.raises(FileNotFoundError, match=r"looked for .*found DukeMTMC-reID/; give"):
        load_market1501(tmp_path)


def test_a_partial_dataset_says_what_it_lacks(tmp_path):
    write(tmp_path / "market1501", {"query": NAMES["query"], "bounding_box_test": NAMES["bounding_box_test"]})
    with pytest.raises(FileNotFoundError, match=r"lacks bounding_box_train/ \(found bounding_box_test/, query/\)"):
        load_market1501(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"query holds no \.jpg"):
        load_market1501(write(tmp_path, with_names(query=[])))


def test_strange_file_names_are_named(tmp_path):
    strange = [f"holiday{i}.jpg" for i in range(7)]
    with pytest.raises(ValueError, match=r"from holiday0\.jpg, .*holiday4\.jpg and 2 more; names look like"):
        load_market1501(write(tmp_path, with_names(query=[*NAMES["query"], *strange])))


def test_one_camera_only_is_refused(tmp_path):
    one = ["0003_c1s6_015996_02.jpg", "0003_c1s6_015997_02.jpg"]
    with pytest.raises(ValueError, match="no query has an image of the same person in another camera"):
        load_market1501(write(tmp_path, with_names(bounding_box_test=one)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dukes", r"choose from market1501, .*, msmt17, .*, plaza, campus, harbour$"),
        ("market", "did you mean 'market1501'"),
        ("Plaza", "did you mean 'plaza'"),
    ],
)
def test_unknown_datasets_name_the_known(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_another_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one split, number 0; split 3"):
        load("market1501", root=write(tmp_path), split=3)


def test_generated_data_is_not_taken_for_the_real_dataset_unasked(tmp_path, monkeypatch):
    folder = write(tmp_path / "plaza-tiny-w0-default")
    (folder / "manifest.json").write_text('{"people": {"2": {"group": 1}, "7": {"group": 1}, "3": {"group": 2}}}')
    monkeypatch.setenv("REIDLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="only generated data"):
        load("market1501")
    benchmark = load("market1501", root=tmp_path)
    assert benchmark.train.groups.tolist() == [1, 1, 1]
    assert benchmark.gallery.groups.tolist() == [-1, 0, 2, 2]


def test_a_world_is_its_files(plaza_tiny):
    folder = plaza_tiny.train.paths[0].parents[1]
    again = load_market1501(folder, "plaza")
    assert again.digest == plaza_tiny.digest
    assert np.array_equal(again.gallery.person_ids, plaza_tiny.gallery.person_ids)


def test_hand_drawn_boxes_are_for_multi_query(tmp_path):
    boxes = ["0003_c1s6_015971_00.jpg", "0003_c1s6_015996_00.jpg", "0002_c1s1_000451_00.jpg"]
    assert load_market1501(write(tmp_path)).multi is None
    multi = load_market1501(write(tmp_path, {"gt_bbox": boxes})).multi
    assert multi.name == "multi"
    assert multi.person_ids.tolist() == [3, 3]  # a person who trains asks nothing
    assert multi.camera_ids.tolist() == [1, 1]


@pytest.mark.parametrize("below", ["images", "distractors", "distractors_500k", "../distractors_500k"])
def test_500k_distractors(tmp_path, below):
    folder = tmp_path / "market1501" / "Market-1501-v15.09.15"
    write(folder)
    with pytest.raises(FileNotFoundError, match=r"lacks distractors_500k/ \(found bounding_box_test/, "):
        load("market1501-500k", root=tmp_path)
    write(folder, {below: ["0000_c3s1_000001_01.jpg", "00000002.jpg"]})
    benchmark = load("market1501-500k", root=tmp_path)
    assert benchmark.name == "market1501-500k"
    assert benchmark.gallery.person_ids.tolist() == [-1, 0, 3, 3, 0, 0]
    assert benchmark.gallery.camera_ids.tolist() == [1, 2, 1, 2, 0, 3]
    assert len(load("market1501", root=tmp_path).gallery) == 4


def test_a_person_on_both_sides(tmp_path):
    names = with_names(bounding_box_train=[*NAMES["bounding_box_train"], "0003_c4s1_000451_03.jpg"])
    with pytest.raises(ValueError, match=r"market1501: person 3 is both in training and in the test set"):
        load_market1501(write(tmp_path, names))


def test_another_layout_is_for_drawn_worlds(tmp_path):
    with pytest.raises(ValueError, match=r"layout='viper' is for plaza, campus, harbour; market1501 has its own"):
        load("market1501", root=tmp_path, layout="viper")
    with pytest.raises(ValueError, match=r"layout 'vipre' is unknown: did you mean 'viper'"):
        load("plaza", root=tmp_path, layout="vipre")
