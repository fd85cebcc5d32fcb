"""Executing the book's notebooks: parameters checked by name, no partial output, the same bytes every time."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reidlib.names import choose

PARAMETERS, INJECTED, HIDDEN = "parameters", "injected-parameters", "remove-cell"


def parameters(notebook: str | Path) -> dict[str, str]:
    """The parameters of a notebook and their defaults as Python source, from its one cell tagged `parameters`.

    FileNotFoundError where there is no such notebook, ValueError where it has no such cell or several.
    """
    import papermill
    from papermill.iorw import load_notebook_node

    if not Path(notebook).is_file():
        raise FileNotFoundError(f"no notebook at {notebook}; the book's own are in notebooks/")
    tagged = sum(PARAMETERS in cell.metadata.get("tags", []) for cell in load_notebook_node(str(notebook)).cells)
    if tagged != 1:
        raise ValueError(f"{notebook} has {tagged} cells tagged `{PARAMETERS}`; tag exactly one")
    return {name: found["default"] for name, found in papermill.inspect_notebook(str(notebook)).items()}


def execute(notebook: str | Path, output: str | Path, values: Mapping[str, Any], *, progress: bool = True) -> Path:
    """Execute a notebook with parameters into `output`, in the current folder, and return `output`.

    values: by parameter name; their meaning is checked by the notebook's own first cell.
    What the notebook writes to standard error (its progress bars) is passed on while it runs.
    ValueError for a parameter the notebook does not have, naming the nearest one. When a cell fails, `output` stays
    as it was, the notebook up to that cell is left beside it as NAME.failed.ipynb, and RuntimeError names both.
    """
    known = parameters(notebook)
    for name in values:
        choose(f"parameter of {Path(notebook).name}", name, known)

    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    scratch = output.with_name(f".{output.stem}.{os.getpid()}.ipynb")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(scratch),
            dict(values),
            kernel_name="python3",  # this environment's kernel, whatever name the notebook was saved under
            progress_bar={"desc": output.stem, "unit": "cell"} if progress else False,
            stderr_file=sys.stderr if progress else None,
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        )
        nbformat.write(tidied(nbformat.read(scratch, as_version=4)), scratch)
        os.replace(scratch, output)
        failed.unlink(missing_ok=True)
    except PapermillExecutionError as error:
        os.replace(scratch, failed)
        raise RuntimeError(
            f"{notebook} failed in cell {error.cell_index}: {error.ename}: {error.evalue}; see {failed}"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return output


def tidied(notebook: Any) -> Any:
    """An executed notebook without what differs between two executions, its parameters hidden from the page.

    Times, papermill's bookkeeping, memory addresses and progress bars go; other text on standard error stays.
    """
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        tags = cell.metadata.get("tags", [])
        if INJECTED in tags:
            cell["id"] = INJECTED
        if {PARAMETERS, INJECTED} & set(tags) and HIDDEN not in tags:
            cell.metadata["tags"] = [*tags, HIDDEN]
        for output in cell.get("outputs", []):
            for holder, key in [(output, "text"), (output.get("data", {}), "text/plain")]:
                if key in holder:
                    holder[key] = re.sub(r" at 0x[0-9a-fA-F]+", "", holder[key])
            if output.get("name") == "stderr":
                lines = output["text"].replace("\x1b[A", "").split("\n")  # a bar inside a bar goes up a line
                output["text"] = "\n".join(line for line in lines if "\r" not in line)
        if "outputs" in cell:
            cell["outputs"] = [item for item in cell.outputs if item.get("name") != "stderr" or item["text"].strip()]
    return notebook
