"""A user's own images: patterns, tables, stated and drawn splits, and what is refused."""

import numpy as np
import pytest
from miniature import write

from reidlib.data import load

STATED = [
    "train/anna_c1_0.jpg",
    "train/anna_c2_0.jpg",
    "train/ben_c2_7.jpg",
    "query/cleo_c1_3.jpg",
    "gallery/cleo_c2_3.jpg",
    "gallery/dan_c10_3.jpg",
]


def pattern(folder, text, files):
    write(folder, files)
    (folder / "pattern.txt").write_text(text + "\n")
    return folder


def table(folder, text, files=()):
    write(folder, files)
    (folder / "labels.csv").write_text(text)
    return folder


@pytest.mark.parametrize("below", [".", "mine"])
def test_names_by_a_pattern(tmp_path, below):
    pattern(tmp_path / below, "{split}/{person}_c{camera}_*.jpg", STATED)
    benchmark = load("folders", root=tmp_path)
    assert benchmark.train.person_ids.tolist() == [1, 1, 2]
    assert benchmark.train.camera_ids.tolist() == [1, 2, 2]
    assert benchmark.query.person_ids.tolist() == [3]
    assert benchmark.gallery.person_ids.tolist() == [3, 4]
    assert benchmark.gallery.camera_ids.tolist() == [2, 10]
    assert benchmark.validation is None


@pytest.mark.parametrize(
    ("text", "rename"),
    [
        ("{split}/{camera}/{person}/*", lambda s, p, c, n: f"{s}/{c}/{p}/{n}.png"),
        ("{camera}-{split}-{person}-*.png", lambda s, p, c, n: f"{c}-{s}-{p}-{n}.png"),
        ("*/{split}+({person}) {camera}*.png", lambda s, p, c, n: f"deep/{s}+({p}) {c}x{n}.png"),
    ],
)
def test_other_patterns(tmp_path, text, rename):
    rows = ("train p1 1 0", "train p1 2 0", "train p2 2 7", "query p3 1 3", "gallery p3 2 3", "gallery p4 9 3")
    pattern(tmp_path, text, [rename(*row.split()) for row in rows])
    benchmark = load("folders", root=tmp_path)
    assert [len(split) for split in (benchmark.train, benchmark.query, benchmark.gallery)] == [3, 1, 2]
    assert benchmark.matched.all()


def test_whole_numbers_stay(tmp_path):
    files = [
        file.replace("anna", "12").replace("ben", "3").replace("cleo", "45").replace("dan", "0") for file in STATED
    ]
    benchmark = load("folders", root=pattern(tmp_path, "{split}/{person}_c{camera}_*.jpg", files))
    assert benchmark.train.identities.tolist() == [3, 12]
    assert benchmark.gallery.person_ids.tolist() == [0, 45]  # files in the order of their names
    assert benchmark.gallery.identities.tolist() == [45]


def test_nobody_stays_nobody_beside_names(tmp_path):
    files = [file.replace("cleo", "0").replace("dan", "-1") for file in STATED if "query" not in file]
    files += ["query/eve_c1_1.jpg", "gallery/eve_c2_1.jpg"]
    benchmark = load("folders", root=pattern(tmp_path, "{split}/{person}_c{camera}_*.jpg", files))
    assert set(benchmark.gallery.person_ids.tolist()) == {-1, 0, 3}
    assert benchmark.train.identities.tolist() == [1, 2]


def test_numbers_of_more_than_64_bits_are_labels(tmp_path):
    files = [file.replace("anna", str(2**63)).replace("ben", "3").replace("cleo", "45") for file in STATED]
    files = [file.replace("dan", str(2**64)) for file in files]
    benchmark = load("folders", root=pattern(tmp_path, "{split}/{person}_c{camera}_*.jpg", files))
    assert benchmark.train.identities.tolist() == [2, 4]  # "18446744073709551616" comes first
    assert benchmark.query.identities.tolist() == [3]


def test_halves_where_no_split_is_stated(tmp_path):
    files = [f"{person}_c{camera}_{i}.jpg" for person in range(1, 9) for camera in (1, 2) for i in range(3)]
    benchmark = load(
        "folders", root=pattern(tmp_path, "{person}_c{camera}_*.jpg", [*files, "-1_c1_x.jpg", "0_c2_y.jpg"])
    )
    assert (len(benchmark.train), len(benchmark.query), len(benchmark.gallery)) == (24, 8, 26)
    assert all(path.stem.endswith("_0") for path in benchmark.query.paths)
    assert len(set(zip(benchmark.query.person_ids, benchmark.query.camera_ids, strict=True))) == 8
    assert np.isin(benchmark.query.identities, benchmark.train.identities).sum() == 0
    assert benchmark.gallery.person_ids[-2:].tolist() == [-1, 0]
    assert set(benchmark.query.paths) <= set(benchmark.gallery.paths)
    assert benchmark.matched.all()


