"""The command line: `reidlib data|run|missing|measure|verify|keep|pack|unpack|notebook`."""

import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reidlib.data import project_root
from reidlib.names import choose

if TYPE_CHECKING:  # which loads PyTorch: five seconds that `data make` and `--help` do without
    from reidlib.store import RunStore

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and look at datasets.")
app.add_typer(data_app, name="data")

Root = Annotated[Path | None, typer.Option(help="Folder the datasets lie in (default: $REIDLIB_DATA, or build/data).")]


@data_app.command("make")
def data_make(
    name: Annotated[str, typer.Argument(help="plaza, campus or harbour")],
    size: Annotated[str, typer.Option(help="tiny, small or market")] = "small",
    world: Annotated[int, typer.Option(help="which world: its own people, cameras and streets")] = 0,
    preset: Annotated[str, typer.Option(help="easy, default, hard, or one knob: jitter=2")] = "default",
    layout: Annotated[
        str,
        typer.Option(
            help="whose files it looks like: market1501, market1501-500k, dukemtmc, msmt17, cuhk03 (read as"
            " cuhk03-labeled, cuhk03-np-detected and so on), cuhk01, viper or folders"
        ),
    ] = "market1501",
    root: Root = None,
    workers: Annotated[int | None, typer.Option(help="processes (default: all cores)")] = None,
) -> None:
    """Generate a synthetic dataset; an interrupted one is continued."""
    from reidlib.data import default_root
    from reidlib.data.synthetic import make

    print(make(name, size, root or default_root(), world=world, preset=preset, layout=layout, workers=workers))


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="a real dataset, such as market1501; plaza, campus or harbour")],
    root: Root = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    layout: Annotated[
        str,
        typer.Option(
            help="of drawn ones: the dataset that they are read as, such as dukemtmc, or cuhk03-labeled of the files"
            " that `data make --layout cuhk03` draws"
        ),
    ] = "",
    deep: Annotated[bool, typer.Option(help="decode every image too")] = False,
) -> None:
    """Hold a dataset to its printed counts, and look for damaged files and for images on both sides.

    Exit code 1 if something must be mended.
    """
    from reidlib.data.check import check

    report = check(name, root, deep=deep, layout=layout, size=size, world=world, preset=preset)
    print(report)
    if report.problems:
        raise typer.Exit(1)


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="a real dataset, such as market1501; plaza, campus or harbour")],
    out: Annotated[Path, typer.Option(help="the picture to write, .png, .svg or .pdf")] = Path("build/sheet.png"),
    root: Root = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    people: Annotated[int, typer.Option(min=1)] = 8,
) -> None:
    """Draw a sheet of the first test people, one row each, across cameras."""
    from reidlib.data import load
    from reidlib.figures import people_sheet

    if out.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{out} is no picture's name; give one that ends in .png, .svg or .pdf")
    out.parent.mkdir(parents=True, exist_ok=True)
    people_sheet(load(name, root=root, size=size, world=world, preset=preset), people).savefig(out, dpi=150)
    print(out)


