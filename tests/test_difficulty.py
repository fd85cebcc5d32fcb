"""The measures of the benchmark against brute force and against people made up by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reidlib import difficulty
from reidlib.data.splits import Benchmark, Split
from reidlib.evaluation import evaluate, rank
from reidlib.models import build

PEOPLE = {
    1: {"hat": "cap", "coat": [0.1, 0.1, 0.1], "bag": None},
    2: {"hat": "cap", "coat": [0.1, 0.15, 0.1], "bag": None},
    3: {"hat": "none", "coat": [0.9, 0.1, 0.1], "bag": [0.2, 0.2, 0.2]},
}


def split(name: str, people: list[int], cameras: list[int]) -> Split:
    paths = tuple(Path(f"{name}{index}.jpg") for index in range(len(people)))
    return Split(name, paths, np.array(people), np.array(cameras), np.array(people))


@pytest.fixture
def benchmark() -> Benchmark:
    rng = np.random.default_rng(0)
    people, cameras = np.repeat([1, 2, 3], 6), np.tile([1, 1, 2, 2, 3, 3], 3)
    extra = [0] * 5 + [-1] * 4
    return Benchmark(
        "made up",
        split("train", [8, 9], [1, 2]),
        split("query", [1, 2, 3, 1], [1, 2, 3, 3]),
        split("gallery", [*people.tolist(), *extra], [*cameras.tolist(), *rng.integers(1, 4, 9).tolist()]),
    )


@pytest.mark.parametrize("across", [False, True])
def test_chance_is_what_random_orders_score_on_average(benchmark: Benchmark, across: bool) -> None:
    rng = np.random.default_rng(1)
    shape = len(benchmark.query), len(benchmark.gallery)
    scores = []
    for _ in range(400):
        distance = rng.random(shape)
        if across:
            scores.append(difficulty.across_cameras(distance, benchmark))
        else:
            got = difficulty.score(distance, benchmark)
            scores.append((got.cmc[0], got.mean_ap))
    error = 4 * np.std(scores, axis=0) / np.sqrt(len(scores))
    assert np.all(np.abs(np.mean(scores, axis=0) - difficulty.chance(benchmark, across=across)) < error)


def test_a_ranker_of_cameras_is_below_chance_in_the_gallery_and_at_chance_across_cameras(benchmark: Benchmark) -> None:
    cameras = benchmark.query.camera_ids[:, None] != benchmark.gallery.camera_ids[None]
    rng = np.random.default_rng(2)
    runs = [cameras + 0.5 * rng.random(cameras.shape) for _ in range(300)]
    whole = np.mean([difficulty.score(run, benchmark).mean_ap for run in runs])
    across = np.mean([difficulty.across_cameras(run, benchmark)[1] for run in runs])
    assert whole < difficulty.chance(benchmark)[1] - 0.05
    assert across == pytest.approx(difficulty.chance(benchmark, across=True)[1], abs=0.02)


def test_colours_differ_from_a_visible_difference_on() -> None:
    table = difficulty.differences(list(PEOPLE.values()), ["hat", "coat", "bag"])
    np.testing.assert_array_equal(table, [[0, 0, 3], [0, 0, 3], [3, 3, 0]])
    assert difficulty.differences(list(PEOPLE.values()), ["hat"])[0].tolist() == [0, 0, 1]
    assert difficulty.nearest_twins(PEOPLE).tolist() == [0, 0, 3]


def test_the_oracle_cannot_tell_twins_and_breaks_their_ties_at_random(benchmark: Benchmark) -> None:
    tested = difficulty.without_strangers(benchmark)
    got = [difficulty.oracle(PEOPLE, tested, ["hat", "coat"], seed) for seed in range(40)]
    by_person = {1: [], 2: [], 3: []}
    for evaluation in got:
        for index, hit in zip(evaluation.query_index, evaluation.first_hit, strict=True):
            by_person[int(benchmark.query.person_ids[index])].append(hit == 0)
    assert np.mean(by_person[3]) == 1
    assert 0.2 < np.mean(by_person[1]) < 0.8


def test_measured_rows_replace_those_of_the_same_key(tmp_path: Path) -> None:
    def row(world: int, method: str, rank1: float, size: str = "small") -> dict[str, object]:
        key = {"preset": "default", "domain": "plaza", "size": size, "world": world, "seed": 0, "method": method}
        return {**key, "rank1": rank1, "mean_ap": 0.1, "queries": 4, "gallery": 20, "seconds": 1.0}

    path = tmp_path / "difficulty.csv"
    difficulty.save([row(1, "histogram", 0.2), row(0, "histogram", 0.3)], path)
    difficulty.save([row(1, "histogram", 0.4), row(1, "histogram", 0.9, "tiny")], path)
    table = pd.read_csv(path)
    assert list(table.columns) == list(difficulty.COLUMNS)
    assert table[["size", "world", "rank1"]].to_numpy().tolist() == [
        ["tiny", 1, 0.9],
        ["small", 0, 0.3],
        ["small", 1, 0.4],
    ]
    assert table["date"].notna().all()
    assert [item.name for item in tmp_path.iterdir()] == ["difficulty.csv"]


def test_the_program_measures_a_world_as_the_library_does(tmp_path: Path, plaza_tiny: Benchmark) -> None:
    out, root = tmp_path / "difficulty.csv", plaza_tiny.query.paths[0].parents[2]
    words = ["--presets", "default", "--size", "tiny", "--worlds", "0", "--seeds", "--erased"]
    difficulty.main([*words, "--root", str(root), "--out", str(out)])
    table = difficulty.read(out).set_index("method")
    methods = ["chance", "raw pixels", "histogram", "oracle, all attributes", "oracle, clothes"]
    assert set(table.index) == {*methods, "chance, erased", "histogram, erased"}
    for method, name in (("raw pixels", "pixels"), ("histogram", "histogram")):
        want = evaluate(build(name), plaza_tiny)
        assert table.loc[method, ["rank1", "mean_ap"]].tolist() == pytest.approx([want.cmc[0], want.mean_ap], abs=1e-4)
    assert table.loc["chance", "mean_ap"] == pytest.approx(difficulty.chance(plaza_tiny)[1], abs=1e-4)
    # Whoever knows what everybody wears finds nearly all; where nobody is drawn, colours find hardly more than chance.
    assert table.loc["oracle, all attributes", "rank1"] > 0.9 > table.loc["histogram", "rank1"]
    assert abs(table.loc["histogram, erased", "mean_ap"] - table.loc["chance, erased", "mean_ap"]) < 0.1
    assert (table["gallery"] == [len(plaza_tiny.gallery)] * 3 + [160] * 4).all()


def test_scores_are_those_of_the_protocol(benchmark: Benchmark) -> None:
    distance = np.random.default_rng(3).random((len(benchmark.query), len(benchmark.gallery)))
    query, gallery = benchmark.query, benchmark.gallery
    want = rank(distance, query.person_ids, gallery.person_ids, query.camera_ids, gallery.camera_ids)
    assert difficulty.score(distance, benchmark).mean_ap == want.mean_ap


def test_the_summary_gives_percent_with_spread_and_says_what_was_not_run() -> None:
    rows = [("easy", 0, 0.5), ("easy", 1, 0.6), ("hard", 0, 0.1)]
    shared = {
        "domain": "plaza",
        "size": "small",
        "seed": 0,
        "device": "a CPU",
        "date": "2026-01-01",
        "benchmark_version": "1",
    }
    measured = pd.DataFrame(
        [{**shared, "preset": p, "world": w, "method": "cnn", "rank1": r, "mean_ap": r / 2} for p, w, r in rows]
    )
    table = difficulty.summary(measured, ["cnn", "oracle"])
    assert table.loc["cnn"].tolist() == ["55.0 ± 7.1", "27.5 ± 3.5", "10.0", "5.0"]
    assert set(table.loc["oracle"]) == {"not run"}
    assert "worlds: 2 easy, 1 hard" in table.attrs["notes"][1]


def test_unmeasured_difficulty_says_how_to_measure_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"measure it with `python -m reidlib\.difficulty"):
        difficulty.read(tmp_path / "none.csv")
