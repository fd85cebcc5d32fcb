"""What ran where: for each row of a paper the trials that are there, on what, when and for how long."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from reidlib.queue import Clock
from reidlib.recipe import fingerprint
from reidlib.run import NotAvailable
from reidlib.store import Run
from reidlib.study import Job, Study, merged
from reidlib.tables import NOT_RUN, Shown


@dataclass(frozen=True)
class Inventory:
    """A paper's runs at one profile, done and missing; `clock` says how long the missing ones would take."""

    study: Study
    clock: Clock

    @classmethod
    def at(cls, study: Study, profile: str, clock: Clock) -> "Inventory":
        """The inventory of a study's paper at that profile, whichever the study shows."""
        return cls(replace(study, profile=profile), clock)

    @cached_property
    def jobs(self) -> list[Job]:
        """Every training of the paper; none where its datasets are not on disk."""
        try:
            return self.study.jobs()
        except NotAvailable:
            return []

    @cached_property
    def missing(self) -> list[Job]:
        """Those that the store lacks or has without some ranking, in the order in which `reidlib run` makes them."""
        return [job for job in self.jobs if not self.study.done(job)]

    @cached_property
    def runs(self) -> list[Run]:
        """The runs there are, one a training, with all their rankings or without some."""
        found = (self.study.store.find(job.recipe) for job in self.jobs)
        return [run for run in found if run is not None]

    def rows(self) -> pd.DataFrame:
        """A line a row: trials there of those wanted, how long the others would take, and of those there minutes of
        training, device, date and commit.

        Rows that share a training name the same runs.
        """
        profile, lines = self.study.profile, {}
        for row in self.study.paper.rows:
            wanted = self.study.trials(row, profile)
            runs = [run for trial in wanted if (run := self.study.find(row, trial, profile)) is not None]
            lacking = len(wanted) - len(runs)
            steps = self.study.scale(profile).scale(row.recipe).steps
            each = self.clock.seconds(row.recipe.system, profile, steps)
            time = "unknown" if each is None else Shown(f"{lacking * each / 60:.0f} min", seconds=lacking * each)
            lines[row.key] = {
                "trials": f"{len(runs)} of {len(wanted)}",
                "to come": time if lacking else "",
                **_where(runs),
            }
        return pd.DataFrame.from_dict(lines, orient="index", dtype=object)


def counts(parts: Sequence[Inventory]) -> dict[str, int]:
    """How many runs are done, are there without a ranking that some row asks for, and are missing, each once."""
    every = {fingerprint(job.recipe) for part in parts for job in part.jobs}
    there = {run.record["fingerprint"] for part in parts for run in part.runs}
    undone = {fingerprint(job.recipe) for part in parts for job in part.missing}
    return {"done": len(there - undone), "incomplete": len(there & undone), "missing": len(every - there)}


def summary(parts: Sequence[Inventory], target: str) -> dict[str, str]:
    """Some papers' runs in a line: what there is and took, what is missing and would take; `target` names them all.

    A run that several papers share is counted once.
    """
    missing = merged(job for part in parts for job in part.missing)
    count = counts(parts)
    spent = sum({run.name: run.record["seconds"] for part in parts for run in part.runs}.values())
    study, clock = parts[0].study, parts[0].clock
    options = "" if study.profile == "laptop" else f" --profile {study.profile}"  # which is the default
    options += "" if study.dataset == "synthetic" else f" --dataset {study.dataset}"
    options += "" if study.data_root is None else f" --data-root {shlex.quote(str(study.data_root))}"
    if len(study.store.folders) == 1:  # which was named
        options += f" --runs-dir {shlex.quote(str(study.store.home))}"
    return {
        "runs": f"{count['done'] + count['incomplete']} of {sum(count.values())}",
        "took": Shown(f"{spent / 3600:.1f} hours", seconds=spent) if spent else "",
        **{name: str(count[name] or "") for name in ("incomplete", "missing")},
        "would take": str(clock.time(missing, study.store)) if missing else "",
        "continue with": f"`reidlib run {target}{options}`" if missing else "",
    }


def _where(runs: Sequence[Run]) -> dict[str, str]:
    """On which device, when, for how long and from which commit some runs were trained."""
    if not runs:
        return {"training (minutes)": NOT_RUN, "device": "", "date": "", "commit": ""}
    minutes = np.array([run.training_seconds for run in runs]) / 60
    found = {
        name: list(dict.fromkeys(str(run.record.get(name) or "unknown") for run in runs))
        for name in ("device", "date", "commit")
    }
    dates = sorted(found["date"])
    return {
        "training (minutes)": Shown(
            f"{minutes.min():.1f} to {minutes.max():.1f}" if len(runs) > 1 else f"{minutes[0]:.1f}",
            **{f"trial {number + 1}": value for number, value in enumerate(minutes)},
        ),
        "device": ", ".join(found["device"]),
        "date": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        "commit": ", ".join(dict.fromkeys(text[:7] + "+" * text.endswith("+") for text in found["commit"])),
    }
