"""What a store holds, in rows: data sets and spaces with their sizes, and what is missing where."""

from __future__ import annotations

from typing import Any

from embedstore.store.datasets import Dataset
from embedstore.store.indexes import index_kinds, index_segments
from embedstore.store.keys import distinct
from embedstore.store.layout import NAMESPACE
from embedstore.store.manifest import read_record
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from embedstore.types import Digests


def list_contents(store: Store) -> list[dict[str, Any]]:
    """One row for each data set, each space and each index, all with the same columns as JSON takes them.

    ``state`` of a space has for each data set ``complete``, or how many of its sequences are missing; those that a
    build skipped with a reason are counted by themselves. ``state`` of an index has the share of the ten nearest that
    it finds, and how many rows came after it. ``records`` and ``columns`` are of data sets, ``vectors``
    to ``state`` of spaces.
    """
    store.refresh()
    datasets = [store.dataset(name) for name in store.datasets()]
    keys = {dataset.name: distinct(dataset.digests) for dataset in datasets}
    rows = [_dataset_row(dataset, keys[dataset.name]) for dataset in datasets]
    for name in store.spaces():
        space = store.any_space(name)
        rows.append(_space_row(space, keys))
        rows += [_index_row(space, about) for about in describe_indexes(store, space)]
    return rows


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
        "bytes": sum(part.n_bytes for part in dataset.parts),
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
        "bytes": sum(part.n_bytes for part in space.parts),
        "state": {name: coverage(space, digests) for name, digests in keys.items()},
        "columns": None,
    }


def _index_row(space: Space | ResidueSpace, about: dict[str, Any]) -> dict[str, Any]:
    recall, n_new = about["recall"], about["n_uncovered"]
    state = {"recall": f"{recall['value']:.4f}" if recall else "not measured"}
    return {
        "kind": "index",
        "name": about["name"],
        "records": None,
        "distinct": None,
        "vectors": about["n_rows"],
        "dim": space.dim,
        "dtype": None,
        "pooling": space.pooling,
        "layer": None,
        "parts": about["n_segments"],
        "bytes": about["n_bytes"],
        "state": {**state, "rows": f"{n_new:,} searched exactly"} if n_new else state,
        "columns": None,
    }


def describe_indexes(store: Store, space: Space | ResidueSpace) -> list[dict[str, Any]]:
    """What is known of each index of a space, as JSON takes it; read from the records alone.

    ``n_uncovered`` counts rows of parts that are in no segment: after `compact`, it may count what an index knows by
    its keys.
    """
    descriptions = []
    for kind in index_kinds(store.path, space.id):
        segments = index_segments(store.path, space.id, kind)
        if not segments:
            continue
        newest = segments[-1].details
        covered = {cover["part"] for segment in segments for cover in segment.details["covers"]}
        by_key = any(cover["part"] is None for segment in segments for cover in segment.details["covers"])
        live = {part.name: part.n_rows for part in space.parts}
        n_uncovered = 0 if by_key else sum(rows for name, rows in live.items() if name not in covered)
        if covered - {None} - live.keys():
            n_uncovered = max(0, space.n_rows - sum(segment.n_rows for segment in segments))
        descriptions.append(
            {
                "name": f"{space.id}-{kind}",
                "kind": kind,
                "space": space.id,
                "n_rows": sum(segment.n_rows for segment in segments),
                "n_uncovered": n_uncovered,
                "n_segments": len(segments),
                "n_bytes": sum(part.n_bytes for part in segments),
                "created": newest["created"],
                **{name: newest[name] for name in ("recall", "effort", "parameters", "build_seconds")},
            }
        )
    return descriptions


def coverage(space: Space | ResidueSpace, digests: Digests) -> str:
    """What of these distinct keys a space holds: ``complete``, ``12 missing``, ``complete, 3 skipped``."""
    absent_keys = digests[space.find(digests) < 0]
    reasons = space.skipped if len(absent_keys) else {}
    n_skipped = sum(row.tobytes() in reasons for row in absent_keys)
    n_missing = len(absent_keys) - n_skipped
    summary = f"{n_missing:,} missing" if n_missing else "complete"
    return f"{summary}, {n_skipped:,} skipped" if n_skipped else summary


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
        "indexes": describe_indexes(store, space),
        "covers": {name: coverage(space, distinct(store.dataset(name).digests)) for name in store.datasets()},
    }
