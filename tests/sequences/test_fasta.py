from __future__ import annotations

import gzip
import string
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.errors import FileFormatError, InputError, MissingFileError, SequenceError
from embedstore.sequences import read_records
from embedstore.types import Progress, Record


def write(tmp_path: Path, content: bytes, name: str = "a.fasta") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def pairs(path: Path) -> list[tuple[str, bytes]]:
    return [(record.id, record.residues) for record in read_records(path)]


MESSY = {
    "wrapped at 60": (
        b">a\n" + b"MKLV" * 15 + b"\n" + b"ACDE" * 15 + b"\nMK\n>b\nMK\n",
        b"MKLV" * 15 + b"ACDE" * 15 + b"MK",
    ),
    "CRLF": (b">a\r\nMK\r\nLV\r\n>b\r\nMK\r\n", b"MKLV"),
    "lone CR": (b">a\rMK\rLV\r>b\rMK\r", b"MKLV"),
    "blank lines": (b"\n\n>a\n\nMK\n\nLV\n\n\n>b\n\nMK\n\n", b"MKLV"),
    "lower case": (b">a\nmkLv\n>b\nmk\n", b"MKLV"),
    "final stop": (b">a\nMKLV*\n>b\nMK*\n", b"MKLV"),
    "gaps": (b">a\nM--K.LV\n>b\n-MK-\n", b"MKLV"),
    "no final newline": (b">a\nMKLV\n>b\nMK", b"MKLV"),
    "blanks in lines": (b">a\nMK LV \n>b\nM\tK\n", b"MKLV"),
    "byte order mark": (b"\xef\xbb\xbf>a\nMKLV\n>b\nMK\n", b"MKLV"),
    "blank after >": (b"> a\nMKLV\n>  b\nMK\n", b"MKLV"),
}


@pytest.mark.parametrize("case", MESSY)
@pytest.mark.parametrize("pack", [None, "gz", "zst"])
def test_every_way_of_writing_gives_the_same_records(tmp_path: Path, case: str, pack: str | None) -> None:
    content, first = MESSY[case]
    compress = {None: bytes, "gz": gzip.compress, "zst": zstandard.compress}[pack]
    path = write(tmp_path, compress(content), "a.fasta" + (f".{pack}" if pack else ""))
    assert pairs(path) == [("a", first), ("b", b"MK")]


@pytest.mark.parametrize(
    "record_id",
    ["sp|P69905|HBA_HUMAN", "W5MEF8_LEPOC/17-151", "WP_162484774.1", "a;b,c=d", "..", "prötein", "a>b", "\xa0x"],
)
def test_ids_are_kept_byte_for_byte(tmp_path: Path, record_id: str) -> None:
    path = write(tmp_path, f">{record_id} Some name  of it\nMK\n".encode())
    (record,) = read_records(path)
    assert record == Record(id=record_id, residues=b"MK", columns={"description": "Some name  of it"})


def test_a_header_of_one_word_has_no_description(tmp_path: Path) -> None:
    (record,) = read_records(write(tmp_path, b">a \nMK\n"))
    assert record.columns == {}


def test_equal_ids_and_equal_sequences_are_all_kept(tmp_path: Path) -> None:
    assert pairs(write(tmp_path, b">a\nMK\n>a\nMK\n>a\nMKL\n")) == [("a", b"MK"), ("a", b"MK"), ("a", b"MKL")]


def test_members_and_frames_of_a_joined_file_are_all_read(tmp_path: Path) -> None:
    one, two = b">a\nMK\n", b">b\nLV\n"
    gz = write(tmp_path, gzip.compress(one) + gzip.compress(two) + bytes(512), "a.fasta.gz")
    zst = write(tmp_path, zstandard.compress(one) + zstandard.compress(two), "a.fasta.zst")
    assert pairs(gz) == pairs(zst) == [("a", b"MK"), ("b", b"LV")]


