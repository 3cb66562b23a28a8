"""Nearest stored proteins of records: their vectors from `embedstore.embedding.query`, ids and keys of the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embedstore.embedding.query import embed_records
from embedstore.indexes.api import AUTO, get_searcher
from embedstore.models import Model
from embedstore.sequences import digest, key_text
from embedstore.store import Space, Store
from embedstore.store.filters import Where
from embedstore.store.keys import as_digests
from embedstore.types import ProgressCallback, Record, null_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A stored protein near to a query.

    Attributes
    ----------
    query
        Id of the query.
    rank
        1 for the nearest.
    score
        Cosine similarity of the two vectors.
    ids
        The neighbour's ids, each as ``data set:id``; one sequence can have several.
    key
        The neighbour's key.
    """

    query: str
    rank: int
    score: float
    ids: list[str]
    key: str

    def to_dict(self) -> dict[str, Any]:
        """The hit as JSON takes it."""
        return asdict(self)


def search_records(
    store: Store,
    space: Space,
    records: Sequence[Record],
    *,
    k: int = 10,
    index: str = AUTO,
    where: Where | None = None,
    exclude_self: bool = False,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> list[Hit]:
    """The ``k`` nearest stored proteins of each record, best first, in the order of the records.

    Parameters
    ----------
    store, space
        Where to search.
    records
        The queries.
    k
        Neighbours a query; fewer where fewer count.
    index
        ``auto`` for a kept index if there is one, else exact search; ``flat`` for exact search; or a kept one.
    where
        Which stored proteins count; see `embedstore.indexes.api.search`.
    exclude_self
        Leave out the stored protein that has the query's own sequence.
    model
        The space's model, where it needs more than its name; see `load_space_model`.
    progress
        Called while queries are embedded.
    """
    searcher = get_searcher(store, space, index)
    vectors = embed_records(space, records, model=model, progress=progress)
    exclude = as_digests([digest(record.residues) for record in records]) if exclude_self else None
    neighbours = searcher.search(vectors, k, where=where, exclude=exclude)
    names = store.ids_of(neighbours.digests.reshape(-1, neighbours.digests.shape[-1]))
    hits = []
    for row, record in enumerate(records):
        # Where the query itself was left out, the last place can be empty.
        for rank in range(int((neighbours.scores[row] > -np.inf).sum())):
            key = neighbours.digests[row, rank].tobytes()
            hits.append(
                Hit(
                    query=record.id,
                    rank=rank + 1,
                    score=float(neighbours.scores[row, rank]),
                    ids=names.get(key, []),
                    key=key_text(key),
                )
            )
    return hits
