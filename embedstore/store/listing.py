"""What a store holds, in rows: data sets and spaces with their sizes, and what is missing where."""

from __future__ import annotations

from typing import Any

from embedstore.store.datasets import Dataset
from embedstore.store.keys import distinct
from embedstore.store.layout import NAMESPACE
from embedstore.store.manifest import read_record
from embedstore.store.merging import n_bytes_of
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from embedstore.types import Digests


def contents(store: Store) -> list[dict[str, Any]]:
    """One row for each data set and each space, all with the same columns as JSON takes them.

    ``state`` of a space has for each data set ``complete``, or how many of its sequences are missing; those that a
    build skipped with a reason are counted by themselves. ``records`` and ``columns`` are of data sets, ``vectors``
    to ``state`` of spaces.
    """
    store.refresh()
    datasets = [store.dataset(name) for name in store.datasets()]
    keys = {dataset.name: distinct(dataset.digests) for dataset in datasets}
    rows = [_dataset_row(dataset, keys[dataset.name]) for dataset in datasets]
    return rows + [_space_row(store.any_space(name), keys) for name in store.spaces()]


def _dataset_row(dataset: Dataset, keys: Digests) -> dict[str, Any]:
    return {
        "kind": "data set",
        "name": dataset.name,
        "records": dataset.n_rows,
        "distinct": len(keys),
        "vectors": None,
        "dim": None,
        "dtype": None,
        "pooling": None,
        "layer": None,
        "parts": len(dataset.parts),
        "bytes": sum(map(n_bytes_of, dataset.parts)),
        "state": None,
        "columns": dataset.columns,
    }


def _space_row(space: Space | ResidueSpace, keys: dict[str, Digests]) -> dict[str, Any]:
    return {
        "kind": "space",
        "name": space.id,
        "records": None,
        "distinct": None,
        "vectors": space.n_rows,
        "dim": space.dim,
        "dtype": space.dtype.name,
        "pooling": space.pooling,
        "layer": space.identity.get("layer"),
        "parts": len(space.parts),
        "bytes": sum(map(n_bytes_of, space.parts)),
        "state": {name: coverage(space, digests) for name, digests in keys.items()},
        "columns": None,
    }


def coverage(space: Space | ResidueSpace, digests: Digests) -> str:
    """What of these distinct keys a space holds: ``complete``, ``12 missing``, ``complete, 3 skipped``."""
    without = digests[space.find(digests) < 0]
    reasons = space.skipped if len(without) else {}
    n_skipped = sum(row.tobytes() in reasons for row in without)
    n_missing = len(without) - n_skipped
    told = f"{n_missing:,} missing" if n_missing else "complete"
    return f"{told}, {n_skipped:,} skipped" if n_skipped else told


def provenance(store: Store, space: Space | ResidueSpace) -> dict[str, Any]:
    """All that is known of a space of a store: how its vectors are made, when, by which builds, and what it covers."""
    assert space.path is not None  # noqa: S101 - it is of a store
    builds = []
    for ledger in space.builds:
        counts = {name: ledger.get(name) for name in ("created", "n_embedded", "n_present", "n_skipped", "seconds")}
        builds.append({**counts, "datasets": sorted(ledger["covers"])})
    return {
        **space.describe(),
        "created": read_record(space.path)["attributes"][NAMESPACE]["created"],
        "builds": builds,
        "covers": {name: coverage(space, distinct(store.dataset(name).digests)) for name in store.datasets()},
    }
