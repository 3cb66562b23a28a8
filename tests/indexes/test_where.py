"""Filters choose what a person means by them, and say so where nothing can be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import embedstore
from cli.embedstore_commands import app
from cli.parsing import parse_where
from embedstore.errors import InputError, MissingFileError, UnknownNameError
from embedstore.indexes.query import Hit, search_records
from embedstore.sequences import read_records
from embedstore.store import Store

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Data set ``a`` with splits and taxa, ``b`` without; b0 has the sequence of a0."""
    folder = tmp_path_factory.mktemp("where")
    rows = [(f"a{i}", RESIDUES[i:] + RESIDUES[:i] * 2, "train" if i % 2 else "test", str(i % 3)) for i in range(20)]
    header = "id,sequence,split,taxon\n"
    (folder / "a.csv").write_text(header + "".join(f"{','.join(row)}\n" for row in rows))
    others = [(f"b{i}", rows[0][1] if i == 0 else RESIDUES[::-1][i:] + "MKV" * (i + 1)) for i in range(5)]
    (folder / "b.fasta").write_text("".join(f">{name}\n{residues}\n" for name, residues in others))
    opened = embedstore.open(folder / "store.zarr", mode="a")
    opened.add("a", folder / "a.csv")
    opened.add("b", folder / "b.fasta")
    embedstore.build(opened, embedstore.load_model("kmer"))
    opened.refresh()
    return opened


def found(store: Store, where: object, **options: object) -> set[str]:
    query = list(read_records(Path(str(store.path)).parent / "a.csv"))[:1]
    hits: list[Hit] = search_records(store, store.space(), query, k=100, where=where, **options)
    return {name for hit in hits for name in hit.ids}


def test_values_of_one_name_are_any_of_them_and_names_are_all_of_them(store: Store) -> None:
    assert found(store, {"split": "train"}) == {f"a:a{i}" for i in range(1, 20, 2)}
    assert found(store, {"split": "train", "taxon": ["0", "1"]}) == {f"a:a{i}" for i in range(1, 20, 2) if i % 3 < 2}
    assert found(store, {"dataset": "b"}) == {"a:a0", *(f"b:b{i}" for i in range(5))}
    assert found(store, {"id": ["a3", "b2"]}) == {"a:a3", "b:b2"}
    assert found(store, store.dataset("b").digests[1:]) == {f"b:b{i}" for i in range(1, 5)}
    assert found(store, {"dataset": ["a", "b"], "split": "nothing"}) == set()


def test_the_query_itself_is_left_out_under_all_of_its_ids(store: Store) -> None:
    assert found(store, {"dataset": "b"}, exclude_self=True) == {f"b:b{i}" for i in range(1, 5)}
    assert len(found(store, None, exclude_self=True)) == 23


def test_what_cannot_be_meant_is_refused(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="Unknown data set 'c'"):
        found(store, {"dataset": "c"})
    with pytest.raises(UnknownNameError, match="Unknown column to choose by, 'taxa'. Did you mean 'taxon'"):
        found(store, {"taxa": "0"})
    with pytest.raises(InputError, match="1 of 2 ids to choose by stand in none of the data sets .*'a99'"):
        found(store, {"id": ["a1", "a99"]})
    with pytest.raises(InputError, match="where is empty"):
        found(store, {})
    with pytest.raises(InputError, match="not of the form name=value"):
        parse_where(["train"])
    with pytest.raises(MissingFileError, match="no file .*ids.txt"):
        parse_where([], Path("ids.txt"))


def test_the_command_takes_filters(store: Store, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a1\na2\n")
    query = str(Path(str(store.path)).parent / "b.fasta")
    options = ["--store", str(store.path), "--tsv", "--limit", "1", "--exclude-self"]
    done = CliRunner().invoke(app, ["search", query, "--where-ids", str(tmp_path / "ids.txt"), *options])
    assert [line.split("\t")[3] for line in done.stdout.splitlines()[1:]] in (["a:a1", "a:a2"], ["a:a2", "a:a1"])
    done = CliRunner().invoke(app, ["search", query, "--where", "dataset=b", "--where", "split=x", *options])
    assert isinstance(done.exception, UnknownNameError)
