from __future__ import annotations

import csv
import gc
import gzip
import io
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.errors import FileFormatError, InputError, SequenceError
from embedstore.sequences import read_records
from embedstore.types import Record


def write(tmp_path: Path, content: bytes | str, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_further_column_is_kept_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,label,sequence,note\np1,007,mkl*, "x\np2,1e-3,MK,"a ""b"",\r\nc"\n')
    assert list(read_records(path)) == [
        Record(id="p1", residues=b"MKL", columns={"label": "007", "note": ' "x'}),
        Record(id="p2", residues=b"MK", columns={"label": "1e-3", "note": 'a "b",\r\nc'}),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "data-00000-of-00010.head", "noextension"])
def test_the_delimiter_goes_by_name_and_else_by_the_header(tmp_path: Path, name: str) -> None:
    mark = "\t" if name in ("a.tsv", "a.txt") else ","
    path = write(tmp_path, f"id{mark}sequence{mark}label\na{mark}MK{mark}1\n", name)
    assert list(read_records(path)) == [Record(id="a", residues=b"MK", columns={"label": "1"})]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_bom_crlf_blank_rows_and_no_final_newline_do_not_matter(tmp_path: Path, compress: type[bytes]) -> None:
    path = write(tmp_path, compress(b"\xef\xbb\xbfid,sequence\r\n\r\na,MK\r\nb,LV"))
    assert [(record.id, record.residues) for record in read_records(path)] == [("a", b"MK"), ("b", b"LV")]


@pytest.mark.parametrize(
    ("header", "id_value"),
    [
        ("family_id,sequence_name,family_accession,aligned_sequence,sequence", "B"),
        ("Entry name,Entry,Gene Names,Reviewed,Sequence", "B"),
        ("sequence_id,accession,protein_name,a,seq", "B"),
    ],
)
def test_columns_are_found_by_exact_name_in_any_case(tmp_path: Path, header: str, id_value: str) -> None:
    (record,) = read_records(write(tmp_path, f"{header}\nA,{id_value},C,M-K,MK\n"))
    assert (record.id, record.residues) == (id_value, b"MK")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("key,sequence", r"has no id column; its columns are key, sequence; .*id_column= \(--id-column\)"),
        ("id,residues", r"has no sequence column; .*sequence_column= \(--sequence-column\)"),
        ("id,name,sequence", r"several columns that may be the id: id, name; .*--id-column"),
        ("id,sequence,SEQ", "several columns that may be the sequence: sequence, SEQ"),
        ("id;sequence,x", "has no id column; its columns are id;sequence, x"),
        ("id,sequence,x,x", "has the column 'x' more than once"),
    ],
)
def test_a_missing_or_ambiguous_column_is_an_error_that_names_the_option(
    tmp_path: Path, header: str, message: str
) -> None:
    with pytest.raises(FileFormatError, match=message):
        list(read_records(write(tmp_path, f"{header}\na,MK,c,d\n")))


def test_a_named_column_decides(tmp_path: Path) -> None:
    path = write(tmp_path, "id,name,sequence,sequence_2\na,b,MK,LV\n")
    (record,) = read_records(path, id_column="name", sequence_column="sequence_2")
    assert record == Record(id="b", residues=b"LV", columns={"id": "a", "sequence": "MK"})
    with pytest.raises(FileFormatError, match="has no column 'nam'; it has id, name, sequence, sequence_2"):
        list(read_records(path, id_column="nam"))


def test_a_column_without_name_is_kept_under_its_number_and_said(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, ",id,sequence\n0,a,MK\n"))
    assert [record.columns for record in reader] == [{"column_1": "0"}]
    assert "column 1 has no name" in reader.report.warnings[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,sequence\na,MK\nb,M1\n", "line 3, record 'b': character '1' at residue 2"),
        ("id,sequence\na,MK\nb\n", "line 3, record 'b': it has 1 fields; expected 2"),
        ("id,sequence\na,MK,x\n", "line 2, record 'a': it has 3 fields; expected 2"),
        ("id,sequence\n,MK\n", "line 2, record '': it has no id"),
        ('id,sequence\n"a\nb",MK\n', "its id holds a line break"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SequenceError, match=message):
        list(read_records(path))
    reader = read_records(write(tmp_path, content + "z,MK\n"), skip_invalid=True)
    assert [record.id for record in reader][-1] == "z"
    assert len(reader.report.rejected) == 1


def test_an_empty_cell_is_rejected_and_reading_goes_on(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, "id,sequence\na,\nb,MK\n"))
    assert [record.id for record in reader] == ["b"]
    assert [(each.id, each.reason) for each in reader.report.rejected] == [("a", "it has no residues")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,sequence\n", "No sequence in"),
        (b'id,sequence\n"a,MK\nb,MK\n', "line 3: unexpected end of data; expected fields quoted"),
        (b'id,sequence\n"a"b,MK\n', "line 2: .* expected fields quoted"),
        (b"id,sequence\ncaf\xe9,MK\n", "is not UTF-8 text: byte 0xe9"),
    ],
)
def test_a_broken_table_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        list(read_records(write(tmp_path, content)))


def test_fields_longer_than_csv_allows_by_default_are_read(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, f"id,sequence,label\na,{'M' * 200_000},{'0' * 200_000}\n"))
    assert (len(record.residues), len(record.columns["label"])) == (200_000, 200_000)


