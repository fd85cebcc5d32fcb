"""The command line as a user types it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reidlib.__main__ import _sentence, main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def reidlib(monkeypatch, capsys):
    """Runs `reidlib ...` in this process; returns (exit code, standard output, standard error)."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reidlib", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return call


def test_python_m_reidlib_lists_the_commands():
    shown = subprocess.run(
        [sys.executable, "-m", "reidlib", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        command in shown for command in ("data", "run", "missing", "verify", "keep", "pack", "unpack", "notebook")
    )


def test_a_dataset_is_made_once_and_read_back_by_the_market_loader(reidlib, tmp_path):
    code, made, _ = reidlib("data", "make", "plaza", "--size", "tiny", "--layout", "market1501", "--root", tmp_path)
    folder = made.strip()
    assert code == 0
    assert reidlib("data", "make", "plaza", "--size", "tiny", "--root", tmp_path)[1].strip() == folder
    code, shown, _ = reidlib("data", "check", "market1501", "--root", folder, "--deep")
    assert code == 0
    assert "497 of 497 images can be decoded" in shown
    code, shown, _ = reidlib("data", "show", "market1501", "--root", folder, "--out", tmp_path / "sheet.png")
    assert code == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_row_is_run_listed_and_verified_until_a_file_changes(reidlib, tmp_path, plaza_tiny):
    before = reidlib("missing", "personnet/table4", "--profile", "smoke", "--runs-dir", tmp_path)[1]
    assert "table4/pixels trial 0 at smoke" in before
    code, shown, _ = reidlib("run", "personnet/table4/pixels", "--profile", "smoke", "--runs-dir", tmp_path)
    assert code == 0
    assert "table4/pixels trial 0 at smoke: market1501 rank-1" in shown
    assert "runs       1, an unknown time" in shown
    name = next(tmp_path.glob("pixels-*")).name
    assert f" s, run {name}); 1 of 1 done" in shown
    again = reidlib("run", "personnet/table4/pixels", "--profile", "smoke", "--runs-dir", tmp_path)[1].splitlines()
    assert again[-2:] == [
        "  runs       0",
        "nothing to do: all runs are recorded; `--recompute all` or `--runs-dir FOLDER` trains them again",
    ]
    after = reidlib("missing", "personnet/table4", "--profile", "smoke", "--runs-dir", tmp_path)[1]
    assert "table4/pixels" not in after
    assert reidlib("verify", "--runs-dir", tmp_path)[1].strip() == "1 runs, 0 damaged"
    there, archive = tmp_path / "there", tmp_path / "runs.tar"
    assert f"1 runs in {archive}" in reidlib("pack", archive, "--runs-dir", tmp_path)[1]
    code, _, error = reidlib("pack", "/proc/runs.tar", "--runs-dir", tmp_path)
    assert (code, error) == (
        2,
        "reidlib: /proc/runs.tar cannot be written: No such file or directory; choose another folder\n",
    )
    assert reidlib("unpack", archive, "--runs-dir", there)[1].strip().endswith(": taken over")
    assert "there is no folder" in reidlib("pack", tmp_path / "none" / "runs.tar", "--runs-dir", tmp_path)[2]
    shutil.rmtree(there)
    queries = next(tmp_path.glob("pixels-*/queries.csv"))
    queries.write_text(queries.read_text().replace("0", "1", 1))
    code, shown, _ = reidlib("verify", "--runs-dir", tmp_path)
    assert code == 1
    assert "queries.csv has changed" in shown
    assert "0 runs, 1 damaged" in shown


def test_a_run_is_measured_again_from_its_weights_and_kept(reidlib, tmp_path, plaza_tiny, plain_only, monkeypatch):
    monkeypatch.setattr("reidlib.study.project_root", lambda: tmp_path)
    monkeypatch.setattr("reidlib.__main__.project_root", lambda: tmp_path)
    row = ("mls/market/mls", "--profile", "smoke")
    assert reidlib("run", *row)[0] == 0
    folder = next((tmp_path / "build" / "runs").glob("mls-*"))
    figures, weights = folder / "figures.npz", folder / "weights.safetensors"
    before = figures.stat().st_mtime_ns
    assert reidlib("measure", "all", *row[1:])[1].strip().endswith(str(folder))
    assert figures.stat().st_mtime_ns > before
    assert reidlib("verify")[1].strip() == "1 runs, 0 damaged"
    weights.unlink()
    assert ": left. " in reidlib("measure", *row)[1]
    assert reidlib("keep", "all")[1].strip() == f"{folder.name}: left. It is a smoke run"
    with monkeypatch.context() as on_photographs:
        on_photographs.setattr("reidlib.store.Run.shows_photographs", True)
        assert reidlib("keep", folder.name)[1].startswith(
            f"{folder.name}: left. It was made on files of a real dataset, so its figures may show photographs"
        )
    assert reidlib("keep", folder.name)[1].strip() == str(tmp_path / "data" / "runs" / folder.name)
    assert not folder.exists()


def test_run_hands_on_what_it_is_told(reidlib, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("reidlib.queue.Queue.work", lambda todo, **how: told.append((todo.again, how)) or iter(()))
    given = ("--recompute", "all", "--devices", "2", "--minutes", "5", "--seeds", "1", "--runs-dir", tmp_path)
    _, shown, _ = reidlib("run", "personnet/table4/pixels", *given)
    assert told == [(True, {"minutes": 5.0, "devices": 2})]
    assert "  seeds      1\n  recompute  all\n  runs       1, " in shown


def test_a_dataset_that_is_not_whole_is_said_to_be_left_out(reidlib, tmp_path, plaza_tiny):
    """Its rows used to vanish from the queue without a word."""
    data = tmp_path / "data"
    (data / "DukeMTMC-reID" / "query").mkdir(parents=True)
    (data / "Market-1501").symlink_to(plaza_tiny.gallery.paths[0].parents[1])
    where = ("--profile", "smoke", "--dataset", "real", "--data-root", data, "--runs-dir", tmp_path / "runs")
    _, shown, _ = reidlib("missing", "casn/table2", *where)
    *jobs, left_out, count = shown.splitlines()
    assert jobs
    assert all("/market" in job for job in jobs)
    assert left_out.startswith("left out: DukeMTMC-reID in ")
    assert " lacks bounding_box_train/" in left_out
    assert count.startswith(f"{len(jobs)} missing")


def test_all_papers_are_measured_as_far_as_their_data_are_there(reidlib, tmp_path):
    where = ("--dataset", "market1501", "--data-root", tmp_path, "--runs-dir", tmp_path / "runs")
    code, shown, _ = reidlib("measure", "all", *where)
    assert code == 0
    assert set(shown.splitlines()) == {
        next(line for line in shown.splitlines() if line.startswith("left out: no Market"))
    }
    assert reidlib("measure", "mls", *where)[0] == 2


def test_rows_that_are_not_main_rows_are_nothing_to_do_at_core(reidlib, tmp_path):
    row = "personnet/table4/untrained"
    _, shown, _ = reidlib("run", row, "--recompute", "core", "--runs-dir", tmp_path)
    assert (
        shown.splitlines()[-1] == f"nothing to do: none of the main rows is in {row}; `--recompute all` trains others"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            OSError(28, "run ide-1 could not be written: [Errno 28] No space"),
            "run ide-1 could not be written: No space",
        ),
        (FileNotFoundError(2, os.strerror(2), f"{ROOT}/gone.csv"), f"there is no file {ROOT}/gone.csv"),
        (FileNotFoundError("there is none; give one"), "there is none; give one"),
        (PermissionError(13, os.strerror(13), "/locked/.r.7.tmp"), "/locked/r cannot be written: Permission denied; "),
    ],
)
def test_errors_of_the_system_are_sentences(error, said):
    assert _sentence(error).startswith(said)


