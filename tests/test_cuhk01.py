"""The CUHK01 loader: names, both random splits, and what it refuses."""

import json

import numpy as np
import pytest
from miniature import write

from reidlib.data import load


def names(people: int) -> list[str]:
    return [f"campus/{person:04d}{shot:03d}.png" for person in range(1, people + 1) for shot in (1, 2, 3, 4)]


@pytest.mark.parametrize("below", [".", "CUHK01", "cuhk01", "cuhk01/CUHK01", "x"])
def test_people_and_cameras(tmp_path, below):
    write(tmp_path / below, names(6))
    benchmark = load("cuhk01", root=tmp_path)
    assert len(benchmark.train) == 16
    assert benchmark.train.camera_ids.tolist() == [1, 1, 2, 2] * 4
    assert set(benchmark.query.camera_ids.tolist()) == {1}
    assert set(benchmark.gallery.camera_ids.tolist()) == {2}
    assert benchmark.query.person_ids.tolist() == benchmark.gallery.person_ids.tolist()
    everybody = np.concatenate([benchmark.train.identities, benchmark.query.identities])
    assert sorted(everybody) == [1, 2, 3, 4, 5, 6]
    for split in (benchmark.train, benchmark.query, benchmark.gallery):
        assert [int(path.name[:4]) for path in split.paths] == split.person_ids.tolist()


def test_the_folder_of_the_images_will_do(tmp_path):
    write(tmp_path, names(6))
    assert len(load("cuhk01", root=tmp_path / "campus").train) == 16


def test_published_splits_have_their_sizes(tmp_path):
    write(tmp_path, [f"campus/{p:04d}{s:03d}.png" for p in range(1, 972) for s in (1, 3)])
    sizes = {}
    for name in ("cuhk01", "cuhk01-486"):
        splits = [load(name, root=tmp_path, split=split) for split in (0, 1, 0)]
        sizes[name] = [len(splits[0].train.identities), len(splits[0].query.identities)]
        assert splits[0].digest == splits[2].digest != splits[1].digest
    assert sizes == {"cuhk01": [871, 100], "cuhk01-486": [485, 486]}


def test_look_alikes_stay_together(tmp_path):
    write(tmp_path, names(12))
    people = {str(person): {"group": (person + 2) // 3} for person in range(1, 13)}
    (tmp_path / "manifest.json").write_text(json.dumps({"people": people}))
    for split in range(20):
        benchmark = load("cuhk01-486", root=tmp_path, split=split)
        assert len(benchmark.train.identities) == 6
        assert set(benchmark.train.groups.tolist()).isdisjoint(benchmark.query.groups.tolist())
    assert len(load("cuhk01", root=tmp_path).query.identities) == 3  # a third is 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (names(6)[:-2], r"cuhk01: 1 people have no image of camera 2, such as 6; unpack the archive again"),
        (names(6)[2:], r"cuhk01: 1 people have no image of camera 1, such as 1;"),
        ([*names(6), "campus/0001005.png"], r"images of camera 3; it has cameras 1 and 2"),
        ([*names(6), "campus/0000001.png"], r"cuhk01: there is a person 0; people are numbered from 1"),
        ([*names(6), "campus/1.png"], r"cannot read person and camera from 1\.png; names look like 0001001\.png"),
        (names(1), r"cannot divide 1 look-alike group"),
    ],
)
def test_what_is_refused(tmp_path, changed, message):
    write(tmp_path, changed)
    with pytest.raises(ValueError, match=message):
        load("cuhk01", root=tmp_path)


def test_an_empty_folder(tmp_path):
    (tmp_path / "campus").mkdir()
    with pytest.raises(FileNotFoundError, match=r"campus holds no .*image; unpack the archive again"):
        load("cuhk01", root=tmp_path)
