"""`reidlib.book`: notebooks executed with checked parameters, whole or not at all, and to the same bytes."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from reidlib.book import execute, parameters, tidied


def write(path, *sources, tags=("parameters",)):
    """A notebook: prose, one tagged cell, then a code cell for every source."""
    first = new_code_cell("profile = 'smoke'\nseeds = ''", metadata={"tags": list(tags)}, id="given")
    cells = [new_markdown_cell("# Title", id="title"), first]
    cells += [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def test_parameters_and_their_defaults(tmp_path):
    assert parameters(write(tmp_path / "a.ipynb")) == {"profile": "'smoke'", "seeds": "''"}


def test_a_notebook_needs_one_parameters_cell(tmp_path):
    with pytest.raises(ValueError, match="0 cells tagged `parameters`"):
        parameters(write(tmp_path / "a.ipynb", tags=()))


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no notebook at .*nowhere\.ipynb"):
        parameters(tmp_path / "nowhere.ipynb")


def test_an_unknown_parameter_is_refused_with_the_nearest(tmp_path):
    source = write(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="'profil' is unknown: did you mean 'profile'"):
        execute(source, tmp_path / "out.ipynb", {"profil": "smoke"})
    with pytest.raises(ValueError, match="'x' is unknown: choose from profile, seeds"):
        execute(source, tmp_path / "out.ipynb", {"x": 1})
    assert not (tmp_path / "out.ipynb").exists()


def test_executed_twice_is_the_same_bytes_with_parameters_hidden(tmp_path, capfd):
    bar = "import sys, time\nprint('\\r 10%', '\\r100%', file=sys.stderr)"
    source = write(
        tmp_path / "a.ipynb", "print(profile, object(), time.time() > 0)".replace("time.time() > 0", "1"), bar
    )
    first = execute(source, tmp_path / "one" / "out.ipynb", {"profile": "it's"}, progress=False)
    second = execute(source, tmp_path / "two" / "out.ipynb", {"profile": "it's"}, progress=False)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["out.ipynb"]
    _, given, injected, shown, silent = nbformat.read(first, as_version=4).cells
    assert "remove-cell" in given.metadata.tags
    assert "remove-cell" in injected.metadata.tags
    assert shown.outputs[0].text == "it's <object object> 1\n"
    assert silent.outputs == []
    assert "not encrypted" not in "".join(capfd.readouterr())


def test_a_failing_cell_leaves_the_last_good_output(tmp_path):
    output = tmp_path / "out.ipynb"
    output.write_text("the last one")
    source = write(tmp_path / "a.ipynb", "print(1)", "raise LookupError('no such row')")
    with pytest.raises(RuntimeError, match=r"LookupError: no such row; see .*out\.failed\.ipynb"):
        execute(source, output, {}, progress=False)
    assert output.read_text() == "the last one"
    assert (tmp_path / "out.failed.ipynb").exists()


def test_progress_bars_go_and_warnings_stay():
    outputs = [
        new_output("stream", name="stderr", text="a warning\n\rtrain: 10%\rtrain: 100%\n"),
        new_output("stream", name="stdout", text="<f at 0x7f12ab>\n"),
        new_output("stream", name="stderr", text="\rtrain: 100%\n"),
        new_output("stream", name="stderr", text="\n\rinner: 10%\x1b[A"),
        new_output("stream", name="stderr", text="\x1b[A"),
    ]
    notebook = tidied(new_notebook(cells=[new_code_cell("1", outputs=outputs)]))
    assert [output.text for output in notebook.cells[0].outputs] == ["a warning\n", "<f>\n"]