def test_a_file_that_may_not_be_read_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    said = _sentence(PermissionError(13, os.strerror(13), str(ROOT / "README.md")))
    assert said.endswith("README.md cannot be read: Permission denied; change its permissions or give another")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("run", "personet/table4"), "did you mean 'personnet'"),
        (("run", "personnet/table4/personet"), "did you mean 'table4/personnet'"),
        (("run", "personnet", "--profile", "smok"), "did you mean 'smoke'"),
        (("run", "personnet", "--profile", "stored"), "trains nothing; choose from smoke, laptop, gpu, paper"),
        (("missing", "personnet", "--profile", "stored"), "trains nothing; choose from smoke, laptop, gpu, paper"),
        (("measure", "mls/market/msl"), "did you mean 'market/mls'"),
        (("data", "make", "plazza"), "plaza"),
        (("data", "make", "plaza", "--size", "smal"), "small"),
        (("run", "personnet", "--profile", "smok"), "choose from smoke, laptop, gpu, paper"),
        (("measure", "mls", "--profile", "smok"), "choose from smoke, laptop, gpu, paper"),
        (("run", "personet"), "choose from personnet, midlevel, mls, casn, hagn, baselines, all"),
        (("missing", "personet/table4"), "choose from personnet, midlevel, mls, casn, hagn, baselines\n"),
        (("run", "all/table4"), "paper 'all' is unknown: choose from personnet, midlevel, mls, casn"),
        (("run", "data"), "data has no rows to train"),
        (("run", "personnet/table4/pixels", "--recompute", "no"), "'no' is unknown: choose from missing, core, all"),
        (("data", "make", "plaza", "--layout", "market"), "did you mean 'market1501'"),
        (("data", "check", "market1501", "--root", "/nowhere"), "/nowhere"),
        (("notebook", "personnet", "-p", "profil", "smoke"), "did you mean 'profile'"),
        (("notebook", "personnet", "--p", "smoke"), "-p KEY VALUE"),
        (("notebook", "personet"), "notebook 'personet' is unknown: did you mean 'personnet'? choose from benchmark"),
        (("notebook", "runs.ipynb", "-p", "profil", "smoke"), "parameter of runs.ipynb 'profil' is unknown"),
        (("keep", "no-such-run"), "has no run 'no-such-run'; `reidlib keep all` moves all that may be kept"),
        (("run", "all", "mls/tabel3"), "did you mean 'table3"),
        (("unpack", "/nowhere.tar"), "there is no file /nowhere.tar; give one that `reidlib pack` wrote"),
        (("unpack", "/dev/null"), "/dev/null is no whole tar archive; give a file that `reidlib pack` wrote"),
        (("unpack", "/proc"), "/proc is no whole tar archive; give a file"),
        (("pack", "/nowhere/runs.tar"), "there are no runs in"),
        (("verify", "--runs-dir", "/nowhere"), "runs_dir='/nowhere': there is no such folder"),
        (("verify", "--runs-dir", __file__), "is a file; give a folder"),
        (("run", "personnet/table4/pixels", "--seeds", "99"), "no row of personnet/table4/pixels has trial 99"),
        (("run", "personnet/table4/pixels", "--profile", "smoke", "--minutes", "-1"), "--minutes -1: give 0 or more"),
        (("run", "personnet/table4/pixels", "--devices", "0"), "--devices 0: give 1 or more"),
        (("data", "make", "plaza", "--size", "tiny", "--root", "/proc/x"), "/proc/x cannot be written: No such file"),
        (("data", "make", "plaza", "--size", "tiny", "--root", __file__), ": cannot write the benchmark to /"),
        (("data", "show", "plaza", "--size", "tiny", "--out", "/proc/x.png"), "/proc/x.png cannot be written: No such"),
        (("run", "personnet/table4/pixels", "--profile", "smoke", "--runs-dir", "/proc/x"), "; choose another folder"),
        (("notebook", "runs", "--out", "/proc/x.ipynb"), "reidlib: /proc/x.ipynb cannot be written: No such file"),
        (("data", "show", "plaza", "--size", "tiny", "--people", "0"), "greater than or equal to 1"),
        (("data", "show", "plaza", "--size", "tiny", "--out", "sheet"), "sheet is no picture's name"),
        (("data", "check", "plaza", "--layout", "cuhk03"), "did you mean 'cuhk03-"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_nearest_valid_name(reidlib, tmp_path, words, hint):
    own = ("run", "pack")  # commands that would write where no folder is given
    words = (*words, "--runs-dir", tmp_path) if words[0] in own and "--runs-dir" not in words else words
    code, _, error = reidlib(*words)
    assert code == 2
    assert hint in error
    assert "Traceback" not in error
    assert "Errno" not in error
