"""The commit record of a part, and the identity of a space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from embedstore.errors import StoreCorruptError, StoreError
from embedstore.store.files import StorePath, read_bytes
from embedstore.store.layout import (
    FORMAT_VERSION,
    NAMESPACE,
    RECORD,
    canonical_json,
    check_name,
    to_json,
    utc_now,
)
from embedstore.store.zarr_shards.encoding import group_metadata
from embedstore.store.zarr_shards.writer import FileTable


def commit_record(
    *,
    kind: str,
    place: str,
    n_rows: int,
    files: FileTable,
    arrays: dict[str, dict[str, Any]],
    details: dict[str, Any],
    replaces: Sequence[str] = (),
) -> bytes:
    """The ``zarr.json`` that makes a part exist: a zarr group whose attributes prove what belongs to it.

    Parameters
    ----------
    kind
        ``sequences``, ``dataset``, ``vectors``, ``skipped``, ``build`` or ``removal``.
    place
        Path of the part in its store: a part that was moved into another space is not taken for one of its own.
    n_rows
        Rows of the part.
    files
        Size and hash of each file.
    arrays
        Zarr metadata by array name, consolidated into the record so that opening a part reads one file.
    details
        What else this kind of part says of itself.
    replaces
        Names of the parts that this one stands for, and of all that those stood for.
    """
    ours: dict[str, Any] = {
        **details,
        "kind": kind,
        "place": place,
        "n_rows": n_rows,
        "files": files,
        "replaces": list(replaces),
        "created": utc_now(),
    }
    consolidated = {"kind": "inline", "must_understand": False, "metadata": arrays}
    return to_json(checksummed_group(ours, consolidated_metadata=consolidated))


def checksummed_group(ours: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The metadata of a zarr group whose attributes hold a hash of the whole."""
    group = {**group_metadata({NAMESPACE: ours}), **more}
    seal = xxhash.xxh3_128_hexdigest(canonical_json(group))
    return {**group, "attributes": {NAMESPACE: {**ours, "record_xxh3_128": seal}}}


def read_record(directory: StorePath, payload: bytes | None = None) -> dict[str, Any]:
    """Read a sealed group's metadata, unless ``payload`` is that, and check its hash of itself.

    Raises
    ------
    StoreCorruptError
        If it is no JSON, or was changed after it was written.
    """
    path = directory / RECORD
    try:
        record: dict[str, Any] = json.loads(read_bytes(path) if payload is None else payload)
        stated = record["attributes"][NAMESPACE].pop("record_xxh3_128")
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorruptError(f"{path} is not a record of this store: {error}. {REPAIR}") from error
    if xxhash.xxh3_128_hexdigest(canonical_json(record)) != stated:
        raise StoreCorruptError(f"{path} was changed after it was written. {REPAIR}")
    return record


REPAIR = "Restore it from a backup, or remove its directory and run the command that made it again."


def space_identity(
    model_identity: Mapping[str, Any], *, dim: int, pooling: str, dtype: str, long_policy: str
) -> dict[str, Any]:
    """All that decides the bits of a vector: the model's own part and ours."""
    ours = {"dim": dim, "pooling": pooling, "dtype": dtype, "long": long_policy, "format": FORMAT_VERSION}
    return {**model_identity, **ours}


def space_id(identity: Mapping[str, Any]) -> str:
    """``<model>-<short hash>``: another identity, another space.

    >>> space_id({"model": "kmer", "dim": 4})
    'kmer-25ec2c7389'
    """
    short = hashlib.sha256(canonical_json(dict(identity))).hexdigest()[:10]
    return check_name("space", f"{identity['model']}-{short}")
