"""Nonsense as a user would type it: one line each, exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import embedstore
from cli.heads_commands import app
from embedstore.errors import InputError, SpaceMismatchError
from embedstore.store import Store

SPLITS = ("train",) * 24 + ("valid",) * 8 + ("test",) * 8


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> tuple[Store, list[tuple[str, str, str]]]:
    """Forty proteins of two families in a store with two spaces of k-mers."""
    folder = tmp_path_factory.mktemp("nonsense")
    rows = [row for row in simulated.proteins(120, seed=1) if row[2] in simulated.families[:2]]
    store = embedstore.open(folder / "s.zarr", mode="a")
    store.add("proteins", simulated.fasta(folder / "p.fasta", rows))
    for model in ("kmer", "mini"):
        embedstore.build(store, embedstore.load_model(model))
    store.refresh()
    return store, rows


@pytest.fixture
def run(proteins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``heads`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, list(words), env={"EMBEDSTORE": str(proteins[0].path)})


@pytest.fixture
def write(proteins: Any, tmp_path: Path, simulated: Any) -> Callable[..., None]:
    """Write a labelled file: a label for the number and the family of each protein, and perhaps other splits."""

    def made(label: Callable[[int, str], object], splits: tuple[str, ...] = SPLITS) -> None:
        rows = [
            (name, sequence, str(label(number, family)), split)
            for number, ((name, sequence, family), split) in enumerate(zip(proteins[1], splits, strict=True))
        ]
        simulated.table(tmp_path / "mine.csv", rows, ("id", "sequence", "label", "split"))

    return made


def _refused(done: Result, message: str, target_type: type[Exception] = InputError) -> None:
    assert isinstance(done.exception, target_type), done.output
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("label", "target_type", "message"),
    [
        (lambda number, family: "a", "class", "The training rows have 1 class ('a'); expected two or more"),
        (lambda number, family: "a" if number < 24 else family, "class", "1 class ('a'); expected two or more"),
        (lambda number, family: family, "regression", "predicts numbers. Leave such rows empty"),
        (lambda number, family: family, "ordinal", "predicts numbers. Leave such rows empty"),
        (lambda number, family: "NaN" if number == 7 else number, "regression", "says 'NaN' for"),
        (lambda number, family: 1.5, "regression", "1 distinct value (1.5); expected two or more"),
        (lambda number, family: "", "class", "has no labels: column 'label' is empty in all 40 rows"),
    ],
)
def test_a_label_column_that_teaches_nothing_is_one_error(
    run: Any, write: Any, label: Callable[[int, str], object], target_type: str, message: str
) -> None:
    write(label)
    _refused(run("fit", "--labels", "mine.csv", "--kind", target_type, "--space", "kmer"), message)


def test_a_class_that_only_test_rows_have_is_told_and_counted_as_wrong(run: Any, write: Any) -> None:
    write(lambda number, family: "new" if number > 36 else family)
    told = run("fit", "--labels", "mine.csv", "--space", "kmer", "--out", "head").stderr
    assert "3 validation and test rows are of classes that training never saw: always wrong" in told
    done = run("evaluate", "head", "--relatives", "none")
    assert "8 rows of 3 classes (2 trained on)" in done.stderr
    assert "counted as wrong: 3 rows of classes that training never saw" in done.stderr
    write(lambda number, family: "new" if number > 31 else family)
    message = "None of the 8 test rows of"
    _refused(run("evaluate", "head", "--relatives", "none"), message)
    _refused(run("compare", "--labels", "mine.csv", "--heads", "linear", "--space", "kmer"), message)


def test_a_split_without_test_rows_is_told_by_fit_and_refused_by_evaluate(run: Any, write: Any) -> None:
    write(lambda number, family: family, (*SPLITS[:32], *SPLITS[24:32]))
    done = run("fit", "--labels", "mine.csv", "--space", "kmer", "--out", "head")
    assert "the split has no test rows: nothing to evaluate on" in done.stderr
    _refused(run("evaluate", "head"), "no labelled row in split 'test' (split by: column split, without test rows)")
    _refused(run("compare", "--labels", "mine.csv", "--heads", "linear", "--space", "kmer"), "in split 'test'")
    write(lambda number, family: family, ("test",) * 40)
    _refused(run("fit", "--labels", "mine.csv", "--space", "kmer"), "no labelled row in split 'train'")


def test_an_ensemble_is_of_one_space(run: Any, write: Any) -> None:
    write(lambda number, family: family)
    for name, *options in (
        ("k", "--space", "kmer"),
        ("c", "--space", "kmer", "--head", "centroid"),
        ("m", "--space", "mini"),
        ("s", "--head", "composition"),
    ):
        assert run("fit", "--labels", "mine.csv", *options, "--out", name).exit_code == 0
    _refused(run("join", "k", "m"), "fitted on kmer-0acce6fd71, and mine-linear on mini-", SpaceMismatchError)
    _refused(run("join", "k", "k"), "The heads to join are linear, linear; expected different ones")
    _refused(run("join", "k"), "an ensemble joins two or more")
    members = 'members=["linear","composition"]'
    done = run("fit", "--labels", "mine.csv", "--space", "kmer", "--head", "ensemble", "--param", members)
    _refused(done, "Member 'composition' reads sequences, and the members of this head share rows of vectors")
    joined = run("join", "k", "c", "--out", "both")
    assert joined.exit_code == 0, joined.output
    assert "both: ensemble on kmer-0acce6fd71, 2 classes" in joined.stderr
    assert run("evaluate", "both", "--relatives", "none").exit_code == 0
    joined = run("join", "s", "k", "--out", "sources")
    assert "sources: hybrid on kmer-0acce6fd71, 2 classes" in joined.stderr
    assert run("evaluate", "sources", "--relatives", "none").exit_code == 0
