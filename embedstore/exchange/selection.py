"""Selecting proteins of a store: rows of a data set, with their vectors in a space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError
from embedstore.sequences import key_text
from embedstore.store import ResidueSpace, Space, Store
from embedstore.types import Digests, Vectors

NOT_EMBEDDED = "not embedded yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows of a data set that have something in a space, in the order of the data set.

    Attributes
    ----------
    space
        Where the vectors are; of residues, where matrices were asked for.
    dataset
        Name of the data set.
    ids
        N ids; not unique by contract.
    digests
        Keys, (N, 24) uint8.
    columns
        N texts by name: what else the data set says of each.
    missing
        Id and reason of each row that was asked for and has no vector.
    """

    space: Space | ResidueSpace
    dataset: str
    ids: list[str]
    digests: Digests
    columns: dict[str, list[str]]
    missing: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def keys(self) -> list[str]:
        """Keys as text, N of them."""
        return [key_text(row.tobytes()) for row in self.digests]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the vectors come from, as JSON takes it: the space's identity, and the data set."""
        return {
            "space": self.space.id,
            "dataset": self.dataset,
            "identity": self.space.identity,
            "embedstore": version("embedstore"),
        }

    def vectors(self, start: int = 0, stop: int | None = None) -> Vectors:
        """Vectors of rows ``start`` to ``stop``, (n, D) in the stored dtype."""
        if not isinstance(self.space, Space):
            raise InputError(f"Space {self.space.id} holds a matrix a protein, not a vector. Ask for its residues.")
        return self.space.take(self.digests[start:stop])

    def matrices(self, start: int = 0, stop: int | None = None) -> list[Vectors]:
        """Matrices of rows ``start`` to ``stop``, each (L, D) in the stored dtype."""
        if not isinstance(self.space, ResidueSpace):
            raise InputError(f"Space {self.space.id} holds a vector a protein, not a matrix. Do not ask for residues.")
        return self.space.take(self.digests[start:stop])

    def blocks(self, block_rows: int = 1024) -> Iterator[tuple[int, Vectors]]:
        """Stream the vectors as ``(first row, (n, D))``."""
        for start in range(0, len(self), block_rows):
            yield start, self.vectors(start, start + block_rows)

    def unique_ids(self, *, purpose: str) -> list[str]:
        """The ids, where each is there once.

        Raises
        ------
        InputError
            If one is there twice; it is named.
        """
        known_ids: set[str] = set()
        for id_ in self.ids:
            if id_ in known_ids:
                raise InputError(
                    f"Id {id_!r} is in data set {self.dataset!r} more than once; {purpose} needs ids that are unique. "
                    "Choose a split, or another format (parquet, npy, npz), whose rows have keys too."
                )
            known_ids.add(id_)
        return self.ids


@suggest_arguments
def select(
    store: Store,
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    residues: bool = False,
) -> Selection:
    """Choose rows of a data set.

    Parameters
    ----------
    store
        Where from.
    space
        As `Store.space` and `Store.residue_space` take it.
    dataset
        The data set; None where there is only one.
    split
        Only rows whose column ``split`` has this value.
    limit
        Only the first so many of these rows.
    residues
        Matrices of residues instead of vectors.

    Raises
    ------
    InputError
        If there are several data sets and none is named, no row has the split, or no row has a vector.
    UnknownNameError
        If there is no such space or data set.
    """
    opened = store.residue_space(space) if residues else store.space(space)
    if dataset is None:
        names = store.datasets()
        if len(names) != 1:
            raise InputError(f"Which data set: {', '.join(names) or 'there is none'}? Name one: dataset= (--dataset).")
        dataset = names[0]
    table = store.dataset(dataset)
    rows = np.arange(table.n_rows)
    if split is not None:
        rows = rows[np.array([value == split for value in table.column("split")], np.bool_)]
        if not len(rows):
            known = ", ".join(sorted(set(table.column("split"))))
            raise InputError(f"No row of data set {dataset!r} has the split {split!r}. Known: {known}.")
    rows = rows[:limit]
    ids, digests = table.ids(), table.digests[rows]
    has_vector = opened.find(digests) >= 0
    selected = rows[has_vector]
    missing = _missing(opened, [ids[row] for row in rows[~has_vector].tolist()], digests[~has_vector])
    if not len(selected):
        raise InputError(
            f"No row of data set {dataset!r} has a vector in space {opened.id} ({len(missing):,} without, the first "
            f"{missing[0][0]!r}: {missing[0][1]}). Choose another space or data set."
        )
    return Selection(
        space=opened,
        dataset=dataset,
        ids=[ids[row] for row in selected.tolist()],
        digests=digests[has_vector],
        columns={name: _values_at(table.column(name), selected) for name in table.columns},
        missing=missing,
    )


def _missing(space: Space | ResidueSpace, ids: list[str], digests: Digests) -> list[tuple[str, str]]:
    reasons = space.skipped if ids else {}
    return [(id_, reasons.get(row.tobytes(), NOT_EMBEDDED)) for id_, row in zip(ids, digests, strict=True)]


def _values_at(texts: list[str], rows: NDArray[np.int64]) -> list[str]:
    return [texts[row] for row in rows.tolist()]
