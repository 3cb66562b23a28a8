"""The commit record of a part, and the identity of a space."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import xxhash

from embedstore.errors import StoreCorruptError
from embedstore.store.layout import FORMAT_VERSION, NAMESPACE, RECORD, check_name, to_json, utc_now
from embedstore.store.shards import FileTable


def commit_record(
    *, kind: str, n_rows: int, files: FileTable, arrays: dict[str, dict[str, Any]], details: dict[str, Any]
) -> bytes:
    """The ``zarr.json`` that makes a part exist: a zarr group whose attributes prove what belongs to it.

    Parameters
    ----------
    kind
        ``sequences``, ``dataset``, ``vectors`` or ``skipped``.
    n_rows
        Rows of the part.
    files
        Size and hash of each file.
    arrays
        Zarr metadata by array name, consolidated into the record so that opening a part reads one file.
    details
        What else this kind of part says of itself.
    """
    ours: dict[str, Any] = {
        "kind": kind,
        "n_rows": n_rows,
        "files": files,
        "replaces": [],
        "created": utc_now(),
        **details,
    }
    record: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {NAMESPACE: ours},
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    ours["record_xxh3_128"] = xxhash.xxh3_128_hexdigest(to_json(record))
    return to_json(record)


def read_record(part: Path) -> dict[str, Any]:
    """Read a commit record and check its hash of itself.

    Raises
    ------
    StoreCorruptError
        If it is no JSON, or was changed after it was written.
    """
    path = part / RECORD
    try:
        record = json.loads(path.read_bytes())
        stated = record["attributes"][NAMESPACE].pop("record_xxh3_128")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorruptError(f"{path} is not a commit record: {error}. {_REPAIR}") from error
    if xxhash.xxh3_128_hexdigest(to_json(record)) != stated:
        raise StoreCorruptError(f"{path} was changed after it was written. {_REPAIR}")
    loaded: dict[str, Any] = record
    return loaded


_REPAIR = "Restore it from a backup, or remove the part's directory and run the build again."


def space_identity(model_identity: dict[str, Any], *, pooling: str, dtype: str, long_policy: str) -> dict[str, Any]:
    """All that decides the bits of a vector: the model's own part and ours."""
    return {**model_identity, "pooling": pooling, "dtype": dtype, "long": long_policy, "format": FORMAT_VERSION}


def space_id(identity: dict[str, Any]) -> str:
    """``<model>-<short hash>``: another identity, another space.

    >>> space_id({"model": "kmer", "dim": 4})
    'kmer-456b316777'
    """
    short = hashlib.sha256(to_json(identity)).hexdigest()[:10]
    return check_name("space", f"{identity['model']}-{short}")
