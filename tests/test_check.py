"""`reidlib data check`: whole copies pass, and every kind of damage is named."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from miniature import write
from PIL import Image
from typer.testing import CliRunner

from reidlib.__main__ import app
from reidlib.data import SYNTHETIC, load, registry
from reidlib.data.check import check, counts
from reidlib.data.registry import DATASETS, Counts
from reidlib.data.synthetic import LAYOUTS

PRINTED = Counts(
    "a paper, Table 1",
    people=32,
    images=433,
    cameras=6,
    splits={"train": (16, 192), "query": (16, 64), "gallery": (16, 241)},
)


@pytest.fixture
def market(plaza_tiny, tmp_path, monkeypatch):
    """A copy of plaza that passes for the real dataset: without a manifest, its own counts the printed ones."""
    monkeypatch.setitem(registry.DATASETS, "market1501", replace(DATASETS["market1501"], published=PRINTED))
    folder = tmp_path / "Market-1501"
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        shutil.copytree(plaza_tiny.query.paths[0].parents[1] / part, folder / part)
    return folder


def first(folder, part, person, camera):
    return min((folder / part).glob(f"{person:04d}_c{camera}s*"))


def only(report):
    """The report's one problem."""
    (problem,) = report.problems
    return problem


def look(folder, **how):
    return check("market1501", folder, **how)


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_copy_passes(market, deep):
    report = look(market, deep=deep)
    assert report.problems == ()
    assert report.table["images"].to_dict("list") == {
        "here": ["192", "64", "241", "497"],
        "printed": ["192", "64", "241", ""],
    }
    assert report.table["people"].to_dict("list") == {"here": ["16", "16", "16", "32"], "printed": ["16"] * 3 + ["32"]}
    assert report.table["cameras"].loc["all"].tolist() == ["6", "6"]
    assert report.table.loc["gallery", [("junk", "here"), ("distractors", "here")]].tolist() == ["47", "34"]
    assert "64 of 64 queries have a match in another camera" in report.remarks
    assert f"497 of 497 images can be {'decoded' if deep else 'opened'}" in report.remarks
    assert str(report).endswith("no problem found")


def test_lost_images_are_missed_in_the_counts(market, plaza_tiny):
    person, camera = plaza_tiny.train.person_ids[0], plaza_tiny.train.camera_ids[0]
    first(market, "bounding_box_train", person, camera).unlink()
    assert only(look(market)).startswith("train has 191 images where 192 are printed: unpack the archive again")
    for file in (market / "bounding_box_train").glob(f"{person:04d}_*"):
        file.unlink()
    said = only(look(market))
    assert "train has 15 people where 16 are printed, all has 31 people where 32 are printed" in said


@pytest.mark.parametrize(
    ("damage", "deep", "said"),
    [
        (lambda path: path.write_bytes(b""), False, "a file is empty"),
        (lambda path: path.write_text("<html>not found</html>"), False, "a file is unreadable"),
        (lambda path: path.write_bytes(path.read_bytes()[:700]), True, "a file is damaged"),
        (lambda path: Image.new("RGB", (90, 9)).save(path), True, "a file is no crop of a standing person"),
    ],
)
def test_damaged_files_are_named(market, damage, deep, said):
    bad = sorted((market / "query").iterdir())[3]
    damage(bad)
    assert only(look(market, deep=deep)).startswith(f"{said}: {bad}; extract it again from the dataset's archive")
    if deep:
        assert look(market).problems == ()


def test_several_damaged_files_are_counted(market):
    for bad in sorted((market / "query").iterdir())[:5]:
        bad.write_bytes(b"")
    problem = only(look(market))
    assert problem.startswith("5 files are empty: ")
    assert " and 2 more; " in problem


def replaced(market, plaza_tiny, split, row, source):
    """Another image's bytes in the place of an image, so that the counts stay."""
    path = getattr(plaza_tiny, split).paths[row]
    target = market / path.parent.name / path.name
    shutil.copyfile(market / source.parent.name / source.name, target)
    return target


def test_one_image_on_both_sides_is_leakage(market, plaza_tiny):
    source = plaza_tiny.train.paths[0]
    target = replaced(market, plaza_tiny, "gallery", -1, source)
    problem = only(look(market))
    assert problem.startswith("an image is on both sides of the split: ")
    assert str(target) in problem
    assert source.name in problem


