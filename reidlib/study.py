"""A paper's rows at one profile, on one dataset, with one store: what notebooks and the command line ask.

`study(...)` takes a notebook's parameters as papermill hands them over, refuses what cannot be meant, and
returns a `Study`, which knows the concrete recipe of every row and trial and trains what is missing.
"""

import ast
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from reidlib.data import DATASETS, SYNTHETIC, project_root, registry
from reidlib.data.splits import Benchmark
from reidlib.data.synthetic import BENCHMARK_VERSION
from reidlib.names import choose, hint
from reidlib.recipe import Data, EvaluationSettings, Paper, Profile, Recipe, Row, fingerprint
from reidlib.run import NotAvailable, read_benchmark, train_and_evaluate
from reidlib.store import Run, RunStore, Trial

PROFILES = ("stored", "smoke", "laptop", "gpu", "paper")
RECOMPUTE = ("no", "missing", "core", "all")
DEVICES = ("auto", "cpu", "cuda")
PAPERS = ("data", "personnet", "midlevel", "mls", "casn", "hagn", "baselines")
# Of a run, beside its numbers; each with what stands before it.
KEPT = ("", "weights", "trained", "robustness", "figures")
EVIDENCE = ("paper", "gpu", "laptop")  # best first; smoke runs mean nothing and are never shown as results


@dataclass(frozen=True)
class Job:
    """One training to do: a row's recipe at one trial, with the evaluations that it is wanted for.

    paper: the row's, by its key. also: what other rows ask of the same training, evaluated with it.
    keep: "weights" where another job starts from them, else what the row asks for. rank: how much hangs
    on it, 0 most: the first trial of a row that a claim compares, further such trials, core rows, others.
    """

    row: Row
    trial: int
    profile: str
    recipe: Recipe
    settings: tuple[EvaluationSettings, ...]
    keep: str = ""
    rank: int = 3
    paper: str = ""
    also: tuple[EvaluationSettings, ...] = ()

    @property
    def order(self) -> tuple[int, int, int]:
        """Jobs in this order leave, wherever they stop, the most telling comparisons; a parent precedes its child."""
        return self.rank, self.trial, len(ancestors(self.recipe))

    def __str__(self) -> str:
        return f"{self.paper}/{self.row.key} trial {self.trial} at {self.profile}"


