"""Runs in one file: what goes in comes out, nothing is overwritten, damage and strangers are named."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reidlib.archive import pack, unpack
from reidlib.data.splits import Split
from reidlib.evaluation import Evaluation
from reidlib.recipe import EvaluationSettings, Recipe
from reidlib.store import Run, RunStore

MIB = 2**20


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "here" / "build", tmp_path / "here" / "data")


@pytest.fixture
def other(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "there" / "build", tmp_path / "there" / "data")


def save(store: RunStore, seed: int, kilobytes: int = 1, seconds: float = 1.0) -> Run:
    return store.save(
        Recipe("mls", seed=seed),
        history=[{"loss": 0.5}],
        evaluations={},
        figures={"images": np.zeros(3)},
        weights={"layer": torch.randn(kilobytes * 256)},
        meta={"profile": "laptop", "device": "test CPU", "seconds": seconds},
    )


def contents(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir()}


def test_what_is_packed_is_unpacked_to_the_last_bit(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    runs = [save(store, seed) for seed in range(3)]
    kept = store.keep(runs.pop(), store.folders[1])  # runs that git carries are not packed
    archive = tmp_path / "runs.tar"
    assert pack(store, archive, MIB).startswith(f"2 runs in {archive}")
    again = tmp_path / "again.tar"
    pack(store, again, MIB)
    assert archive.read_bytes() == again.read_bytes()
    assert all(line.endswith(": taken over") for line in unpack(other, archive))
    assert [contents(run) for run in other.runs()] == [contents(run) for run in store.runs() if run.name != kept.name]
    assert other.verify() == []


def test_the_largest_weights_are_left_out_first(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    small, large = save(store, 0, kilobytes=100), save(store, 1, kilobytes=300)
    archive = tmp_path / "runs.tar"
    said = pack(store, archive, 200 * 1024)
    assert said.endswith(f", without the weights of {large.name}")
    assert archive.stat().st_size <= 200 * 1024
    list(unpack(other, archive))
    found = {run.name: run for run in other.runs()}
    assert found[small.name].weights() is not None
    assert found[large.name].weights() is None
    assert found[large.name].history["loss"].tolist() == [0.5]
    with pytest.raises(ValueError, match=r"2 runs take 0\.0 MiB without weights, more than .*raise --size"):
        pack(store, archive, 1024)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["runs.tar"]


def test_a_run_that_is_there_stays(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    save(store, 0, seconds=1.0)
    save(store, 1)
    theirs = other.keep(save(other, 0, seconds=99.0), other.folders[1])
    before = contents(theirs)
    pack(store, tmp_path / "runs.tar", MIB)
    lines = dict(line.split(": ") for line in unpack(other, tmp_path / "runs.tar"))
    assert lines[theirs.name] == "is here already, and stays"
    assert sorted(lines.values()) == ["is here already, and stays", "taken over"]
    assert contents(theirs) == before
    assert {run.folder.parent.name for run in other.runs()} == {"build", "data"}


def test_a_run_with_fewer_evaluations_gives_way_to_one_with_more(
    store: RunStore, other: RunStore, tmp_path: Path
) -> None:
    one = np.array([1])
    scores = Evaluation.from_frame(pd.DataFrame({"query": [0], "ap": [0.5], "first_hit": [0], "inp": [0.5]}))
    more = save(store, 0).add_evaluation(EvaluationSettings(), scores, Split("query", (Path("1.jpg"),), one, one, one))
    save(other, 0)
    pack(store, tmp_path / "runs.tar", MIB)
    for said in ("taken over", "is here already, and stays"):
        assert list(unpack(other, tmp_path / "runs.tar")) == [f"{more.name}: {said}"]
    assert [run.settings for run in other.runs()] == [more.settings]


def test_a_run_does_not_give_way_to_one_that_lacks_its_files(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    """Its weights, say, which `pack` leaves out where they are large; more scores do not make up for them."""
    one = np.array([1])
    scores = Evaluation.from_frame(pd.DataFrame({"query": [0], "ap": [0.5], "first_hit": [0], "inp": [0.5]}))
    save(store, 0).add_evaluation(EvaluationSettings(), scores, Split("query", (Path("1.jpg"),), one, one, one))
    ours = save(other, 0).with_table("robustness", pd.DataFrame({"rank": [1]}))
    before = contents(ours)
    pack(store, tmp_path / "runs.tar", MIB)
    assert list(unpack(other, tmp_path / "runs.tar")) == [f"{ours.name}: is here already, and stays"]
    assert contents(ours) == before


@pytest.mark.filterwarnings("ignore:run .* is damaged")
def test_a_damaged_run_gives_way_to_a_sound_one(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    sound = save(store, 0)
    damaged = other.keep(save(other, 0), other.folders[1])
    (damaged.folder / "history.csv").write_text("loss\n0.6\n")
    pack(store, tmp_path / "runs.tar", MIB)
    assert list(unpack(other, tmp_path / "runs.tar")) == [f"{sound.name}: taken over"]
    (found,) = other.runs()
    assert contents(found) == contents(sound)


def test_damage_on_the_way_is_named(store: RunStore, other: RunStore, tmp_path: Path) -> None:
    save(store, 0)
    good = save(store, 1)
    archive = tmp_path / "runs.tar"
    pack(store, archive, MIB)
    archive.write_bytes(archive.read_bytes().replace(b"loss\n0.5", b"loss\n0.6", 1))
    lines = list(unpack(other, archive))
    assert sum("damaged: history.csv has changed" in line for line in lines) == 1
    assert len(other.runs()) == 1
    with tarfile.open(archive, "w") as tar:
        for path in good.folder.iterdir():
            tar.add(path, f"ide-0123456789ab/{path.name}")
    assert list(unpack(other, archive)) == [
        "ide-0123456789ab: left, because it is damaged: its name is that of another recipe"
    ]


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "mls-0123456789ab/../../x", "notes.txt"])
def test_a_strange_archive_is_refused_whole(other: RunStore, tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="no file of a run"):
        list(unpack(other, tmp_path / "x.tar"))
    (tmp_path / "y.tar").write_bytes(b"not a tar archive" * 100)
    with pytest.raises(ValueError, match=r"y\.tar is no whole tar archive; give a file that `reidlib pack` wrote"):
        list(unpack(other, tmp_path / "y.tar"))
    assert other.runs() == []


def test_an_empty_store_has_nothing_to_pack(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no runs"):
        pack(store, tmp_path / "runs.tar", MIB)
