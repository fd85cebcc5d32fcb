"""Fixtures shared by the tests."""

from pathlib import Path

import pytest
from filelock import FileLock

from reidlib.data import Benchmark, load

ROOT = Path(__file__).parents[1] / "build" / "data"


@pytest.fixture(scope="session")
def plaza_tiny() -> Benchmark:
    """The tiny plaza world, generated once and kept in build/; test processes wait for the first."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with FileLock(ROOT / "plaza-tiny.test.lock"):
        return load("plaza", size="tiny", root=ROOT, workers=1)