def test_rows_of_one_split_can_be_asked_for_and_the_others_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "id,sequence,split\na,MK,train\nb,LV,test\nc,LV,train\n")
    reader = read_records(path, split="train")
    assert [record.id for record in reader] == ["a", "c"]
    assert (reader.report.n_records, reader.report.n_other_splits) == (2, 1)
    with pytest.raises(FileFormatError, match="has no column 'split'"):
        list(read_records(write(tmp_path, "id,sequence\na,MK\n"), split="train"))


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=10), dialect=st.sampled_from(["excel", "excel-tab"]))
def test_cells_are_read_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], dialect: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect=dialect)
    writer.writerow(["id", "sequence", "x", "y"])
    writer.writerows([[f"p{number}", "MK", *row] for number, row in enumerate(rows)])
    path = tmp_path_factory.getbasetemp() / ("cells.csv" if dialect == "excel" else "cells.tsv")
    path.write_bytes(text.getvalue().encode())
    assert [(record.columns["x"], record.columns["y"]) for record in read_records(path)] == rows


def write_parquet(path: Path, columns: dict[str, object]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=700)
    return path


def test_parquet_gives_the_same_records_as_csv(tmp_path: Path) -> None:
    n = 3000
    columns: dict[str, object] = {
        "id": [f"p{i}" for i in range(n)],
        "sequence": ["mk" * (i % 9 + 1) + "*" for i in range(n)],
        "count": list(range(n)),
        "label": [None if i % 2 else "x" for i in range(n)],
        "score": [0.5] * n,
        "family": pyarrow.array(["a"] * n).dictionary_encode(),
    }
    records = list(read_records(write_parquet(tmp_path / "a.parquet", columns)))
    assert len(records) == n
    assert records[2999] == Record(
        id="p2999",
        residues=b"MK" * 3,
        columns={"count": "2999", "label": "", "score": "0.5", "family": "a"},
    )


def test_parquet_errors_name_the_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"id": ["a", "b"], "sequence": ["MK", "M1"]})
    with pytest.raises(SequenceError, match=r"a\.parquet, row 2, record 'b': character '1' at residue 2"):
        list(read_records(path))


def test_a_nested_column_or_a_cut_parquet_file_is_a_clear_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"id": ["a"], "sequence": ["MK"], "x": [[1, 2]]})
    with pytest.raises(FileFormatError, match="cannot be read: .*list"):
        list(read_records(path))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileFormatError, match="cannot be read"):
        list(read_records(path))


def test_a_reader_that_is_left_in_the_middle_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("id,sequence\n" + "".join(f"p{i},MKV\n" for i in range(5000)))
    records = iter(read_records(path))
    assert next(records).id == "p0"
    # A complaint of the abandoned generator would be an error here: warnings are.
    del records
    gc.collect()


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.tsv"])
def test_semicolons_between_columns_are_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "id;sequence;label\na;MKV;x\n", name)
    with pytest.raises(FileFormatError, match="columns are separated by ';'; export with commas or tabs"):
        list(read_records(path))
    with pytest.raises(FileFormatError, match="columns are separated by ';'"):
        list(read_records(path, format="csv"))


def test_a_semicolon_inside_a_name_is_no_separator(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, "id,sequence,go;terms\na,MKV,x;y\n"))
    assert record.columns == {"go;terms": "x;y"}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("choice", ["auto", "csv", "fasta"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\0", r"zip archive \(an Excel or Word file\?\): export it as CSV or FASTA"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel or Word file"),
        ("id,sequence\na,MK\n".encode("utf-16"), r"is UTF-16: .*iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff\0>\0a\0\n\0M", "is UTF-16"),
    ],
)
def test_what_a_spreadsheet_writes_is_told_apart(
    tmp_path: Path, content: bytes, message: str, choice: str, pack: type[bytes]
) -> None:
    with pytest.raises(FileFormatError, match=message):
        list(read_records(write(tmp_path, pack(content), "a.xlsx"), format=choice))


@pytest.mark.parametrize("choice", ["auto", "csv", "fasta"])
@pytest.mark.parametrize(
    "content", [b"\x1b[2J\x07junk,\x1b]0;x\x07\n\x1b", b"\x7fELF\x02\x1b[2J\0\0", b"\x1b[2J\x9b\n"]
)
def test_junk_is_not_echoed_to_the_terminal(tmp_path: Path, content: bytes, choice: str) -> None:
    with pytest.raises(FileFormatError, match="junk") as caught:
        list(read_records(write(tmp_path, content, "junk.csv"), format=choice))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["format= (--format)", "id_column='x' (--id-column)", "split= (--split)"])
def test_messages_name_the_option_beside_the_argument(tmp_path: Path, name: str) -> None:
    fasta, table = write(tmp_path, ">a\nMK\n", "a.fasta"), write(tmp_path, "id,sequence\na,MK\n")
    failing = {
        "format= (--format)": lambda: read_records(fasta, format="fastq"),
        "id_column='x' (--id-column)": lambda: read_records(fasta, id_column="x"),
        "split= (--split)": lambda: list(read_records(table, split="x")),
    }
    with pytest.raises(InputError, match=re.escape(name)):
        failing[name]()
