"""Drawn worlds in every dataset's files: published counts and formats, whole groups, determinism, resumption."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers import contents
from PIL import Image
from scipy.io import loadmat
from typer.testing import CliRunner

from reidlib.__main__ import app
from reidlib.data.registry import DATASETS
from reidlib.data.splits import Benchmark
from reidlib.data.synthetic import (
    LAYOUTS,
    PRESETS,
    Knobs,
    Rig,
    Size,
    World,
    dataset,
    make,
    matlab,
    named_world,
    read_manifest,
    world_seed,
)
from reidlib.data.synthetic.cuhk03 import ARCHIVE, Cuhk03Size, Pair
from reidlib.data.synthetic.layouts import Cuhk01Size, DukeSize, MsmtSize
from reidlib.data.synthetic.plan import Plan, PlannedImage, cast, whole_groups
from reidlib.data.synthetic.settings import CAMERAS

SIZES = ("tiny", "small", "market")
OTHERS = tuple(layout for layout in LAYOUTS if layout != "market1501")
# A size small enough to be drawn several times.
MICRO: dict[str, Any] = {
    "market1501": Size(8, 8, train=20, query=18, gallery=20, distractors=2, junk=4),
    "market1501-500k": 5,
    "dukemtmc": DukeSize(8, 8, 6, train=20, query=18, gallery=28),
    "msmt17": MsmtSize(8, 8, train=18, val=4, query=17, gallery=19),
    "cuhk03": Cuhk03Size(
        (
            Pair((8, 8), (34, 34), (34, 34)),
            Pair((6, 0), (25, 0), (24, 0)),
            Pair((6, 0), (24, 0), (24, 0)),
        ),
        test_people=8,
    ),
    "cuhk01": Cuhk01Size((6, 6, 8)),
    "viper": (8, 8),
}
MICRO["folders"] = MICRO["market1501"]
FOLDERS = "(bounding_box_train|query|bounding_box_test)"
NAMES = {  # how published loaders read person and camera, and what they assert
    "market1501": rf"{FOLDERS}/(?P<person>-1|\d{{4}})_c(?P<camera>[1-6])s\d_\d{{6}}_\d\d\.jpg",
    "market1501-500k": rf"({FOLDERS}|gt_bbox)/(?P<person>-1|\d{{4}})_c(?P<camera>[1-6])s\d_\d{{6}}_\d\d\.jpg|"
    r"distractors_500k/\d{6}\.jpg",
    "dukemtmc": rf"{FOLDERS}/(?P<person>\d{{4}})_c(?P<camera>[1-8])_f\d{{7}}\.jpg",
    "msmt17": r"(train|test)/(\d{4})/\2_\d{3}_(?P<camera>\d\d)_\d{4}(morning|noon|afternoon)_\d{4}_\d\.jpg",
    "cuhk03": r"(labeled|detected)/[1-5]_\d{3}_(1_0[1-5]|2_0[6-9]|2_10)\.png",
    "cuhk01": r"campus/(?P<person>\d{4})00[1-4]\.png",
    "viper": r"cam_[ab]/(?P<person>\d{3})_\d+\.bmp",
    "folders": r"(train|query|gallery)/(?P<person>-1|\d{4})_c(?P<camera>[1-6])s\d_\d{6}_\d\d\.jpg",
}
EVERY_SIZE = pytest.mark.parametrize(("layout", "size"), list(product(LAYOUTS, SIZES)))


@pytest.fixture(scope="module", autouse=True)
def micro() -> Iterator[None]:
    for layout, size in MICRO.items():
        LAYOUTS[layout].sizes["micro"] = size
    yield
    for layout in set(MICRO) - {"folders"}:  # which has Market-1501's sizes
        del LAYOUTS[layout].sizes["micro"]


@pytest.fixture(scope="module")
def drawn(micro: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of every layout, `micro`."""
    root = tmp_path_factory.mktemp("drawn")
    return {layout: make("plaza", "micro", root, layout=layout, workers=1, progress=False) for layout in LAYOUTS}


