"""The queue: what comes first, how long it takes, and how processes share it. Trainings are made up."""

import errno
import multiprocessing
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reidlib import queue as module
from reidlib.data.splits import Split
from reidlib.evaluation import Evaluation
from reidlib.queue import Clock, Time, queue
from reidlib.recipe import Recipe, fingerprint
from reidlib.run import NotAvailable
from reidlib.store import RunStore
from reidlib.study import PAPERS, Study, ancestors, merged, paper

QUERIES = Split("query", (Path("1.jpg"),), np.array([1]), np.array([1]), np.array([1]))
FOUND = pd.DataFrame({"query": [0], "ap": [0.5], "first_hit": [0], "inp": [0.5], "tied": [False]})


@pytest.fixture
def trained(monkeypatch):
    """Makes every training a made-up run of 60 seconds; the list of those made."""
    made = []

    def do(study, job, **_):
        made.append(str(job))
        scores = dict.fromkeys(job.settings, (Evaluation.from_frame(FOUND), QUERIES))
        meta = {"profile": job.profile, "device": "here", "seconds": 60.0, "training_seconds": 50.0}
        return study.store.save(job.recipe, history=[], evaluations=scores, meta=meta)

    monkeypatch.setattr(Study, "do", do)
    monkeypatch.setattr(module, "device_name", lambda _: "here")
    return made


def laptop(tmp_path, *targets, **given):
    return queue(targets, profile="laptop", runs_dir=str(tmp_path), **given)


def test_claims_come_first_then_their_trials_then_core_rows(tmp_path):
    jobs = laptop(tmp_path, "all").jobs
    assert [job.order for job in jobs] == sorted(job.order for job in jobs)
    assert {job.paper for job in jobs} == {key for key in PAPERS if paper(key).rows}
    compared = {(key, name) for key in PAPERS for claim in paper(key).claims for pair in claim.pairs for name in pair}
    needed = {fingerprint(recipe) for job in jobs if job.rank < 2 for recipe in (job.recipe, *ancestors(job.recipe))}
    for job in jobs:
        if (job.paper, job.row.key) in compared and job.trial == 0:
            assert job.rank == 0
        if job.rank == 3:
            assert not job.row.core
            assert fingerprint(job.recipe) not in needed
    assert {job.rank for job in jobs} == {0, 1, 2, 3}


def test_a_recipe_is_one_job_and_comes_after_what_it_starts_from(tmp_path):
    jobs = laptop(tmp_path, "all", "midlevel").jobs  # naming a paper twice changes nothing
    places = {fingerprint(job.recipe): place for place, job in enumerate(jobs)}
    assert len(places) == len(jobs)
    for job in jobs:
        for parent in map(fingerprint, ancestors(job.recipe)):
            assert places.get(parent, -1) < places[fingerprint(job.recipe)]


def test_merged_jobs_have_all_evaluations_and_keep_the_most(tmp_path):
    first, second = laptop(tmp_path, "personnet/table4/pixels").jobs[0], laptop(tmp_path, "mls").jobs[0]
    second = replace(first, settings=second.settings, keep="figures", rank=0)
    (one,) = merged([replace(first, keep="weights"), second])
    assert one.settings == (*first.settings, *second.settings)
    assert (one.keep, one.rank, one.row.key) == ("figures", 0, first.row.key)


def test_a_shared_training_is_evaluated_for_every_row_and_wanted_for_the_chosen_one(tmp_path, plaza_tiny):
    """Or the other row's turn would find no weights and train again; yet a row that is there is not trained again."""
    todo = queue(["midlevel/open/both-orders"], profile="smoke", runs_dir=str(tmp_path))
    (job,) = todo.jobs
    assert [item.scoring for item in (*job.settings, *job.also)] == [(("average_orders", True),)] * 2 + [()] * 4
    assert job.keep == "figures"  # as market/midlevel, the other row, asks
    list(todo.work(progress=False))
    assert not queue(["midlevel/market/midlevel"], profile="smoke", runs_dir=str(tmp_path)).jobs


