"""The VIPeR loader: people from 0, halves, and what it refuses."""

import pytest
from miniature import write

from reidlib.data import load

PEOPLE = (0, 1, 2, 5, 700, 872)
FILES = [f"cam_{camera}/{person:03d}_{angle}.bmp" for person in PEOPLE for camera, angle in (("a", 45), ("b", 90))]


@pytest.mark.parametrize("below", [".", "VIPeR", "viper/VIPeR", "VIPeR.v1.0", "x"])
def test_people_are_numbered_from_1(tmp_path, below):
    write(tmp_path / below, FILES)
    benchmark = load("viper", root=tmp_path)
    assert (len(benchmark.train), len(benchmark.query), len(benchmark.gallery)) == (6, 3, 3)
    everybody = [*benchmark.train.identities.tolist(), *benchmark.query.identities.tolist()]
    assert sorted(everybody) == [person + 1 for person in PEOPLE]
    assert benchmark.query.camera_ids.tolist() == [1, 1, 1]
    assert all("cam_a" in str(path) for path in benchmark.query.paths)
    assert benchmark.gallery.camera_ids.tolist() == [2, 2, 2]
    assert benchmark.matched.all()


def test_other_spellings_of_the_folders(tmp_path):
    write(tmp_path, [file.replace("cam_a", "Cam-A").replace("cam_b", "CAM_B") for file in FILES])
    assert len(load("viper", root=tmp_path).train) == 6


def test_halves_of_632_by_number(tmp_path):
    write(tmp_path, [f"cam_{camera}/{person:03d}_0.bmp" for person in range(632) for camera in "ab"])
    first, again, other = (load("viper", root=tmp_path, split=split) for split in (0, 0, 19))
    assert (len(first.train.identities), len(first.query), len(first.gallery)) == (316, 316, 316)
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FILES[:-1], r"viper: 1 people have no image of camera 2, such as 873; unpack the archive again"),
        ([*FILES, "cam_a/holiday.bmp"], r"from holiday\.bmp; names look like 000_45\.bmp \(person 0, seen at 45"),
    ],
)
def test_what_is_refused(tmp_path, files, message):
    write(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        load("viper", root=tmp_path)


def test_a_missing_camera(tmp_path):
    write(tmp_path / "VIPeR", [file for file in FILES if "cam_a" in file])
    with pytest.raises(FileNotFoundError, match=r"VIPeR in .* lacks cam_b/ \(found cam_a/\)"):
        load("viper", root=tmp_path)


def test_a_drawn_world_in_these_files(tmp_path, monkeypatch):
    drawn = load("plaza", size="tiny", root=tmp_path, layout="viper", split=3, workers=1)
    assert drawn.name == "plaza"
    assert len(drawn.train.identities) == len(drawn.query.identities) == 16
    assert set(drawn.train.groups.tolist()).isdisjoint(drawn.query.groups.tolist())
    assert load("viper", root=tmp_path, split=3).digest == drawn.digest
    monkeypatch.setenv("REIDLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no viper in .*, only generated data; say where it is with root"):
        load("viper")
