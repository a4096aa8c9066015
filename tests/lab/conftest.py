"""What the tests of the lab stand on: tests/system's private containerd and its waits, the lab's own runner and verdict."""

import importlib.util
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_spec = importlib.util.spec_from_file_location("system_conftest", ROOT / "tests/system/conftest.py")
system = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(system)
pytest_configure = system.pytest_configure

sys.path.insert(0, str(ROOT / "lab"))
import lab  # noqa: E402


@pytest.fixture(scope="session")
def runtimes():
    all_of_them = lab.Runtimes()
    yield all_of_them
    all_of_them.stop()


@pytest.fixture
def incident(runtimes):
    """Makes an incident; each is stopped at the end, and must have left nothing."""
    made = []

    def make(name, seconds=None):
        folder, expect = lab.catalogue()[name]
        made.append(lab.Incident(folder, expect, runtimes, seconds))
        return made[-1]

    yield make
    left = [what for one in reversed(made) for what in one.stop()]
    assert not left, f"left behind: {left}"