@dataclass(frozen=True)
class Study:
    """One paper's rows at one profile, on one choice of data, over one store."""

    paper: Paper
    profile: str
    dataset: str
    data_root: Path | None
    device: str
    seeds: tuple[int, ...] | None
    recompute: str
    store: RunStore

    def __str__(self) -> str:
        return f"{self.paper.title}\n{self.conditions()}"

    def conditions(self) -> str:
        """What its trainings share, in lines."""
        data = {
            "synthetic": "the synthetic counterpart of each dataset",
            "real": f"the real datasets under {self.data_root}",
        }
        seeds = "each row's own" if self.seeds is None else ", ".join(map(str, self.seeds))
        return (
            f"  profile    {self.profile}\n"
            f"  data       {data.get(self.dataset, self.dataset)}\n"
            f"  device     {self.device}\n"
            f"  seeds      {seeds}\n"
            f"  recompute  {self.recompute}"
        )

    def scale(self, profile: str) -> Profile:
        """The paper's profile of that name."""
        return dict(self.paper.profiles)[profile]

    def data(self, named: Data, trial: int, profile: str) -> Data:
        """The concrete dataset that stands for `named` in this study; on synthetic data, trial t has world t.

        What is asked for by a synthetic world's own name is that, whatever the study runs on, and in every trial.
        NotAvailable where it is not on disk.
        """
        name, preset, layout = self.dataset, named.preset, ""
        if named.name in SYNTHETIC:
            name, trial = named.name, 0
        elif name == "synthetic":
            name = named.name
            if (known := registry.DATASETS.get(named.name)) is not None:
                name, layout = known.counterpart, known.name if known.name != "market1501" else ""
                preset = known.preset if preset == "default" else preset
        elif name == "real":
            name = named.name
        if name in SYNTHETIC:
            size = self.scale(profile).size
            return Data(name, size, named.world + trial, preset, BENCHMARK_VERSION, layout)
        return Data(name, version=read_benchmark(Data(name), self.data_root, 0).digest[:16])

    def split(self, datasets: Sequence[Data], trial: int) -> int:
        """Trial t's split: number t where a dataset has several, else the only one."""
        names = [data.layout or data.name for data in datasets]
        return trial if any(name in registry.DATASETS and registry.DATASETS[name].splits > 1 for name in names) else 0

    def benchmark(self, *names: str, profile: str = "") -> Benchmark:
        """The images that stand for the first of the datasets `names` that is there, by default of all there are.

        profile: whose size drawn ones have, the shown one by default. NotAvailable where none is there.
        """
        absent: list[NotAvailable] = []
        for name in names or registry.DATASETS:
            try:
                data = self.data(Data(name), 0, profile or self.shown_profile())
                return read_benchmark(data, self.data_root, 0)
            except NotAvailable as error:
                absent.append(error)
        raise absent[0]

    def recipe(self, row: Row, trial: int, profile: str) -> Recipe:
        """The row's recipe as trial `trial` runs it: scaled by the profile, with its seed and its data."""

        def concrete(recipe: Recipe) -> Recipe:
            # Two names may stand for one dataset here, whose people are trained on once.
            datasets = tuple(dict.fromkeys(self.data(data, trial, profile) for data in recipe.datasets))
            if all(data.name in SYNTHETIC for data in recipe.datasets):  # one pre-training for all
                return replace(recipe, datasets=datasets)
            parent = None if recipe.parent is None else concrete(recipe.parent)
            split = recipe.split + self.split(datasets, trial)
            return replace(recipe, datasets=datasets, split=split, seed=recipe.seed + trial, parent=parent)

        return concrete(self.scale(profile).scale(row.recipe))

    def settings(self, row: Row, trial: int, profile: str) -> tuple[EvaluationSettings, ...]:
        """The row's evaluations as trial `trial` makes them."""
        queries, found = None if row.everybody else self.scale(profile).queries, []
        for item in row.evaluations:
            data = self.data(item.data, trial, profile)
            found.append(replace(item, data=data, split=item.split + self.split([data], trial), queries=queries))
        return tuple(found)

    def trials(self, row: Row, profile: str) -> tuple[int, ...]:
        """The row's trials in this study."""
        scale, compared = self.scale(profile), self._replicates(row)
        alone = None if row.core or scale.alone is None else max(scale.alone, compared)
        limits = [limit for limit in (scale.trials, alone) if limit is not None]
        most = min([max(row.trials, compared), *limits])
        return tuple(trial for trial in range(most) if self.seeds is None or trial in self.seeds)

    def find(self, row: Row, trial: int, profile: str) -> Run | None:
        """The stored run of a row's trial, if it is there with all its evaluations."""
        try:
            run = self.store.find(self.recipe(row, trial, profile))
            settings = self.settings(row, trial, profile)
        except NotAvailable:
            return None
        return run if run is not None and _holds(run, settings) else None

    def shown_profile(self, table: str | None = None) -> str:
        """The profile a table is shown at.

        For "stored", the best one at which every row that the paper's claims compare has all its trials, of this table
        or, where they compare none of it, of all; if there is none, at which each has one; else "laptop". One
        comparison never mixes profiles.
        """
        if self.profile != "stored":
            return self.profile
        compared = {key for claim in self.paper.claims for pair in claim.pairs for key in pair}
        rows = [row for row in self.paper.rows if row.key in compared]
        rows = [row for row in rows if table in (None, row.table)] or rows
        begun = [p for p in EVIDENCE if rows and all(self.find(row, 0, p) is not None for row in rows)]
        for profile in begun if len(begun) > 1 else ():
            if all(self.find(row, trial, profile) for row in rows for trial in self.trials(row, profile)):
                return profile
        return begun[0] if begun else "laptop"

    def selected(self, select: str = "") -> list[Row]:
        """The rows that `select` names: a row's key, a table's ("table4"), or "" for all; ValueError for others."""
        wanted = select.rstrip("/")
        rows = [row for row in self.paper.rows if wanted in ("", row.key) or row.key.startswith(f"{wanted}/")]
        if not rows:
            keys = [row.key for row in self.paper.rows]
            what = f"row or table {select!r}" if keys else "rows to train"
            tables = dict.fromkeys(key.partition("/")[0] for key in keys)
            raise ValueError(f"{self.paper.key} has no {what}{hint(select, [*tables, *keys])}")
        return rows

    def absent(self, select: str = "") -> list[str]:
        """Why datasets of the selected rows are not there or not whole, a sentence each."""
        rows, said = self.selected(select), []
        asked = [(*row.recipe.datasets, *(item.data for item in row.evaluations)) for row in rows]
        for data in dict.fromkeys(chain(*asked)):
            try:
                self.data(data, 0, self.shown_profile())
            except NotAvailable as error:
                said.append(str(error))
        return list(dict.fromkeys(said))

    def jobs(self, select: str = "") -> list[Job]:
        """The trainings that the `selected` rows need, each recipe once, in `Job.order`.

        Rows whose dataset is not on disk are left out; NotAvailable where that leaves none.
        """
        profile, rows = self.shown_profile(), self.selected(select)
        # Rows that differ in their dataset alone train the same where one stands for all; else none need be read.
        read = {row.recipe.datasets for row in rows}
        others = [r for r in self.paper.rows if r not in rows and (self.dataset != "real" or r.recipe.datasets in read)]
        jobs: list[Job] = []
        absent: NotAvailable | None = None
        for row in (*rows, *others):
            for trial in self.trials(row, profile):
                try:
                    recipe, settings = self.recipe(row, trial, profile), self.settings(row, trial, profile)
                except NotAvailable as error:
                    absent = absent or (error if row in rows else None)
                    continue
                keep = row.keep if trial == 0 else ""
                asked, also = (settings, ()) if row in rows else ((), settings)
                rank = self._rank(row, trial)
                jobs.append(Job(row, trial, profile, recipe, asked, keep, rank, self.paper.key, also))
        chosen = {fingerprint(job.recipe) for job in jobs if job.row in rows}
        if absent is not None and not chosen:
            raise absent
        return merged(job for job in jobs if fingerprint(job.recipe) in chosen)

    def _rank(self, row: Row, trial: int) -> int:
        """`Job.rank` of a row's trial."""
        if trial < self._replicates(row):
            return min(trial, 1)
        return 2 if row.core else 3

    def _replicates(self, row: Row) -> int:
        """How many trials the claims want of a row that they compare."""
        return max((claim.replicates for claim in self.paper.claims if row.key in chain(*claim.pairs)), default=0)

    def missing(self, select: str = "") -> list[Job]:
        """The jobs whose run, or one of its evaluations, is not in the store."""
        return [job for job in self.jobs(select) if not self.done(job)]

    def done(self, job: Job) -> Run | None:
        """The job's run, if the store has it with the evaluations it is wanted for."""
        run = self.store.find(job.recipe)
        return run if run is not None and _holds(run, job.settings) else None

    def do(self, job: Job, *, again: bool = False, devices: int = 1, progress: bool = True) -> Run:
        """Train and evaluate one job, or find it done."""
        return train_and_evaluate(
            job.recipe,
            (*job.settings, *job.also),
            self.store,
            data_root=self.data_root,
            device=self.device,
            devices=devices,
            profile=job.profile,
            keep=job.keep,
            again=again,
            progress=progress,
        )

    def due(self, select: str = "") -> list[Job]:
        """The jobs that `recompute` asks for: none, the missing ones, first trials of core rows, or all."""
        if self.recompute == "no":
            return []
        if self.recompute == "missing":
            return self.missing(select)
        return [job for job in self.jobs(select) if self.recompute == "all" or (job.row.core and job.trial == 0)]

    def compute(self, select: str = "") -> None:
        """Do what is due; what `recompute` names "core" or "all" is trained again even if it is there.

        Nothing where none of the datasets is on disk.
        """
        try:
            due = self.due(select)
        except NotAvailable:
            return
        for job in due:
            self.do(job, again=self.recompute != "missing")

    def results(self, table: str | None = None) -> dict[str, list[Trial]]:
        """Row key -> its trials in order, at the profile the table is shown at; trials not run have no run."""
        profile = self.shown_profile(table)
        return {
            row.key: [self.trial(row, trial, profile) for trial in self.trials(row, profile)]
            for row in self.paper.rows
            if table in (None, row.table)
        }

    def trial(self, row: Row, trial: int, profile: str) -> Trial:
        """One trial of a row as tables want it."""
        run = self.find(row, trial, profile)
        settings = () if run is None else self.settings(row, trial, profile)
        return Trial(run, settings, trial)


