"""The canonical shards: bit-identical to zarr-python's, readable both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec

from embedstore.errors import StoreCorruptError
from embedstore.store.zarr_shards import writer
from embedstore.store.zarr_shards.reader import ShardedArray
from embedstore.store.zarr_shards.writer import ArrayWriter


def write(part: Path, data: np.ndarray, step: int = 1000, name: str = "a") -> ShardedArray:
    part.mkdir(exist_ok=True)
    writer = ArrayWriter(part, name, data.dtype, data.shape[1:])
    for start in range(0, len(data), step):
        writer.append(data[start : start + step])
    return ShardedArray(part / name, writer.close())


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float16", (2000, 320)),
        ("float32", (700, 1024)),
        ("uint8", (30_000, 24)),
        ("int64", (100_000,)),
        ("uint8", (7,)),
    ],
)
def test_shards_are_the_bytes_that_zarr_python_writes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(1).integers(1, 100, shape).astype(dtype)
    ours = write(tmp_path / "ours", data)
    theirs = zarr.create_array(
        tmp_path / "theirs",
        shape=shape,
        dtype=dtype,
        chunks=(ours.chunk_rows, *shape[1:]),
        shards=(ours.chunk_rows * writer.CHUNKS_PER_SHARD, *shape[1:]),
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        fill_value=np.nan if dtype.startswith("f") else 0,
        config={"write_empty_chunks": True},
    )
    theirs[:] = data
    for path in sorted((tmp_path / "theirs" / "c").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "ours" / "a" / path.relative_to(tmp_path / "theirs")).read_bytes()


def test_the_mapped_reader_and_zarr_read_the_same_from_several_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK_BYTES", 512)
    data = np.random.default_rng(2).normal(size=(2500, 64)).astype("float16")
    ours = write(tmp_path / "part", data, step=777)
    assert len(list((tmp_path / "part/a/c").iterdir())) == 2
    plain = zarr.open_array(tmp_path / "part" / "a", mode="r")
    rng = np.random.default_rng(3)
    for start, stop in rng.integers(0, 2500, (50, 2)):
        np.testing.assert_array_equal(ours.read(start, stop), plain[start:stop])
    rows = rng.integers(0, 2500, 300)
    np.testing.assert_array_equal(ours.take(rows), data[rows])
    assert ours.damaged_chunks() == []


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 300), step=st.integers(1, 100))
def test_any_number_of_rows_in_any_steps_comes_back(
    tmp_path_factory: pytest.TempPathFactory, n: int, step: int
) -> None:
    data = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    array = write(tmp_path_factory.mktemp("part"), data, step)
    np.testing.assert_array_equal(array.read(), data)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), row=st.sampled_from([(), (3,)]))
def test_ranges_are_slices_wherever_chunks_and_shards_end(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, row: tuple[int, ...]
) -> None:
    n = data.draw(st.integers(0, 900))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 8)
        rows = np.random.default_rng(n).integers(0, 9, (n, *row)).astype(np.int16)
        array = write(tmp_path_factory.mktemp("part"), rows)
    ends = data.draw(st.lists(st.tuples(st.integers(0, n), st.integers(0, n)), max_size=8))
    starts, stops = (
        np.array(ends, np.int64).reshape(-1, 2).min(axis=1),
        np.array(ends, np.int64).reshape(-1, 2).max(axis=1),
    )
    found = array.ranges(starts, stops)
    assert len(found) == len(ends)
    for start, stop, one in zip(starts, stops, found, strict=True):
        assert one.dtype == rows.dtype
        np.testing.assert_array_equal(one, rows[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (99, 101)])
def test_a_range_outside_of_the_array_is_an_error(tmp_path: Path, start: int, stop: int) -> None:
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    with pytest.raises(StoreCorruptError, match="which has 100"):
        array.ranges(np.array([0, start]), np.array([1, stop]))


def test_no_file_stays_open_after_a_read(tmp_path: Path) -> None:
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    array.ranges(np.arange(9), np.arange(1, 10))
    array.read()
    (tmp_path / "part/a/c/0/0").unlink()
    with pytest.raises(StoreCorruptError, match="0 bytes where"):
        array.read()
    assert not [one for one in psutil.Process().open_files() if one.path.startswith(str(tmp_path))]


def test_reading_a_large_array_does_not_fill_memory(tmp_path: Path) -> None:
    n_rows, width = 100_000, 1024
    (tmp_path / "part").mkdir()
    writer = ArrayWriter(tmp_path / "part", "a", np.float16, (width,))
    for start in range(0, n_rows, 10_000):
        writer.append(np.full((10_000, width), start // 10_000, np.float16))
    array = ShardedArray(tmp_path / "part" / "a", writer.close())
    array.read(0, 4096)
    before = psutil.Process().memory_info().rss
    most = 0
    for start in range(0, n_rows, 4096):
        assert array.read(start, start + 4096)[0, 0] == start // 10_000
        most = max(most, psutil.Process().memory_info().rss)
    starts = np.arange(0, n_rows, 2)
    assert sum(len(rows) for rows in array.ranges(starts[::16], starts[::16] + 1)) == len(starts[::16])
    most = max(most, psutil.Process().memory_info().rss)
    # The array has 205 MB; a block 8 MB, and the scattered rows 6 MB.
    assert most - before < 50e6


def test_a_truncated_file_is_an_error_and_not_a_bus_error(tmp_path: Path) -> None:
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    file = tmp_path / "part/a/c/0/0"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreCorruptError, match="bytes where"):
        array.read()


def test_a_flipped_bit_is_named_by_its_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHUNK_BYTES", 64)
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    file = tmp_path / "part/a/c/0/0"
    data = bytearray(file.read_bytes())
    data[150] ^= 4
    file.write_bytes(data)
    assert array.damaged_chunks() == ["a shard 0 chunk 2"]