def test_one_image_of_two_people_or_cameras_is_a_problem_and_a_plain_copy_is_not(market, plaza_tiny):
    train = plaza_tiny.train
    people, cameras = train.person_ids, train.camera_ids
    other = int(np.flatnonzero(people != people[0])[0])
    replaced(market, plaza_tiny, "train", other, train.paths[0])
    assert only(look(market)).startswith("an image is under two people: ")
    shutil.copyfile(train.paths[other], market / "bounding_box_train" / train.paths[other].name)
    moved = int(np.flatnonzero((people == people[0]) & (cameras != cameras[0]))[0])
    replaced(market, plaza_tiny, "train", moved, train.paths[0])
    assert only(look(market)).startswith("an image is under two cameras: ")
    shutil.copyfile(train.paths[moved], market / "bounding_box_train" / train.paths[moved].name)
    cells, times = np.unique(np.stack([people, cameras]), axis=1, return_counts=True)
    person, camera = cells[:, times.argmax()]
    one, two = np.flatnonzero((people == person) & (cameras == camera))[:2]
    replaced(market, plaza_tiny, "train", int(two), train.paths[one])
    report = look(market)
    assert report.problems == ()
    assert report.remarks[-1].startswith("an image is there twice: ")


def test_what_the_loader_refuses_is_the_problem(market, plaza_tiny):
    person = plaza_tiny.train.person_ids[0]
    shutil.copy(first(market, "bounding_box_train", person, plaza_tiny.train.camera_ids[0]), market / "query")
    report = look(market)
    assert report.table is None
    assert only(report).startswith(f"market1501: person {person} is both in training and in the test set")
    shutil.rmtree(market / "query")
    assert "lacks query/" in only(look(market))


def test_a_damaged_archive_is_the_problem(copy_of, tmp_path):
    folder = tmp_path / "CUHK03"
    shutil.copytree(copy_of("cuhk03-labeled"), tmp_path, dirs_exist_ok=True)
    next(tmp_path.glob("*-cuhk03")).rename(folder)
    archive = folder / "cuhk03_release" / "cuhk-03.mat"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert only(check("cuhk03-labeled", folder)).startswith(f"{archive} cannot be read as CUHK03's (")


def test_a_line_that_is_listed_twice(tmp_path):
    def image(person, camera):
        return f"{person:04d}/{person:04d}_000_{camera:02d}_0303morning_0001_0.jpg"

    write(tmp_path / "train", [image(person, camera) for person in (0, 1) for camera in (1, 2)])
    write(tmp_path / "test", [image(0, camera) for camera in (1, 2)])
    lists = {"train": [(0, 1), (0, 2), (1, 1), (1, 2)], "val": [(0, 1)], "query": [(0, 1)], "gallery": [(0, 2)]}
    for name, cells in lists.items():
        (tmp_path / f"list_{name}.txt").write_text("".join(f"{image(*cell)} {cell[0]}\n" for cell in cells))
    said = [problem for problem in check("msmt17", tmp_path).problems if "more than once" in problem]
    assert len(said) == 1
    assert said[0].startswith("train: a file is listed more than once: ")


@pytest.mark.parametrize("name", ["cuhk03-np-labeled", "viper"])
def test_a_drawn_copy_that_was_interrupted_is_to_be_drawn_on(copy_of, tmp_path, name):
    """It used to be told apart from a broken real dataset by its printed counts alone, or not at all."""
    shutil.copytree(copy_of(name), tmp_path, dirs_exist_ok=True)
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    made = json.loads((folder / "manifest.json").read_text())
    unfinished = {key: value for key, value in made.items() if key not in ("people", "images")} | {"complete": False}
    (folder / "manifest.json").write_text(json.dumps(unfinished))
    said = f"{folder}: this drawn copy is unfinished; call the same `data make` again"
    if name == "viper":  # whole but for its last file; CUHK03's images lie in the cache by then
        assert check(name, tmp_path).problems[0] == said
    shutil.rmtree(next(path for path in sorted(folder.iterdir()) if path.is_dir()))
    assert only(check(name, tmp_path)) == said
    assert "unfinished" not in only(check("dukemtmc", tmp_path))


