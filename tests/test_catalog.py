"""Catalogs: known names, helpful errors for others, and plug-ins that cannot hurt what does not need them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import embedstore
from embedstore import errors
from embedstore.catalog import Catalog, require_package
from embedstore.errors import MissingPackageError, UnknownArgumentError, UnknownNameError


@dataclass(frozen=True)
class Row:
    name: str
    target: str = "math:pi"


def catalog() -> Catalog[Row]:
    return Catalog("thing", (Row("one"), Row("two")), group="embedstore.tests")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Installs a distribution whose entry points name rows."""

    def install(entry_points: str) -> None:
        info = tmp_path / "plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[embedstore.tests]\n{entry_points}\n")
        (tmp_path / "plugged.py").write_text(
            "from dataclasses import dataclass\n"
            "@dataclass\nclass Row:\n    name: str\n    target: str = 'math:e'\n"
            "three = Row('three')\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "plugged", raising=False)

    return install


def test_a_row_is_found_and_its_code_is_loaded_by_name() -> None:
    assert list(catalog()) == ["one", "two"]
    assert "one" in catalog()
    assert "three" not in catalog()
    assert catalog().load("two") == pytest.approx(3.14159, abs=1e-4)


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'tow'. Did you mean 'two'\? Known: one, two"):
        catalog()["tow"]


def test_a_plugin_adds_a_row(plugin) -> None:  # type: ignore[no-untyped-def]
    plugin("three = plugged:three")
    assert list(catalog()) == ["one", "two", "three"]
    assert catalog().load("three") == pytest.approx(2.71828, abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("three = missing_module:three", "cannot be loaded: No module named 'missing_module'"),
        ("three = plugged:four", "cannot be loaded"),
        ("other = plugged:three", "calls itself 'three'"),
        ("one = plugged:three", "calls itself 'three'"),
    ],
)
def test_a_broken_plugin_is_named_and_hurts_nothing_else(plugin, entry: str, message: str) -> None:  # type: ignore[no-untyped-def]
    plugin(entry)
    assert catalog()["one"].name == "one"
    with pytest.raises(UnknownNameError, match=message):
        list(catalog())


def test_a_plugin_cannot_take_the_name_of_a_built_in(plugin, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plugin("one = plugged:one")
    with (tmp_path / "plugged.py").open("a") as file:
        file.write("one = Row('one')\n")
    with pytest.raises(UnknownNameError, match="has the name of a built-in"):
        list(catalog())


def test_a_wrong_keyword_is_answered_with_the_closest_right_one() -> None:
    with pytest.raises(UnknownArgumentError, match=r"build\(\) has no argument 'dataset'; did you mean 'datasets'\?"):
        embedstore.build(None, None, dataset="pfam")  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match=r"verify\(\) has no argument 'xyz'; it has store, deep, quick"):
        embedstore.verify(None, xyz=1)  # type: ignore[call-arg, arg-type]


def test_a_missing_package_is_named_with_its_extra_and_other_import_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match=r"'no_such_thing' is not installed.*'embedstore\[graph\]'`. Or not."):
        require_package("no_such_thing.sub", purpose="a test", extra="graph", alternative="Or not.")
    with pytest.raises(ModuleNotFoundError, match=r"embedstore\.no_such"):
        require_package("embedstore.no_such", purpose="a test", extra="graph", package="elsewhere")


def test_public_names_are_listed_and_errors_are_among_them() -> None:
    names = dir(embedstore)
    assert {"build", "search", "Store", "EmbedstoreError", "UnknownNameError"} <= set(names)
    assert all(hasattr(embedstore, name) for name in names)
    tree = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, Exception)}
    assert {error.__name__ for error in tree} <= set(names)


@pytest.mark.parametrize("package", ["embedstore", "heads"])
def test_each_package_runs_its_command(package: str) -> None:
    done = subprocess.run([sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"embedstore {embedstore.__version__}\n"
