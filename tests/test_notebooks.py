"""The book's notebooks: executed at smoke from a store that begins empty, their outputs inspected."""

import os
from pathlib import Path

import nbformat
import pytest

from reidlib.book import execute, parameters

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
PARAMETERS = ["profile", "dataset", "data_root", "device", "seeds", "recompute", "runs_dir"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Where all notebooks, in whatever process, train what another one has not: rows that pages share train once."""
    shared = tmp_path_factory.getbasetemp()
    return (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "smoke-runs"


@pytest.fixture
def executed(notebook, runs, tmp_path):
    """The notebook executed at smoke. The variable REIDLIB_EXECUTED names a folder where that was just done."""
    if folder := os.environ.get("REIDLIB_EXECUTED"):
        return nbformat.read(Path(folder) / notebook.name, as_version=4)
    values = {"profile": "smoke", "runs_dir": str(runs)}
    return nbformat.read(execute(notebook, tmp_path / "out.ipynb", values, progress=False), as_version=4)


def test_a_notebook_takes_the_parameters_of_every_notebook(notebook):
    assert list(parameters(notebook)) == PARAMETERS


def test_a_notebook_runs_at_smoke(executed):
    for cell in executed.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        assert cell.execution_count, f"cell {cell.id} did not run"
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {cell.id} holds an error"
            assert output.get("name") != "stderr", f"cell {cell.id} writes to standard error:\n{output.text}"
            if any(kind.startswith("image/") for kind in output.get("data", {})):
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(alt) > 20, f"cell {cell.id} draws an image without saying in words what it shows"


def test_a_mistyped_parameter_is_refused_with_the_nearest_name(notebook, tmp_path):
    with pytest.raises(ValueError, match="'recomput' is unknown: did you mean 'recompute'"):
        execute(notebook, tmp_path / "out.ipynb", {"recomput": "no"}, progress=False)


def test_a_mistyped_value_is_refused_with_the_nearest_one(tmp_path):
    notebook = next(path for path in NOTEBOOKS if path.stem == "personnet")
    with pytest.raises(RuntimeError, match=r"profile 'smok' is unknown: did you mean 'smoke'"):
        execute(notebook, tmp_path / "out.ipynb", {"profile": "smok"}, progress=False)
    assert not (tmp_path / "out.ipynb").exists()
