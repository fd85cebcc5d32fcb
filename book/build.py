"""Build the site from the book's pages, its drawn figures and the executed notebooks.

    python book/build.py build/notebooks/stored build/site/stored

Everything is laid out in a folder of its own, built from nothing with warnings as errors, and moved to its place
only when that succeeded: a build that fails or is killed leaves the last site as it was.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import draw_task
import yaml

BOOK = Path(__file__).parent
SMOKE = "Built at the <b>smoke</b> profile: every step runs, for seconds. The numbers on these pages mean nothing."


def build(notebooks: Path, site: Path) -> None:
    """Build the site from a folder of executed notebooks named after a profile; RuntimeError with Sphinx's log."""
    stage = site.parent.parent / "book" / site.name
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(BOOK, stage, ignore=shutil.ignore_patterns("__pycache__", "_build", "nb", "*.py"))
    (stage / "nb").mkdir()
    for notebook in sorted(notebooks.glob("[!.]*.ipynb")):
        if not notebook.name.endswith(".failed.ipynb"):
            shutil.copy(notebook, stage / "nb")
    (stage / "figures").mkdir()
    draw_task.draw(stage / "figures")
    if notebooks.name == "smoke":
        config = yaml.safe_load((stage / "_config.yml").read_text())
        config["html"]["announcement"] = SMOKE
        (stage / "_config.yml").write_text(yaml.safe_dump(config))

    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", stage, "-W", "--keep-going", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\nthe site was not built: Sphinx reported the warnings or errors above")
    old = site.with_name(f".{site.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    site.parent.mkdir(parents=True, exist_ok=True)
    if site.exists():
        site.rename(old)
    (stage / "_build" / "html").rename(site)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
    except RuntimeError as error:
        sys.exit(str(error))
