"""Splits and benchmarks: digests, disjointness, holding out whole look-alike groups."""

from pathlib import Path

import numpy as np
import pytest

from reidlib.data.splits import Benchmark, Split, draw_people, hold_out, joined, two_views, union


def make_split(name: str, ids: list[int], cameras: list[int] | None = None, groups: list[int] | None = None) -> Split:
    paths = tuple(Path(f"/nowhere/{name}-{i}.jpg") for i in range(len(ids)))
    return Split(name, paths, np.array(ids), np.array(cameras or [1] * len(ids)), np.array(groups or ids))


def test_identities_leave_out_junk_and_distractors():
    split = make_split("gallery", [5, -1, 0, 3, 5])
    assert split.identities.tolist() == [3, 5]
    assert len(split) == 5


def test_labels_are_int64_and_cannot_be_changed():
    split = make_split("train", [1, 2])
    assert split.person_ids.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        split.person_ids[0] = 7


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"camera_ids has shape \(1,\)"):
        Split("train", (Path("a"), Path("b")), np.array([1, 2]), np.array([1]), np.array([1, 2]))


@pytest.mark.parametrize("rows", [[2, 0], np.array([True, False, True, False])])
def test_take_keeps_the_asked_order(rows):
    taken = make_split("train", [1, 2, 3, 4], [6, 7, 8, 9]).take(rows)
    expected = [3, 1] if isinstance(rows, list) else [1, 3]
    assert taken.person_ids.tolist() == expected
    assert taken.camera_ids.tolist() == [5 + i for i in expected]
    assert [path.stem for path in taken.paths] == [f"train-{i - 1}" for i in expected]


def files(folder: Path, contents: dict[str, bytes]) -> Split:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    ids = np.arange(1, len(contents) + 1)
    return Split("train", tuple(folder / name for name in contents), ids, ids, ids)


def test_digest_is_of_names_and_sizes_in_any_order_and_folder(tmp_path):
    one = files(tmp_path / "one", {"a.jpg": b"12", "b.jpg": b"345"})
    two = files(tmp_path / "two", {"b.jpg": b"678", "a.jpg": b"90"})
    assert one.digest == two.digest
    assert one.digest != files(tmp_path / "three", {"a.jpg": b"12", "b.jpg": b"34"}).digest
    assert one.digest != files(tmp_path / "four", {"a.jpg": b"12", "c.jpg": b"345"}).digest


def test_the_digest_of_a_benchmark_is_of_its_labels_too(tmp_path):
    train, test = files(tmp_path / "train", {"1": b"", "2": b""}), files(tmp_path / "test", {"3": b"", "4": b""})
    ids, cameras = np.array([7, 7]), np.array([1, 2])
    test = Split("query", test.paths, ids, cameras, ids)

    def digest(train: Split, test: Split, **others: Split) -> str:
        return Benchmark("a", train, test, test, **others).digest

    plain = digest(train, test)
    assert plain == digest(train.take([1, 0]), test)
    swapped = Split("train", train.paths, train.person_ids[::-1], train.camera_ids, train.groups[::-1])
    assert plain != digest(swapped, test)
    assert plain != digest(train, Split("query", test.paths, ids, cameras + 1, ids))
    aside = Split("validation", test.paths, ids + 1, cameras, ids + 1)
    assert len({plain, digest(train, test, validation=aside), digest(train, test, multi=aside)}) == 3


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"train-0\.jpg is missing"):
        _ = make_split("train", [1]).digest


TRAIN = make_split("train", [1, 1, 2, 2], [1, 2, 1, 2])