def test_compression_goes_by_content_and_not_by_name(tmp_path: Path) -> None:
    assert pairs(write(tmp_path, gzip.compress(b">a\nMK\n"), "a.fasta")) == [("a", b"MK")]
    assert pairs(write(tmp_path, b">a\nMK\n", "b.fasta.gz")) == [("a", b"MK")]


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_a_file_cut_short_is_an_error_and_not_fewer_records(tmp_path: Path, pack: str) -> None:
    content = b"".join(b">%d\n%s\n" % (i, b"MKLV" * (i % 90 + 1)) for i in range(20_000))
    whole = {"gz": gzip.compress, "zst": zstandard.compress}[pack](content)
    path = write(tmp_path, whole[: len(whole) * 2 // 3], f"a.fasta.{pack}")
    with pytest.raises(FileFormatError, match="damaged or cut short"):
        pairs(path)


def test_a_flipped_byte_in_gzip_is_an_error(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b">a\n" + b"MKLVACDEFGH" * 50 + b"\n"))
    whole[-6] ^= 1
    with pytest.raises(FileFormatError, match="damaged or cut short"):
        pairs(write(tmp_path, bytes(whole), "a.fasta.gz"))


def test_a_record_without_sequence_is_rejected_with_its_reason_and_reading_goes_on(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, b">a\nMK\n>empty\n>stop\n*\n>b\nLV\n>last"))
    assert [record.id for record in reader] == ["a", "b"]
    assert [(each.id, each.reason) for each in reader.report.rejected] == [
        ("empty", "it has no residues"),
        ("stop", "it has no residues"),
        ("last", "it has no residues"),
    ]
    assert reader.report.rejected[0].where.endswith("a.fasta, line 3")


def test_an_illegal_character_names_file_line_id_character_and_position(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nMK\n\n>b x\nMKL\nMK1V\n")
    with pytest.raises(
        SequenceError, match=r"a\.fasta, line 6, record 'b': character '1' at residue 6 .* skip_invalid=True"
    ):
        pairs(path)


def test_an_illegal_record_far_into_the_file_has_the_right_line(tmp_path: Path) -> None:
    good = b">ok\r\nMKLV\r\n" * 100_000
    with pytest.raises(SequenceError, match="line 200002, record 'bad'"):
        pairs(write(tmp_path, good + b">bad\r\nMK>LV\r\n" + good))


def test_invalid_records_are_named_and_left_out_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nM1\n>\nMK\n>caf\xe9\nMK\n>b\nMK\n")
    reader = read_records(path, skip_invalid=True)
    assert [record.id for record in reader] == ["b"]
    assert [each.id for each in reader.report.rejected] == ["a", "", "caf\\xe9"]
    assert reader.report.n_records == 1


@pytest.mark.parametrize(
    ("header", "reason"), [(b">caf\xe9", "its header is not UTF-8"), (b">", "it has no id"), (b">  ", "it has no id")]
)
def test_a_header_that_gives_no_id_is_refused(tmp_path: Path, header: bytes, reason: str) -> None:
    with pytest.raises(SequenceError, match=f"line 1, .*{reason}"):
        pairs(write(tmp_path, header + b"\nMK\n"))


def test_the_report_counts_what_was_changed(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, b">a\nmk-L\nV.*\n>b\nM K\n"))
    assert len(list(reader)) == 2
    report = reader.report
    assert (report.n_records, report.n_residues) == (2, 6)
    assert (report.n_gaps, report.n_stops, report.n_white_space, report.n_lower_case) == (2, 1, 1, 2)


def test_reading_again_gives_the_same_records_and_a_new_report(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, b">a\nMK\n>b\nLV\n"))
    assert list(reader) == list(reader)
    assert reader.report.n_records == 2


