"""The README's own commands run, in the order that they stand in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def run(command: list[str], folder: Path) -> str:
    # The scripts of the environment that runs the tests, whether or not it is active.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_shell_command_of_the_readme_succeeds(folder: Path) -> None:
    for block in blocks("bash"):
        for line in block.strip().splitlines():
            run(["bash", "-euc", line], folder)
    assert (folder / "families-linear" / "head.json").is_file()


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    if not (folder / "families.csv").exists():
        run(["embedstore", "simulate", "families.csv", "--sequences", "2000", "--families", "20"], folder)
    for block in blocks("python"):
        run([sys.executable, "-W", "error", "-c", block], folder)


def test_what_the_readme_names_is_there() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    # The JSON of each figure, by its file name alone.
    named = set(re.findall(r"\| `(\w+\.json)` \|", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / "benchmarks" / "results" / name).exists()] == []