def plan(layout: str, size: str, domain: str = "plaza") -> Plan:
    return LAYOUTS[layout].plan(world_seed(domain, size, 0, layout), domain, size)


def seen(folder: Path, name: str) -> Counter[int]:
    """How many images of a plan's part each person has; `folder` as its files begin."""
    return Counter(image.label for image in plan(name, "market").images if image.file.startswith(folder))


# counts


def test_market_sizes_have_the_counts_printed_for_each_dataset() -> None:
    # HAGN, Table I and Sec. IV-B; 408 of Duke's gallery people are distractors
    train, query, gallery = (
        seen(f"{part}/", "dukemtmc") for part in ("bounding_box_train", "query", "bounding_box_test")
    )
    assert [len(part) for part in (train, query, gallery)] == [702, 702, 1110]
    assert [part.total() for part in (train, query, gallery)] == [16522, 2228, 17661]
    assert (train + query + gallery).total() == 36411
    assert set(query) < set(gallery)

    train, test = (seen(f"{part}/", "msmt17") for part in ("train", "test"))
    assert [len(train), len(test)] == [1041, 3060]
    assert [train.total(), test.total()] == [32621, 93820]
    lists = {name: text.decode().splitlines() for name, text in plan("msmt17", "market").texts.items()}
    counts = [len(lists[f"list_{name}.txt"]) for name in ("train", "val", "query", "gallery")]
    assert counts == [30248, 2373, 11659, 82161]

    # MidLevel, Table I
    for layout, people, number in (("cuhk01", 971, 3884), ("viper", 632, 1264)):
        everybody = seen("", layout)
        assert len(everybody) == people
        assert everybody.total() == number
        assert set(everybody.values()) == {number // people}


def test_cuhk03_has_the_counts_printed_for_both_protocols() -> None:
    world = plan("cuhk03", "market")
    pairs = Counter(image.file.split("/")[1][:5] for image in world.images)
    assert list(Counter(int(name[0]) for name in pairs).values()) == [843, 440, 77, 58, 49]
    for boxes, first_three, train, gallery in (("labeled", 13163, 7368, 5328), ("detected", 13164, 7365, 5332)):
        names = [image.file.split("/")[1] for image in world.images if image.file.startswith(boxes)]
        assert sum(name[0] in "123" for name in names) == first_three
        assert len(names) == train + 1400 + gallery
        split = matlab_5(world.texts[f"cuhk03_new_protocol_config_{boxes}.mat"])
        assert [len(split[f"{role}_idx"]) for role in ("train", "query", "gallery")] == [train, 1400, gallery]
        people = [np.unique(split["labels"][split[f"{role}_idx"] - 1]) for role in ("train", "query", "gallery")]
        assert [len(ids) for ids in people] == [767, 700, 700]
        assert not np.intersect1d(people[0], people[1]).size
    shots = Counter((image.file.split("/")[0], image.label, image.file.split("_")[2]) for image in world.images)
    assert len(shots) == 2 * 2 * 1467  # both cameras saw everybody
    assert set(shots.values()) == {2, 3, 4, 5}
    assert np.mean(list(shots.values())) == pytest.approx(4.8, abs=0.01)


def test_cuhk03s_test_sets_are_whole_groups_of_the_first_three_pairs() -> None:
    for size, people in (("tiny", 8), ("small", 100), ("market", 100)):
        world = plan("cuhk03", size)
        number_of = {tuple(map(int, i.file.split("/")[1].split("_")[:2])): i.label for i in world.images}
        groups = {person: subject // 8 for person, (subject, _) in world.people.items()}
        assert len(world.testsets) == 20
        for testset in world.testsets:
            tested = {number_of[int(pair), int(person)] for pair, person in testset}
            assert testset.shape == (people, 2)
            assert len(tested) == people
            assert testset[:, 0].max() <= 3
            assert not {groups[p] for p in tested} & {g for p, g in groups.items() if p not in tested}
        assert len({testset.tobytes() for testset in world.testsets}) > (3 if size == "tiny" else 15)


@EVERY_SIZE
def test_names_are_those_that_published_loaders_read(layout: str, size: str) -> None:
    world = plan(layout, size)
    files = [image.file for image in world.images]
    assert len(set(files)) == len(files)
    assert {image.label for image in world.images if image.label > 0} == set(world.people)
    for image in world.images:
        match = re.fullmatch(NAMES[layout], image.file)
        assert match, image.file
        parts = match.groupdict()
        assert int(parts.get("person") or image.label) == image.label
        assert int(parts.get("camera") or image.camera) == image.camera
        assert 1 <= image.camera <= LAYOUTS[layout].rig.cameras
        if image.label > 0:
            assert image.subject == world.people[image.label][0]
    if layout.startswith("market1501"):
        assert max(world.people) <= 1501
    people = [image for image in world.images if image.label > 0 and not image.file.startswith("gt_bbox")]
    assert len({(i.subject, i.camera, i.index, i.labeled) for i in people}) == len(people)  # no image twice


@EVERY_SIZE
def test_look_alike_groups_never_straddle_a_split(layout: str, size: str) -> None:
    people = plan(layout, size).people
    sides: dict[int, set[str]] = {}
    for subject, side in people.values():
        sides.setdefault(subject // 8, set()).add(side)
    assert all(len(sides_of_group) == 1 for sides_of_group in sides.values())
    members = Counter(subject // 8 for subject, _ in people.values())
    assert min(members.values()) >= 6
    assert len({subject for subject, _ in people.values()}) == len(people)


def test_sides_of_the_published_sizes_can_be_put_together_from_whole_groups() -> None:
    for layout, sizes in (("cuhk01", (100, 486)), ("viper", (316,))):
        groups = [subject // 8 for subject, _ in plan(layout, "market").people.values()]
        for size, seed in product(sizes, range(5)):
            chosen = whole_groups(np.random.default_rng(seed), groups, size)
            inside = {groups[position] for position in chosen}
            assert len(chosen) == size == sum(group in inside for group in groups)


def test_whole_groups_finds_a_sum_where_trying_all_subsets_finds_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        sizes = rng.integers(2, 9, 6)
        groups = rng.permutation(np.repeat(np.arange(6), sizes)).tolist()
        possible = {sum(c) for n in range(7) for c in combinations(sizes.tolist(), n)}
        people = int(rng.integers(1, sizes.sum()))
        if people in possible:
            assert len(whole_groups(rng, groups, people)) == people
        else:
            with pytest.raises(ValueError, match=f"no whole groups have {people} people"):
                whole_groups(rng, groups, people)


def test_people_come_in_groups_of_six_to_eight_with_sides_of_the_sizes_asked_for() -> None:
    people = cast(np.random.default_rng(0), {"train": 702, "test": 408, "nobody": 0}, first_group=5)
    assert Counter(side for _, side in people) == {"train": 702, "test": 408}
    assert people[0][0] == 40
    assert set(Counter(subject // 8 for subject, _ in people).values()) == {6, 7, 8}
    with pytest.raises(ValueError, match="9 cannot be shared out over 1 places of 6 to 8"):
        cast(np.random.default_rng(0), {"train": 9})


@pytest.mark.parametrize("size", SIZES)
def test_duke_and_msmt17_ask_for_every_test_person_once_in_each_of_several_cameras(size: str) -> None:
    for layout, is_query in (("dukemtmc", "query/"), ("msmt17", "test/")):
        world = plan(layout, size)
        queries = [i for i in world.images if i.file.startswith(is_query)]
        if layout == "msmt17":
            asked = set(world.texts["list_query.txt"].decode().split("\n"))
            queries = [i for i in queries if f"{i.file.removeprefix('test/')} {int(i.file[5:9])}" in asked]
        cells = Counter((i.label, i.camera) for i in queries)
        assert set(cells.values()) == {1}
        cameras = Counter(person for person, _ in cells)
        assert min(cameras.values()) >= 2
        assert {camera for _, camera in cells} == set(range(1, LAYOUTS[layout].rig.cameras + 1))


def test_msmt17s_lists_name_every_image_and_its_person_once() -> None:
    world = plan("msmt17", "small")
    lines = {name: text.decode().splitlines() for name, text in world.texts.items()}
    label = {image.file: image.label for image in world.images}
    listed = []
    for name, first in (("train", 1), ("val", 1), ("query", 1 + 128), ("gallery", 1 + 128)):
        folder = "train" if first == 1 else "test"
        for line in lines[f"list_{name}.txt"]:
            file, person = line.split(" ")
            assert label[f"{folder}/{file}"] == first + int(person)
            listed.append(f"{folder}/{file}")
    assert sorted(listed) == sorted(label)
    trained = {line.split(" ")[1] for line in lines["list_train.txt"]}
    assert len(trained) == 128  # nobody is in val alone


# worlds


def test_worlds_in_different_layouts_share_neither_people_nor_cameras() -> None:
    looks, plates = [], []
    for layout in LAYOUTS:
        scene = named_world("plaza", "tiny", layout=layout)
        looks += [json.dumps(asdict(replace(scene.identity(p), person=0, group=0))) for p in range(8, 24)]
        plates += [scene.camera(number).plate.tobytes() for number in (1, 2)]
    assert len(set(looks)) == len(looks)
    assert len(set(plates)) == len(plates)
    assert world_seed("plaza", "tiny", 0) == world_seed("plaza", "tiny", 0, "market1501")


def test_more_cameras_change_no_image_of_the_first_six() -> None:
    few, many = (World("plaza", 5, rig=rig) for rig in (None, Rig(cameras=15)))
    for camera in range(1, CAMERAS + 1):
        assert few.jpeg(9, camera, 0) == many.jpeg(9, camera, 0)
    plates = {many.camera(number).plate.tobytes() for number in range(1, 16)}
    assert len(plates) == 15
    with pytest.raises(ValueError, match="cameras 1 to 15"):
        many.camera(16)
    with pytest.raises(ValueError, match="cameras 1 to 6"):
        few.camera(7)


def test_the_second_of_two_cameras_sees_people_from_the_side() -> None:
    rig = LAYOUTS["viper"].rig
    yaws = np.array([[s.camera(n).walk_yaw for n in (1, 2)] for s in (World("plaza", s, rig=rig) for s in range(16))])
    assert np.degrees(yaws.mean(0)) == pytest.approx([0, 90], abs=15)


def test_labeled_and_detected_boxes_of_cuhk03_are_cut_out_of_the_same_frames() -> None:
    rig = LAYOUTS["cuhk03"].rig
    knobs = replace(Knobs(), passer_by=0.0, occlusion=0.0)
    together = World("plaza", 5, knobs, rig)
    apart = World("plaza", 5, knobs, replace(rig, same_shots=False))
    for person in range(8, 16):
        by_hand, found = (together.render(person, 1, 0, labeled=labeled) for labeled in (True, False))
        assert by_hand.pixels.shape == (160, 60, 3)
        assert by_hand.yaw == found.yaw != apart.render(person, 1, 0, labeled=True).yaw
        behind = [together.render(person, 1, 0, labeled=labeled, erase_person=True).pixels for labeled in (True, False)]
        np.testing.assert_array_equal(*behind)
        assert (by_hand.pixels != found.pixels).any()
        np.testing.assert_array_equal(found.pixels, apart.render(person, 1, 0).pixels)


# files


def matlab_5(data: bytes) -> dict[str, np.ndarray]:
    """Columns of a version 5 file, cells of text as strings."""
    import io

    mat = {name: value for name, value in loadmat(io.BytesIO(data)).items() if not name.startswith("__")}
    assert all(value.shape[1] == 1 for value in mat.values())
    flat = {name: value.ravel() for name, value in mat.items()}
    return flat | {"filelist": np.array([cell[0] for cell in flat["filelist"]])}


def test_cuhk_03_mat_is_structured_as_published(drawn: dict[str, Path]) -> None:
    world = plan("cuhk03", "micro")
    with h5py.File(drawn["cuhk03"] / ARCHIVE) as mat:
        assert set(mat) == {"#refs#", "detected", "labeled", "testsets"}
        for boxes in ("labeled", "detected"):
            assert mat[boxes].shape == (1, 3)
            assert [mat[pair].shape for pair in mat[boxes][0]] == [(10, people) for people in (16, 6, 6)]
            found = set()
            for pair, cells in enumerate(mat[boxes][0], 1):
                for (shot, person), reference in np.ndenumerate(mat[cells][()]):
                    image = mat[reference]
                    if image.ndim == 3:
                        assert (image.dtype, image.shape) == (np.uint8, (3, 60, 160))
                        found.add(f"{boxes}/{pair}_{person + 1:03d}_{1 + shot // 5}_{shot + 1:02d}.png")
                    else:  # an empty cell, as MATLAB writes it
                        assert image[()].tolist() == [0, 0]
                        assert image.attrs["MATLAB_empty"] == 1
            assert found == {image.file for image in world.images if image.file.startswith(boxes)}
        assert mat["testsets"].shape == (1, 20)
        for reference, testset in zip(mat["testsets"][0], world.testsets, strict=True):
            np.testing.assert_array_equal(mat[reference][()].T, testset)
    with pytest.raises(NotImplementedError, match="matlab v7"):  # by its header
        loadmat(drawn["cuhk03"] / ARCHIVE)


def test_cuhk03s_split_files_have_the_published_columns(drawn: dict[str, Path]) -> None:
    world = plan("cuhk03", "micro")
    queries = {}
    for boxes in ("labeled", "detected"):
        split = matlab_5((drawn["cuhk03"] / f"cuhk03_new_protocol_config_{boxes}.mat").read_bytes())
        assert set(split) == {"filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx"}
        planned = {i.file.split("/")[1]: i.label for i in world.images if i.file.startswith(boxes)}
        assert split["filelist"].tolist() == sorted(planned)
        assert split["labels"].tolist() == [planned[name] for name in sorted(planned)]
        assert split["camId"].tolist() == [int(name.split("_")[2]) for name in sorted(planned)]
        rows = [split[f"{role}_idx"] for role in ("train", "query", "gallery")]
        assert sorted(np.concatenate(rows).tolist()) == list(range(1, len(planned) + 1))
        asked = rows[1] - 1
        assert Counter(zip(split["labels"][asked], split["camId"][asked], strict=True)).most_common(1)[0][1] == 1
        queries[boxes] = split["filelist"][asked].tolist()
    assert queries["labeled"] == queries["detected"]


@pytest.mark.parametrize("layout", OTHERS)
def test_the_manifest_tells_what_is_in_the_files(layout: str, drawn: dict[str, Path]) -> None:
    folder, world = drawn[layout], plan(layout, "micro")
    assert folder.name == f"plaza-micro-w0-default-{layout}"
    manifest = read_manifest(folder)
    scene = named_world("plaza", "micro", layout=layout)
    assert manifest["layout"] == layout
    assert manifest["image_size"] == list(scene.rig.image_size)
    for person, entry in manifest["people"].items():
        subject, side = world.people[int(person)]
        assert (entry["group"], entry["split"]) == (subject // 8, side)
        assert entry["attributes"] == json.loads(json.dumps(asdict(scene.identity(subject))))
    assert list(manifest["images"]) == [image.file for image in world.images]
    files = contents(folder)
    kinds = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
    for name, entry in list(manifest["images"].items())[::11]:
        again = scene.render(
            entry["subject"], entry["camera"], entry["index"], labeled=entry["labeled"], partial=entry["partial"]
        )
        if layout == "cuhk03":
            assert name not in files
            boxes, pair, person, _, shot = re.split("[/_]", name.removesuffix(".png"))
            with h5py.File(folder / ARCHIVE) as mat:
                cells = mat[mat[boxes][0, int(pair) - 1]]
                pixels = mat[cells[int(shot) - 1, int(person) - 1]][()].T
        else:
            with Image.open(folder / name) as image:
                assert image.format == kinds[Path(name).suffix]
                pixels = np.asarray(image)
        np.testing.assert_array_equal(pixels, again.pixels)


def test_any_number_of_workers_writes_the_same_archive(
    drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "FEW", 0)
    folder = make("plaza", "micro", tmp_path, layout="cuhk03", workers=2, progress=False)
    assert contents(folder) == contents(drawn["cuhk03"])
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("stop", ["drawing", "packing"])
def test_a_killed_run_leaves_no_half_archive_and_goes_on(stop: str, drawn: dict[str, Path], tmp_path: Path) -> None:
    code = f"""
import os, signal
from reidlib.data.synthetic import LAYOUTS, dataset, make, matlab
from reidlib.data.synthetic.cuhk03 import Cuhk03Size, Pair
draw, keep, done = dataset._draw, matlab._Store.image, []
def stop(function):
    def stopping(*given):
        done.append(1)
        if len(done) == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given)
    return stopping
if {stop == "drawing"}:
    dataset._draw = stop(draw)
else:
    matlab._Store.image = stop(keep)
LAYOUTS["cuhk03"].sizes["micro"] = {MICRO["cuhk03"]!r}
make("plaza", "micro", {str(tmp_path)!r}, layout="cuhk03", workers=1, progress=False)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    folder = tmp_path / drawn["cuhk03"].name
    total = len(plan("cuhk03", "micro").images)
    assert len(list(folder.rglob("*.png"))) == (29 if stop == "drawing" else total)
    assert not (folder / ARCHIVE).exists()
    with pytest.raises(FileNotFoundError, match="unfinished: call `make` again"):
        read_manifest(folder)
    make("plaza", "micro", tmp_path, layout="cuhk03", workers=1, progress=False)
    assert contents(folder) == contents(drawn["cuhk03"])


@pytest.mark.parametrize(
    ("layout", "lost", "images"),
    [
        ("cuhk03", "cuhk03_new_protocol_config_labeled.mat", "none"),
        ("cuhk03", ARCHIVE, ""),
        ("msmt17", "list_val.txt", "none"),
        ("msmt17", "test", "test/"),
        ("viper", "cam_b", "cam_b/"),
    ],
)
def test_only_what_is_missing_is_drawn_again(
    layout: str, lost: str, images: str, drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, again = dataset._draw, []

    def count(folder: Path, scene: World, image: PlannedImage) -> None:
        again.append(image.file)
        draw(folder, scene, image)

    folder = tmp_path / drawn[layout].name
    shutil.copytree(drawn[layout], folder)
    gone = folder / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    monkeypatch.setattr(dataset, "_draw", count)
    for expected in ([i.file for i in plan(layout, "micro").images if i.file.startswith(images)], []):
        make("plaza", "micro", tmp_path, layout=layout, workers=1, progress=False)
        assert again == expected
        again.clear()
    assert contents(folder) == contents(drawn[layout])


def test_a_full_disk_is_said_in_a_sentence_before_hdf5_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def full(path: Path, size: int) -> None:
        path.write_bytes(b"half")
        sizes.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(matlab, "_reserve", full)
        with pytest.raises(OSError, match="no space left: free some, and call again to go on"):
            make("plaza", "micro", tmp_path, layout="cuhk03", workers=1, progress=False)
    folder = tmp_path / "plaza-micro-w0-default-cuhk03"
    assert not list((folder / "cuhk03_release").iterdir())
    make("plaza", "micro", tmp_path, layout="cuhk03", workers=1, progress=False)
    assert (folder / ARCHIVE).stat().st_size < sizes[0]  # what was asked for is enough


def test_a_mistyped_layout_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layout 'cuhk-03' is unknown: did you mean 'cuhk03'"):
        make("plaza", "tiny", tmp_path, layout="cuhk-03")
    with pytest.raises(ValueError, match="size 'big' is unknown: choose from tiny, small, market"):
        make("plaza", "big", tmp_path, layout="viper")
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_a_layout_and_prints_its_folder(tmp_path: Path) -> None:
    words = ["data", "make", "plaza", "--size", "micro", "--layout", "viper", "--root", str(tmp_path)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert shown.stdout.strip() == str(tmp_path / "plaza-micro-w0-default-viper")
    assert len(list(tmp_path.rglob("*.bmp"))) == 32


def test_presets_change_images_and_not_the_plan(drawn: dict[str, Path], tmp_path: Path) -> None:
    folder = make("plaza", "micro", tmp_path, layout="viper", preset="easy", workers=1, progress=False)
    assert folder.name == "plaza-micro-w0-easy-viper"
    assert read_manifest(folder)["knobs"] == asdict(PRESETS["easy"])
    easy, default = contents(folder), contents(drawn["viper"])
    assert set(easy) == set(default)
    assert easy["cam_a/001_0.bmp"] != default["cam_a/001_0.bmp"]


# read back by the loaders


EVERYBODY = [name for name in DATASETS if name.endswith("-all")]


@pytest.mark.parametrize("name", EVERYBODY)
def test_everybody_is_trained_on_and_in_the_test_set(
    name: str, drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REIDLIB_CACHE", str(tmp_path))
    known = DATASETS[name]
    benchmark = known.read(drawn[known.layout], 0)
    assert benchmark.everybody
    assert sorted(benchmark.train.paths) == sorted((*benchmark.query.paths, *benchmark.gallery.paths))
    images = plan(known.layout, "micro").images
    if known.layout == "cuhk03":  # labeled boxes of the first three pairs
        images = [image for image in images if re.match("labeled/[123]_", image.file)]
    label = {Path(image.file).name: image.label for image in images}
    assert dict(zip((p.name for p in benchmark.train.paths), benchmark.train.person_ids, strict=True)) == label


@pytest.mark.parametrize("name", sorted({*DATASETS} - {*EVERYBODY}))
def test_loaders_read_back_what_was_planned(
    name: str, drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REIDLIB_CACHE", str(tmp_path))
    known = DATASETS[name]
    folder, world = drawn[known.layout], plan(known.layout, "micro")
    manifest = read_manifest(folder)
    label = {file: entry["label"] for file, entry in manifest["images"].items()}
    group = {int(person): entry["group"] for person, entry in manifest["people"].items()}
    for split in {0, known.splits - 1}:
        benchmark: Benchmark = known.read(folder, split)
        parts = [benchmark.train, benchmark.query, benchmark.gallery]
        parts += [part for part in (benchmark.validation, benchmark.multi) if part is not None]
        for part in parts:
            for path, person, its_group in zip(part.paths, part.person_ids, part.groups, strict=True):
                names = ("/".join(path.parts[-2:]), "/".join(path.parts[-3:]))  # MSMT17 has a folder a person
                assert label[next(name for name in names if name in label)] == person
                assert its_group == group.get(person, person)
        classic = known.layout == "cuhk03" and known.splits > 1
        if not classic and known.layout not in ("cuhk01", "viper"):  # which are split at random
            for part, side in zip(parts[:3], ("train", "test", "test"), strict=True):
                assert {manifest["people"][str(person)]["split"] for person in part.identities} == {side}
        assert benchmark.matched.all()
        planned = [i.file for i in world.images if known.layout != "cuhk03" or i.file.startswith(name.split("-")[-1])]
        if classic:  # of the first three pairs
            planned = [file for file in planned if file.split("/")[1][0] in "123"]
        assert sum(map(len, parts)) == len(planned)


def test_every_dataset_has_a_layout_that_worlds_are_drawn_in() -> None:
    assert {known.layout for known in DATASETS.values()} == set(LAYOUTS)
