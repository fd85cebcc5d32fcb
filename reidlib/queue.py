"""The queue: the runs that several papers lack, those that decide most first, and how long they will take."""

import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from reidlib.recipe import Recipe, fingerprint
from reidlib.run import NotAvailable, device_name
from reidlib.store import Run, RunStore
from reidlib.study import PAPERS, PROFILES, Job, Study, ancestors, merged, paper, study


class Time(NamedTuple):
    """How long some runs take one after the other: seconds of those of which it is known, and how many are not."""

    seconds: float
    unknown: int = 0

    def __str__(self) -> str:
        if self.unknown and not self.seconds:
            return "an unknown time"
        minutes = self.seconds / 60
        known = f"about {minutes:.0f} minutes" if minutes < 120 else f"about {minutes / 60:.0f} hours"
        if minutes < 1.5:
            known = "under a minute" if minutes < 0.5 else "about a minute"
        unknown = f"{self.unknown} run{'s' if self.unknown > 1 else ''} of unknown length"
        return f"{known}, and {unknown}" if self.unknown else known


class _Took(NamedTuple):
    device: str
    per_step: float
    rest: float


@dataclass
class Clock:
    """What trainings took, by system and profile: those on this device where there are any."""

    device: str
    took: dict[tuple[str, str, bool], list[_Took]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: RunStore, device: str) -> "Clock":
        """A clock that has seen the store's runs; `device` as PyTorch names it."""
        clock = cls(device_name(device))
        for run in store.runs():
            clock.see(run)
        return clock

    def see(self, run: Run) -> None:
        """Learn from one run."""
        record = run.record
        steps = record["recipe"].get("steps", Recipe.steps)
        training = run.training_seconds
        took = _Took(record["device"], training / max(steps, 1), record["seconds"] - record["training_seconds"])
        self.took.setdefault((record["recipe"]["system"], record["profile"], steps > 0), []).append(took)

    def seconds(self, system: str, profile: str, steps: int) -> float | None:
        """The median per step, times `steps`, and the median of the rest, which is ranking; None where nothing ran."""
        found = self.took.get((system, profile, steps > 0), [])
        found = [item for item in found if item.device == self.device] or found
        if not found:
            return None
        return median(item.per_step for item in found) * max(steps, 1) + median(item.rest for item in found)

    def time(self, jobs: Iterable[Job], store: RunStore) -> Time:
        """How long these jobs take; parents that are trained in passing are counted once."""
        jobs, total, unknown = list(jobs), 0.0, 0
        counted = {fingerprint(job.recipe) for job in jobs}
        for job in jobs:
            steps = job.recipe.steps
            for parent in ancestors(job.recipe):
                if fingerprint(parent) not in counted and not _has_weights(store, parent):
                    steps += parent.steps
                counted.add(fingerprint(parent))
            seconds = self.seconds(job.recipe.system, job.profile, steps)
            total, unknown = total + (seconds or 0), unknown + (seconds is None)
        return Time(total, unknown)


def _has_weights(store: RunStore, recipe: Recipe) -> bool:
    run = store.find(recipe)
    return run is not None and (run.folder / "weights.safetensors").exists()


