"""A fitted head on disk: refused when it is newer, changed, or not one."""

import json
from pathlib import Path

import numpy as np
import pytest

import heads
from embedstore.errors import InputError, MissingFileError, StoreCorruptError, StoreVersionError, StoreWriteError
from embedstore.store import Store
from heads.api.load import ARRAYS_FILE, COST_FILE, HEAD_FILE, VALIDATION_FILE


@pytest.fixture
def saved(store: Store, tmp_path: Path) -> Path:
    heads.fit(store, task="pfam", head="knn", params={"k": 3}, out=tmp_path / "head")
    return tmp_path / "head"


def change(path: Path, **fields: object) -> None:
    record = json.loads((path / HEAD_FILE).read_text())
    (path / HEAD_FILE).write_text(json.dumps(record | fields))


def test_it_is_json_and_safetensors_and_says_what_it_is(saved: Path, store: Store) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [ARRAYS_FILE, COST_FILE, HEAD_FILE, VALIDATION_FILE]
    record = json.loads((saved / HEAD_FILE).read_text())
    assert record["format_version"] == 1
    assert (record["head"], record["params"]["k"], record["task"]["task"]) == ("knn", 3, "pfam")
    assert record["space"] == {"id": store.space().id, "identity": store.space().identity}
    assert len(record["classes"]) == 6
    assert set(record["versions"]) == {"embedstore", "numpy", "python"}


def test_everything_comes_back(saved: Path, store: Store) -> None:
    fitted, again = heads.fit(store, task="pfam", head="knn", params={"k": 3}), heads.load(saved)
    assert again.describe() == json.loads(json.dumps(fitted.describe()))
    for name, array in fitted.head.arrays().items():
        np.testing.assert_array_equal(again.head.arrays()[name], array)


def test_the_same_fit_writes_the_same_bytes(saved: Path, store: Store, tmp_path: Path) -> None:
    heads.fit(store, task="pfam", head="knn", params={"k": 3}, out=tmp_path / "twin")
    for name in (HEAD_FILE, ARRAYS_FILE):
        assert (saved / name).read_bytes() == (tmp_path / "twin" / name).read_bytes()


def test_saving_again_replaces_it_and_leaves_nothing_else(saved: Path, store: Store) -> None:
    heads.fit(store, task="pfam", out=saved)
    assert heads.load(saved).head_name == "linear"
    assert [path.name for path in saved.parent.iterdir()] == ["head"]


def test_a_directory_that_is_no_head_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is there and is no fitted head"):
        heads.fit(store, task="pfam", out=tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_one_error_and_nothing_half_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match="could not be written"):
        heads.fit(store, task="pfam", out=tmp_path / "file" / "head")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_newer_format_is_refused(saved: Path) -> None:
    change(saved, format_version=2)
    with pytest.raises(StoreVersionError, match="has format 2; this release reads up to 1"):
        heads.load(saved)


def test_changed_arrays_are_refused(saved: Path) -> None:
    with (saved / ARRAYS_FILE).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(StoreCorruptError, match="not the file that head.json names"):
        heads.load(saved)
    (saved / ARRAYS_FILE).unlink()
    with pytest.raises(StoreCorruptError, match="is missing"):
        heads.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1, "arrays": 3}'])
def test_a_record_that_is_broken_is_refused(saved: Path, text: str) -> None:
    (saved / HEAD_FILE).write_text(text)
    with pytest.raises(StoreCorruptError, match=r"head\.json"):
        heads.load(saved)


def test_a_record_that_lacks_a_field_is_refused(saved: Path) -> None:
    record = json.loads((saved / HEAD_FILE).read_text())
    del record["space"]
    (saved / HEAD_FILE).write_text(json.dumps(record))
    with pytest.raises(StoreCorruptError, match="lacks or misnames a field"):
        heads.load(saved)


def test_no_head_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="No fitted head at"):
        heads.load(tmp_path / "nothing")
