"""A store in object storage: the same bits as in a directory, under the same promises."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr

import embedstore
import heads
from embedstore.errors import InputError, StoreCorruptError, StoreError, StoreNotFoundError, StoreWriteError
from embedstore.indexes.query import search_records
from embedstore.models import load_model
from embedstore.store import Store, object_store, space_writer, store_path
from embedstore.store.files import StorePath, locate
from embedstore.store.layout import create_exclusive
from embedstore.store.part_writer import PartWriter
from embedstore.store.zarr_shards import shard_io, writer
from embedstore.store.zarr_shards.reader import ShardedArray
from embedstore.store.zarr_shards.writer import ArrayWriter
from embedstore.types import Record

moto_server = pytest.importorskip("moto.server", reason="moto, an S3 server for tests, is not installed")
pytest.importorskip("s3fs", reason="s3fs is not installed")

PROTEINS = {f"p{i}": "MKTAYIAKQRQISFVK"[: 3 + i % 12] + "ACDEFGHIKLMNPQRSTVWY"[i % 20] * (i % 7) for i in range(60)}
BUCKET = "proteins"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server, to which s3:// leads while it runs."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        fsspec.filesystem("s3", use_listings_cache=False).mkdir(BUCKET)
        yield address
    running.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """Where a new store could be made."""
    if request.param == "s3":
        request.getfixturevalue("server")
    return f"{request.param}://{BUCKET}/{uuid.uuid4().hex}/store.zarr"


def fasta(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in proteins.items()))
    return path


def job(place: str | Path, file: Path) -> Store:
    store = embedstore.open(place, mode="a")
    store.add("mine", file)
    embedstore.build(store, load_model("kmer"), batch_residues=100)
    return store


def tables(store: Store) -> list[dict[str, Any]]:
    """Size and hash of every file of every part."""
    parts = [*store.sequences.parts, *store.dataset("mine").parts, *store.space().parts]
    return [part.details["files"] for part in parts]


def below(path: StorePath) -> list[str]:
    """Names of all objects."""
    assert not isinstance(path, Path)
    return sorted(path.fs.find(path.path))


def array_of(path: StorePath, data: np.ndarray) -> ShardedArray:
    writer = ArrayWriter(path, "a", data.dtype, data.shape[1:])
    writer.append(data)
    return ShardedArray(path / "a", writer.close())


def test_the_whole_job_gives_the_bits_that_a_directory_gets(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_writer, "PART_ROWS", 30)
    file = fasta(tmp_path / "p.fasta", PROTEINS)
    here, there = job(tmp_path / "store.zarr", file), job(place, file)
    again = embedstore.open(place)
    assert tables(there) == tables(again) == tables(here)
    assert len(again.space().parts) > 1
    report = embedstore.verify(again)
    assert report.ok, report.problems
    assert report.n_files == embedstore.verify(here).n_files
    assert again.dataset("mine").ids() == list(PROTEINS)
    digests = here.dataset("mine").digests
    assert again.sequences.take(digests) == here.sequences.take(digests)
    np.testing.assert_array_equal(again.space().take(digests[::-7]), here.space().take(digests[::-7]))
    query = [Record(id="q", residues=b"MKTAYIAKWWW")]
    assert search_records(again, again.space(), query, k=5) == search_records(here, here.space(), query, k=5)
    assert again.add("mine", file).already_there
    assert embedstore.build(again, load_model("kmer")).n_embedded == 0


def test_heads_learn_the_same_from_object_storage(tmp_path: Path) -> None:
    place = f"memory://{BUCKET}/{uuid.uuid4().hex}"
    letters = "ACDEFGHIKLMNPQRSTVWY"
    rng = np.random.default_rng(0)
    splits = ["train"] * 40 + ["dev"] * 10 + ["test"] * 10
    rows = [
        f"p{i},{''.join(rng.permutation(list(letters[:8] if i % 2 else letters[8:])))},{'ab'[i % 2]},{split}"
        for i, split in enumerate(splits)
    ]
    file = tmp_path / "p.csv"
    file.write_text("\n".join(["id,sequence,label,split", *rows, ""]))
    reports = []
    for where in (tmp_path / "store.zarr", place):
        store = job(where, file)
        fitted = heads.fit(where, dataset="mine", head="linear", out=tmp_path / f"head{len(reports)}")
        reports.append(heads.evaluate(store, fitted))
    assert reports[0].metrics == reports[1].metrics
    assert reports[1].n_rows == 10


def test_plain_zarr_reads_a_store_in_object_storage(place: str, tmp_path: Path) -> None:
    store = job(place, fasta(tmp_path / "p.fasta", PROTEINS))
    root = zarr.open_group(place, mode="r")
    (part,) = [group for _, group in root["datasets/mine/parts"].groups()]
    offsets, text = part["ids_offsets"][:], part["ids"][:].tobytes()
    assert [text[a:b].decode() for a, b in itertools.pairwise(offsets)] == list(PROTEINS)
    (vectors,) = [group["vectors"][:] for _, group in root[f"spaces/{store.spaces()[0]}/parts"].groups()]
    np.testing.assert_array_equal(vectors, store.space().parts[0].array("vectors").read())


@pytest.mark.parametrize(("dtype", "row"), [("int64", ()), ("uint8", ()), ("uint8", (24,)), ("float16", (40,))])
def test_rows_and_ranges_are_those_of_the_array_however_it_is_cut(
    place: str, dtype: str, row: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK_BYTES", 64)
    for name, size in (("_GAP_BYTES", 100), ("_SPAN_BYTES", 2000), ("_WINDOW_BYTES", 5000), ("_WINDOW_SPANS", 3)):
        monkeypatch.setattr(shard_io, name, size)
    monkeypatch.setattr(object_store, "_READ_BYTES", 30_000)
    rng = np.random.default_rng(0)
    # More than one shard of each.
    n_rows = 512 * max(1, 64 // (np.dtype(dtype).itemsize * int(np.prod(row)))) + 700
    data = rng.integers(0, 200, (n_rows, *row)).astype(dtype)
    array = array_of(locate(place) / "part", data)
    np.testing.assert_array_equal(array.read(), data)
    np.testing.assert_array_equal(array.read(n_rows - 7, n_rows + 7), data[-7:])
    rows = rng.integers(0, n_rows, 40)
    np.testing.assert_array_equal(array.take(rows), data[rows])
    starts = rng.integers(0, n_rows, 20)
    stops = np.minimum(starts + rng.integers(0, 90, 20), n_rows)
    for start, stop, found in zip(starts, stops, array.ranges(starts, stops), strict=True):
        np.testing.assert_array_equal(found, data[start:stop])
    assert array.damaged_chunks() == []


def test_neighbours_are_read_in_one_request_and_small_arrays_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = locate(f"memory://{BUCKET}/{uuid.uuid4().hex}")
    vectors = array_of(path / "vectors", np.ones((20_000, 100), np.float16))
    keys = array_of(path / "keys", np.ones((20_000, 24), np.uint8))
    requests = []
    real = object_store.read_spans
    monkeypatch.setattr(object_store, "read_spans", lambda spans: requests.extend(spans) or real(spans))
    vectors.take(np.arange(100, 12_000, 3))
    assert len(requests) == 1
    requests.clear()
    vectors.ranges(np.array([10, 19_000]), np.array([20, 19_010]))
    assert len(requests) == 2
    requests.clear()
    for row in range(0, 20_000, 1000):
        keys.take(np.array([row]))
        keys.read(row, row + 10)
    assert len(requests) == 1


def test_a_record_is_never_overwritten(place: str) -> None:
    path = locate(place) / "zarr.json"
    assert create_exclusive(path, b"first")
    assert not create_exclusive(path, b"second")
    assert object_store.read(path) == b"first"


def test_a_record_whose_answer_was_lost_counts(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was carried out, the answer never came, and what was sent again is refused because of itself."""
    create = object_store.create
    monkeypatch.setattr(object_store, "create", lambda path, payload: create(path, payload) and create(path, payload))
    store = embedstore.open(place, mode="a")
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    assert store.dataset("mine").n_rows == 60


