"""The CUHK03 loader: the HDF5 file, both protocols, the unpacked copy, and what is said of damaged or missing files."""

import errno
import multiprocessing
import os
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
from miniature import write
from PIL import Image
from scipy.io import savemat

from reidlib.data import cuhk03 as module
from reidlib.data import load
from reidlib.data.cuhk03 import extract, read_protocol

PAIRS = (4, 3, 3, 2, 2)  # people under each pair of cameras; 10 of the classic protocol, 14 in all
KINDS = ("labeled", "detected")
TESTSETS = [[(1, 2), (3, 3)], [(2, 1), (1, 4)]]


def shots(pair: int, person: int, kind: str) -> list[int]:
    """Which of the ten cells hold an image: the second of camera 1 is never detected, person 1_003 lacks some."""
    if kind == "detected":
        return [0, 5, 6]
    return [0, 1, 5] if (pair, person) != (1, 3) else [1, 9]


def pixels(kind: str, pair: int, person: int, shot: int) -> np.ndarray:
    """An image (H, W, 3) with its own contents, sizes differing."""
    rng = np.random.default_rng([KINDS.index(kind), pair, person, shot])
    return rng.integers(0, 256, (40 + person, 16 + pair, 3), dtype=np.uint8)


def write_mat(path: Path, *, pairs=PAIRS, cells=10, testsets=TESTSETS, image=lambda array: array.T) -> Path:
    """A file of the published structure: what MATLAB writes by columns, HDF5 shows transposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as mat:
        refs = mat.create_group("#refs#")

        def keep(values):
            return refs.create_dataset(f"v{len(refs)}", data=values).ref

        def cell(rows):
            return np.array(rows, h5py.ref_dtype)

        empty = keep(np.zeros(2, np.uint64))
        for kind in KINDS:
            top = []
            for pair, people in enumerate(pairs, 1):
                rows = [
                    [
                        keep(image(pixels(kind, pair, person, shot))) if shot in shots(pair, person, kind) else empty
                        for person in range(1, people + 1)
                    ]
                    for shot in range(cells)
                ]
                top.append(keep(cell(rows)))
            mat.create_dataset(kind, data=cell([top]))
        sets = [keep(np.array(people, float).T) for people in testsets]
        mat.create_dataset("testsets", data=cell([sets]))
    return path


def write_split(path: Path, kind: str = "labeled", **changed) -> Path:
    """A split file in which odd people train."""
    names, people, cameras = [], [], []
    for pair, number in enumerate(PAIRS, 1):
        for person in range(1, number + 1):
            for shot in shots(pair, person, kind):
                names.append(f"{pair}_{person:03d}_{1 + shot // 5}_{shot + 1:02d}.png")
                people.append(sum(PAIRS[: pair - 1]) + person)
                cameras.append(1 + shot // 5)
    files = np.empty((len(names), 1), object)
    files[:, 0] = names
    people, cameras = np.array(people), np.array(cameras)
    columns = {
        "filelist": files,
        "labels": people.astype(np.uint16),
        "camId": cameras.astype(np.uint8),
        "train_idx": 1 + np.flatnonzero(people % 2 == 1),
        "query_idx": 1 + np.flatnonzero((people % 2 == 0) & (cameras == 1)),
        "gallery_idx": 1 + np.flatnonzero((people % 2 == 0) & (cameras == 2)),
    } | changed
    savemat(path, {name: values for name, values in columns.items() if values is not None}, oned_as="column")
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REIDLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path) -> Path:
    write_mat(tmp_path / "data" / "cuhk03" / "cuhk03_release" / "cuhk-03.mat")
    for kind in KINDS:
        write_split(tmp_path / "data" / "cuhk03" / f"cuhk03_new_protocol_config_{kind}.mat", kind)
    return tmp_path / "data"


def archive(root: Path) -> Path:
    return root / "cuhk03" / "cuhk03_release" / "cuhk-03.mat"


# -- protocols -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_images_come_out_as_they_went_in(root, kind):
    folder = extract(archive(root), kind)
    wanted = {
        f"{pair}_{person:03d}_{1 + shot // 5}_{shot + 1:02d}.png": pixels(kind, pair, person, shot)
        for pair, people in enumerate(PAIRS, 1)
        for person in range(1, people + 1)
        for shot in shots(pair, person, kind)
    }
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(wanted)
    for name, array in wanted.items():
        with Image.open(folder / name) as image:
            np.testing.assert_array_equal(np.asarray(image), array)


@pytest.mark.parametrize("below", [".", "cuhk03", "cuhk03/cuhk03_release", "CUHK03", "x"])
def test_classic_protocol(tmp_path, below):
    write_mat(tmp_path / below / "cuhk-03.mat")
    first, second = (load("cuhk03-labeled", root=tmp_path, split=split) for split in (0, 1))
    assert first.query.identities.tolist() == [2, 10]  # 1_002 and 3_003: people are counted through the pairs
    assert second.query.identities.tolist() == [4, 5]
    for benchmark in (first, second):
        known = [benchmark.train, benchmark.validation, benchmark.query]
        assert sorted(p for split in known for p in split.identities.tolist()) == list(range(1, 11))
        assert len(benchmark.validation.identities) == 1  # a 1260th of those not tested, at least one
        assert set(benchmark.query.camera_ids.tolist()) == {1}
        assert set(benchmark.gallery.camera_ids.tolist()) == {2}
        assert benchmark.gallery.identities.tolist() == benchmark.query.identities.tolist()
    assert [path.name for path in first.query.paths] == [
        "1_002_1_01.png",
        "1_002_1_02.png",
        "3_003_1_01.png",
        "3_003_1_02.png",
    ]
    assert first.name == "cuhk03-labeled"
    assert [path.name for path in load("cuhk03-detected", root=tmp_path).gallery.paths[:2]] == [
        "1_002_2_06.png",
        "1_002_2_07.png",
    ]


def test_the_papers_1160_100_and_100():
    assert round(module.SET_ASIDE * (1360 - 100)) == 100


def test_validation_people_are_drawn_by_the_split(tmp_path):
    write_mat(tmp_path / "cuhk-03.mat", testsets=[[(1, 1), (1, 2)]] * 6)
    aside = [load("cuhk03-labeled", root=tmp_path, split=split).validation.identities.tolist() for split in range(6)]
    assert len({*map(tuple, aside)}) > 1
    assert load("cuhk03-labeled", root=tmp_path, split=3).validation.identities.tolist() == aside[3]


def test_a_test_set_that_is_not_there(tmp_path):
    write_mat(tmp_path / "cuhk-03.mat")
    with pytest.raises(ValueError, match=r"cuhk-03\.mat has 2 test sets, from 0; split 2 was asked for"):
        load("cuhk03-labeled", root=tmp_path, split=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", [True, False])
def test_new_protocol(root, kind, beside):
    if beside:
        name = f"cuhk03_new_protocol_config_{kind}.mat"
        (root / "cuhk03" / name).rename(archive(root).with_name(name))
    benchmark = load(f"cuhk03-np-{kind}", root=root)
    assert benchmark.name == f"cuhk03-np-{kind}"
    assert benchmark.train.identities.tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert benchmark.query.identities.tolist() == [2, 4, 6, 8, 10, 12, 14]
    assert set(benchmark.query.camera_ids.tolist()) == {1}
    assert benchmark.query.paths[0].name == "1_002_1_01.png"
    assert benchmark.validation is None
    for split in (benchmark.train, benchmark.query, benchmark.gallery):
        for path, person, camera in zip(split.paths, split.person_ids, split.camera_ids, strict=True):
            pair, number, view = (int(part) for part in path.name.split("_")[:3])
            assert person == sum(PAIRS[: pair - 1]) + number
            assert camera == view
            assert path.is_file()


@pytest.mark.parametrize("below", ["CUHK03-NP", "cuhk03-np", "cuhknp", "."])
@pytest.mark.parametrize("kind", ["labeled", "detected", "labelled"])
def test_the_unpacked_copy(tmp_path, below, kind):
    names = {"bounding_box_train": ["0001_c1_1.png", "0003_c2_11.png"], "query": ["0002_c1_6.png"]}
    names["bounding_box_test"] = ["0002_c2_7.png", "0002_c1_8.png"]
    files = [f"{below}/{kind}/{folder}/{name}" for folder, of in names.items() for name in of]
    write(tmp_path, files)
    name = "cuhk03-np-detected" if kind == "detected" else "cuhk03-np-labeled"
    for where in (tmp_path, tmp_path / below / kind):
        benchmark = load(name, root=where)
        assert benchmark.train.person_ids.tolist() == [1, 3]
        assert benchmark.gallery.camera_ids.tolist() == [1, 2]
    other = "cuhk03-np-labeled" if kind == "detected" else "cuhk03-np-detected"
    with pytest.raises(FileNotFoundError, match=r"no CUHK03-NP in .*: looked for cuhk-03\.mat and cuhk03_new_protocol"):
        load(other, root=tmp_path)
    (tmp_path / below / kind / "bounding_box_test" / "0000_c2_1.png").touch()
    with pytest.raises(ValueError, match=r"bounding_box_test has a person 0; CUHK03-NP numbers people from 1"):
        load(name, root=tmp_path)


def test_a_missing_split_file(root):
    (root / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat").unlink()
    message = r"CUHK03-NP in .*cuhk03_release lacks cuhk03_new_protocol_config_labeled\.mat \(found cuhk-03\.mat\); add"
    with pytest.raises(FileNotFoundError, match=message):
        load("cuhk03-np-labeled", root=root)


def test_a_person_in_both_splits(root):
    write_split(root / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat", train_idx=np.arange(1, 8))
    with pytest.raises(ValueError, match=r"cuhk03-np-labeled: person 2 is both in training and in the test set"):
        load("cuhk03-np-labeled", root=root)


def test_names_of_another_release(root):
    labeled, detected = (root / "cuhk03" / f"cuhk03_new_protocol_config_{kind}.mat" for kind in KINDS)
    labeled.replace(detected)
    with pytest.raises(
        ValueError, match=r"detected\.mat names \d+ images that .*cuhk-03\.mat lacks, such as 1_001_1_02"
    ):
        load("cuhk03-np-detected", root=root)


REAL = Path(os.environ.get("REIDLIB_SHARED_DATA", "/nowhere")) / "cuhk03"


@pytest.mark.skipif(not REAL.is_dir(), reason="REIDLIB_SHARED_DATA does not hold the real split files")
@pytest.mark.parametrize(("kind", "counts"), [("labeled", (7368, 1400, 5328)), ("detected", (7365, 1400, 5332))])
def test_the_real_split_files(kind, counts):
    protocol = read_protocol(REAL / f"cuhk03_new_protocol_config_{kind}.mat")
    assert tuple(map(len, protocol.parts.values())) == counts
    people = [np.unique(protocol.people[rows]) for rows in protocol.parts.values()]
    assert [len(of) for of in people] == [767, 700, 700]
    assert not np.intersect1d(people[0], people[1]).size
    assert np.array_equal(people[1], people[2])
    rows = np.concatenate(list(protocol.parts.values()))
    assert len(np.unique(rows)) == len(rows)
    # People are counted through pairs of 843, 440, 77, 58 and 49, as this loader counts them in cuhk-03.mat.
    parts = np.array([[int(part) for part in name.split("_")[:3]] for name in protocol.files])
    assert np.array_equal(np.cumsum([0, 843, 440, 77, 58])[parts[:, 0] - 1] + parts[:, 1], protocol.people)
    assert np.array_equal(parts[:, 2], protocol.cameras)
    assert (parts[:, 0] <= module.CLASSIC_PAIRS).sum() == {"labeled": 13163, "detected": 13164}[kind]  # 13,164 printed


# -- damaged files ---------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "page":
        path.write_bytes(b"<html>please log in</html>")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "matlab 5":
        savemat(path, {"labeled": np.zeros(3)})
    elif how == "keys":
        with h5py.File(path, "a") as mat:
            del mat["testsets"]
    elif how == "cells":
        write_mat(path, cells=7)
    elif how == "pairs":
        write_mat(path, pairs=PAIRS[:2])
    elif how == "images":
        write_mat(path, image=lambda array: array)
    elif how == "references":
        with h5py.File(path, "a") as mat:
            del mat["labeled"]
            mat["labeled"] = np.zeros((1, 5))
    else:
        write_mat(path, testsets=[[(1, 2, 3)]])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", r"it is empty, not HDF5 as MATLAB 7\.3 writes it"),
        ("page", r"it is of another kind, not HDF5"),
        ("matlab 5", r"it is MATLAB 5, not HDF5"),
        ("truncated", r"truncated file"),
        ("keys", r"it lacks testsets and has #refs#, detected, labeled"),
        ("cells", r"'labeled' has a cell of shape \(7, 4\), not \(10, people\)"),
        ("pairs", r"'labeled' has 2 pairs of cameras, not 5"),
        ("images", r"an image has shape \(41, 17, 3\) and type uint8, not \(3, width, height\) bytes"),
        ("references", r""),
        ("test sets", r"test set 0 has shape \(3, 1\), not \(2, people\)"),
    ],
)
def test_a_wrong_file_is_said_to_be(root, cache, how, message):
    damage(archive(root), how)
    sentence = rf"cuhk-03\.mat cannot be read as CUHK03's \(.*{message}.*\); take cuhk-03\.mat from the archive again"
    with pytest.raises(ValueError, match=sentence) as caught:
        load("cuhk03-labeled", root=root)
    assert "\n" not in str(caught.value)
    assert left(cache) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": None, "camId": None}, r"it lacks camId, labels"),
        ({"labels": np.ones(3)}, r"it has 41 images, 3 people and 41 cameras for them"),
        ({"train_idx": np.array([0, 1])}, r"it has positions outside 1 to 41"),
        ({"query_idx": np.array([42])}, r"it has positions outside 1 to 41"),
    ],
)
def test_a_wrong_split_file_is_said_to_be(root, changed, message):
    path = write_split(root / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat", **changed)
    with pytest.raises(ValueError, match=rf"labeled\.mat cannot be read as a split file \({message}\); take it again"):
        read_protocol(path)


@pytest.mark.parametrize("how", ["empty", "page", "truncated", "hdf5"])
def test_a_damaged_split_file_is_said_to_be(root, how):
    path = root / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat"
    if how == "hdf5":
        path.write_bytes(archive(root).read_bytes())
    else:
        damage(path, how)
    with pytest.raises(
        ValueError, match=r"labeled\.mat cannot be read as a split file \(.+\); take it again"
    ) as caught:
        load("cuhk03-np-labeled", root=root)
    assert "\n" not in str(caught.value)


# -- the cache -------------------------------------------------------------------------------------------------


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*/*") if not path.name.endswith(".lock"))


def test_images_are_extracted_once_and_by_kind(root, cache, monkeypatch):
    first = load("cuhk03-labeled", root=root)
    assert left(cache) == ["labeled"]
    monkeypatch.setattr(module, "_extract", lambda *_: pytest.fail("extracted again"))
    assert load("cuhk03-labeled", root=root).digest == first.digest
    load("cuhk03-np-labeled", root=root)


def test_another_file_is_extracted_anew(root):
    first = extract(archive(root), "labeled")
    os.utime(archive(root), ns=(1, 1))
    assert extract(archive(root), "labeled") != first


@pytest.mark.parametrize("loss", ["gone", "short", "index"])
def test_lost_images_are_extracted_again(root, loss):
    folder = extract(archive(root), "labeled")
    names = sorted(path.name for path in folder.iterdir())
    if loss == "short":
        (folder / "1_001_1_01.png").write_bytes(b"")
    else:
        (folder / ("1_001_1_01.png" if loss == "gone" else "images.txt")).unlink()
    assert extract(archive(root), "labeled") == folder
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(folder / "1_001_1_01.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels("labeled", 1, 1, 0))


def test_a_full_disk_leaves_nothing_and_says_so(root, cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # writes beyond 1 kB fail
    try:
        with pytest.raises(
            OSError, match=r"the labeled images of cuhk-03\.mat \(0 MB\) could not be written: .*; free"
        ) as e:
            load("cuhk03-labeled", root=root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert e.value.errno == errno.EFBIG
    assert left(cache) == []
    assert len(load("cuhk03-labeled", root=root).query) == 4


def test_a_read_only_disk_says_so(root, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as disk:
        disk.setattr(os, "mkdir", refuse)
        with pytest.raises(
            OSError, match=r"could not be written: Read-only file system; free space or point REIDLIB_C"
        ):
            load("cuhk03-labeled", root=root)
    folder = extract(archive(root), "labeled")
    monkeypatch.setattr(os, "mkdir", refuse)  # what is there is read
    assert extract(archive(root), "labeled") == folder


def test_an_interruption_leaves_nothing(root, cache, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("cuhk03-labeled", root=root)
    assert left(cache) == []


def test_the_rest_of_a_killed_extraction_is_cleared_away(root, cache):
    folder = extract(archive(root), "labeled")
    folder.rename(folder.with_name("labeled.part"))
    (folder.with_name("labeled.part") / "junk.png").touch()
    assert extract(archive(root), "labeled") == folder
    assert left(cache) == ["labeled"]
    assert not (folder / "junk.png").exists()


def _extract_and_note(path: Path, notes: Path, start: object) -> None:
    build = module._extract

    def noted(*arguments: object) -> None:
        (notes / str(os.getpid())).touch()
        build(*arguments)

    module._extract = noted
    start.wait()
    extract(path, "labeled")


def test_processes_extract_once(root, tmp_path):
    context = multiprocessing.get_context("fork")
    start, notes = context.Barrier(3), tmp_path / "notes"
    notes.mkdir()
    all_of = [context.Process(target=_extract_and_note, args=(archive(root), notes, start)) for _ in range(3)]
    for process in all_of:
        process.start()
    for process in all_of:
        process.join(30)
    assert [process.exitcode for process in all_of] == [0, 0, 0]
    assert len(list(notes.iterdir())) == 1