def test_nucleotides_alone_give_one_warning(tmp_path: Path) -> None:
    reader = read_records(write(tmp_path, b">a\nATGGCCATTGTAATG\n>b\nGGGCCGCTGAAAGGG\n"))
    list(reader)
    assert len(reader.report.warnings) == 1
    assert "look like nucleotides" in reader.report.warnings[0]
    reader = read_records(write(tmp_path, b">a\nATGGCCATTGTAATG\n>b\nMKLVWY\n"))
    list(reader)
    assert reader.report.warnings == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fasta", b"", "is empty"),
        ("a.fasta", b" \n\n", "is empty"),
        ("a.fasta", b">a\n>b\n", "No sequence in .*2 rejected"),
        ("a.fasta", b"id,sequence\na,MK\n", "named like fasta but reads like csv"),
        ("a.csv", b">a\nMK\n", "named like csv but reads like fasta"),
        ("a.fasta", b"\x89PNG\r\n\x1a\n\0\0", "named like fasta but is neither"),
        ("reads.txt", b"@read1\nACGT\n+\nIIII\n", "is neither FASTA nor"),
        ("a.fasta.bz2", b"BZh91AY", "compressed with bzip2"),
    ],
)
def test_what_is_not_fasta_is_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(FileFormatError, match=message):
        pairs(path)


def test_a_missing_file_is_an_error_when_asked_for_and_not_later(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"No such file or directory: .*none\.fasta"):
        read_records(tmp_path / "none.fasta")


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b">a\nMK\n")
    with pytest.raises(InputError, match="FASTA, which has no columns, but id_column='x'"):
        read_records(path, id_column="x")
    with pytest.raises(InputError, match="FASTA, which has no columns, but split='train'"):
        read_records(path, split="train")
    with pytest.raises(InputError, match="Unknown format 'fastq'; expected auto, fasta"):
        read_records(path, format="fastq")


def test_what_was_forced_to_be_fasta_must_be(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is not FASTA: it starts with"):
        list(read_records(write(tmp_path, b"id,sequence\na,MK\n", "a.csv"), format="fasta"))


def test_progress_counts_raw_bytes_up_to_the_size_of_the_file(tmp_path: Path) -> None:
    steps: list[Progress] = []
    path = write(tmp_path, gzip.compress(b"".join(b">%d\nMKLV\n" % i for i in range(100_000))), "a.fasta.gz")
    for _ in read_records(path, progress=steps.append):
        pass
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == path.stat().st_size


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)
SEQUENCES = st.text(string.ascii_letters, min_size=1, max_size=200)


@settings(deadline=None, max_examples=50)
@given(
    records=st.lists(st.tuples(IDS, SEQUENCES), min_size=1, max_size=20),
    width=st.integers(1, 80),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    final=st.booleans(),
    upper=st.booleans(),
)
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str]],
    width: int,
    line_end: bytes,
    final: bool,
    upper: bool,
) -> None:
    lines = []
    for record_id, sequence in records:
        written = (sequence.upper() if upper else sequence).encode()
        lines.append(b">" + record_id.encode())
        lines += [written[start : start + width] for start in range(0, len(written), width)]
    path = tmp_path_factory.getbasetemp() / "round_trip.fasta"
    path.write_bytes(line_end.join(lines) + (line_end if final else b""))
    assert pairs(path) == [(record_id, sequence.upper().encode()) for record_id, sequence in records]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("shift", range(3))
def test_records_across_blocks_are_whole(tmp_path: Path, line_end: bytes, shift: int) -> None:
    expected = [(f"x{i}", b"MKLV" * (i % 300 + 1)) for i in range(3000)]
    expected.insert(1500, ("long", b"A" * 1_000_000))
    content = line_end * shift + b"".join(
        b">" + name.encode() + line_end + residues[:600] + line_end + residues[600:] + line_end
        for name, residues in expected
    )
    assert pairs(write(tmp_path, content)) == expected


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(n_records: int) -> int:
        path = tmp_path / f"{n_records}.fasta"
        with path.open("wb") as file:
            for i in range(n_records):
                file.write(b">protein%d\n%s\n" % (i, b"MKLVACDEFGHI" * 10))
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_records(path)) == n_records
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(10_000), peak(100_000)
    assert large < small * 1.1
    assert large < 8_000_000
