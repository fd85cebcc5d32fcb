"""The drawn benchmark: counts, groups, determinism, resumption, and part maps against what must be true of people."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers import contents

from reidlib.data.synthetic import (
    BODY_PARTS,
    DOMAINS,
    GROUP,
    PARTS,
    PRESETS,
    SIZES,
    Knobs,
    Size,
    World,
    dataset,
    make,
    named_world,
    read_manifest,
    render,
    visible_differences,
    world_seed,
)
from reidlib.data.synthetic.canvas import Canvas
from reidlib.data.synthetic.identity import MINIMUM_DIFFERENCES
from reidlib.data.synthetic.plan import GALLERY, QUERY, TRAIN, PlannedImage, plan_images

MARKET_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d+_\d{6}_\d{2}\.jpg")
CLEAN = replace(Knobs(), jitter=0.0, occlusion=0.0, passer_by=0.0, bag_down=0.0)
MICRO = Size(8, 8, train=30, query=20, gallery=30, distractors=4, junk=8)
FACE, SHOE, BAG = PARTS.index("face"), PARTS.index("shoe"), PARTS.index("bag")


@pytest.fixture(scope="module")
def world() -> World:
    return named_world("plaza", "tiny")


@pytest.fixture(scope="module", autouse=True)
def micro() -> Iterator[None]:
    """A size small enough to be drawn several times."""
    SIZES["micro"] = MICRO
    yield
    del SIZES["micro"]


@pytest.fixture(scope="module")
def few(micro: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A drawn data set and its bytes."""
    folder = make("plaza", "micro", tmp_path_factory.mktemp("drawn"), progress=False)
    return folder, contents(folder)


def by_kind(plan: list[PlannedImage]) -> Counter[str]:
    kinds = {0: "distractors", -1: "junk"}
    names = {TRAIN: "train", QUERY: "query", GALLERY: "gallery"}
    return Counter(kinds.get(image.label, names[image.file.split("/")[0]]) for image in plan)


# counts and splits


@pytest.mark.parametrize("size", SIZES)
def test_planned_counts_are_the_sizes(size: str) -> None:
    expected, seed = SIZES[size], world_seed("plaza", size, 0)
    plan = plan_images(seed, "plaza", size)
    kinds = ("train", "query", "gallery", "distractors", "junk")
    assert by_kind(plan) == {kind: getattr(expected, kind) for kind in kinds}
    people = {
        name: {i.label for i in plan if i.label > 0 and i.file.startswith(name)} for name in (TRAIN, QUERY, GALLERY)
    }
    assert len(people[TRAIN]) == expected.train_people
    assert people[QUERY] == people[GALLERY]
    assert len(people[QUERY]) == expected.test_people
    assert len({image.file for image in plan}) == len(plan)


def test_market_has_the_counts_printed_for_market_1501() -> None:
    market = SIZES["market"]
    assert (market.train_people, market.test_people, market.train, market.query) == (751, 750, 12_936, 3_368)
    assert market.gallery + market.distractors + market.junk == 19_732
    assert (market.first_person, market.last_person) == (1, 1501)


@pytest.mark.parametrize("size", SIZES)
def test_every_person_is_seen_by_two_to_six_cameras_and_queried_once_in_each(size: str) -> None:
    plan = plan_images(world_seed("campus", size, 0), "campus", size)
    for name in (TRAIN, GALLERY):
        views = {(i.label, i.camera) for i in plan if i.label > 0 and i.file.startswith(name)}
        cameras = Counter(person for person, _ in views)
        assert min(cameras.values()) >= 2
        assert max(cameras.values()) <= 6
    queries = Counter((i.label, i.camera) for i in plan if i.file.startswith(QUERY))
    assert set(queries.values()) == {1}
    assert set(queries) == views  # of the gallery


@pytest.mark.parametrize("size", SIZES)
def test_look_alike_groups_never_straddle_the_split(world: World, size: str) -> None:
    counts = SIZES[size]
    train = {world.group(p) for p in range(counts.first_person, counts.first_test_person)}
    test = {world.group(p) for p in range(counts.first_test_person, counts.last_person + 1)}
    assert not train & test


def test_file_names_are_market_1501s() -> None:
    for image in plan_images(1, "plaza", "market"):
        match = MARKET_NAME.fullmatch(image.file.split("/")[1])
        assert match, image.file
        assert (int(match[1]), int(match[2])) == (image.label, image.camera)


def test_distractors_are_strangers_and_junk_shows_test_people_badly() -> None:
    size = SIZES["small"]
    plan = plan_images(world_seed("plaza", "small", 0), "plaza", "small")
    known = range(size.first_person, size.last_person + 1)
    assert all(i.subject not in known for i in plan if i.label == 0)
    junk = [i for i in plan if i.label == -1]
    assert all(i.partial and (i.subject >= size.first_test_person) for i in junk)
    assert np.mean([i.subject in known for i in junk]) == pytest.approx(0.75, abs=0.01)


