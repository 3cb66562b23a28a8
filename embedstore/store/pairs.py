"""Pairs of proteins: a data set of the first sequences, and one of their partners."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from embedstore.store.ingest import AddReport
from embedstore.store.store import Store


def partner_dataset(name: str) -> str:
    """What the data set of the second sequences of pairs is called.

    >>> partner_dataset("ppi")
    'ppi.partner'
    """
    return f"{name}.partner"


def add_pairs(
    store: Store,
    name: str,
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    partner_column: str,
    **options: Any,
) -> tuple[AddReport, AddReport]:
    """Add tables of pairs: the data set `name` with all columns, and the partners as `partner_dataset` of it.

    The partner's sequence stays in the data set as the text of its column; what it is needed for besides is to be
    embedded, and for that it stands in a data set of its own, a row a pair and under the same id.

    Parameters
    ----------
    store, name, paths
        As `embedstore.store.Store.add` takes them.
    partner_column
        Column of the second sequences.
    options
        As `embedstore.store.Store.add` takes them.

    Returns
    -------
    The reports of the data set and of the partners.
    """
    # The partners first: where the pairs are there, all that they need is.
    partners = store.add(
        partner_dataset(name), paths, **{**options, "sequence_column": partner_column, "keep_columns": ()}
    )
    return store.add(name, paths, **options), partners