Targets = Annotated[list[str], typer.Argument(help="PAPER, PAPER/TABLE, PAPER/TABLE/ROW, or all; several may be named")]
Profile = Annotated[str, typer.Option(help="smoke, laptop, gpu or paper")]
Dataset = Annotated[str, typer.Option(help="synthetic, real, or one dataset's name for all")]
DataRoot = Annotated[str, typer.Option(help="the folder with the real datasets")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
RunsDir = Annotated[str, typer.Option(help="read and write runs only there (default: build/runs beside data/runs)")]


def _papers() -> list[str]:
    """The papers that have rows to train."""
    from reidlib.study import PAPERS, paper

    return [key for key in PAPERS if paper(key).rows]


def _refuse_unknown(profile: str, targets: list[str]) -> None:
    """ValueError where a profile or a target's paper is none; what it offers can be trained."""
    from reidlib.study import PAPERS, PROFILES

    if profile not in PROFILES:
        choose("profile", profile, PROFILES[1:])
    for target in targets:
        if target != "all" and (key := target.partition("/")[0]) not in PAPERS:
            choose("paper", key, [*_papers(), "all"] if key == target else _papers())


@app.command()
def run(
    targets: Targets,
    profile: Profile = "laptop",
    dataset: Dataset = "synthetic",
    data_root: DataRoot = "",
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="GPUs to train on, each with batches of its own")] = 1,
    seeds: Annotated[str, typer.Option(help="trials, e.g. '0,1'; default: each row's own")] = "",
    recompute: Annotated[
        str,
        typer.Option(
            help="missing: runs that are not there; all: every run anew; core: anew the first trials of a chapter's few"
            " main rows"
        ),
    ] = "missing",
    runs_dir: RunsDir = "",
    minutes: Annotated[float | None, typer.Option(help="begin no run after that many minutes")] = None,
) -> None:
    """Train and evaluate the rows that build/runs and data/runs do not hold yet, those first that decide the most.

    Call it again to go on after an interruption; call it twice at once to use two cores.
    """
    from reidlib.queue import queue
    from reidlib.study import RECOMPUTE

    _refuse_unknown(profile, targets)
    choose("recompute", recompute, RECOMPUTE[1:])
    todo = queue(
        targets,
        profile=profile,
        dataset=dataset,
        data_root=data_root,
        device=device,
        seeds=seeds,
        recompute=recompute,
        runs_dir=runs_dir,
    )
    lines = todo.work(minutes=minutes, devices=devices)
    how_long = f", {todo.time()}" if todo.jobs else ""
    print(f"{', '.join(targets)}\n{todo.study.conditions()}\n  runs       {len(todo.jobs)}{how_long}", flush=True)
    for sentence in todo.absent:
        print(f"  left out   {sentence}", flush=True)
    for line in lines:
        print(line, flush=True)
    if not todo.jobs and recompute == "core":
        print(f"nothing to do: none of the main rows is in {', '.join(targets)}; `--recompute all` trains others")
    elif not todo.jobs:
        which = "all other runs" if todo.absent else "all runs"
        print(f"nothing to do: {which} are recorded; `--recompute all` or `--runs-dir FOLDER` trains them again")


@app.command()
def missing(
    targets: Targets,
    profile: Profile = "laptop",
    dataset: Dataset = "synthetic",
    data_root: DataRoot = "",
    runs_dir: RunsDir = "",
) -> None:
    """List the runs that build/runs and data/runs do not hold, in the order in which `run` makes them."""
    from reidlib.queue import queue

    _refuse_unknown(profile, targets)
    todo = queue(targets, profile=profile, dataset=dataset, data_root=data_root, runs_dir=runs_dir)
    for job in todo.jobs:
        print(job)
    for sentence in todo.absent:
        print(f"left out: {sentence}")
    print(f"{len(todo.jobs)} missing, {todo.time()}" if todo.jobs else "0 missing")


@app.command()
def measure(
    target: Annotated[str, typer.Argument(help="PAPER, PAPER/TABLE or PAPER/TABLE/ROW, e.g. mls/market; or all")],
    profile: Profile = "laptop",
    dataset: Dataset = "synthetic",
    data_root: DataRoot = "",
    device: Device = "auto",
    runs_dir: RunsDir = "",
) -> None:
    """Make again, from their weights, what figures show of stored runs, where their maps lie and what breaks them.

    A run from data/runs is rewritten in build/runs; `keep` moves it back. Runs that came with git are left: it does not
    carry weights.
    """
    from reidlib.robustness import OF
    from reidlib.run import NotAvailable, measure
    from reidlib.study import study

    _refuse_unknown(profile, [target])
    key, _, select = target.partition("/")
    for one in _papers() if target == "all" else [key]:
        chosen = study(one, profile=profile, dataset=dataset, data_root=data_root, device=device, runs_dir=runs_dir)
        try:
            jobs = chosen.jobs(select)
        except NotAvailable as error:
            if target != "all":
                raise
            print(f"left out: {error}")
            continue
        for job in jobs:
            run = chosen.store.find(job.recipe) if job.keep in OF else None
            if run is None:
                continue
            try:
                print(f"{job}: {measure(run, job.recipe, job.keep, chosen.data_root, chosen.device).folder}")
            except FileNotFoundError as error:  # weights that git does not carry
                print(f"{job}: left. {error}")


def _store(runs_dir: str) -> "RunStore":
    from reidlib.study import study

    return study("personnet", runs_dir=runs_dir).store