# people


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_two_people_of_a_group_look_the_same(domain: str) -> None:
    lookalikes = World(domain, 5, replace(Knobs(), lookalike=1.0))
    for group in range(1, 16):
        people = [lookalikes.identity(GROUP * group + member) for member in range(GROUP)]
        differences = [len(visible_differences(a, b)) for a, b in combinations(people, 2)]
        assert min(differences) >= MINIMUM_DIFFERENCES


def test_groups_look_alike_and_strangers_do_not() -> None:
    scene = World("plaza", 6)
    people = [scene.identity(person) for person in range(8, 8 + 20 * GROUP)]
    pairs = [(a.group == b.group, len(visible_differences(a, b))) for a, b in combinations(people, 2)]
    same = np.mean([d for alike, d in pairs if alike])
    other = np.mean([d for alike, d in pairs if not alike])
    assert same < 0.75 * other


def test_a_world_remembers_the_groups_last_asked_for_and_makes_the_others_up_again_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "KEPT_GROUPS", 2)
    scene = World("plaza", 6)
    first, again = scene.identity(GROUP), scene.identity(2 * GROUP)
    for person in (2 * GROUP + 1, GROUP, 3 * GROUP):
        scene.identity(person)
    assert list(scene._groups) == [1, 3]
    assert scene.identity(GROUP) is first  # remembered
    assert scene.identity(2 * GROUP) == again
    assert scene.identity(2 * GROUP) is not again
    assert list(scene._groups) == [1, 2]


def test_worlds_share_neither_people_nor_cameras() -> None:
    names = [(domain, size, number) for domain in DOMAINS for size in SIZES for number in (0, 1)]
    looks, cameras = [], []
    for domain, size, number in names:
        scene = named_world(domain, size, number)
        for person in range(8, 24):
            looks.append(json.dumps(asdict(replace(scene.identity(person), person=0, group=0))))
        camera = scene.camera(1)
        cameras += [camera.colour_matrix.tobytes(), camera.plate.tobytes()]
    assert len(set(looks)) == len(looks)
    assert len(set(cameras)) == len(cameras) == 2 * len(names)


def test_presets_change_images_and_not_people() -> None:
    easy, hard = (named_world("plaza", "tiny", preset=preset) for preset in ("easy", "hard"))
    assert easy.identity(9) == hard.identity(9)
    assert easy.jpeg(9, 1, 0) != hard.jpeg(9, 1, 0)


# images


def test_a_camera_of_another_preset_stands_before_the_same_background() -> None:
    easy, hard = (named_world("plaza", "tiny", preset=preset).camera(2) for preset in ("easy", "hard"))
    assert easy.gamma != hard.gamma
    assert easy.plate is hard.plate  # drawn once
    assert not np.array_equal(easy.plate, named_world("plaza", "tiny").camera(3).plate)
    with pytest.raises(ValueError, match="read-only"):
        easy.plate[0] = 0


def test_an_image_is_the_same_in_any_order() -> None:
    keys = [(9, 1, 0), (9, 2, 1), (20, 6, 3), (31, 4, 0)]
    one, other = named_world("campus", "tiny"), named_world("campus", "tiny")
    forward = [one.jpeg(*key) for key in keys]
    backward = [other.jpeg(*key) for key in reversed(keys)]
    assert forward == backward[::-1]
    assert len(set(forward)) == len(keys)


