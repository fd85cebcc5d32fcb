"""The run store: what is written is read, damage is named, and nothing is ever half written."""

import errno
import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output
from safetensors import SafetensorError

import reidlib.record
import reidlib.store
from reidlib.book import tidied
from reidlib.data.splits import Split
from reidlib.evaluation import Evaluation
from reidlib.recipe import Data, EvaluationSettings, Optimiser, Recipe, fingerprint, options
from reidlib.record import write_record, write_tensors
from reidlib.store import Run, RunStore, Trial, run_name

PLAZA = Data("plaza", size="tiny")
RECIPE = Recipe("pixels", options(widths=(4, 8)), datasets=(PLAZA,), optimiser=Optimiser("adam"), steps=3)
FULL = EvaluationSettings(PLAZA)
SINGLE = EvaluationSettings(PLAZA, protocol="single-shot")


def split(name: str, person_ids: list[int], groups: list[int], camera: int) -> Split:
    count = len(person_ids)
    return Split(
        name,
        tuple(Path(f"{name}{index}.jpg") for index in range(count)),
        np.array(person_ids),
        np.full(count, camera),
        np.array(groups),
    )


@pytest.fixture
def queries() -> Split:
    return split("query", [7, 8, 9], [70, 70, 90], 1)


def evaluation(ap: tuple[float, ...] = (1.0, 0.1 + 0.2, 1 / 3)) -> Evaluation:
    frame = pd.DataFrame({"query": range(3), "ap": ap, "first_hit": [0, 4, 0], "inp": ap, "tied": [True, False, False]})
    return Evaluation.from_frame(frame)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "build", tmp_path / "data")


def save(store: RunStore, queries: Split, recipe: Recipe = RECIPE) -> Run:
    return store.save(
        recipe,
        history=pd.DataFrame({"step": [1, 3], "loss": [0.1 + 0.2, 1e-17]}),
        evaluations={FULL: (evaluation(), queries)},
        figures={"thumbnails": np.arange(12, dtype=np.uint8).reshape(3, 4)},
        weights={"layer.weight": torch.tensor([[0.0, 3], [1, 4], [2, 5]]).T},  # not contiguous, as training leaves them
        meta={"profile": "smoke", "device": "test CPU", "measures": {"mean_accuracy": 0.75}, "seconds": 1.5},
    )


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".lock")