@app.command()
def verify(runs_dir: RunsDir = "") -> None:
    """Hash every file of the runs in build/runs and data/runs again; exit code 1 if one has changed."""
    if runs_dir and not Path(runs_dir).expanduser().exists():
        raise ValueError(f"runs_dir={runs_dir!r}: there is no such folder")
    store = _store(runs_dir)
    problems = store.verify()
    for problem in problems:
        print(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the damaged ones have just been named
        print(f"{len(store.runs())} runs, {len(problems)} damaged")
    if problems:
        raise typer.Exit(1)


@app.command()
def keep(
    names: Annotated[
        list[str], typer.Argument(help="runs to keep, by the names that `run` prints; 'all' for every one")
    ],
) -> None:
    """Move runs from build/runs to data/runs, where git carries them.

    Runs whose figures may show photographs are left; `all` leaves smoke runs too, whose numbers mean nothing.
    """
    store, target = _store(""), project_root() / "data" / "runs"
    runs = {item.name: item for item in store.runs() if item.folder.parent == store.home}
    everything = names == ["all"]
    for name in sorted(runs) if everything else names:
        if name not in runs:
            raise ValueError(f"{store.home} has no run {name!r}; `reidlib keep all` moves all that may be kept")
        if runs[name].shows_photographs:
            print(f"{name}: left. It was made on files of a real dataset, so its figures may show photographs")
        elif everything and runs[name].record["profile"] == "smoke":
            print(f"{name}: left. It is a smoke run")
        else:
            print(store.keep(runs[name], target).folder)


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="the archive to write, such as runs.tar")],
    size: Annotated[
        float, typer.Option(help="MiB it may have; where runs take more, large weights are left out first")
    ] = 16,
    runs_dir: RunsDir = "",
) -> None:
    """Put the finished runs of build/runs into one file, for `unpack` on another machine."""
    from reidlib.archive import pack

    print(pack(_store(runs_dir), out, int(size * 2**20)))


@app.command()
def unpack(
    archive: Path,
    runs_dir: RunsDir = "",
) -> None:
    """Take over the runs of an archive, each checked; a run that is here stays unless theirs has more scores."""
    from reidlib.archive import unpack

    for line in unpack(_store(runs_dir), archive):
        print(line)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def notebook(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="of notebooks/, such as personnet")],
    out: Annotated[Path | None, typer.Option(help="default: build/notebooks/NAME.ipynb")] = None,
) -> None:
    """Execute one of the book's notebooks: `notebook NAME -p KEY VALUE ...`; unknown keys are refused."""
    from reidlib.book import execute

    name = choose("notebook", name.removesuffix(".ipynb"), _notebooks())
    given, values = list(context.args), {}
    while given:
        if given[0] != "-p" or len(given) < 3:
            raise ValueError(f"{' '.join(given)!r} is not understood; give parameters as -p KEY VALUE")
        values[given[1]] = given[2]
        given = given[3:]
    source = project_root() / "notebooks" / f"{name}.ipynb"
    print(execute(source, out or project_root() / "build" / "notebooks" / f"{name}.ipynb", values))


def _notebooks() -> list[str]:
    """The book's notebooks by name."""
    return sorted(path.stem for path in (project_root() / "notebooks").glob("*.ipynb"))


def _sentence(error: Exception) -> str:
    """What happened, in one sentence; the system's own errors name a file and a reason, and not what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    if error.strerror != os.strerror(error.errno) or not isinstance(error.filename, str):
        return re.sub(r"\[Errno \d+\] ", "", str(error))
    path = Path(error.filename)  # or the hidden file that is written first, to be renamed
    path = path.with_name(re.sub(r"^\.(.+)\.\d+(?:\.tmp|(\.ipynb))$", r"\1\2", path.name))
    if path.exists() and not os.access(path, os.R_OK):
        return f"{path} cannot be read: {error.strerror}; change its permissions or give another"
    if isinstance(error, FileNotFoundError) and _writable(path.parent):
        return f"there is no file {path}"
    return f"{path} cannot be written: {error.strerror}; choose another folder"


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def main() -> None:
    """Run the command line; what the user can mend is one sentence on standard error and exit code 2."""
    try:
        app()
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        print(f"reidlib: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