def ancestors(recipe: Recipe) -> list[Recipe]:
    """The recipes whose weights this one starts from, its parent first."""
    return [] if recipe.parent is None else [recipe.parent, *ancestors(recipe.parent)]


def merged(jobs: Iterable[Job]) -> list[Job]:
    """Jobs in order, those of one recipe as one: with the evaluations of all, and with what any of them keeps."""
    found: dict[str, Job] = {}
    for job in jobs:
        known = found.setdefault(fingerprint(job.recipe), job)
        if known is not job:
            row = replace(known.row, core=known.row.core or job.row.core)
            settings = tuple(dict.fromkeys((*known.settings, *job.settings)))
            also = tuple(item for item in dict.fromkeys((*known.also, *job.also)) if item not in settings)
            keep, rank = max(known.keep, job.keep, key=KEPT.index), min(known.rank, job.rank)
            found[fingerprint(job.recipe)] = replace(known, row=row, settings=settings, keep=keep, rank=rank, also=also)
    for job in list(found.values()):
        for parent in map(fingerprint, ancestors(job.recipe)):
            if parent in found:
                known = found[parent]
                keep = max(known.keep, "weights", key=KEPT.index)
                found[parent] = replace(known, keep=keep, rank=min(known.rank, job.rank))
    return sorted(found.values(), key=lambda job: job.order)


