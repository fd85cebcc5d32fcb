"""The run store: one folder a run, `<system>-<hash12>/`, written atomically, trained once, checked when read.

A run's folder holds `run.json` (recipe, metrics, provenance, SHA-256 of the other files), `history.csv`,
`queries.csv` (one line per evaluation and query) and, where kept, `figures.npz`, `weights.safetensors`, and further
tables.
"""

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from tqdm import tqdm

from reidlib.data import SYNTHETIC
from reidlib.data.splits import Split
from reidlib.evaluation import Evaluation
from reidlib.files import sync
from reidlib.recipe import Data, EvaluationSettings, Recipe, fingerprint, plain, restored
from reidlib.record import (
    FORMAT,
    DamagedRunError,
    commit,
    digest,
    read_record,
    versions,
    write_record,
    write_tensors,
)

RANKS = (1, 5, 10, 20)
QUERY_COLUMNS = ("evaluation", "query", "person_id", "group", "ap", "first_hit", "inp", "tied")
Evaluated = tuple[Evaluation, Split]  # the scores, and the query split they are of


def run_name(recipe: Recipe) -> str:
    """The run's folder name, `<system>-<hash12>`."""
    return f"{recipe.system}-{fingerprint(recipe)[:12]}"


def metrics(evaluation: Evaluation) -> dict[str, float]:
    """What `run.json` keeps of an evaluation: fractions, and how many queries were scored and dropped."""
    found = {"mean_ap": evaluation.mean_ap, "mean_inp": evaluation.mean_inp, "tied": evaluation.tied}
    found |= {f"rank{rank}": evaluation.rank_k(rank) for rank in RANKS}
    return found | {"queries": len(evaluation), "dropped": evaluation.dropped}


@dataclass(frozen=True, eq=False)
class Run:
    """One stored training with every evaluation made of it; `record` is its `run.json`."""

    folder: Path
    record: dict[str, Any]
    store: "RunStore"

    @property
    def name(self) -> str:
        """The folder's name, `<system>-<hash12>`."""
        return self.folder.name

    @property
    def history(self) -> pd.DataFrame:
        """The training history, one row a validation."""
        path = self.folder / "history.csv"
        return pd.read_csv(path) if path.read_bytes().strip() else pd.DataFrame()

    @property
    def training_seconds(self) -> float:
        """How long its steps took, or fitting what has none: without what reads images or trains a parent before."""
        history = self.history
        return float(history["seconds"].iloc[-1]) if len(history) else self.record["training_seconds"]

    @property
    def shows_photographs(self) -> bool:
        """Whether its figures hold pictures of real people, which are not to be passed on."""
        return "figures.npz" in self.record["files"] and any(
            Data(**item).name not in SYNTHETIC for item in self.record["recipe"].get("datasets", ())
        )

    @property
    def settings(self) -> tuple[EvaluationSettings, ...]:
        """What it was evaluated under."""
        return tuple(restored(entry["settings"]) for entry in self.record["evaluations"].values())

    def metrics(self, settings: EvaluationSettings) -> dict[str, float] | None:
        """The metrics under these settings (fractions), None where they were not evaluated."""
        found = self.record["evaluations"].get(fingerprint(settings))
        return None if found is None else dict(found["metrics"])

    def queries(self, settings: EvaluationSettings) -> pd.DataFrame | None:
        """Per query: query, person_id, group, ap, first_hit, inp, tied; None where not evaluated."""
        key = fingerprint(settings)
        if key not in self.record["evaluations"]:
            return None
        frame = pd.read_csv(self.folder / "queries.csv", dtype={"evaluation": str})
        return frame[frame.evaluation == key[:12]].drop(columns="evaluation").reset_index(drop=True)

    def evaluation(self, settings: EvaluationSettings) -> Evaluation | None:
        """The evaluation under these settings, None where it was not made."""
        frame = self.queries(settings)
        return None if frame is None else Evaluation.from_frame(frame)

    def figures(self) -> dict[str, np.ndarray]:
        """The arrays its figures need, by name; empty where there are none."""
        path = self.folder / "figures.npz"
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def weights(self) -> dict[str, torch.Tensor] | None:
        """The trained weights on the CPU, None where they were not kept on this machine."""
        path = self.folder / "weights.safetensors"
        return load_file(path) if path.exists() else None

    def add_evaluation(self, settings: EvaluationSettings, evaluation: Evaluation, queries: Split) -> "Run":
        """This run with one more evaluation, as `with_figures`; settings already there keep their first result."""

        def write(path: Path, record: dict[str, Any]) -> None:
            key = fingerprint(settings)
            if key not in record["evaluations"]:
                with open(path, "ab") as file:
                    file.write(_query_lines({settings: (evaluation, queries)}).encode())
                record["evaluations"][key] = _entry(settings, evaluation)

        return self._with("queries.csv", write)

    def table(self, name: str) -> pd.DataFrame | None:
        """The table that `with_table` stored under that name, to the last bit; None where there is none."""
        file = f"{name}.csv"
        return pd.read_csv(self.folder / file) if file in self.record["files"] else None

    def with_table(self, name: str, table: pd.DataFrame) -> "Run":
        """This run with a table of further measurements in place of any of that name, as `with_figures`.

        ValueError where the name is taken by the store.
        """
        return self._with(_table_file(name), lambda path, _: table.to_csv(path, index=False, lineterminator="\n"))

    def with_figures(self, arrays: Mapping[str, np.ndarray]) -> "Run":
        """This run with other arrays for its figures, whole or not at all, in the store's own folder."""
        return self._with("figures.npz", lambda path, _: np.savez_compressed(path, **arrays))  # type: ignore[arg-type]

    def _with(self, file: str, write: Callable[[Path, dict[str, Any]], None]) -> "Run":
        """This run, as the store's own folder has it by now, with a file that `write` writes and what it records."""

        def fill(part: Path) -> None:
            own = self.store.home / self.name
            _copy(own if own.exists() else self.folder, part)
            record = read_record(part)
            write(part / file, record)
            record["files"][file] = digest(part / file)
            write_record(part, record)

        with self.store.lock(self.name):
            return self.store._read(self.store._place(self.store.home, self.name, fill))


