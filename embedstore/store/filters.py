"""Which proteins count: keys chosen by data set, split, id, or the value of any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from embedstore.catalog import unknown_name
from embedstore.errors import InputError
from embedstore.store.datasets import Dataset
from embedstore.store.keys import distinct
from embedstore.store.store import Store
from embedstore.types import DIGEST_BYTES, Digests

Where: TypeAlias = "Mapping[str, str | Sequence[str]] | Digests"
"""Names and their values: ``{"dataset": "pfam", "split": ["train", "dev"], "taxon": "9606"}``; or keys (n, 24).

``dataset`` and ``id`` are what they say, anything else is a column. Of several values for a name any will do; of
several names, all must hold in one record.
"""

DATASET, ID = "dataset", "id"


def select_keys(store: Store, where: Where) -> Digests:
    """The distinct keys (n, 24), in ascending order, of the records that are chosen.

    Raises
    ------
    UnknownNameError
        If there is no such data set, or no data set has such a column.
    InputError
        If an id stands in none of the data sets, or there is nothing to choose by.
    """
    if isinstance(where, np.ndarray):
        return distinct(where)
    wanted = {name: frozenset([values] if isinstance(values, str) else values) for name, values in where.items()}
    if not wanted:
        raise InputError("where is empty; leave it out to search everything, or name a data set, a split, ids, ….")
    names = sorted(wanted.pop(DATASET, frozenset(store.datasets())))
    datasets = [store.dataset(name) for name in names]
    for column in wanted.keys() - {ID}:
        if not any(column in dataset.columns for dataset in datasets):
            known = sorted({name for dataset in datasets for name in dataset.columns})
            raise unknown_name("column to choose by,", column, [DATASET, ID, *known])
    keys = [np.empty((0, DIGEST_BYTES), np.uint8), *(_chosen(dataset, wanted) for dataset in datasets)]
    _check_ids(wanted.get(ID, frozenset()), datasets)
    return distinct(np.concatenate(keys))


def _chosen(dataset: Dataset, wanted: Mapping[str, frozenset[str]]) -> Digests:
    digests = dataset.digests
    mask = np.ones(len(digests), np.bool_)
    for name, values in wanted.items():
        if name != ID and name not in dataset.columns:
            return digests[:0]
        texts = dataset.ids() if name == ID else dataset.column(name)
        mask &= np.fromiter((text in values for text in texts), np.bool_, count=len(texts))
    return digests[mask]


def _check_ids(ids: frozenset[str], datasets: Sequence[Dataset]) -> None:
    if not ids:
        return
    unknown = ids - {name for dataset in datasets for name in dataset.ids()}
    if unknown:
        raise InputError(
            f"{len(unknown):,} of {len(ids):,} ids to choose by stand in none of the data sets "
            f"({', '.join(dataset.name for dataset in datasets)}), among them {min(unknown)!r}."
        )