@dataclass
class Queue:
    """Jobs in order. Several processes may work on one: each takes what no other is at.

    study: any of theirs; they share data, device and store. again: train even what is there, but for what another
    process has trained since this queue was made. absent: why rows are left out, a sentence for each dataset that is
    not there or not whole.
    """

    study: Study
    jobs: list[Job]
    again: bool
    clock: Clock
    absent: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    made: float = field(default_factory=time.time)

    def left(self) -> list[Job]:
        """The jobs that nobody has finished."""
        return [job for job in self.jobs if fingerprint(job.recipe) not in self.finished and not self._done(job)]

    def _done(self, job: Job) -> bool:
        """Whether the store has what is wanted of a job; of one that is to be made again, what was made since."""
        run = self.study.done(job)
        return run is not None and (not self.again or (run.folder / "run.json").stat().st_mtime > self.made)

    def time(self) -> Time:
        """How long what is left takes in one process."""
        return self.clock.time(self.left(), self.study.store)

    def work(self, *, minutes: float | None = None, devices: int = 1, progress: bool = True) -> Iterator[str]:
        """Do the jobs and say how it goes, a line each; after `minutes` none is begun, and the one begun is finished.

        What another process is at is passed over, and looked at again at the end; for a pre-training that it is at,
        this one waits once nothing else is left. A job that fails does not keep the others from being done;
        RuntimeError at the end says how many did. OSError at once where the disk is full, ValueError for fewer minutes
        than 0 or devices than 1.
        """
        if minutes is not None and not minutes >= 0:
            raise ValueError(f"--minutes {minutes:g}: give 0 or more")
        if devices < 1:
            raise ValueError(f"--devices {devices}: give 1 or more")
        return self._lines(minutes, devices, progress)

    def _lines(self, minutes: float | None, devices: int, progress: bool) -> Iterator[str]:
        failed: list[Job] = []
        yield from self._work(failed, minutes, devices, progress)
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(self.jobs)} runs failed, for the reasons above")

    def _work(self, failed: list[Job], minutes: float | None, devices: int, progress: bool) -> Iterator[str]:
        began, left = time.monotonic(), self.jobs
        patient = self.again  # of which there is one round
        while left:
            passed = []
            for job in left:
                if minutes is not None and time.monotonic() - began >= 60 * minutes:
                    yield f"stopped after {minutes:g} minutes: {self._remains()}"
                    return
                with ExitStack() as held:
                    if not held.enter_context(self.study.store.claim(job.recipe)) or not self._free(job, patient):
                        passed.append(job)
                        continue
                    if self._done(job):
                        continue
                    try:
                        run = self.study.do(job, again=self.again, devices=devices, progress=progress)
                    except (ValueError, LookupError, OSError, RuntimeError) as error:
                        if getattr(error, "errno", None) == errno.ENOSPC:
                            raise  # as would all the others
                        failed.append(job)
                        yield f"{job}: failed. {error}"
                        continue
                self.finished.add(fingerprint(job.recipe))
                self.clock.see(run)
                yield f"{job}: {_scores(job, run)} ({run.record['seconds']:.0f} s, run {run.name}); {self._remains()}"
            if self.again or (patient and len(passed) == len(left)):
                break
            patient = len(passed) == len(left)
            left = passed
        for job in passed if left else []:
            yield f"{job}: another process is at it"

    def _free(self, job: Job, patient: bool) -> bool:
        """Whether no other process trains a recipe that the job starts from; the patient wait for pre-training."""
        first = [one for one in ancestors(job.recipe) if one.system == job.recipe.system or not patient]
        with ExitStack() as held:
            return all(held.enter_context(self.study.store.claim(one)) for one in first)

    def _remains(self) -> str:
        left = self.left()
        done = f"{len(self.jobs) - len(left)} of {len(self.jobs)} done"
        return f"{done}, {self.clock.time(left, self.study.store)} left" if left else done


def _scores(job: Job, run: Run) -> str:
    return ", ".join(
        f"{item.protocol} rank-1 {100 * found['rank1']:.1f} % mAP {100 * found['mean_ap']:.1f} %"
        for item in job.settings
        if (found := run.metrics(item))
    )


def queue(targets: Sequence[str], **parameters: Any) -> Queue:
    """The jobs of several targets that `recompute` asks for: PAPER, PAPER/TABLE, PAPER/TABLE/ROW, or "all" papers.

    parameters: of `study`, with a profile that trains. Papers none of whose datasets is on disk are left out;
    NotAvailable where that leaves none.
    """
    every = [key for key in PAPERS if paper(key).rows]
    named = [key for target in targets for key in (every if target == "all" else [target])]
    parts = [target.partition("/") for target in named]
    chosen = [(study(key, **parameters), select) for key, _, select in parts]
    first = chosen[0][0]
    if first.profile == "stored":
        raise ValueError(f"profile 'stored' trains nothing; choose from {', '.join(PROFILES[1:])}")
    jobs, absent = [], None
    for item, select in chosen:
        try:
            jobs += item.due(select)
        except NotAvailable as error:
            absent = error
    if absent is not None and not jobs:
        raise absent
    if first.seeds is not None and absent is None and not any(item.jobs(select) for item, select in chosen):
        raise ValueError(f"no row of {', '.join(targets)} has trial {', '.join(map(str, first.seeds))} at this profile")
    said = dict.fromkeys(sentence for item, select in chosen for sentence in item.absent(select))
    again, clock = first.recompute in ("core", "all"), Clock.of(first.store, first.device)
    return Queue(first, merged(jobs), again, clock, list(said))