class Trial(NamedTuple):
    """One trial of a table row: its run (None: not run), one settings per evaluation of the row, and its number."""

    run: Run | None
    settings: tuple[EvaluationSettings, ...] = ()
    number: int = 0

    def metrics(self, column: int) -> dict[str, float] | None:
        """The metrics of one column group, None where they are missing."""
        return self.run.metrics(self.settings[column]) if self.run and column < len(self.settings) else None


class RunStore:
    """Runs below some folders: the first is written, all are read, earlier ones first."""

    def __init__(self, *folders: str | Path) -> None:
        if not folders:
            raise ValueError("a run store needs at least one folder, the one it writes: RunStore('build/runs')")
        self.folders = tuple(Path(folder) for folder in folders)
        self.home = self.folders[0]
        self._checked: dict[Path, object] = {}  # run folder -> its files' sizes and times when last hashed

    @contextmanager
    def lock(self, recipe: Recipe | str) -> Iterator[None]:
        """Hold this recipe's run (or the run of that name): another process asking for it waits.

        Look with `find` inside the lock: the other process may have trained it meanwhile. Re-entrant.
        """
        name = recipe if isinstance(recipe, str) else run_name(recipe)
        held = self._lock(name)
        try:
            held.acquire(timeout=0)
        except Timeout:
            waiting = f"waiting for run {name}, which another process is working on: {{elapsed}}"
            with tqdm(bar_format=waiting, leave=False) as bar:  # as progress, which pages of the book leave out
                while not held.is_locked:
                    with suppress(Timeout):
                        held.acquire(timeout=1)
                    bar.refresh()
        try:
            yield
        finally:
            held.release()

    @contextmanager
    def claim(self, recipe: Recipe) -> Iterator[bool]:
        """Hold this recipe's run if no other process does: True, or False without waiting."""
        held = self._lock(run_name(recipe))
        try:
            held.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            held.release()

    def _lock(self, name: str) -> Any:
        folder = self.home / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder.resolve() / f"{name}.lock", is_singleton=True)

    def find(self, recipe: Recipe) -> Run | None:
        """The recipe's run, None where there is none; a damaged one is warned of and counts as missing.

        In the store's own folder a damaged run is set aside as `<name>.damaged`; elsewhere it is passed over.
        """
        for folder in self.folders:
            path = folder / run_name(recipe)
            if path.exists() or self._mended(path):
                run = self._open(path, fingerprint(recipe))
                if run is not None:
                    return run
                if folder == self.home:
                    self._set_aside(path)
        return None

    def runs(self) -> list[Run]:
        """Every undamaged run, one a name, in order of name; damaged ones are named in a warning."""
        found: dict[str, Run] = {}
        for path in self._paths():
            run = None if path.name in found else self._open(path)
            if run is not None:
                found[path.name] = run
        return [found[name] for name in sorted(found)]

    def verify(self) -> list[str]:
        """Hash every file of every run; one sentence per damaged run, none when all is well."""
        problems = []
        for path in self._paths():
            try:
                self._read(path, fresh=True)
            except DamagedRunError as error:
                problems.append(f"{path}: {error}")
        return problems

    def save(
        self,
        recipe: Recipe,
        *,
        history: pd.DataFrame | Iterable[Mapping[str, Any]],
        evaluations: Mapping[EvaluationSettings, Evaluated],
        figures: Mapping[str, np.ndarray] | None = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
        meta: Mapping[str, Any],
    ) -> Run:
        """Store a finished run, whole or not at all; one already there is replaced.

        evaluations: the scores under each settings, with the query split they are of. tables: of further measurements,
        by name, as `Run.with_table` takes them. meta: what only the caller knows: `device`, `profile`, `data` (dataset
        -> digest), `seconds`, `peak_memory_bytes`, and `measures` (per-run numbers claims compare). ValueError when a
        name is taken; OSError (disk full, no permission) says that nothing was written.
        """
        record = {
            "format": FORMAT,
            "fingerprint": fingerprint(recipe),
            "recipe": plain(recipe),
            "evaluations": {fingerprint(item): _entry(item, got) for item, (got, _) in evaluations.items()},
        }
        if taken := sorted(set(meta) & {*record, "files", "digest"}):
            raise ValueError(f"meta names {taken} belong to the store; use other names")
        record |= {"versions": versions(), "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
        record |= {"measures": {}, **meta}

        def fill(part: Path) -> None:
            pd.DataFrame(history).to_csv(part / "history.csv", index=False, lineterminator="\n")
            (part / "queries.csv").write_bytes(_query_lines(evaluations, header=True).encode())
            if figures:
                np.savez_compressed(part / "figures.npz", **figures)  # type: ignore[arg-type]
            for name, table in (tables or {}).items():
                table.to_csv(part / _table_file(name), index=False, lineterminator="\n")
            if weights is not None:
                write_tensors(weights, part / "weights.safetensors")
            record["files"] = {path.name: digest(path) for path in sorted(part.iterdir())}
            write_record(part, record)

        name = run_name(recipe)
        with self.lock(name):
            return self._read(self._place(self.home, name, fill))

    def keep(self, run: Run, folder: str | Path) -> Run:
        """Move a run into another folder of the store (`build/runs` -> `data/runs`), replacing one there."""
        if Path(folder) not in self.folders:
            raise ValueError(f"{folder} is not read by this store; choose from {[str(f) for f in self.folders]}")
        if run.folder.parent == Path(folder):
            return run
        with self.lock(run.name):
            placed = self._place(Path(folder), run.name, lambda part: _copy(run.folder, part))
            shutil.rmtree(run.folder)
            return self._read(placed)

    def adopt(self, folder: Path) -> Run | None:
        """A copy in the store of a run's folder from elsewhere, None where that stays which the store has.

        An undamaged one stays unless the one from elsewhere has all of its evaluations and files, weights too, and more
        evaluations. DamagedRunError says what is wrong with the folder.
        """
        record = self._read(folder, fresh=True).record
        if folder.name != f"{record['recipe']['system']}-{record['fingerprint'][:12]}":
            raise DamagedRunError("its name is that of another recipe")
        with self.lock(folder.name):
            there = (root / folder.name for root in self.folders if (root / folder.name).exists())
            ours = next((run for path in there if (run := self._open(path)) is not None), None)
            if ours is not None:
                files = {path.name for path in folder.iterdir()} >= {path.name for path in ours.folder.iterdir()}
                if not (files and record["evaluations"].keys() > ours.record["evaluations"].keys()):
                    return None
            return self._read(self._place(self.home, folder.name, lambda part: _copy(folder, part)))

    def _paths(self) -> list[Path]:
        """Every run's folder, in reading order; unfinished and damaged ones set aside are left out."""
        return [
            path
            for folder in self.folders
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if path.is_dir() and "." not in path.name
        ]

    def _read(self, folder: Path, expected: str | None = None, fresh: bool = False) -> Run:
        """The run in a folder. DamagedRunError says what is wrong with it.

        With `fresh`, files are hashed even if nothing about them changed since they last were.
        """
        record = read_record(folder)
        if expected not in (None, record["fingerprint"]):
            raise DamagedRunError("run.json is of another recipe")
        try:
            stats = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir())
        except FileNotFoundError as error:
            raise DamagedRunError(f"{Path(error.filename).name} went while it was read") from None
        if self._checked.get(folder) == stats and not fresh:
            return Run(folder, record, self)
        for name, written in record["files"].items():
            path = folder / name
            if path.exists():
                if digest(path) != written:
                    raise DamagedRunError(f"{name} has changed since it was written")
            elif name != "weights.safetensors":  # which git does not carry
                raise DamagedRunError(f"{name} is missing")
        self._checked[folder] = stats
        return Run(folder, record, self)

    def _open(self, folder: Path, expected: str | None = None) -> Run | None:
        """The run in a folder; None, with a warning, where it is damaged."""
        try:
            return self._read(folder, expected)
        except DamagedRunError as error:
            warnings.warn(f"run {folder} is damaged ({error}) and counts as missing", stacklevel=3)
            return None

    def _mended(self, path: Path) -> bool:
        """Whether a run was put back whose replacement was killed between its two renames."""
        old = path.with_name(f".{path.name}.old")
        if old.exists():
            with suppress(Timeout, FileNotFoundError), self._lock(path.name).acquire(timeout=0):
                if not path.exists():
                    old.rename(path)
                    return True
        return False

    def _set_aside(self, path: Path) -> None:
        """Rename a damaged run, unless another process is renewing it or has renewed it."""
        aside = path.with_name(f"{path.name}.damaged")
        with suppress(Timeout, FileNotFoundError), self._lock(path.name).acquire(timeout=0):
            try:
                self._read(path)
            except DamagedRunError:
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)

    def _place(self, root: Path, name: str, fill: Callable[[Path], None]) -> Path:
        """Fill a hidden folder, then rename it to `root/name`: the run appears whole or not at all."""
        target, part, old = root / name, root / f".{name}.part", root / f".{name}.old"
        self._mended(target)
        for left in (part, old):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            fill(part)
            for path in part.iterdir():
                sync(path)
            if target.exists():
                target.rename(old)
            part.rename(target)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if old.exists() and not target.exists():
                old.rename(target)
            if isinstance(error, OSError):
                message = f"run {name} could not be written below {root}; nothing changed there"
                raise OSError(error.errno, f"{message}. Free space or choose a writable folder: {error}") from error
            raise
        shutil.rmtree(old, ignore_errors=True)
        return target


def _table_file(name: str) -> str:
    if name in ("history", "queries"):
        raise ValueError(f"the table {name!r} is the store's own; give another name")
    return f"{name}.csv"


def _copy(source: Path, part: Path) -> None:
    for path in source.iterdir():
        shutil.copyfile(path, part / path.name)


def _entry(settings: EvaluationSettings, evaluation: Evaluation) -> dict[str, Any]:
    return {"settings": plain(settings), "metrics": metrics(evaluation)}


def _query_lines(evaluations: Mapping[EvaluationSettings, Evaluated], header: bool = False) -> str:
    """The lines of `queries.csv`, person and look-alike group of each query beside its scores."""
    text = ",".join(QUERY_COLUMNS) + "\n" if header else ""
    for settings, (evaluation, split) in evaluations.items():
        frame = evaluation.frame()
        query = frame["query"].to_numpy()
        frame = frame.assign(
            evaluation=fingerprint(settings)[:12],
            person_id=split.person_ids[query],
            group=split.groups[query],
        )
        text += frame[list(QUERY_COLUMNS)].to_csv(index=False, header=False, lineterminator="\n")
    return text