def test_a_saved_run_is_read_back_to_the_last_bit(store: RunStore, queries: Split) -> None:
    assert store.find(RECIPE) is None
    save(store, queries)
    run = store.find(RECIPE)
    assert run is not None
    assert run.name == f"pixels-{fingerprint(RECIPE)[:12]}"
    assert run.history["loss"].tolist() == [0.1 + 0.2, 1e-17]
    scores = run.evaluation(FULL)
    assert scores is not None
    pd.testing.assert_frame_equal(scores.frame().drop(columns="group"), evaluation().frame().drop(columns="group"))
    assert scores.groups.tolist() == [70, 70, 90]
    lines = run.queries(FULL)
    assert lines is not None
    assert lines[["person_id", "group"]].to_numpy().tolist() == [[7, 70], [8, 70], [9, 90]]
    found = run.metrics(FULL)
    assert found is not None
    assert found["mean_ap"] == pytest.approx(np.mean(evaluation().ap))
    assert found["rank1"] == pytest.approx(2 / 3)
    assert found["rank5"] == 1
    assert found["tied"] == pytest.approx(1 / 3)
    assert run.metrics(SINGLE) is None
    assert run.evaluation(SINGLE) is None
    assert Trial(run, (FULL, SINGLE)).metrics(0) == found
    assert Trial(None).metrics(0) is None
    np.testing.assert_array_equal(run.figures()["thumbnails"], np.arange(12).reshape(3, 4))
    weights = run.weights()
    assert weights is not None
    assert weights["layer.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert run.record["device"] == "test CPU"
    assert run.record["measures"] == {"mean_accuracy": 0.75}
    assert run.record["versions"]["torch"] == torch.__version__
    assert store.verify() == []
    assert [item.name for item in store.runs()] == [run.name]


def test_an_untrained_run_has_no_history_no_figures_and_no_weights(store: RunStore) -> None:
    run = store.save(RECIPE, history=pd.DataFrame(), evaluations={}, meta={})
    assert run.history.empty
    assert run.figures() == {}
    assert run.weights() is None


def test_meta_may_not_overwrite_what_the_store_decides(store: RunStore) -> None:
    with pytest.raises(ValueError, match="'fingerprint'"):
        store.save(RECIPE, history=[], evaluations={}, meta={"fingerprint": "0"})
    assert store.runs() == []


def test_an_evaluation_is_added_to_an_old_run(store: RunStore, queries: Split) -> None:
    run = save(store, queries)
    run.add_evaluation(SINGLE, evaluation((0.5, 0.5, 0.5)), queries)
    run.add_evaluation(SINGLE, evaluation((0.1, 0.1, 0.1)), queries)  # the first result stays
    again = store.find(RECIPE)
    assert again is not None
    assert again.metrics(FULL) != again.metrics(SINGLE)
    full, single = again.evaluation(FULL), again.evaluation(SINGLE)
    assert full is not None
    assert single is not None
    assert full.ap.tolist() == evaluation().ap.tolist()
    assert single.ap.tolist() == [0.5, 0.5, 0.5]
    assert run.evaluation(SINGLE) is None  # read before the addition: still whole
    assert store.verify() == []


@pytest.mark.parametrize("moment", ["write_record", "digest"])
def test_an_interrupted_addition_leaves_the_run_as_it_was(
    store: RunStore, queries: Split, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = save(store, queries)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reidlib.store, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            run.add_evaluation(SINGLE, evaluation(), queries)
    assert store.verify() == []
    again = store.find(RECIPE)
    assert again is not None
    assert again.metrics(SINGLE) is None
    lines = again.add_evaluation(SINGLE, evaluation(), queries).queries(SINGLE)
    assert lines is not None
    assert len(lines) == 3
    assert store.verify() == []


def test_adding_to_a_run_of_another_folder_copies_it_first(store: RunStore, queries: Split) -> None:
    run = store.keep(save(store, queries), store.folders[1])
    assert run.folder.parent == store.folders[1]
    assert not (store.home / run.name).exists()
    added = run.add_evaluation(SINGLE, evaluation(), queries)
    assert added.folder.parent == store.home
    found = store.find(RECIPE)
    assert found is not None
    assert found.metrics(SINGLE)
    assert RunStore(store.folders[1]).runs()[0].metrics(SINGLE) is None
    assert store.keep(found, store.folders[1]).metrics(SINGLE)
    assert len(store.runs()) == 1


def test_keep_only_moves_into_a_folder_the_store_reads(store: RunStore, queries: Split, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        store.keep(save(store, queries), tmp_path / "elsewhere")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["run.json", "history.csv", "queries.csv", "figures.npz", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_run_is_named_set_aside_and_redone(store: RunStore, queries: Split, name: str, damage: str) -> None:
    run = save(store, queries)
    path = run.folder / name
    if damage == "flip":
        flip_a_bit(path)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
    if (name, damage) == ("weights.safetensors", "remove"):  # not in git: a clone is not damaged
        found = store.find(RECIPE)
        assert found is not None
        assert found.weights() is None
        return
    (problem,) = store.verify()
    assert run.name in problem
    assert name in problem
    with pytest.warns(UserWarning, match=f"{run.name} is damaged .*{name}"):
        assert store.find(RECIPE) is None
    assert (store.home / f"{run.name}.damaged").is_dir()
    assert store.runs() == []
    save(store, queries)
    assert store.find(RECIPE) is not None
    assert store.verify() == []


def test_a_damaged_run_elsewhere_is_passed_over_and_left(store: RunStore, queries: Split) -> None:
    run = store.keep(save(store, queries), store.folders[1])
    flip_a_bit(run.folder / "queries.csv")
    with pytest.warns(UserWarning, match="damaged"):
        assert store.find(RECIPE) is None
    with pytest.warns(UserWarning, match="damaged"):
        assert store.runs() == []
    assert run.folder.is_dir()


def test_a_run_under_another_recipes_name_is_damaged(store: RunStore, queries: Split) -> None:
    other = replace(RECIPE, seed=1)
    save(store, queries).folder.rename(store.home / run_name(other))
    with pytest.warns(UserWarning, match="another recipe"):
        assert store.find(other) is None


def test_tensors_that_cannot_be_written_say_so_as_any_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors has an error of its own for it; its wording is that of version 0.8 on a full disk."""

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(reidlib.record, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_tensors({"a": torch.zeros(2, 3).T}, tmp_path / "a.safetensors")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write_record", "sync", "_query_lines", "write_tensors"])
def test_a_save_that_fails_leaves_nothing(
    store: RunStore, queries: Split, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(reidlib.store, step, fail)
        with pytest.raises(type(error)) as caught:
            save(store, queries)
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC  # type: ignore[attr-defined]
        assert "nothing changed there" in str(caught.value)
    assert files(store.home) == [".locks"]
    save(store, queries)
    assert store.find(RECIPE) is not None


def test_a_failed_replacement_keeps_the_old_run(
    store: RunStore, queries: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, queries)
    rename = Path.rename

    def fail_on_arrival(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EIO, "simulated")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_on_arrival)
        with pytest.raises(OSError, match="simulated"):
            save(store, queries)
    assert store.find(RECIPE) is not None
    save(store, queries)
    assert [name for name in files(store.home) if "/" not in name] == [".locks", run_name(RECIPE)]


def test_leftovers_of_a_killed_process_are_not_runs(store: RunStore, queries: Split) -> None:
    part = store.home / f".{run_name(RECIPE)}.part"
    part.mkdir(parents=True)
    (part / "run.json").write_text("{")
    assert store.find(RECIPE) is None
    assert store.runs() == []
    assert store.verify() == []
    save(store, queries)
    assert not part.exists()


def test_a_record_of_another_format_or_without_its_parts_is_damaged(store: RunStore, queries: Split) -> None:
    run = save(store, queries)
    for change in ({"format": 99}, {"files": None}):
        record = {name: value for name, value in {**run.record, **change}.items() if value is not None}
        write_record(run.folder, record)
        (problem,) = store.verify()
        assert "not of format 1, which this version of reidlib reads" in problem


def test_a_run_whose_replacement_was_killed_is_put_back(store: RunStore, queries: Split) -> None:
    run = save(store, queries)
    run.folder.rename(run.folder.with_name(f".{run.name}.old"))
    (run.folder.with_name(f".{run.name}.part")).mkdir()
    found = store.find(RECIPE)
    assert found is not None
    assert found.record == run.record
    save(store, queries)
    assert [name for name in files(store.home) if "/" not in name] == [".locks", run_name(RECIPE)]


def test_a_table_is_added_read_to_the_last_bit_and_replaced(store: RunStore, queries: Split) -> None:
    table = pd.DataFrame({"map": ["a, b", "c"], "share": [0.1 + 0.2, 1e-17], "group": [70, 90]})
    kept = store.keep(save(store, queries), store.folders[1])
    assert kept.table("coverage") is None
    run = kept.with_table("coverage", table)
    assert run.folder.parent == store.home
    found = store.find(RECIPE)
    assert found is not None
    pd.testing.assert_frame_equal(found.table("coverage"), table, check_exact=True)
    assert found.metrics(FULL) == kept.metrics(FULL)
    pd.testing.assert_frame_equal(run.with_table("coverage", table[:1]).table("coverage"), table[:1], check_exact=True)
    assert store.verify() == []
    with pytest.raises(ValueError, match="the store's own"):
        run.with_table("queries", table)
    (run.folder / "coverage.csv").write_text("map\n")
    assert "coverage.csv has changed" in store.verify()[0]


@pytest.mark.parametrize("step", ["write_record", "sync", "digest"])
def test_a_table_that_is_interrupted_leaves_the_run_whole(
    store: RunStore, queries: Split, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = save(store, queries).with_table("coverage", pd.DataFrame({"share": [0.5]}))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reidlib.store, step, stop)
        with pytest.raises(KeyboardInterrupt):
            run.with_table("coverage", pd.DataFrame({"share": [0.7, 0.1]}))
    found = store.find(RECIPE)
    assert found is not None
    assert store.verify() == []
    table = found.table("coverage")
    assert table is not None
    assert table["share"].tolist() == [0.5]
    assert [name for name in files(store.home) if "/" not in name] == [".locks", run_name(RECIPE)]


def _train(folder: Path, count: Path) -> None:
    store = RunStore(folder)
    with store.lock(RECIPE):
        if store.find(RECIPE) is None:
            time.sleep(0.3)
            with open(count, "a") as file:
                file.write("trained\n")
            store.save(RECIPE, history=[{"loss": 1.0}], evaluations={}, meta={})


def test_two_processes_train_a_run_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_train, args=(tmp_path / "runs", tmp_path / "count")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "trained\n"
    assert len(RunStore(tmp_path / "runs").runs()) == 1


def test_waiting_for_another_process_is_progress_that_no_page_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()

    def other() -> None:
        with RunStore(tmp_path).lock(RECIPE):
            held.set()
            time.sleep(0.3)

    process = context.Process(target=other)
    process.start()
    assert held.wait(30)
    with RunStore(tmp_path).lock(RECIPE):
        pass
    process.join(30)
    said = capsys.readouterr().err
    assert f"waiting for run {run_name(RECIPE)}, which another process is working on" in said
    outputs = [new_output("stream", name="stderr", text=said)]
    assert tidied(new_notebook(cells=[new_code_cell("1", outputs=outputs)])).cells[0].outputs == []


def test_the_lock_is_re_entrant(store: RunStore, queries: Split) -> None:
    with store.lock(RECIPE), store.lock(RECIPE):
        save(store, queries)


def test_a_claimed_run_is_left_to_its_process(tmp_path: Path) -> None:
    store, context = RunStore(tmp_path), multiprocessing.get_context("fork")

    def other(queue: object) -> None:
        with RunStore(tmp_path).claim(RECIPE) as mine:
            queue.put(mine)  # type: ignore[attr-defined]

    queue = context.Queue()
    for held in (True, False):
        with store.claim(RECIPE if held else replace(RECIPE, seed=1)) as mine:
            assert mine
            process = context.Process(target=other, args=(queue,))
            process.start()
            assert queue.get(timeout=30) is not held
            process.join(30)


def test_an_unchanged_run_is_hashed_once_but_verified_anew(
    store: RunStore, queries: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, queries)
    hashed: list[str] = []
    digest = reidlib.store.digest
    monkeypatch.setattr(reidlib.store, "digest", lambda path: hashed.append(path.name) or digest(path))
    assert store.find(RECIPE) is not None
    assert hashed == []
    assert store.verify() == []
    assert len(hashed) == 4


def test_a_store_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="RunStore"):
        RunStore()


def test_run_json_is_plain_json(store: RunStore, queries: Split) -> None:
    record = json.loads((save(store, queries).folder / "run.json").read_text())
    assert record["recipe"]["options"] == [["widths", [4, 8]]]
    assert set(record["files"]) == {"history.csv", "queries.csv", "figures.npz", "weights.safetensors"}
    assert record["evaluations"][fingerprint(FULL)]["metrics"]["queries"] == 3


@pytest.mark.parametrize(
    ("files", "datasets", "shows"),
    [
        (["figures.npz"], [{"name": "plaza"}], False),
        (["figures.npz"], [{"name": "plaza"}, {"name": "viper"}], True),
        (["figures.npz"], [{}], True),  # Market-1501 goes without saying
        (["queries.csv"], [{}], False),
    ],
)
def test_figures_on_real_data_show_photographs(tmp_path, files, datasets, shows):
    record = {"files": dict.fromkeys(files), "recipe": {"datasets": datasets}}
    assert Run(tmp_path, record, RunStore(tmp_path)).shows_photographs is shows