def test_a_table(tmp_path):
    text = (
        "camera, person ,path,split\nhall,anna,a.jpg,train\ndoor,anna,b.jpg,train\nhall,ben,c/d.jpg,train\n"
        "hall,cleo,e.jpg,query\ndoor,cleo,f.jpg,gallery\nhall,eve,g.jpg,validation\n"
    )
    files = ["a.jpg", "b.jpg", "c/d.jpg", "e.jpg", "f.jpg", "g.jpg", "not listed.jpg"]
    benchmark = load("folders", root=table(tmp_path, "\ufeff" + text, files))
    assert benchmark.train.person_ids.tolist() == [1, 1, 2]
    assert benchmark.train.camera_ids.tolist() == [2, 1, 2]  # door, hall
    assert benchmark.train.paths[2] == tmp_path / "c" / "d.jpg"
    assert benchmark.query.person_ids.tolist() == benchmark.gallery.person_ids.tolist() == [3]
    assert benchmark.validation.person_ids.tolist() == [4]


def test_a_table_without_splits(tmp_path):
    files = [f"{i:02d}.jpg" for i in range(12)]
    lines = [f"{file},{1 + i // 4},{1 + i % 2}" for i, file in enumerate(files)]
    benchmark = load("folders", root=table(tmp_path, "path,person,camera\n" + "\n".join(lines), files))
    assert (len(benchmark.train.identities), len(benchmark.query), len(benchmark.gallery)) == (2, 2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{person}.jpg",
            r"pattern\.txt says '\{person\}\.jpg'; write one line with \{person\} and \{camera\} once each",
        ),
        ("{person}_{cam}.jpg", r"write one line with"),
        ("{person}_{person}_{camera}", r"write one line with"),
        ("", r"write one line with"),
        ("{person}_{camera}.jpg\n*", r"write one line with"),
        (
            "{person}_c{camera}.png",
            r"gallery/cleo_c2_3\.jpg, .* and 1 more do not match '\{person\}_c\{camera\}\.png'; ren",
        ),
        (
            "{person}/{camera}_c{split}_*.jpg",
            r"no split of gallery/cleo_c2_3\.jpg, .* is one of train, query, gallery, val",
        ),
    ],
)
def test_patterns_that_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load("folders", root=pattern(tmp_path, text, STATED))


def test_a_name_with_the_next_character_in_a_field_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train/anna_c_c1_0\.jpg do not match"):
        load("folders", root=pattern(tmp_path, "{split}/{person}_c{camera}_*.jpg", [*STATED, "train/anna_c_c1_0.jpg"]))


def test_a_person_on_two_sides_is_called_by_name(tmp_path):
    files = [*STATED, "train/cleo_c1_9.jpg"]
    said = (
        r"pattern\.txt: person cleo is both in training and in the test set; move all images of a person to one side$"
    )
    with pytest.raises(ValueError, match=said):
        load("folders", root=pattern(tmp_path / "one", "{split}/{person}_c{camera}_*.jpg", files))
    files += ["validation/anna_c1_9.jpg", "gallery/0_c1_9.jpg"]
    with pytest.raises(
        ValueError, match=r"2 people are on two sides of the split, such as cleo in training and in the test set; move"
    ):
        load("folders", root=pattern(tmp_path / "two", "{split}/{person}_c{camera}_*.jpg", files))


def test_a_folder_with_neither_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no labels\.csv or pattern\.txt in .* or one level below; write one"):
        load("folders", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load("folders", root=tmp_path / "nowhere")


def test_a_pattern_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no .* image beside pattern\.txt"):
        load("folders", root=pattern(tmp_path, "{person}_{camera}", []))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, r"labels\.csv has the columns none; its first line must be path,person,camera or path,person"),
        ("path;person;camera\n", ValueError, r"has the columns path;person;camera; its first line"),
        ("path,person,camera\n", FileNotFoundError, r"labels\.csv lists no image; paths are below"),
        ("path,person,camera\na.jpg,1,1\nb.jpg,1,\n", ValueError, r"labels\.csv, line 3: camera is empty; give"),
        ("path,person,camera\na.jpg,1,1\nb.jpg,1\n", ValueError, r"line 3: camera is empty"),
        ("path,person,camera\n\na.jpg,1,1\n\n\nb.jpg,1,\n", ValueError, r"line 6: camera is empty"),
        ("path,person,camera,split\na.jpg,1,1,test\n", ValueError, r"line 2: split 'test'; choose from train, query"),
        ("path,person,camera\na.jpg,1,1\na.jpg,1,2\n", ValueError, r"line 3: a\.jpg is listed twice; remove one"),
        ("path,person,camera\nc.jpg,1,1\n", FileNotFoundError, r"lists 1 images that are not there, such as .*c\.jpg"),
        (
            "path,person,camera,split\na.jpg,0,1,train\nb.jpg,1,1,query",
            ValueError,
            r"is in train, not the gallery; num",
        ),
        ("path,person,camera,split\na.jpg,2,1,train\nb.jpg,1,1,train", ValueError, r"its query split is empty"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, error, message):
    with pytest.raises(error, match=message) as caught:
        load("folders", root=table(tmp_path, text, ["a.jpg", "b.jpg"]))
    assert "\n" not in str(caught.value)


def test_one_camera_for_everything(tmp_path):
    files = [file.replace("_c2", "_c1").replace("_c10", "_c1") for file in STATED]
    with pytest.raises(ValueError, match=r"nothing can be scored \(every test image has camera 1\)"):
        load("folders", root=pattern(tmp_path, "{split}/{person}_c{camera}_*.jpg", files))