def test_an_image_is_the_same_under_any_hash_seed() -> None:
    code = (
        "import hashlib; from reidlib.data.synthetic import named_world; w = named_world('plaza', 'tiny');"
        "print(hashlib.sha256(b''.join(w.jpeg(p, 1, 0) for p in range(8, 24))).hexdigest())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert len(first.strip()) == 64
    assert first == second


def test_the_part_map_shows_a_person() -> None:
    scene = World("plaza", 3, CLEAN)
    shares, heads_above = [], []
    for person in range(8, 32):
        for camera in (1, 3):
            drawn = scene.render(person, camera, 0)
            assert drawn.pixels.shape == (128, 64, 3)
            assert drawn.parts.max() < len(PARTS)
            shares.append(np.isin(drawn.parts, BODY_PARTS).mean())
            face, shoes = np.nonzero(drawn.parts == FACE)[0], np.nonzero(drawn.parts == SHOE)[0]
            heads_above.append(face.mean() + 60 < shoes.mean())
    assert min(shares) > 0.10
    assert max(shares) < 0.60
    assert all(heads_above)


def test_key_points_lie_on_the_person() -> None:
    scene = World("plaza", 3, CLEAN)
    for person in range(8, 24):
        drawn = scene.render(person, 2, 0)
        for name in ("head", "neck", "pelvis", "left_knee", "right_knee", "left_shoulder"):
            x, y = drawn.keypoints[name]
            assert drawn.parts[int(y), int(x)] in BODY_PARTS, name
        assert drawn.keypoints["head"][1] < drawn.keypoints["pelvis"][1] < drawn.keypoints["left_knee"][1]


def test_yaw_tells_which_side_is_seen() -> None:
    scene = World("plaza", 4, CLEAN)
    backpackers = [p for p in range(8, 200) if scene.identity(p).bag == "backpack"][:12]
    views = [scene.render(person, camera, 0) for person in backpackers for camera in range(1, 7)]
    bag = {view.yaw: np.mean(view.parts == BAG) for view in views}
    behind = [share for yaw, share in bag.items() if np.cos(yaw) < -0.7]
    ahead = [share for yaw, share in bag.items() if np.cos(yaw) > 0.7]
    assert min(behind) > 2 * np.mean(ahead)
    # Left and right: facing the camera, a person's left shoulder is on the image's right.
    for view in views:
        sideways = view.keypoints["left_shoulder"][0] - view.keypoints["right_shoulder"][0]
        assert np.sign(sideways) == np.sign(np.cos(view.yaw)) or abs(np.cos(view.yaw)) < 0.2


def test_erasing_the_person_leaves_the_rest_of_the_same_image() -> None:
    knobs = replace(PRESETS["default"], passer_by=1.0, occlusion=1.0, blur=0.0, low_resolution=0.0)
    scene = World("plaza", 7, knobs)
    for person in range(8, 16):
        whole, rest = scene.render(person, 1, 0), scene.render(person, 1, 0, erase_person=True)
        body = np.isin(whole.parts, BODY_PARTS)
        assert body.any()
        assert not np.isin(rest.parts, BODY_PARTS).any()
        np.testing.assert_array_equal(whole.parts[~body], rest.parts[~body])
        assert rest.keypoints == {}
        difference = np.abs(whole.pixels.astype(int) - rest.pixels).mean(-1)
        above = max(0, np.nonzero(body)[0].min() // 16 * 16 - 4)  # blocks of the JPEG that hold no body
        assert not difference[:above].any()
        assert difference[body].mean() > 10


def test_labeled_boxes_are_tighter_than_detected_ones() -> None:
    scene = named_world("plaza", "small")
    people = range(8, 48)

    def offset(labeled: bool) -> float:
        heads = [scene.render(p, 1, 0, labeled=labeled).keypoints["pelvis"][0] for p in people]
        return float(np.std(heads))

    assert offset(labeled=True) < 0.7 * offset(labeled=False)


def test_partial_boxes_show_some_person_and_seldom_a_whole_one() -> None:
    scene = World("plaza", 8, replace(CLEAN, jitter=1.0))
    drawn = [scene.render(person, 1 + person % 6, 0, partial=True).parts for person in range(8, 48)]
    assert all(np.isin(parts, BODY_PARTS).mean() > 0.015 for parts in drawn)
    whole = [
        (parts == FACE).any() and (parts == SHOE).any() and np.isin(parts, BODY_PARTS).mean() > 0.1 for parts in drawn
    ]
    assert np.mean(whole) < 0.3


def test_a_capsule_covers_its_area_and_is_lit_from_the_light() -> None:
    canvas = Canvas(np.zeros((3, 64, 64), np.float32), np.array([1.0, 0.0, 0.0]), 0.2, 0.8)
    canvas.limb((32, 12), (32, 52), 8, 8, np.ones((3, 1, 1), np.float32), part=3)
    assert (canvas.parts == 3).sum() == pytest.approx(16 * 40 + np.pi * 64, rel=0.03)
    assert canvas.rgb[0, 32, 36] > 1.5 * canvas.rgb[0, 32, 28]


# on disk


def test_the_folder_holds_what_was_planned_and_the_manifest_tells_it(few: tuple[Path, dict[str, bytes]]) -> None:
    folder, files = few
    assert folder.name == "plaza-micro-w0-default"
    manifest = read_manifest(folder)
    assert (
        set(manifest["images"]) == {name for name in files if name.endswith(".jpg")} == set(files) - {"manifest.json"}
    )
    scene = named_world("plaza", "micro")
    for person, entry in manifest["people"].items():
        assert entry["group"] == scene.group(int(person))
        assert entry["split"] == ("train" if int(person) < 16 else "test")
        assert entry["attributes"] == json.loads(json.dumps(asdict(scene.identity(int(person)))))
    name, image = next((n, i) for n, i in manifest["images"].items() if i["label"] == -1)
    again = scene.jpeg(
        image["subject"], image["camera"], image["index"], labeled=image["labeled"], partial=image["partial"]
    )
    assert files[name] == again


def test_any_number_of_workers_writes_the_same_bytes(
    few: tuple[Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "FEW", 0)
    folder = make("plaza", "micro", tmp_path, workers=2, progress=False)
    assert contents(folder) == few[1]


def test_deleted_files_are_drawn_again_and_the_others_kept(few: tuple[Path, dict[str, bytes]]) -> None:
    folder, files = few
    images = sorted(folder.glob("*/*.jpg"))
    before = {path: path.stat().st_mtime_ns for path in images}
    for path in images[::10]:
        path.unlink()
    make("plaza", "micro", folder.parent, progress=False)
    assert contents(folder) == files
    assert all(path.stat().st_mtime_ns == before[path] for i, path in enumerate(images) if i % 10)


def test_a_killed_run_is_resumed_and_unreadable_until_then(few: tuple[Path, dict[str, bytes]], tmp_path: Path) -> None:
    folder = tmp_path / "plaza-micro-w0-default"
    code = f"""
import os, signal
from reidlib.data.synthetic import SIZES, Size, dataset, make
draw, drawn = dataset._draw, []
def stop(*image):
    draw(*image)
    drawn.append(image)
    if len(drawn) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
dataset._draw, SIZES["micro"] = stop, {MICRO!r}
make("plaza", "micro", {str(tmp_path)!r}, progress=False)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(folder.glob("*/*.jpg"))) == 20
    with pytest.raises(FileNotFoundError, match="unfinished: call `make` again"):
        read_manifest(folder)
    (folder / QUERY / ".half.jpg.1.tmp").write_bytes(b"left over")
    make("plaza", "micro", tmp_path, progress=False)
    assert contents(folder) == few[1]


def test_two_at_once_draw_every_image_once(
    few: tuple[Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = dataset._draw, []

    def count(folder: Path, scene: World, image: PlannedImage) -> None:
        drawn.append(image.file)
        draw(folder, scene, image)

    monkeypatch.setattr(dataset, "_draw", count)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make, "plaza", "micro", tmp_path, progress=False) for _ in range(2)]
    first, second = (job.result() for job in jobs)
    assert first == second
    assert len(drawn) == len(set(drawn))
    assert contents(first) == few[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("plazza", "micro", "default"), "domain 'plazza' is unknown: did you mean 'plaza'?"),
        (("plaza", "smal", "default"), "size 'smal' is unknown: did you mean 'small'?"),
        (("plaza", "micro", "Hard"), "preset 'Hard' is unknown: did you mean 'hard'?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(
    tmp_path: Path, given: tuple[str, str, str], message: str
) -> None:
    domain, size, preset = given
    with pytest.raises(ValueError, match=re.escape(message)):
        make(domain, size, tmp_path, preset=preset)
    assert not list(tmp_path.iterdir())


def test_impossible_numbers_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cameras 1 to 6"):
        world.jpeg(8, 0, 0)
    with pytest.raises(ValueError, match="numbered from 1"):
        world.jpeg(0, 1, 0)
    for size in ((1024, 512), (512, 1024), (0, 64)):
        with pytest.raises(ValueError, match=rf"no image of {size[0]} x {size[1]} pixels .*: give 1 to 1023 a side"):
            world.render(8, 1, 0, size)
    assert world.render(8, 1, 0, (1023, 1)).pixels.shape == (1023, 1, 3)
    with pytest.raises(ValueError, match="workers=0"):
        make("plaza", "micro", tmp_path, workers=0)
    with pytest.raises(ValueError, match="world -1"):
        make("plaza", "micro", tmp_path, world=-1)


def test_a_root_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a part of that path is a file: give another root"):
        make("plaza", "micro", tmp_path / "file" / "below", progress=False)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dataset, "_write_whole", full)
    with pytest.raises(OSError, match="no space left: free some, and call again"):
        make("plaza", "micro", tmp_path, progress=False)


def test_a_folder_of_another_version_is_left_alone(
    few: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = few
    monkeypatch.setattr(dataset, "BENCHMARK_VERSION", "0")
    with pytest.raises(ValueError, match="delete the folder or give another root"):
        make("plaza", "micro", folder.parent, progress=False)
    assert contents(folder) == files


def test_a_script_without_a_guard_is_told_so_instead_of_waiting_for_itself(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from reidlib.data.synthetic import dataset\n"
        "dataset.FEW = 0\n"
        f"dataset.make('plaza', 'tiny', {str(tmp_path)!r}, workers=2, progress=False)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'call this from below `if __name__ == "__main__":`' in done.stderr