def test_a_time_is_worded_once():
    assert str(Time(600)) == "about 10 minutes"
    assert [str(Time(seconds)) for seconds in (20, 60, 100)] == ["under a minute", "about a minute", "about 2 minutes"]
    assert str(Time(36_000)) == "about 10 hours"
    assert str(Time(0, 3)) == "an unknown time"
    assert str(Time(600, 2)) == "about 10 minutes, and 2 runs of unknown length"
    assert str(Time(50, 1)) == "about a minute, and 1 run of unknown length"


def test_the_clock_takes_the_median_per_step_on_this_device(tmp_path):
    store = RunStore(tmp_path)
    for seed, (steps, training, device) in enumerate(
        [(100, 10.0, "here"), (200, 40.0, "here"), (100, 30.0, "here"), (100, 900.0, "elsewhere")]
    ):
        meta = {"profile": "laptop", "device": device, "seconds": training + 5, "training_seconds": training}
        store.save(Recipe("mls", steps=steps, seed=seed), history=[], evaluations={}, meta=meta)
    clock = Clock("here")
    for run in store.runs():
        clock.see(run)
    assert clock.seconds("mls", "laptop", 300) == pytest.approx(300 * 0.2 + 5)
    assert clock.seconds("mls", "gpu", 300) is None
    assert clock.seconds("mls", "laptop", 0) is None  # nothing is known of what is not trained
    clock.device = "a third"
    assert clock.seconds("mls", "laptop", 100) == pytest.approx(100 * np.median([0.1, 0.2, 0.3, 9.0]) + 5)


def test_a_parent_that_is_trained_in_passing_counts_once(tmp_path):
    jobs = laptop(tmp_path, "midlevel/table4/converged", seeds=0).jobs
    jobs += laptop(tmp_path, "midlevel/table4/proposed", seeds=0).jobs
    before, alone, mined = ancestors(jobs[0].recipe)[0].steps, jobs[0].recipe.steps, jobs[1].recipe.steps
    clock = Clock("here", {("midlevel", "laptop", True): [module._Took("here", 1.0, 0.0)]})
    assert clock.time(jobs, RunStore(tmp_path)) == (before + alone + mined, 0)


def test_lines_count_what_is_done_and_what_is_left(tmp_path, trained):
    todo = laptop(tmp_path, "personnet/table4/pixels", "personnet/table4/histogram")
    assert todo.time() == (0, 10)
    lines = list(todo.work())
    assert len(lines) == len(trained) == 10
    assert lines[0].endswith("); 1 of 10 done, about 4 minutes, and 5 runs of unknown length left")
    assert re.search(
        r"rank-1 100.0 % mAP 50.0 % \(60 s, run \w+-\w{12}\); 2 of 10 done, about 8 minutes left$", lines[1]
    )
    assert lines[-1].endswith("; 10 of 10 done")
    assert laptop(tmp_path, "personnet/table4/pixels").jobs == []


def test_after_the_minutes_given_no_run_begins(tmp_path, trained, monkeypatch):
    clock = iter([0, 0, 59, 61, 1000])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    *_, last = laptop(tmp_path, "personnet/table4/pixels").work(minutes=1)
    assert len(trained) == 2
    assert last.startswith("stopped after 1 minutes: 2 of 5 done, about 3 minutes left")


def test_minutes_and_devices_that_mean_nothing_are_refused_before_the_first_line(tmp_path):
    todo = laptop(tmp_path, "personnet/table4/pixels")
    with pytest.raises(ValueError, match=r"^--minutes -0\.5: give 0 or more$"):
        todo.work(minutes=-0.5)
    with pytest.raises(ValueError, match=r"^--devices 0: give 1 or more$"):
        todo.work(devices=0)


def test_core_over_again_does_first_trials_of_core_rows(tmp_path, trained):
    rows = "personnet/table4/pixels", "personnet/table4/untrained"
    for _ in range(2):
        list(laptop(tmp_path, *rows, recompute="core").work())
    assert trained == ["personnet/table4/pixels trial 0 at laptop"] * 2


def test_all_over_again_does_each_once(tmp_path, trained):
    for _ in range(2):
        assert len(list(laptop(tmp_path, "personnet/table4/pixels", recompute="all").work())) == 5
    assert len(trained) == 10


