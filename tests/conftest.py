"""Fixtures shared by the tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reidlib.data import Benchmark, load, registry
from reidlib.data.synthetic import make
from reidlib.robustness import OF, PLAIN

BUILD = Path(__file__).parents[1] / "build"
ROOT = BUILD / "data"


@pytest.fixture(scope="session")
def plaza_tiny() -> Benchmark:
    """The tiny plaza world, generated once and kept in build/; test processes wait for the first."""
    return load("plaza", size="tiny", root=ROOT, workers=1)


@pytest.fixture(scope="session")
def copy_of() -> Callable[[str], Path]:
    """A real dataset's name -> a folder with a tiny drawn copy in its layout, the one that `make layouts` uses."""

    def drawn(name: str) -> Path:
        real = registry.DATASETS[name]
        root = BUILD / "copies" / real.layout
        make(real.counterpart, "tiny", root, layout=real.layout, workers=1, progress=False)
        return root

    return drawn


@pytest.fixture
def plain_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept runs have a robustness table of the usual images alone: all of its settings take seconds to draw."""
    monkeypatch.setattr("reidlib.robustness.OF", dict.fromkeys(OF, (PLAIN,)))
