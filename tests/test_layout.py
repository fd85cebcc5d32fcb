"""Finding datasets: spellings, depth, whose folder it is, and what is said when there is none."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from miniature import write

from reidlib.data import load
from reidlib.data.layout import Layout, find, images, labelled, look_alikes, read_names, some
from reidlib.data.registry import DATASETS

TWO = Layout("Duke", "DukeSet", ("duke",), (("train_images/", "learn/"), ("list.txt", "../list.txt")))
OTHER = Layout("Duke", "DukeSet", ("duke",), (("table.csv",),))


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return folder


@pytest.mark.parametrize("below", [".", "DukeSet", "anything", "dukeset/v2", "my-duke", "my-duke/inner", "Duke_Set.v1"])
@pytest.mark.parametrize(
    "names", [("train_images/", "list.txt"), ("Train-Images/", "LIST.txt"), ("learn/", "list.txt")]
)
def test_depths_and_spellings(tmp_path, below, names):
    make(tmp_path, "unrelated/")
    make(tmp_path / below, *names)
    found = find(str(tmp_path), TWO)
    assert found.folder == tmp_path / below
    assert [part.name + "/" * part.is_dir() for part in found.parts] == [names[0], names[1]]


def test_a_part_may_lie_above_the_folder(tmp_path):
    make(tmp_path, "duke/learn/", "list.txt")
    assert find(tmp_path, TWO).parts == (tmp_path / "duke" / "learn", tmp_path / "list.txt")


def test_the_folder_of_a_part_will_do(tmp_path):
    make(tmp_path, "train_images/", "list.txt")
    assert find(tmp_path / "train_images", TWO).folder == tmp_path


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    make(tmp_path, "train_images", "list.txt/")
    with pytest.raises(FileNotFoundError, match="no Duke"):
        find(tmp_path, TWO)


def test_a_folder_named_so_goes_before_others_and_nearer_before_deeper(tmp_path):
    for below in ("a", "my-duke", "duke/inner", "Duke"):
        make(tmp_path / below, "learn/", "list.txt")
    for below in ("Duke", "duke/inner", "my-duke", "a"):
        assert find(tmp_path, TWO).folder == tmp_path / below
        (tmp_path / below / "list.txt").unlink()


def test_another_datasets_folder_is_left_alone(tmp_path):
    make(tmp_path / "Market-1501", "learn/", "list.txt")
    with pytest.raises(FileNotFoundError, match=r"no Duke .*found Market-1501/; give the folder that holds them"):
        find(tmp_path, TWO)
    assert find(tmp_path / "Market-1501", TWO).folder == tmp_path / "Market-1501"


def test_two_that_would_do_are_not_guessed_between(tmp_path):
    for below in ("Duke_V1", "Duke_V2"):
        make(tmp_path / below, "learn/", "list.txt")
    with pytest.raises(ValueError, match=r"several datasets in Duke's layout \(Duke_V1, Duke_V2\); give one of them"):
        find(tmp_path, TWO)


def test_the_second_layout_is_found_where_the_first_is_incomplete(tmp_path):
    make(tmp_path, "duke/learn/", "x/table.csv")
    found = find(tmp_path, TWO, OTHER)
    assert (found.layout, found.folder) == (OTHER, tmp_path / "x")


def test_what_was_looked_for_and_what_is_there(tmp_path):
    make(tmp_path, *(f"file{i}" for i in range(9)), ".hidden")
    message = (
        r"no Duke in .*: looked for train_images/ and list\.txt, or for table\.csv there and below it \(usual names:"
        r" DukeSet\), found file0, .*file7 and 1 more; give the folder that holds them"
    )
    with pytest.raises(FileNotFoundError, match=message):
        find(tmp_path, TWO, OTHER)


def test_an_archive_is_to_be_unpacked(tmp_path):
    make(tmp_path, "DukeSet.tar.gz")
    with pytest.raises(FileNotFoundError, match=r"found DukeSet\.tar\.gz; unpack DukeSet\.tar\.gz first"):
        find(tmp_path, TWO)


def test_half_of_a_dataset_says_what_it_lacks(tmp_path):
    make(tmp_path / "duke", "learn/")
    with pytest.raises(
        FileNotFoundError, match=r"Duke in .*duke lacks list\.txt \(found learn/\); add what is missing"
    ):
        find(tmp_path, TWO)


def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    closed, listed = make(tmp_path / "duke", "learn/", "list.txt"), Path.iterdir
    find(tmp_path, TWO)

    def iterdir(folder):  # not by `chmod`, which means nothing to the superuser
        if folder == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(FileNotFoundError, match="no Duke"):
        find(tmp_path, TWO)


def test_images_are_those_by_name_without_hidden_ones(tmp_path):
    write(tmp_path, ["b.JPG".lower(), "a.png", "c.bmp", "._a.png"])
    make(tmp_path, "Thumbs.db")
    assert [path.name for path in images(tmp_path)] == ["a.png", "b.jpg", "c.bmp"]
    with pytest.raises(FileNotFoundError, match=r"holds no \.jpg, \.jpeg, \.png, \.bmp image; unpack"):
        images(make(tmp_path / "empty", "notes.txt"))


def test_names_are_read_from_their_beginning(tmp_path):
    files = [tmp_path / "3_c2.png", tmp_path / "-1_c12_x.png"]
    assert read_names(files, r"(-?\d+)_c(\d+)", "").tolist() == [[3, 2], [-1, 12]]
    with pytest.raises(ValueError, match=r"cannot read person and camera from a\.png; names look like 1_c1\.png: re"):
        read_names([*files, tmp_path / "a.png"], r"(-?\d+)_c(\d+)", "1_c1.png")


def test_the_first_few_are_named():
    assert some("abc") == "a, b, c"
    assert some("abcdefg", 2) == "a, b and 5 more"


def test_look_alikes_come_from_the_manifest(tmp_path):
    assert look_alikes(tmp_path) == {}
    known = {"people": {"7": {"group": 1}, "8": {"group": 1}}, "images": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(known))
    split = labelled("gallery", [tmp_path] * 4, np.array([7, 8, -1, 9]), np.ones(4), look_alikes(tmp_path))
    assert split.groups.tolist() == [1, 1, -1, 9]


@pytest.mark.parametrize(
    "text", ['{"name": "my export"}', '{"people": {"1": "Alice"}}', '{"people": [], "images": []}', "[1]", "no JSON"]
)
def test_others_manifest_says_nothing(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert look_alikes(tmp_path) == {}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_says_what_it_looked_for(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"which does not exist; give the folder it is in"):
        load(name, root=tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    said = r"looked for .*\(usual names: .*\), found holiday\.jpg; give"
    with pytest.raises(FileNotFoundError, match="; write one" if name == "folders" else said) as caught:
        load(name, root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_knows_its_splits(name):
    last = DATASETS[name].splits
    for split in (last, -1):
        with pytest.raises(
            ValueError, match=rf"{name} has {'one split' if last == 1 else f'{last} splits'}.*split {split}"
        ):
            load(name, root="/", split=split)


def test_published_counts_add_up():
    for name, dataset in DATASETS.items():
        if (published := dataset.published) is None:
            assert name == "folders"
            continue
        sizes = {part: images for part, (_, images) in published.splits.items()}
        if None not in sizes.values():
            without = {"market1501": sizes["query"], "cuhk01-all": sizes["train"]}.get(name, 0)
            assert sum(sizes.values()) - without == published.images, name
        people = {part: number for part, (number, _) in published.splits.items()}
        if name.endswith("-all"):
            assert set(people.values()) == {published.people}, name
            continue
        assert people["train"] + people["gallery"] + people.get("validation", 0) == published.people, name
