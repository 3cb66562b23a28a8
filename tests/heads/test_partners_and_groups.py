"""Rows that are not independent: pairs that share proteins with training pairs, and rows of one group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import embedstore
import heads
from cli.heads_commands import app as heads_app
from embedstore.errors import InputError
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from heads.evaluation.pair_classes import partners_seen
from heads.evaluation.scoring import resampling_groups, resampling_unit
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

HEADER = ("id", "sequence", "sequence_2", "label", "split")
OF_PAIRS: dict[str, Any] = {
    "dataset": "affinity",
    "partner_column": "sequence_2",
    "target_type": "regression",
    "pairing": "product",
}


@pytest.fixture(scope="module")
def affinity(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> Store:
    """Training pairs of forty proteins; test pairs with both of them (once in the other order), one, and none."""
    folder = tmp_path_factory.mktemp("affinity")
    known, fresh = simulated.proteins(40, seed=1), simulated.proteins(24, seed=2)
    rng = np.random.default_rng(0)
    rows = [
        (f"t{number}", known[number % 40][1], known[(number * 7 + 3) % 40][1], f"{rng.normal():.3f}", "train")
        for number in range(80)
    ]
    rows.append(("swapped", rows[0][2], rows[0][1], "0.5", "test"))
    rows += [(f"both{n}", known[n][1], known[n + 11][1], f"{rng.normal():.3f}", "test") for n in range(1, 5)]
    # The known one stands second here, and only ever second or first there: either place counts.
    rows += [(f"one{n}", fresh[n][1], known[n][1], f"{rng.normal():.3f}", "test") for n in range(6)]
    rows += [(f"none{n}", fresh[n][1], fresh[n + 12][1], f"{rng.normal():.3f}", "test") for n in range(9)]
    store = embedstore.open(folder / "s.zarr", mode="a")
    add_pairs(store, "affinity", simulated.table(folder / "affinity.csv", rows, HEADER), partner_column="sequence_2")
    embedstore.build(store, embedstore.load_model("kmer"))
    store.refresh()
    return store


def test_pairs_are_parted_by_how_many_of_their_proteins_were_trained_on(affinity: Store) -> None:
    data = read_task(TaskSelection(**OF_PAIRS), affinity)
    assert partners_seen(data, "test").tolist() == [2] * 5 + [1] * 6 + [0] * 9


def test_an_evaluation_of_pairs_has_the_metric_of_each_class_and_counts_a_swapped_pair(
    affinity: Store, tmp_path: Path
) -> None:
    heads.fit(affinity, task=TaskSelection(**OF_PAIRS), head="linear", out=tmp_path / "head")
    report = heads.evaluate(affinity, tmp_path / "head")
    assert report.leakage.n_exact == 1
    assert [(one.identity, one.seen, one.n) for one in report.by_partners[:3]] == [
        (1.0, "both", 5), (1.0, "one", 6), (1.0, "none", 9),
    ]  # fmt: skip
    # By likeness a protein counts as seen where it was seen itself, and perhaps where a relative was.
    both, one, none = (found.n for found in report.by_partners[3:])
    assert (both >= 5, none <= 9, both + one + none) == (True, True, 20)
    assert all(found.value is not None and found.low <= found.high for found in report.by_partners if found.n > 2)
    assert report.by_partners[0].value != report.by_partners[2].value
    without = heads.evaluate(affinity, tmp_path / "head", relatives="none")
    assert [one.identity for one in without.by_partners] == [1.0] * 3


def test_a_comparison_of_pairs_shows_the_classes(affinity: Store, tmp_path: Path) -> None:
    options = [
        "--dataset",
        "affinity",
        "--partner-column",
        "sequence_2",
        "--kind",
        "regression",
        "--pairing",
        "product",
        "--heads",
        "linear,knn",
    ]
    done = CliRunner().invoke(
        heads_app, ["compare", *options, "-o", str(tmp_path / "p"), "--store", str(affinity.path)]
    )
    assert done.exit_code == 0, done.output
    assert "by proteins trained on" in done.stdout
    found = json.loads((tmp_path / "p.json").read_text())
    assert [one["n"] for one in found["results"][0]["by_partners"]][:3] == [5, 6, 9]
    assert "6 pairs (30.0%)" in (tmp_path / "p.html").read_text()


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> Path:
    """120 proteins with a class, a group that shares it, and no group for the last ten."""
    rows = []
    for number, (name, sequence, family) in enumerate(simulated.proteins(120, seed=4)):
        split = "test" if number >= 60 else "train"
        rows.append((name, sequence, family, "" if number >= 110 else f"g{number % 5}", split))
    header = ("id", "sequence", "label", "group", "split")
    return Path(simulated.table(tmp_path_factory.mktemp("grouped") / "grouped.csv", rows, header))


def test_rows_of_one_group_are_drawn_together_and_those_without_one_by_sequence(grouped: Path) -> None:
    data = read_task(TaskSelection(labels=str(grouped), group_column="group"), None)
    rows = data.rows("test")
    units = resampling_groups(data, rows)
    assert units is not None
    assert len(np.unique(units)) == 5 + 10
    assert [len(np.unique(units[n:50:5])) for n in range(5)] == [1] * 5
    assert resampling_unit(data, rows) == "15 groups of equal 'group'"
    alone = read_task(TaskSelection(labels=str(grouped), group_column="none"), None)
    assert resampling_groups(alone, rows) is None
    assert resampling_unit(alone, rows) == "rows"


def test_the_resampling_groups_a_task_are_drawn_unless_told_otherwise(tmp_path: Path, simulated: Any) -> None:
    rows = [
        (name, sequence, family, f"{family}.{number % 2}", "test" if number >= 40 else "train")
        for number, (name, sequence, family) in enumerate(simulated.proteins(60, seed=4))
    ]
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    store.add("scop2", simulated.table(tmp_path / "x.csv", rows, ("id", "sequence", "label", "family", "split")))
    assert read_task(TaskSelection(task="scop2"), store).group_column == "family"
    assert read_task(TaskSelection(task="scop2", group_column="none"), store).groups is None
    with pytest.raises(InputError, match="has no column 'clan' to group rows by; it has label, family, split"):
        read_task(TaskSelection(task="scop2", group_column="clan"), store)


def test_the_interval_of_a_head_that_is_right_by_group_is_wider_over_groups(store: Store, tmp_path: Path) -> None:
    """All or nothing in each of six families: as many units as families, not as many as rows."""
    fitted = heads.fit(store, task="pfam", head="centroid")
    # Rows of three families are given a label that the head has never seen: wrong, all of a family together.
    data = store.dataset("pfam")
    sequences = store.sequences.take(data.digests)
    columns = zip(data.ids(), sequences, data.column("family_accession"), data.column("split"), strict=True)
    lines = [
        f"{name},{residues.decode()},{'other' if split == 'test' and label[6] in '024' else label},{label},{split}"
        for name, residues, label, split in columns
    ]
    path = tmp_path / "half.csv"
    path.write_text("id,sequence,label,family,split\n" + "\n".join(lines) + "\n")
    fitted = heads.fit(store, labels=path, head="centroid", out=tmp_path / "head")
    assert fitted.task["labels"] == str(path)
    by_rows, by_groups = (
        heads.evaluate(store, tmp_path / "head", group_column=column, relatives="none") for column in (None, "family")
    )
    one, other = by_rows.metrics["accuracy"], by_groups.metrics["accuracy"]
    assert one.value == other.value
    assert other.high - other.low > 2 * (one.high - one.low)
    assert (by_rows.resampling_unit, by_groups.resampling_unit) == ("rows", "6 groups of equal 'family'")


def test_the_command_line_the_functions_and_a_saved_selection_name_rows_alike() -> None:
    from dataclasses import fields

    from cli.task_options import TaskOptions

    of_selection = {field.name for field in fields(TaskSelection)} - {"seed"}
    assert of_selection == {field.name for field in fields(TaskOptions)}
