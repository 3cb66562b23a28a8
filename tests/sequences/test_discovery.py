from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from embedstore.errors import FileFormatError, InputError, MissingFileError, SequenceError
from embedstore.sequences import file_sha256, read_records, source_files

PFAM_HEADER = "family_id,sequence_name,family_accession,aligned_sequence,sequence\n"


@pytest.fixture
def pfam(tmp_path: Path) -> Path:
    for split, n_shards in (("test", 1), ("train", 3), ("dev", 1)):
        (tmp_path / split).mkdir()
        # Written last to first: a directory may list its files in the order of their making.
        for number in reversed(range(n_shards)):
            row = f"CSD,{split}{number}/4-68,PF00313.22,M-K,MK\n"
            (tmp_path / split / f"data-{number:05}-of-{n_shards:05}").write_text(PFAM_HEADER + row)
    (tmp_path / "train" / ".hidden").write_text("x")
    return tmp_path


@pytest.fixture
def split_files(tmp_path: Path) -> Path:
    for split in ("valid", "test", "train"):
        (tmp_path / f"{split}.csv.gz").write_bytes(gzip.compress(f"id,sequence,label\n{split},MK,1\n".encode()))
    (tmp_path / "stats.json").write_text("{}")
    return tmp_path


def test_shards_are_read_in_the_order_of_splits_and_names(pfam: Path) -> None:
    records = list(read_records(pfam))
    assert [record.id for record in records] == ["train0/4-68", "train1/4-68", "train2/4-68", "dev0/4-68", "test0/4-68"]
    assert records[3].columns == {
        "family_id": "CSD",
        "family_accession": "PF00313.22",
        "aligned_sequence": "M-K",
        "split": "dev",
    }


def test_a_missing_shard_is_an_error(pfam: Path) -> None:
    (pfam / "train" / "data-00001-of-00003").unlink()
    with pytest.raises(FileFormatError, match="lacks 1 of the 3 shards .* data-00001-of-00003"):
        read_records(pfam)


def test_the_files_of_splits_give_the_column_split(split_files: Path) -> None:
    records = list(read_records(split_files))
    assert [(record.id, record.columns["split"]) for record in records] == [
        ("train", "train"),
        ("valid", "valid"),
        ("test", "test"),
    ]


def test_fasta_files_can_be_splits_too(tmp_path: Path) -> None:
    (tmp_path / "train.fasta").write_bytes(b">a x\nMK\n")
    (tmp_path / "test.fa").write_bytes(b">b\nmk\n")
    assert [record.columns for record in read_records(tmp_path)] == [
        {"description": "x", "split": "train"},
        {"split": "test"},
    ]


def test_one_split_can_be_asked_for(split_files: Path) -> None:
    assert [record.id for record in read_records(split_files, split="valid")] == ["valid"]
    with pytest.raises(InputError, match="has no split 'dev'; it has train, valid, test"):
        read_records(split_files, split="dev")


def test_files_of_no_split_are_left_alone_and_named(split_files: Path) -> None:
    (split_files / "hard_train.csv.gz").write_bytes(b"")
    reader = read_records(split_files)
    assert len(list(reader)) == 3
    (warning,) = reader.report.warnings
    assert warning.endswith("not read, since no split is named so: hard_train.csv.gz.")


def test_two_files_for_one_split_are_an_error(split_files: Path) -> None:
    (split_files / "train.csv").write_text("id,sequence\na,MK\n")
    with pytest.raises(FileFormatError, match=r"several files for the split 'train': train\.csv, train\.csv\.gz"):
        read_records(split_files)


def test_a_row_that_contradicts_its_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,sequence,split\na,MK,train\nb,MK,test\n")
    with pytest.raises(SequenceError, match="its column 'split' says 'test', but it stands under 'train'"):
        list(read_records(tmp_path))


def test_a_directory_of_another_kind_is_an_error_that_lists_it(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(FileFormatError, match=r"no directory of records; .* found notes\.md"):
        read_records(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(FileFormatError, match="train holds no file of records"):
        read_records(tmp_path)


def test_an_empty_shard_is_an_error(pfam: Path) -> None:
    (pfam / "dev" / "data-00000-of-00001").write_bytes(b"")
    with pytest.raises(FileFormatError, match="data-00000-of-00001 is empty"):
        read_records(pfam)


def test_source_files_give_path_split_size_and_hash(split_files: Path) -> None:
    files = source_files(split_files)
    assert [file.split for file in files] == ["train", "valid", "test"]
    for file in files:
        content = file.path.read_bytes()
        assert file.size == len(content)
        assert file_sha256(file.path) == hashlib.sha256(content).hexdigest()
    (single,) = source_files(files[0].path)
    assert single.split is None
    with pytest.raises(MissingFileError, match="No such file"):
        file_sha256(split_files / "none")


def test_the_pfam_random_split_is_read_whole(data_dir: Path) -> None:
    rows: Counter[str] = Counter()
    families = set()
    reader = read_records(data_dir / "pfam" / "random_split")
    for record in reader:
        rows[record.columns["split"]] += 1
        families.add(record.columns["family_id"])
    assert rows == {"train": 23_924, "dev": 2_991, "test": 2_991}
    assert len(families) == 142
    assert not reader.report.rejected


def test_a_shard_of_the_published_split_is_read_by_its_content(data_dir: Path) -> None:
    records = list(read_records(data_dir / "pfam_bileschi_sample" / "data-00000-of-00010.head"))
    assert len(records) == 15
    for record in records:
        aligned = record.columns["aligned_sequence"].replace(".", "").replace("-", "").upper()
        assert aligned.encode() == record.residues


def test_real_training_sets_are_read_without_a_reject(data_dir: Path) -> None:
    paths = sorted(data_dir.glob("*/train.csv.gz"))
    assert paths
    for path in paths:
        # A sample of each set is enough here; the largest has 162,000 rows.
        reader = read_records(path)
        assert sum(1 for _, _ in zip(range(5000), reader, strict=False)) > 100
        assert not reader.report.rejected