def test_matched_is_the_naive_loop():
    rng = np.random.default_rng(0)
    ids, cams = rng.integers(-1, 12, 60), rng.integers(1, 4, 60)
    query = make_split("query", rng.integers(3, 15, 40).tolist(), rng.integers(1, 4, 40).tolist())
    keep = (ids < 1) | (ids > 2)
    gallery = make_split("gallery", ids[keep].tolist(), cams[keep].tolist())
    got = Benchmark("toy", TRAIN, query, gallery).matched
    expected = [
        any(p == q and c != k for p, c in zip(gallery.person_ids, gallery.camera_ids, strict=True))
        for q, k in zip(query.person_ids, query.camera_ids, strict=True)
    ]
    assert got.tolist() == expected
    assert 0 < sum(expected) < 40


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (
            make_split("query", [3], [1]),
            make_split("gallery", [3, 2], [2, 1]),
            r"toy: person 2 is both in training and in the test set; each person must be on one side only",
        ),
        (make_split("query", [3], [1], [2]), make_split("gallery", [3], [2]), "look-alike group 2 is both in training"),
        (
            make_split("query", [1, 2]),
            make_split("gallery", [2], [2]),
            "toy: 2 people, such as 1, 2, are both in train",
        ),
        (make_split("query", [3], [1]), make_split("gallery", [3, 0, -1], [1, 2, 2]), "no query has an image"),
        (make_split("query", []), make_split("gallery", [3]), "query split is empty"),
    ],
)
def test_invalid_benchmarks_are_refused(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        Benchmark("toy", TRAIN, query, gallery)


def test_one_training_person_is_too_few():
    with pytest.raises(ValueError, match="at least two people, found 1"):
        Benchmark("toy", make_split("train", [1, 1]), make_split("query", [3], [1]), make_split("gallery", [3], [2]))


def test_hold_out_takes_whole_groups():
    ids = np.repeat(np.arange(1, 81), 3)
    split = make_split("train", ids.tolist(), groups=((ids - 1) // 8 + 1).tolist())
    kept, held = hold_out(split, 0.2, seed=0)
    assert len(kept) + len(held) == len(split)
    assert not np.intersect1d(kept.groups, held.groups).size
    assert len(held.identities) == 16
    assert held.name == "validation"
    again, other = hold_out(split, 0.2, seed=0)[1], hold_out(split, 0.2, seed=1)[1]
    assert again.person_ids.tolist() == held.person_ids.tolist()
    assert other.identities.tolist() != held.identities.tolist()


@pytest.mark.parametrize("people", range(4, 40))
def test_of_few_people_two_are_held_out_who_make_pairs(people):
    """Of 16 and more a tenth is as many anyway."""
    split = make_split("train", [*np.repeat(np.arange(1, people + 1), 2), 0, -1])
    for seed in range(5):
        kept, held = hold_out(split, 0.1, seed)
        first = np.random.default_rng(seed).permutation(people) + 1
        tenth = 1 + int(np.argmin(np.abs(np.arange(1, people) - 0.1 * people)))
        assert held.identities.tolist() == sorted(first[: max(tenth, 2)])
        assert (tenth > 1) == (people >= 16)
        assert len(kept.identities) >= 2


def test_people_of_one_image_make_no_pairs():
    single = make_split("train", [1, 2, 3, 3, 4, 4, 5, 5, 6, 6])
    for seed in range(5):
        for part in hold_out(single, 0.1, seed):
            assert (np.unique(part.person_ids, return_counts=True)[1] > 1).sum() >= 2
    kept, held = hold_out(make_split("train", [1, 1, 2, 2, 3, 3]), 0.1, 0)  # too few in any case
    assert (len(kept.identities), len(held.identities)) == (2, 1)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_hold_out_leaves_both_sides_a_group(share):
    kept, held = hold_out(make_split("train", [1, 2, 3], groups=[1, 1, 2]), share, seed=3)
    assert len(np.unique(kept.groups)) == len(np.unique(held.groups)) == 1


def test_hold_out_refuses_what_it_cannot_divide():
    with pytest.raises(ValueError, match="at least two are needed"):
        hold_out(make_split("train", [1, 2], groups=[1, 1]), 0.5, seed=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(TRAIN, 1.0, seed=0)


@pytest.mark.parametrize("people", [1, 100, 199])
def test_people_without_groups_are_drawn_to_the_number(people):
    split = make_split("all", np.repeat(np.arange(1, 201), 2).tolist())
    rest, drawn = draw_people(split, people, seed=1)
    assert len(drawn.identities) == people
    assert sorted([*rest.identities, *drawn.identities]) == list(range(1, 201))
    assert len(drawn) == 2 * people
    again, other = draw_people(split, people, seed=1)[1], draw_people(split, people, seed=2)[1]
    assert again.person_ids.tolist() == drawn.person_ids.tolist()
    assert other.identities.tolist() != drawn.identities.tolist()


def test_groups_are_drawn_whole_and_to_the_number_where_that_can_be():
    sizes = [6, 7, 8, 7, 6, 8, 7]
    groups = np.repeat(np.arange(1, 8), sizes).tolist()
    split = make_split("all", list(range(1, 50)), groups=groups)
    for seed in range(20):
        rest, drawn = draw_people(split, 20, seed)  # 6 + 7 + 7 and others
        assert len(drawn.identities) == 20
        assert not np.intersect1d(rest.groups, drawn.groups).size
    assert len(draw_people(split, 10, 0)[1].identities) == 8  # nothing nearer
    assert len(draw_people(split, 1, 0)[1].identities) == 6
    assert len(draw_people(split, 60, 0)[1].identities) == 43  # one group is left
    with pytest.raises(ValueError, match="cannot divide 1 look-alike group"):
        draw_people(make_split("all", [1, 2], groups=[1, 1]), 1, 0)


def test_of_two_views_the_first_asks():
    test = make_split("test", [5, 5, 6, 6, 6], [2, 1, 1, 2, 2])
    benchmark = two_views("toy", TRAIN, test)
    assert (benchmark.query.name, benchmark.gallery.name) == ("query", "gallery")
    assert benchmark.query.person_ids.tolist() == [5, 6]
    assert benchmark.gallery.person_ids.tolist() == [5, 6, 6]


def test_validation_people_are_on_no_other_side():
    test = make_split("test", [5, 5], [1, 2])
    assert two_views("toy", TRAIN, test, make_split("validation", [7])).validation.identities.tolist() == [7]
    for ids, where in (([1, 7], "training and in validation"), ([5, 7], "the test set and in validation")):
        with pytest.raises(ValueError, match=rf"person {ids[0]} is both in {where}; each person must"):
            two_views("toy", TRAIN, test, make_split("validation", ids))


def test_one_camera_for_everything_is_the_reason():
    test = make_split("test", [5, 5], [3, 3])
    with pytest.raises(ValueError, match=r"so nothing can be scored \(every test image has camera 3\)"):
        Benchmark("toy", TRAIN, test, test)


def test_union_keeps_people_cameras_and_groups_apart():
    other = make_split("train", [1, 0, -1], [1, 2, 3], [1, 0, -1])
    joined = union([TRAIN, other])
    assert len(joined) == 7
    assert len(joined.identities) == 3
    assert joined.person_ids[-2:].tolist() == [0, -1]
    assert not np.intersect1d(joined.camera_ids[:4], joined.camera_ids[4:]).size
    assert not np.intersect1d(joined.groups[:4], joined.groups[4:5]).size
    assert union([TRAIN]) is TRAIN


def test_group_0_of_people_is_a_group_and_that_of_distractors_none():
    one = make_split("one", [1, 2, 9, 0], groups=[0, 0, 1, 0])
    assert union([one, one]).groups.tolist() == [0, 0, 1, 0, 2, 2, 3, 0]
    query, gallery = make_split("query", [20], [1], [0]), make_split("gallery", [20, 0], [2, 2], [0, 0])
    with pytest.raises(ValueError, match="look-alike group 0 is both in training and in the test set"):
        Benchmark("toy", one, query, gallery)
    apart = make_split("query", [20], [1], [2]), make_split("gallery", [20, 0], [2, 2], [2, 0])
    assert Benchmark("toy", one, *apart).matched.all()


def test_joined_keeps_labels_as_they_are():
    whole = joined("train", TRAIN, make_split("val", [2, 9], [3, 4], [1, 9]))
    assert whole.person_ids.tolist() == [1, 1, 2, 2, 2, 9]
    assert whole.camera_ids.tolist() == [1, 2, 1, 2, 3, 4]
    assert whole.groups.tolist() == [1, 1, 2, 2, 1, 9]
    assert (whole.name, [path.stem for path in whole.paths[-2:]]) == ("train", ["val-0", "val-1"])


def test_the_tiny_world_keeps_groups_on_one_side(plaza_tiny):
    test = np.union1d(plaza_tiny.query.groups, plaza_tiny.gallery.groups)
    assert not np.intersect1d(plaza_tiny.train.groups, test[test > 0]).size
    assert len(np.unique(plaza_tiny.train.groups)) < len(plaza_tiny.train.identities)
    assert {-1, 0} <= set(plaza_tiny.gallery.person_ids.tolist())
    assert plaza_tiny.matched.all()


def test_a_split_tells_its_size_and_not_its_lists():
    assert (
        repr(make_split("x", [1, 1, 2, 0, -1], cameras=[1, 2, 3, 3, 3]))
        == "Split('x', 5 images of 2 people by 3 cameras)"
    )
