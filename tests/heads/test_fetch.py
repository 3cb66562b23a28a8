"""Downloads against a server of our own: what is whole and right is added, all else is one clear line."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

import embedstore
from embedstore.errors import DownloadError, FileFormatError, InputError
from heads.tasks import TASKS, TaskSelection
from heads.tasks.fetch import fetch
from heads.tasks.readers import read_task
from heads.tasks.spec import RemoteFile, Task

FILES = {
    "train.csv": b"seq,label\nMKVLAA,0.5\nMKVLAH,0.75\n",
    "test.csv": b"seq,label\nGGGHWE,1.5\n",
}


class _Handler(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.asked.append(name)
        if name not in self.server.files:  # type: ignore[attr-defined]
            self.send_error(404)
            return
        body = self.server.files[name]  # type: ignore[attr-defined]
        self.send_response(200)
        cut = "cut" in self.path
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.files = dict(FILES)  # type: ignore[attr-defined]
    _Handler.asked = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def task(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> Task:
    """TAPE's stability, from our server."""
    files = tuple(
        RemoteFile(url=_url(server, name), name=name, sha256=hashlib.sha256(text).hexdigest())
        for name, text in FILES.items()
    )
    return _put(monkeypatch, replace(TASKS["stability"], files=files))


def _put(monkeypatch: pytest.MonkeyPatch, task: Task) -> Task:
    monkeypatch.setitem(TASKS._built_in, task.name, task)
    return task


def _url(server: ThreadingHTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{path}"


def test_files_are_checked_and_added_and_not_fetched_twice(task: Task, tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    report = fetch("stability", store, folder=tmp_path / "files")
    assert [file.verified for file in report.files] == [True, True]
    assert report.added[0].n_records == 3
    assert store.dataset("stability").ids() == ["train_0", "train_1", "test_0"]
    data = read_task(TaskSelection(task="stability"), store)
    assert data.targets(data.rows("train")).tolist() == [0.5, 0.75]
    assert _Handler.asked == ["train.csv", "test.csv"]
    again = fetch("stability", store, folder=tmp_path / "files")
    assert again.added[0].already_there
    assert _Handler.asked == ["train.csv", "test.csv"]


def test_a_wrong_checksum_is_told_and_nothing_is_kept(task: Task, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    server.files["test.csv"] = b"seq,label\nGGGHWE,9.9\n"  # type: ignore[attr-defined]
    with pytest.raises(
        DownloadError, match=r"test\.csv is not the file that was expected: its sha256 is not [0-9a-f]{64}"
    ):
        fetch("stability", folder=tmp_path)
    assert not (tmp_path / "test.csv").exists()


def test_a_missing_file_is_told(task: Task, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    del server.files["test.csv"]  # type: ignore[attr-defined]
    with pytest.raises(
        DownloadError, match=r"test\.csv cannot be had: 404 Client Error: Not Found\. Look for the file"
    ):
        fetch("stability", folder=tmp_path)


def test_a_download_that_breaks_off_is_told_and_nothing_is_kept(
    task: Task, server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = replace(task.files[0], url=_url(server, "cut/train.csv"))
    _put(monkeypatch, replace(task, files=(cut,)))
    with pytest.raises(DownloadError, match=r"could not be downloaded whole: IncompleteRead.*try again"):
        fetch("stability", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_told(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(monkeypatch, replace(task, files=(replace(task.files[0], url="http://127.0.0.1:9/train.csv"),)))
    with pytest.raises(DownloadError, match=r"could not be downloaded whole: .*Connection refused"):
        fetch("stability", folder=tmp_path)


def test_a_file_without_a_known_checksum_is_taken_only_when_asked_and_then_held_to(
    task: Task, server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(monkeypatch, replace(task, files=tuple(replace(file, sha256=None) for file in task.files)))
    with pytest.raises(InputError, match=r"2 of the 2 files of task 'stability' have no known sha256 .*--no-verify"):
        fetch("stability", folder=tmp_path)
    report = fetch("stability", folder=tmp_path, verify=False)
    assert [file.verified for file in report.files] == [False, False]
    recorded = json.loads((tmp_path / "fetched.json").read_text())
    assert recorded["train.csv"] == hashlib.sha256(FILES["train.csv"]).hexdigest()
    (tmp_path / "train.csv").unlink()
    server.files["train.csv"] = b"seq,label\nMKV,1\n"  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match=r"train\.csv is not the file that was expected"):
        fetch("stability", folder=tmp_path, verify=False)


def test_a_task_without_files_says_where_to_get_them() -> None:
    with pytest.raises(
        InputError, match=r"Get it from https://github\.com/DeepGraph.* add ppi_affinity PATH --partner"
    ):
        fetch("ppi_affinity")


def test_flips_archive_of_residues_becomes_a_table(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("splits/sequences.fasta", ">p1\nMKV\nLA\n>p2\nGGH\n")
        opened.writestr(
            "splits/sampled.fasta", ">p1 SET=train VALIDATION=True\nHHCCE\n>p2 SET=test VALIDATION=False\nCCC\n"
        )
        opened.writestr("splits/mask.fasta", ">p1\n01111\n>p2\n111\n")
    server.files["splits.zip"] = archive.getvalue()  # type: ignore[attr-defined]
    row = TASKS["secondary_structure"]
    file = replace(row.files[0], url=_url(server, "splits.zip"), sha256=hashlib.sha256(archive.getvalue()).hexdigest())
    _put(monkeypatch, replace(row, files=(file,)))
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    fetch("secondary_structure", store, folder=tmp_path / "files")
    data = read_task(TaskSelection(task="secondary_structure"), store)
    assert data.labels.tolist() == [" HCCE", "CCC"]
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"train": [], "valid": [0], "test": [1]}
    _put(monkeypatch, replace(row, files=(replace(file, members=("sequences.fasta", "other.fasta")),)))
    with pytest.raises(FileFormatError, match=r"has no other\.fasta; it has mask\.fasta, sampled\.fasta"):
        fetch("secondary_structure", folder=tmp_path / "files")


def test_fasta_files_of_classes_become_a_table(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = TASKS["thermophile"]
    files = []
    for file, text in zip(row.files, (b">hot one\nMKV\n", b">cold\nGGH\n"), strict=True):
        server.files[file.name] = text  # type: ignore[attr-defined]
        files.append(replace(file, url=_url(server, file.name), sha256=hashlib.sha256(text).hexdigest()))
    _put(monkeypatch, replace(row, files=tuple(files)))
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    fetch("thermophile", store, folder=tmp_path / "files")
    assert store.dataset("thermophile").column("label") == ["1", "0"]


def test_the_command_adds_and_tells(task: Task, tmp_path: Path) -> None:
    from cli.embedstore_commands import app

    arguments = ["fetch", "stability", "--folder", str(tmp_path / "f"), "--store", str(tmp_path / "s.zarr")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "stability: 3 records, 3 distinct sequences" in done.stderr
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(told.stdout)["added"][0]["already_there"] is True


def test_every_file_of_the_catalog_has_a_place_and_a_checksum_or_none() -> None:
    for row in TASKS.values():
        names = [file.name for file in row.files]
        assert len(set(names)) == len(names), row.name
        for file in row.files:
            assert file.url.startswith("https://"), row.name
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32, row.name
