"""Drawn copies of every dataset on disk, read by its loader: a row of each paper trained and scored, and the chapter.

`make layouts` does the same with every notebook.
"""

import re
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from reidlib import study
from reidlib.__main__ import app
from reidlib.book import execute
from reidlib.data import registry

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()
DATASETS = re.search(r"^COPIES +:= (.*)$", MAKEFILE, re.M)[1].split()


def test_there_is_a_copy_in_every_layout():
    assert {registry.DATASETS[name].layout for name in DATASETS} == {real.layout for real in registry.DATASETS.values()}


def own_row(paper):
    """The last of the paper's core rows that are kept for figures, its own system; where none is, its last core row."""
    rows = study.paper(paper).rows
    return sorted(rows, key=lambda row: (row.core and row.keep == "figures", row.core))[-1].key


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("paper", [key for key in study.PAPERS if key != "data"])
def test_a_row_runs_on_a_copy(paper, dataset, copy_of, tmp_path):
    target = f"{paper}/{own_row(paper)}"
    options = {"--profile": "smoke", "--dataset": dataset, "--data-root": copy_of(dataset), "--runs-dir": tmp_path}
    words = ["run", target, "--seeds", "0", *(str(word) for option in options.items() for word in option)]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0
    assert f"{dataset}\n" in shown.output
    assert re.search(r"rank-1 +\d+\.\d %", shown.output)
    runs = {path.parent.name.split("-")[0] for path in tmp_path.glob("*/run.json")}
    assert len(runs - {"ide"}) == 1  # CASN and HAGN start from a pre-trained IDE, which is a run too


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_data_chapter_runs_on_a_copy(dataset, copy_of, tmp_path):
    values = {"profile": "smoke", "dataset": dataset, "data_root": str(copy_of(dataset)), "runs_dir": str(tmp_path)}
    notebook = execute(
        study.project_root() / "notebooks" / "data.ipynb", tmp_path / "out.ipynb", values, progress=False
    )
    said = {cell.id: cell for cell in nbformat.read(notebook, as_version=4).cells}["numbers-gather"].outputs[0].text
    assert ", drawn" in said
