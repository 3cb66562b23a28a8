"""Checks of one part: its files against their hashes, and what its arrays must be whatever they hold."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from embedstore.errors import StoreCorruptError
from embedstore.sequences import digest, key_text
from embedstore.store.files import StorePath, blocks
from embedstore.store.keys import as_digests
from embedstore.store.layout import RECORD
from embedstore.store.locks import LOCK_FILE
from embedstore.store.parts import Part
from embedstore.store.paths import files_below

_ROWS = 8192
_STRETCHES, _STRETCH_BYTES = 64, 4096
_REPAIR = "Restore it from a backup, or remove its part and run the `add` or `build` that made it again."


def check_files(part: StorePath, details: dict[str, Any], *, hashes: bool = True) -> tuple[int, int]:
    """Compare every file of a part with what its record promises; returns the number of files and their bytes.

    Parameters
    ----------
    part
        Directory of the part.
    details
        What the record says.
    hashes
        Read the files; else only their sizes are looked at.

    Raises
    ------
    StoreCorruptError
        If a file is missing, was changed, or is in no record.
    """
    sizes = {name: size for name, size, _ in files_below(part)}
    promised: dict[str, dict[str, Any]] = details["files"]
    for name, due in promised.items():
        file = part / name
        if name not in sizes:
            raise StoreCorruptError(f"{file} is gone. {_REPAIR}")
        hashed = file_hash(file) if hashes and sizes[name] == due["bytes"] else due["xxh3_128"]
        if (sizes[name], hashed) != (due["bytes"], due["xxh3_128"]):
            raise StoreCorruptError(
                f"{file} was changed: {sizes[name]:,} bytes with hash {hashed}, where {due['bytes']:,} with "
                f"{due['xxh3_128']} are promised. {_REPAIR}"
            )
    strangers = sorted(name for name in sizes if name not in promised and not _is_ours(name))
    if strangers:
        raise StoreCorruptError(
            f"{part / strangers[0]} is in no record ({len(strangers)} such files here). Nothing reads it; move it away."
        )
    return len(promised), sum(due["bytes"] for due in promised.values())


def _is_ours(name: str) -> bool:
    """Whether a file that no record states may lie in a part: its record, and what a kill can leave beside it."""
    return name in (RECORD, LOCK_FILE) or (name.startswith(f".{RECORD}.") and name.endswith(".tmp"))


def file_hash(file: StorePath) -> str:
    """XXH3-128 of a file, as records state it."""
    state = xxhash.xxh3_128()
    for block in blocks(file):
        state.update(block)
    return state.hexdigest()


def quick_hash(file: Path) -> str:
    """Hash of 64 stretches of 4 KiB, evenly spread over a file: quick whatever the size.

    It tells another file in its place, and not every flipped bit.
    """
    state = xxhash.xxh3_128()
    with file.open("rb") as stream:
        last = max(0, file.stat().st_size - _STRETCH_BYTES)
        for number in range(_STRETCHES):
            stream.seek(last * number // (_STRETCHES - 1))
            state.update(stream.read(_STRETCH_BYTES))
    return str(state.hexdigest())


def check_sequences(part: Part) -> None:
    """Raise StoreCorruptError unless each key is the digest of its sequence."""
    _check_offsets(part, None)
    offsets = part.array("residues_offsets").read()
    for start in range(0, part.n_rows, _ROWS):
        stop = min(start + _ROWS, part.n_rows)
        stated = part.array("digests").read(start, stop)
        residues = part.array("residues").read(int(offsets[start]), int(offsets[stop])).tobytes()
        local = (offsets[start : stop + 1] - offsets[start]).tolist()
        digests = as_digests([digest(residues[a:b]) for a, b in pairwise(local)])
        wrong = np.flatnonzero((stated != digests).any(axis=1))
        if len(wrong):
            key = key_text(stated[wrong[0]].tobytes())
            raise StoreCorruptError(
                f"{part.path}: {len(wrong)} keys are not the digest of their sequence, first {key}."
            )


def check_vectors(part: Part) -> None:
    """Raise StoreCorruptError unless all arrays have a row for each protein, and no vector is zero or not finite."""
    values = "residues" if "residues" in part.array_names else "vectors"
    if values == "residues":
        _check_offsets(part, part.array("lengths").read().astype(np.int64))
    shapes = {name: part.array(name).shape[0] for name in part.array_names}
    due = {**dict.fromkeys(shapes, part.n_rows)}
    if values == "residues":
        due |= {"residues_offsets": part.n_rows + 1, "residues": shapes["residues"]}
    if shapes != due:
        raise StoreCorruptError(f"{part.path} states {part.n_rows:,} rows and holds {shapes}.")
    for start in range(0, shapes[values], _ROWS):
        vectors = part.array(values).read(start, start + _ROWS)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
        if len(bad):
            raise StoreCorruptError(
                f"{part.path}: {len(bad)} vectors are zero or not finite, first in row {start + bad[0]}."
            )


def _check_offsets(part: Part, lengths: np.ndarray[Any, Any] | None) -> None:
    """Whether offsets cut ``residues`` into one piece a row, of these lengths where they are known."""
    offsets = part.array("residues_offsets").read()
    cut = np.diff(offsets)
    whole = len(offsets) == part.n_rows + 1 and offsets[0] == 0 and offsets[-1] == len(part.array("residues"))
    if not whole or (cut < 1).any() or (lengths is not None and not np.array_equal(cut, lengths)):
        raise StoreCorruptError(
            f"{part.path}: its offsets do not cut {len(part.array('residues')):,} residues into {part.n_rows:,} "
            "proteins of the lengths stated."
        )