@pytest.mark.parametrize(
    ("people", "said"), [(4, []), (3, ["train has 3, and training needs at least 4, because two"])]
)
def test_own_images_that_are_too_few_to_train_on(tmp_path, people, said):
    cells = [(f"train/p{person}", camera) for person in range(people) for camera in (1, 2)]
    cells += [("train/single", 1), ("query/cleo", 1), ("gallery/cleo", 2)]
    for shade, (name, camera) in enumerate(cells):
        path = tmp_path / f"{name}_c{camera}_0.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 64), (shade, 0, 0)).save(path)
    (tmp_path / "pattern.txt").write_text("{split}/{person}_c{camera}_*.png")
    problems = check("folders", tmp_path).problems
    assert len(problems) == len(said)
    assert all(part in problem for part, problem in zip(said, problems, strict=True))
    for camera in (1, 2):
        path = tmp_path / "validation" / f"eve_c{camera}_0.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 64), (0, camera, 0)).save(path)
    assert check("folders", tmp_path).problems == (
        "people with two images each: validation has 1, and training needs at least 2; add some",
    )


def test_a_manifest_of_others_is_none_of_ours(market):
    (market / "manifest.json").write_text('{"name": "my export"}')
    assert look(market).problems == ()


def test_an_image_that_a_drawn_dataset_lost_is_named(copy_of, tmp_path):
    shutil.copytree(copy_of("viper"), tmp_path / "VIPeR")
    gone = min(tmp_path.rglob("cam_a/*.bmp"))
    other = min(tmp_path.rglob(f"cam_b/{gone.name[:3]}_*"))
    gone.unlink()
    assert f"1 people have no image of camera 1, such as {int(gone.name[:3])}" in only(check("viper", tmp_path))
    other.unlink()
    assert f"lacks 2 of its 64 images: cam_a/{gone.name}, cam_b/{other.name}" in only(check("viper", tmp_path))


@pytest.mark.parametrize("name", DATASETS)
def test_a_drawn_copy_of_every_dataset_passes(name, copy_of):
    report = check(name, copy_of(name), deep=True)
    assert report.problems == ()
    drawn = "the images are drawn; the printed counts are those of the real dataset"
    assert (drawn in report.remarks) == (DATASETS[name].published is not None)
    assert list(report.table.index[-1:]) == ["all"]


def test_what_is_drawn_by_name_is_checked_in_any_layout(copy_of):
    report = check("plaza", copy_of("viper"), size="tiny", layout="viper")
    assert report.problems == ()
    assert report.title.startswith("plaza in the layout of VIPeR, 316/316: ")


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.published])
def test_printed_counts_are_of_splits_that_loaders_give(name):
    published = DATASETS[name].published
    assert {"train", "query", "gallery"} <= set(published.splits) <= {"train", "validation", "query", "gallery"}
    assert str(published).startswith(f"printed in {published.source}: {published.people:,} people")


def test_a_total_is_compared_where_no_split_has_its_images_printed(copy_of):
    benchmark = load("cuhk03-detected", root=copy_of("cuhk03-detected"))
    table = counts(benchmark, DATASETS["cuhk03-detected"].published)
    assert table["images", "printed"].tolist() == ["", "", "", "", "13,164"]
    assert table["people", "printed"].tolist() == ["1,160", "100", "100", "100", "1,360"]
    assert isinstance(counts(benchmark).columns, pd.MultiIndex)
    assert "printed" not in counts(benchmark).columns.get_level_values(1)


def test_the_command_exits_with_1_on_problems_and_2_on_mistakes(market):
    def call(*words):
        return CliRunner().invoke(app, ["data", "check", *map(str, words)])

    assert call("market1501", "--root", market, "--deep").exit_code == 0
    min((market / "query").iterdir()).write_bytes(b"")
    shown = call("market1501", "--root", market)
    assert shown.exit_code == 1
    assert "PROBLEM: a file is empty: " in shown.output
    assert isinstance(call("market1502", "--root", market).exception, ValueError)
    assert isinstance(call("market1501", "--root", market / "nowhere").exception, FileNotFoundError)


def test_the_data_page_says_how_every_dataset_is_checked_and_practised():
    page = (Path(__file__).parents[1] / "data" / "README.md").read_text()
    calls = [match.split() for match in re.findall(r"(?<=reidlib data )(?:check|make)[^`#\n]*", page)]
    checked = {words[1] for words in calls if words[0] == "check"}
    named = {name for name in DATASETS if re.search(rf"`{name}`|check {name} ", page)}
    assert named == set(DATASETS)
    assert {DATASETS[name].layout for name in checked - {*SYNTHETIC, "NAME"}} == set(LAYOUTS)
    practised = {
        (words[1], words[words.index("--layout") + 1]) for words in calls if words[0] == "make" and "--layout" in words
    }
    assert practised == {(real.counterpart, real.layout) for real in DATASETS.values()}
