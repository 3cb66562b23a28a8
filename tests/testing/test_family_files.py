"""Simulated families on disk: whole or not at all, and as our own readers expect them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from embedstore.errors import InputError, MissingFileError, UnknownNameError
from embedstore.testing import family_files
from embedstore.testing.evolution import Evolution
from embedstore.testing.families import simulate_families
from embedstore.testing.family_files import write_families
from embedstore.types import Progress

N_SEQUENCES, N_FAMILIES = 300, 12


def expected() -> dict[str, tuple[bytes, str]]:
    return {
        record.id: (record.residues, record.columns["split"])
        for record in simulate_families(N_SEQUENCES, N_FAMILIES, seed=3)
    }


@pytest.mark.parametrize(
    ("name", "layout"),
    [("f.csv", "csv"), ("f.csv.gz", "csv"), ("f.fasta", "fasta"), ("f.fasta.gz", "fasta"), ("random_split", "pfam")],
)
def test_our_reader_reads_every_layout_back(tmp_path: Path, name: str, layout: str) -> None:
    from embedstore.sequences import read_records

    path = tmp_path / name
    report = write_families(path, N_SEQUENCES, N_FAMILIES, layout=layout, seed=3)
    records = list(read_records(path))
    assert {record.id: record.residues for record in records} == {key: row[0] for key, row in expected().items()}
    assert sum(report.n_by_split.values()) == report.n_sequences == len(records) == N_SEQUENCES
    assert report.n_residues == sum(len(record.residues) for record in records)


def test_csv_has_the_columns_of_labelled_sets(tmp_path: Path) -> None:
    path = tmp_path / "families.csv.gz"
    write_families(path, N_SEQUENCES, N_FAMILIES, layout="csv", seed=3)
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "sequence", "label", "split", "clan"]
    assert {row["id"]: (row["sequence"].encode(), row["split"]) for row in rows} == expected()
    assert all(row["label"] == row["id"].split("_")[0] for row in rows)


def test_csv_without_clans_has_no_column_for_them(tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    write_families(path, 20, 3, layout="csv", evolution=Evolution(clan_share=0))
    assert path.read_text().splitlines()[0] == "id,sequence,label,split"


def test_fasta_headers_name_family_clan_and_split(tmp_path: Path) -> None:
    path = tmp_path / "families.fasta"
    write_families(path, N_SEQUENCES, N_FAMILIES, layout="fasta", seed=3)
    headers = path.read_text().splitlines()[::2]
    assert headers[0].startswith(">SIM00001_000001 family=SIM00001 ")
    assert all("=" in word for header in headers for word in header.split()[1:])


def test_pfam_layout_is_that_of_the_published_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_files, "ROWS_PER_SHARD", 100)
    path = tmp_path / "random_split"
    report = write_families(path, N_SEQUENCES, N_FAMILIES, layout="pfam", seed=3)
    assert sorted(folder.name for folder in path.iterdir()) == ["dev", "test", "train"]
    assert sorted(shard.name for shard in (path / "train").iterdir()) == ["data-00000-of-00002", "data-00001-of-00002"]
    rows = [row for shard in path.glob("*/data-*") for row in csv.DictReader(shard.read_text().splitlines())]
    assert len(rows) == report.n_sequences
    assert list(rows[0]) == ["family_id", "sequence_name", "family_accession", "aligned_sequence", "sequence"]
    assert rows[0]["family_accession"] == rows[0]["family_id"] + ".1"


@pytest.mark.parametrize("layout", ["csv", "fasta", "pfam"])
def test_equal_arguments_give_equal_bytes(tmp_path: Path, layout: str) -> None:
    for name in ("a.gz", "b.gz"):
        write_families(tmp_path / name, 50, 5, layout=layout, seed=1)
    a, b = (
        [file.read_bytes() for file in sorted(top.rglob("*") if top.is_dir() else [top]) if file.is_file()]
        for top in (tmp_path / "a.gz", tmp_path / "b.gz")
    )
    assert a == b


@pytest.mark.parametrize("layout", ["csv", "fasta", "pfam"])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, layout: str) -> None:
    def interrupt(step: Progress) -> None:
        raise KeyboardInterrupt("Ctrl-C")

    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        write_families(tmp_path / "families", 50, 5, layout=layout, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_ends_with_the_total(tmp_path: Path) -> None:
    steps: list[Progress] = []
    write_families(tmp_path / "f.csv", 2500, 5, layout="csv", progress=steps.append)
    assert [step.done for step in steps] == [1000, 2000, 2500]
    assert steps[-1].total == 2500


def test_a_taken_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"mine\.csv exists already and is left as it is"):
        write_families(path, 10, 2, layout="csv")
    assert path.read_text() == "precious"


def test_an_unknown_layout_a_missing_folder_and_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown layout 'fsta'\. Did you mean 'fasta'"):
        write_families(tmp_path / "f", 10, 2, layout="fsta")
    with pytest.raises(MissingFileError, match="there is no folder"):
        write_families(tmp_path / "no" / "f", 10, 2, layout="csv")
    with pytest.raises(InputError, match="n_sequences=1 is less than n_families=2"):
        write_families(tmp_path / "f", 1, 2, layout="csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "starts"), [("f.csv", "id,sequence"), ("f.fasta", ">SIM00001"), ("f.fa", ">SIM00001"), ("f.faa", ">SIM")]
)
def test_the_name_says_the_layout(tmp_path: Path, name: str, starts: str) -> None:
    write_families(tmp_path / name, 20, 2)
    assert (tmp_path / name).read_text().startswith(starts)
    write_families(tmp_path / f"{name}.gz", 20, 2)
    assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()).decode().startswith(starts)


def test_a_name_without_suffix_is_a_folder_unless_a_layout_is_given(tmp_path: Path) -> None:
    write_families(tmp_path / "split", 20, 2)
    assert (tmp_path / "split" / "train").is_dir()
    write_families(tmp_path / "file", 20, 2, layout="csv")
    assert (tmp_path / "file").is_file()


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("a.fasta", "csv", r"named like fasta, but layout='csv' \(--layout\)"),
        ("a.csv", "pfam", "named like csv, but layout='pfam'"),
        ("a.txt", None, r"does not say which layout.*layout= \(--layout\)"),
        ("a.tsv", None, "cannot be written"),
        ("a.parquet", "csv", "cannot be written"),
        ("a.csv.zst", None, "cannot be written"),
    ],
)
def test_a_name_that_contradicts_the_layout_or_says_none_is_refused(
    tmp_path: Path, name: str, layout: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_families(tmp_path / name, 20, 2, layout=layout)
    assert list(tmp_path.iterdir()) == []