def test_a_fault_after_the_record_was_sent_does_not_remove_the_part(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = object_store.create

    def create_then_fail(path: Any, payload: bytes) -> bool:
        created = create(path, payload)
        if path.parent.parent.name == "parts":
            raise TimeoutError("no answer")
        return created

    monkeypatch.setattr(object_store, "create", create_then_fail)
    store = embedstore.open(place, mode="a")
    file = fasta(tmp_path / "p.fasta", PROTEINS)
    with pytest.raises(StoreWriteError, match=r"does not answer \(no answer\)"):
        store.add("mine", file)
    monkeypatch.undo()
    store.refresh()
    assert len(store.sequences.parts) == 1
    store.add("mine", file)
    assert store.dataset("mine").n_rows == 60
    assert embedstore.verify(store).ok


def test_a_writer_that_fails_leaves_no_object(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_UPLOAD_BYTES", 5 * 2**20)
    path = locate(place)
    with pytest.raises(KeyboardInterrupt), PartWriter(path, "sequences/parts", "sequences") as part:
        # One array is being uploaded in pieces, one is still in memory, one shard is complete.
        monkeypatch.setattr(writer, "CHUNKS_PER_SHARD", 40)
        part.append("large", np.ones((17_000, 1024), np.uint8), np.uint8)
        part.append("small", np.ones(10, np.uint8), np.uint8)
        raise KeyboardInterrupt
    del part
    gc.collect()
    assert below(path) == []
    if path.protocol == "s3":
        assert path.fs.list_multipart_uploads(BUCKET) == []


def test_what_a_killed_writer_left_does_not_count(place: str, tmp_path: Path) -> None:
    store = job(place, fasta(tmp_path / "p.fasta", PROTEINS))
    array_of(store.path / "sequences" / "parts" / "20200101T000000000000-00000000", np.ones(10, np.uint8))
    report = embedstore.verify(embedstore.open(place))
    assert report.ok, report.problems
    assert any("no commit record" in note and note.startswith("sequences/parts/2020") for note in report.notes)
    assert len(embedstore.open(place).sequences.parts) == 1


def test_two_builds_at_once_lose_nothing(place: str, tmp_path: Path) -> None:
    file = fasta(tmp_path / "p.fasta", PROTEINS)

    def work(number: int) -> None:
        store = embedstore.open(place, mode="a")
        store.add(f"mine{number}", file)
        embedstore.build(store, load_model("kmer"), batch_residues=100)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [None, None]
    store = embedstore.open(place)
    report = embedstore.verify(store)
    assert report.ok, report.problems
    assert store.datasets() == ["mine0", "mine1"]
    assert store.space().n_rows == len(set(PROTEINS.values()))


def test_verify_finds_every_kind_of_damage(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_writer, "PART_ROWS", 30)
    store = job(place, fasta(tmp_path / "p.fasta", PROTEINS))
    names = below(store.path)
    vectors = [name for name in names if name.endswith("vectors/c/0/0")]
    (ids,) = [name for name in names if name.endswith("ids/c/0")]
    (residues,) = [name for name in names if name.endswith("residues/zarr.json")]
    fs = locate(place).fs
    for name, damage in ((vectors[0], "delete"), (vectors[1], "flip"), (ids, "cut"), (residues, "append")):
        whole = fs.cat_file(name)
        flipped = whole[:20] + bytes([whole[20] ^ 4]) + whole[21:]
        fs.rm_file(name)
        if damage != "delete":
            fs.pipe_file(name, {"flip": flipped, "cut": whole[:-1], "append": whole + b" "}[damage])
    problems = embedstore.verify(embedstore.open(place)).problems
    assert len(problems) == 4
    for name in (vectors[0], vectors[1], ids, residues):
        assert any(name.rpartition("/parts/")[2] in problem for problem in problems), name


@pytest.mark.parametrize("damage", ["cut", "delete"])
@pytest.mark.parametrize("row", [(4,), (100,)])
def test_a_truncated_object_is_an_error_when_it_is_read(place: str, damage: str, row: tuple[int, ...]) -> None:
    array = array_of(locate(place) / "part", np.ones((100, *row), np.float32))
    path = locate(place) / "part" / "a" / "c" / "0" / "0"
    whole = path.fs.cat_file(path.path)
    path.fs.rm_file(path.path)
    if damage == "cut":
        path.fs.pipe_file(path.path, whole[:-10])
    with pytest.raises(StoreCorruptError, match="bytes where"):
        array.take(np.array([1]))


def test_a_place_with_other_things_is_left_alone(place: str) -> None:
    path = locate(place)
    path.fs.pipe_file((path / "thesis.tex").path, b"precious")
    with pytest.raises(StoreError, match="no embedstore store"):
        embedstore.open(place, mode="a")
    with pytest.raises(StoreNotFoundError, match="No store at"):
        embedstore.open(f"{place}/nothing")


def test_a_server_that_overwrites_in_spite_of_the_condition_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = locate(place).fs
    real = fs.pipe_file
    monkeypatch.setattr(fs, "pipe_file", lambda path, payload, mode="overwrite": real(path, payload))
    with pytest.raises(StoreWriteError, match="overwrites files that it was told not to"):
        embedstore.open(place, mode="a").add("mine", fasta(tmp_path / "p.fasta", PROTEINS))


def test_a_file_system_without_exclusive_writes_is_refused_for_writing() -> None:
    with pytest.raises(StoreWriteError, match="https:// cannot create a file only if it is not there"):
        embedstore.open("https://127.0.0.1/store.zarr", mode="a")


def test_a_bucket_that_is_not_there_is_named(server: str, tmp_path: Path) -> None:
    for mode in ("r", "a"):
        with pytest.raises(StoreError, match="s3://nowhere/.*There is no such bucket"):
            embedstore.open("s3://nowhere/store.zarr", mode=mode)  # type: ignore[arg-type]
    with pytest.raises(StoreWriteError, match="Cannot write to the store at s3://nowhere.*There is no such bucket"):
        create_exclusive(locate("s3://nowhere/store.zarr/zarr.json"), b"{}")


def test_refused_access_is_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # From now on the server asks who is there, and it knows nobody.
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    with pytest.raises(StoreError, match=r"Cannot read s3://.*Access was refused.*Check the credentials"):
        embedstore.open(f"s3://{BUCKET}/store.zarr")
    with pytest.raises(StoreWriteError, match=r"Cannot write to the store at s3://.*Access was refused"):
        create_exclusive(locate(f"s3://{BUCKET}/zarr.json"), b"{}")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "Unable to locate credentials.*Give credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, "does not answer.*Check the network"),
    ],
)
def test_what_keeps_the_command_line_from_a_bucket_is_one_line(
    server: str, environment: dict[str, str], said: str
) -> None:
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value}
    script = Path(sys.executable).parent / "embedstore"
    done = subprocess.run(
        [script, "ls", "--store", f"s3://{BUCKET}/store.zarr"], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(said, line), line


def test_a_missing_package_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules.update(s3fs=None, gcsfs=None)\nimport embedstore\n"
        "for url in ('s3://b/x', 'gs://b/x'):\n"
        "    try:\n        embedstore.open(url)\n"
        "    except embedstore.errors.StoreError as error:\n        print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    s3, gcs = done.stdout.splitlines()
    assert s3.endswith("Run: pip install 'embedstore[s3]'")
    assert gcs.endswith("Run: pip install 'embedstore[gcs]'")


def test_a_url_on_the_command_line_and_what_it_commits_is_seen_at_once(server: str, tmp_path: Path) -> None:
    place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    store = job(place, fasta(tmp_path / "p.fasta", PROTEINS))
    assert store.datasets() == ["mine"]
    script = Path(sys.executable).parent / "embedstore"
    new = fasta(tmp_path / "o.fasta", {"new": "WWWWHHHH"})
    done = subprocess.run([script, "add", "other", new, "--store", place], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.fasta", "p.fasta"]
    assert store.datasets() == ["mine", "other"]
    assert store.sequences.take(store.dataset("other").digests) == [b"WWWWHHHH"]


def test_a_path_on_this_machine_stays_a_path(tmp_path: Path) -> None:
    assert store_path(tmp_path) == store_path(str(tmp_path)) == store_path(f"file://{tmp_path}") == tmp_path
    assert type(store_path(f"file://{tmp_path}")) is type(Path())
    with pytest.raises(InputError, match="was a URL before it became a path"):
        store_path(Path("s3://bucket/store.zarr"))
    with pytest.raises(InputError, match="Cannot make out"):
        store_path("nonsense://bucket/store.zarr")


def test_a_path_with_its_own_options_keeps_them() -> None:
    upath = pytest.importorskip("upath")
    found = store_path(upath.UPath("s3://bucket/store.zarr", endpoint_url="http://127.0.0.1:1", anon=True))
    assert not isinstance(found, Path)
    assert (found / "zarr.json").storage_options["endpoint_url"] == "http://127.0.0.1:1"
    assert found.fs.anon
    assert not found.fs.dircache.use_listings_cache


@pytest.mark.parametrize(
    ("url", "message"),
    [("s3://", "names no bucket"), ("gs:///", "names no bucket")],
)
def test_a_url_that_can_be_no_store_is_refused_with_what_to_pass(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        embedstore.open(url, mode="a")