def _holds(run: Run, settings: Sequence[EvaluationSettings]) -> bool:
    return all(run.metrics(item) is not None for item in settings)


def paper(key: str) -> Paper:
    """The paper of that key, e.g. "personnet"."""
    return importlib.import_module(f"reidlib.papers.{choose('paper', key, PAPERS)}").PAPER


def study(
    paper_key: str,
    *,
    profile: str = "stored",
    dataset: str = "synthetic",
    data_root: str = "",
    device: str = "auto",
    seeds: Any = "",
    recompute: str = "missing",
    runs_dir: str = "",
) -> Study:
    """The study that a notebook's parameters mean; the one call that validates them.

    profile: "stored" shows the best evidence in the store and trains nothing new. dataset: "synthetic" (each
    column's counterpart), "real" (each column's own, below `data_root`), or one dataset's name for all. seeds:
    "" for each row's own, or the trials to use: 0, "0,1", "[0, 1]". runs_dir: where new runs go, instead of
    build/runs; stored runs are then read from there alone. ValueError says what is wrong and the nearest valid value.
    """
    choose("profile", profile, PROFILES)
    choose("recompute", recompute, RECOMPUTE)
    choose("dataset", dataset, ("synthetic", "real", *DATASETS))
    choose("device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda': PyTorch sees no CUDA device here; choose 'auto' or 'cpu'")
    root = Path(data_root).expanduser() if data_root else None
    if root is not None and not root.is_dir():
        raise ValueError(f"data_root={data_root!r}: there is no such folder")
    if root is None and dataset not in ("synthetic", *SYNTHETIC):
        raise ValueError(f"dataset={dataset!r} is read from disk: say where it lies with data_root='/path/to/datasets'")
    home, own = project_root(), Path(runs_dir).expanduser()
    if runs_dir and own.exists() and not own.is_dir():
        raise ValueError(f"runs_dir={runs_dir!r} is a file; give a folder")
    folders: Sequence[Path] = (own,) if runs_dir else (home / "build" / "runs", home / "data" / "runs")
    return Study(
        paper=paper(paper_key),
        profile=profile,
        dataset=dataset,
        data_root=root,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        seeds=_seeds(seeds),
        recompute="no" if profile == "stored" else recompute,
        store=RunStore(*folders),
    )


def studies(papers: Iterable[str], *, recompute: str = "missing", **parameters: Any) -> dict[str, Study]:
    """Key -> `study` of each paper named, for pages that compare chapters; they train what is missing at most.

    recompute: one of `RECOMPUTE`; what "core" and "all" train again, a paper's own chapter trains.
    """
    least = "no" if choose("recompute", recompute, RECOMPUTE) == "no" else "missing"
    return {key: study(key, recompute=least, **parameters) for key in dict.fromkeys(papers)}


def _seeds(given: Any) -> tuple[int, ...] | None:
    """Papermill hands over text, a number or a list; None means each row's own trials."""
    if given is None or given == "":
        return None
    value = given
    if isinstance(given, str):
        try:
            value = ast.literal_eval(given)
        except (ValueError, SyntaxError):
            value = given
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values or not all(type(seed) is int and seed >= 0 for seed in values):
        raise ValueError(f"seeds={given!r}: give whole numbers from 0 up, such as 0, '0,1' or '[0, 1, 2]'")
    if len(set(values)) != len(values):
        raise ValueError(f"seeds={given!r}: a seed is named twice")
    return tuple(values)
