"""The command line: `reidlib data|run|missing|redraw|verify|keep|notebook`."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from reidlib.data import project_root
from reidlib.study import Study, study

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and look at datasets.")
app.add_typer(data_app, name="data")

Root = Annotated[Path | None, typer.Option(help="Folder the datasets lie in (default: build/data).")]


@data_app.command("make")
def data_make(
    name: Annotated[str, typer.Argument(help="plaza or campus")],
    size: Annotated[str, typer.Option(help="tiny, small or market")] = "small",
    world: Annotated[int, typer.Option(help="which world: its own people, cameras and streets")] = 0,
    preset: Annotated[str, typer.Option(help="easy, default or hard")] = "default",
    layout: Annotated[
        str,
        typer.Option(help="whose files it looks like: market1501, dukemtmc, msmt17, cuhk03, cuhk01, viper or folders"),
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
    name: Annotated[str, typer.Argument(help="a real dataset, such as market1501 or cuhk03-labeled; plaza or campus")],
    root: Root = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    layout: Annotated[str, typer.Option(help="of plaza and campus: the real dataset they are drawn as")] = "",
    deep: Annotated[bool, typer.Option(help="decode every image too")] = False,
) -> None:
    """Hold a dataset to its printed counts, and look for damaged files and for images on both sides; 1 if it fails."""
    from reidlib.data.check import check

    report = check(name, root, deep=deep, layout=layout, size=size, world=world, preset=preset)
    print(report)
    if report.problems:
        raise typer.Exit(1)


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="market1501, plaza or campus")],
    out: Annotated[Path, typer.Option(help="the picture to write")] = Path("build/sheet.png"),
    root: Root = None,
    size: str = "small",
    world: int = 0,
    preset: str = "default",
    people: int = 8,
) -> None:
    """Draw a sheet of the first test people, one row each, across cameras."""
    from reidlib.data import load
    from reidlib.figures import people_sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    people_sheet(load(name, root=root, size=size, world=world, preset=preset), people).savefig(out, dpi=150)
    print(out)


@app.command()
def run(
    target: Annotated[str, typer.Argument(help="PAPER, PAPER/TABLE or PAPER/TABLE/ROW, e.g. personnet/table4")],
    profile: str = "laptop",
    dataset: str = "synthetic",
    data_root: str = "",
    device: str = "auto",
    devices: Annotated[int, typer.Option(help="GPUs to train on")] = 1,
    seeds: Annotated[str, typer.Option(help="trials, e.g. '0,1'; default: each row's own")] = "",
    recompute: str = "missing",
    runs_dir: Annotated[str, typer.Option(help="where runs go (default: build/runs)")] = "",
) -> None:
    """Train and evaluate the rows of a paper that the store does not hold yet.

    Call it again to go on after an interruption; call it twice at once to use two cores.
    """
    key, _, select = target.partition("/")
    chosen = study(
        key,
        profile=profile,
        dataset=dataset,
        data_root=data_root,
        device=device,
        seeds=seeds,
        recompute=recompute,
        runs_dir=runs_dir,
    )
    jobs = chosen.due(select)
    print(f"{chosen}\n  jobs       {len(jobs)}", flush=True)
    for number, job in enumerate(jobs, 1):
        with chosen.store.claim(job.recipe) as mine:
            if not mine:
                print(f"[{number}/{len(jobs)}] {job}: another process is at it", flush=True)
                continue
            done = chosen.do(job, again=chosen.recompute != "missing", devices=devices)
        scores = ", ".join(
            f"{item.protocol} rank-1 {100 * found['rank1']:.1f} % mAP {100 * found['mean_ap']:.1f} %"
            for item in job.settings
            if (found := done.metrics(item))
        )
        print(f"[{number}/{len(jobs)}] {job}: {scores} ({done.record['seconds']:.0f} s)", flush=True)


@app.command()
def missing(
    target: Annotated[str, typer.Argument(help="PAPER or PAPER/TABLE")] = "personnet",
    profile: str = "laptop",
    runs_dir: str = "",
) -> None:
    """List the runs that the store does not hold."""
    key, _, select = target.partition("/")
    jobs = study(key, profile=profile, runs_dir=runs_dir).missing(select)
    for job in jobs:
        print(job)
    print(f"{len(jobs)} missing")


@app.command()
def redraw(
    target: Annotated[str, typer.Argument(help="PAPER, PAPER/TABLE or PAPER/TABLE/ROW, e.g. mls/market")],
    profile: str = "laptop",
    data_root: str = "",
    device: str = "auto",
    runs_dir: str = "",
) -> None:
    """Make again, from the weights that runs kept, what the book's figures show of them; `keep` moves them back."""
    from reidlib.run import redraw

    key, _, select = target.partition("/")
    chosen = study(key, profile=profile, data_root=data_root, device=device, runs_dir=runs_dir)
    for job in chosen.jobs(select):
        run = chosen.store.find(job.recipe) if job.keep == "figures" else None
        if run is not None:
            print(f"{job}: {redraw(run, job.recipe, chosen.data_root, chosen.device).folder}")


def _store(runs_dir: str) -> Study:
    return study("personnet", runs_dir=runs_dir)


@app.command()
def verify(runs_dir: str = "") -> None:
    """Hash every file of the run store again; exit 1 if one has changed."""
    store = _store(runs_dir).store
    problems = store.verify()
    for problem in problems:
        print(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the damaged ones have just been named
        print(f"{len(store.runs())} runs, {len(problems)} damaged")
    if problems:
        raise typer.Exit(1)


@app.command()
def keep(names: Annotated[list[str], typer.Argument(help="runs to keep; 'all' for every one")]) -> None:
    """Move runs from build/runs to data/runs, where git carries them."""
    store, target = _store("").store, project_root() / "data" / "runs"
    runs = {item.name: item for item in store.runs()}
    from reidlib.study import one_of

    for name in sorted(runs) if names == ["all"] else names:
        print(store.keep(runs[one_of("run", name, runs)], target).folder)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def notebook(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="personnet or data")],
    out: Annotated[Path | None, typer.Option(help="default: build/notebooks/NAME.ipynb")] = None,
) -> None:
    """Execute one of the book's notebooks: `notebook NAME -p KEY VALUE ...`; unknown keys are refused."""
    from reidlib.book import execute

    given, values = list(context.args), {}
    while given:
        if given[0] != "-p" or len(given) < 3:
            raise ValueError(f"{' '.join(given)!r} is not understood; give parameters as -p KEY VALUE")
        values[given[1]] = given[2]
        given = given[3:]
    source = project_root() / "notebooks" / f"{name}.ipynb"
    print(execute(source, out or project_root() / "build" / "notebooks" / f"{name}.ipynb", values))


def main() -> None:
    """Run the command line; what the user can mend is one sentence on standard error and exit code 2."""
    try:
        app()
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        print(f"reidlib: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
