"""The canonical shards: bit-identical to zarr-python's, readable both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec

from embedstore.errors import StoreCorruptError
from embedstore.store import shards
from embedstore.store.shards import ArrayWriter, ShardedArray


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
        shards=(ours.chunk_rows * shards.CHUNKS_PER_SHARD, *shape[1:]),
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        fill_value=np.nan if dtype.startswith("f") else 0,
        config={"write_empty_chunks": True},
    )
    theirs[:] = data
    for path in sorted((tmp_path / "theirs" / "c").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "ours" / "a" / path.relative_to(tmp_path / "theirs")).read_bytes()


def test_several_shards_read_the_same_through_plain_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK_BYTES", 512)
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


def test_a_truncated_file_is_an_error_and_not_a_bus_error(tmp_path: Path) -> None:
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    file = tmp_path / "part/a/c/0/0"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreCorruptError, match="bytes where"):
        array.read()


def test_a_flipped_bit_is_named_by_its_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK_BYTES", 64)
    array = write(tmp_path / "part", np.ones((100, 4), np.float32))
    file = tmp_path / "part/a/c/0/0"
    data = bytearray(file.read_bytes())
    data[150] ^= 4
    file.write_bytes(data)
    assert array.damaged_chunks() == ["a shard 0 chunk 2"]
