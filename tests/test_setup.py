"""The files that set the project up agree with each other, with the notebooks and with the order of imports."""

import ast
import json
import re
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from reidlib import study
from reidlib.recipe import fingerprint
from reidlib.store import RunStore

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
PINS = {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in LOCK)}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A module imports from layers above its own line, and from its own package.
LAYERS = [
    ("files", "names"),
    ("recipe", "losses", "record"),
    ("data", "models", "papers"),
    ("objectives", "complexity", "maps"),
    ("training", "evaluation"),
    ("store", "verdicts", "mining"),
    ("coverage", "archive", "examples"),
    ("robustness",),
    ("run",),
    ("study", "difficulty", "tables", "figures"),
    ("pages", "book", "queue", "transfer", "claims"),
    ("inventory",),
    ("__main__",),
]


def test_the_lock_holds_plain_pins_in_order():
    assert [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][\w.!+]*", line)] == []
    assert sorted(LOCK, key=str.lower) == LOCK
    assert len(PINS) == len(LOCK)
    assert not {"pip", "reidlib"} & set(PINS)


def test_the_lock_meets_every_requirement():
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["book"], *extras["test"]]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]  # no build isolation
    for requirement in map(Requirement, wanted + build):
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} is not in requirements.lock"
        assert requirement.specifier.contains(pin), f"{requirement} against {pin} in requirements.lock"


def test_the_environment_is_the_lock():
    assert {name: version(name) for name in PINS} == PINS


def test_every_pin_installs_on_the_oldest_python():
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    asked = {name: distribution(name).metadata["Requires-Python"] for name in PINS}
    assert [name for name, those in asked.items() if those and not SpecifierSet(those).contains(oldest)] == []


def test_conda_make_and_pip_install_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = environment["dependencies"]
    python = next(item for item in plain if item.startswith("python=")).removeprefix("python=")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    assert {"pip", "make"} <= set(plain)
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    makefile = (ROOT / "Makefile").read_text()
    assert "-r requirements.lock" in makefile
    floor = PROJECT["requires-python"].removeprefix(">=")
    assert f"sys.version_info < ({floor.replace('.', ', ')})" in makefile


def test_make_knows_the_values_that_notebooks_accept():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^PROFILES +:= (.*)$", makefile, re.M)[1].split() == list(study.PROFILES)
    assert re.search(r"^RECOMPUTES +:= (.*)$", makefile, re.M)[1].split() == list(study.RECOMPUTE)


def test_citation_and_project_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert len(citation["references"]) == 5  # the papers that are re-run


def test_every_recorded_run_is_whole_and_one_that_a_row_asks_for():
    asked = {
        fingerprint(recipe)
        for key in study.PAPERS
        if study.paper(key).rows
        for profile in study.EVIDENCE
        for job in study.study(key, profile=profile).jobs()
        for recipe in (job.recipe, *study.ancestors(job.recipe))
    }
    store = RunStore(ROOT / "data" / "runs")
    assert store.verify() == []
    runs = store.runs()
    assert len(runs) > 300
    assert [run.name for run in runs if run.record["fingerprint"] not in asked] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_clean_with_one_parameters_cell(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"]] == []
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    names = [node.targets[0].id for node in ast.parse("".join(tagged[0]["source"])).body]
    assert names == ["profile", "dataset", "data_root", "device", "seeds", "recompute", "runs_dir"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_page_of_the_book(notebook):
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    assert {"file": f"nb/{notebook.stem}"} in [page for part in contents["parts"] for page in part["chapters"]]


def imports(path):
    """The top-level parts of reidlib that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from {name.split(".")[1] for name in names if name.startswith("reidlib.")}


def test_imports_point_one_way():
    level = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    wrong = []
    for path in sorted((ROOT / "reidlib").rglob("*.py")):
        part = path.relative_to(ROOT / "reidlib").with_suffix("").parts[0]
        if part == "__init__":
            assert not list(imports(path)), "reidlib/__init__.py imports a part of the library"
            continue
        assert part in level, f"{path} has no place in the order of imports"
        allowed = {other for other in level if level[other] < level[part]} | {part}
        if part == "papers":
            allowed = {"recipe", "papers"}
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in imports(path) if other not in allowed]
    assert wrong == []
