"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports numpy or torch: two workers with two threads each get in each other's way on two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


LONGEST = "test_readme.py"
"""Its tests take a minute each: begun last, one of them would leave the other worker idle at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real labelled proteins; the test is skipped where there is none."""
    folder = Path(os.environ.get("EMBEDSTORE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real proteins at {folder}: set EMBEDSTORE_TEST_DATA to their folder")
    return folder