def test_all_over_again_in_two_processes_does_each_once(tmp_path, trained):
    first, second = (laptop(tmp_path, "personnet/table4/pixels", recompute="all") for _ in range(2))
    list(first.work())
    assert list(second.work()) == []
    assert len(trained) == 5


@contextmanager
def held_elsewhere(folder, recipe):
    """Another process is at the run of `recipe`."""
    context = multiprocessing.get_context("fork")
    holding, done = context.Event(), context.Event()

    def other():
        with RunStore(folder).claim(recipe):
            holding.set()
            done.wait(60)

    process = context.Process(target=other)
    process.start()
    try:
        assert holding.wait(30)
        yield
    finally:
        done.set()
        process.join(30)


def test_what_another_process_holds_is_passed_over_and_named(tmp_path, trained):
    todo = laptop(tmp_path, "midlevel/table2/converged", "midlevel/table2/proposed", seeds="0,1")
    with held_elsewhere(tmp_path, todo.jobs[0].recipe):  # what the first child starts from
        lines = list(todo.work())
    assert [job.row.key for job in todo.left()] == ["table2/converged", "table2/proposed"]
    assert {job.trial for job in todo.left()} == {0}
    assert [line for line in lines if "another process" in line] == [
        f"{job}: another process is at it" for job in todo.left()
    ]
    assert len(list(todo.work())) == 2  # it is gone: both can be done


def test_pre_training_that_another_process_is_at_is_waited_for(tmp_path, trained):
    """Passed over, every row of two papers would be: the second process would end with nothing done."""
    todo = laptop(tmp_path, "casn/table3/market-ide", seeds="0")
    with held_elsewhere(tmp_path, ancestors(todo.jobs[0].recipe)[0]):
        assert [line.rpartition("; ")[2] for line in todo.work()] == ["1 of 1 done"]


def test_what_needs_no_pre_training_of_another_process_comes_first(tmp_path, trained):
    todo = laptop(tmp_path, "casn/densenet/ide", "casn/table3/market-ide", seeds="0")
    dense, ide = todo.jobs
    assert dense.row.key == "densenet/ide"
    with held_elsewhere(tmp_path, ancestors(dense.recipe)[0]):
        assert [line.partition(":")[0] for line in todo.work()] == [str(ide), str(dense)]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), FileNotFoundError("1.jpg is gone")])
def test_a_run_that_fails_does_not_keep_the_others_from_being_made(tmp_path, trained, monkeypatch, error):
    todo, do = laptop(tmp_path, "personnet/table4/pixels"), Study.do

    def fails(study, job, **given):
        if job.trial == 1:
            raise error
        return do(study, job, **given)

    monkeypatch.setattr(Study, "do", fails)
    lines = todo.work()
    said = [next(lines) for _ in range(5)]
    with pytest.raises(RuntimeError, match="1 of 5 runs failed"):
        next(lines)
    assert said[1] == f"{todo.jobs[1]}: failed. {error}"
    assert said[-1].endswith("; 4 of 5 done, about a minute left")
    assert len(trained) == 4


def test_a_full_disk_ends_the_queue(tmp_path, trained, monkeypatch):
    def full(study, job, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Study, "do", full)
    with pytest.raises(OSError, match="No space left"):
        next(laptop(tmp_path, "personnet/table4/pixels").work())


def test_papers_whose_data_are_not_there_are_left_out(tmp_path, plaza_tiny):
    (tmp_path / "data").mkdir()
    given = {
        "dataset": "real",
        "data_root": str(tmp_path / "data"),
        "profile": "smoke",
        "runs_dir": str(tmp_path / "runs"),
    }
    with pytest.raises(NotAvailable):
        queue(["all"], **given)
    (tmp_path / "data" / "Market-1501").symlink_to(plaza_tiny.gallery.paths[0].parents[1])
    assert {"personnet", "baselines"} <= {job.paper for job in queue(["all"], **given).jobs}


def test_a_mistyped_target_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'hagn'"):
        laptop(tmp_path, "hagnn")
    with pytest.raises(ValueError, match="has no row or table"):
        laptop(tmp_path, "personnet/table4", "mls/table44")
    with pytest.raises(ValueError, match="data has no rows to train"):
        laptop(tmp_path, "data")
