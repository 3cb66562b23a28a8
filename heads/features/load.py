"""The rows of a task as a head sees them: vectors of proteins, of residues, of pairs, each with its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import InputError, StoreError
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from heads.features.base import Features
from heads.features.pairs import PairFeatures, parse_pairing
from heads.features.residues import ResidueFeatures, spread_letters
from heads.features.vectors import SpaceFeatures, has_vector
from heads.tasks.data import MASKED, TaskData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitData:
    """Rows of a split that have vectors.

    Attributes
    ----------
    features
        Their vectors; for residues a row each, those of protein p at ``features.offsets[p]:features.offsets[p + 1]``.
    y
        Their targets, as `heads.base.Head.fit` takes them.
    rows
        (n,) int64: which rows of the task they are; for residues the proteins.
    n_without_vector
        Rows of the split that the build skipped.
    """

    features: Features
    y: Any
    rows: NDArray[np.int64]
    n_without_vector: int


def task_space(store: Store, data: TaskData, name: str | None = None) -> Space | ResidueSpace:
    """The space whose vectors a task needs: of matrices where its rows are residues.

    Raises
    ------
    StoreError
        If a task on residues finds no residue vectors; the message has the command that makes them.
    """
    if data.input != "residue":
        return store.space(name)
    if not any(isinstance(store.any_space(one), ResidueSpace) for one in store.spaces()):
        raise StoreError(
            f"{data.name} is a task on residues, and the store at {store.path} has no residue vectors. Make them: "
            f"`embedstore build --model NAME --residues {data.source}`."
        )
    return store.residue_space(name)


def load_examples(
    space: Space | ResidueSpace, data: TaskData, rows: NDArray[np.int64], *, what: str = "row"
) -> SplitData:
    """Vectors and targets of some rows of a task.

    Raises
    ------
    InputError
        If the build skipped all of them.
    StoreError
        If rows were never embedded; the message has the command that does it.
    """
    present = has_vector(space, data.digests[rows], source=data.source)
    if data.partners is not None:
        present &= has_vector(space, data.partners[rows], source=data.partner_source)
    if not present.any():
        raise InputError(f"No {what} of {data.source} has a vector in space {space.id}: the build skipped them all.")
    kept = rows[present]
    features, y = _features(space, data, kept)
    return SplitData(features=features, y=y, rows=kept, n_without_vector=int((~present).sum()))


def _features(space: Space | ResidueSpace, data: TaskData, rows: NDArray[np.int64]) -> tuple[Features, Any]:
    if isinstance(space, ResidueSpace):
        if data.input != "residue":
            raise InputError(
                f"{data.name} needs one vector a {data.input}; {space.id} has one a residue. Name another."
            )
        residues = ResidueFeatures.of(space, data.digests[rows])
        return residues, _residue_labels(data, rows, residues)
    if data.input == "residue":
        raise InputError(f"{data.name} needs a vector for each residue; {space.id} has one a protein. Name another.")
    if data.partners is None:
        return SpaceFeatures(space, data.digests[rows]), data.targets(rows)
    pairing = parse_pairing(data.pairing)
    return PairFeatures(space, data.digests[rows], data.partners[rows], pairing), data.targets(rows)


def _residue_labels(data: TaskData, rows: NDArray[np.int64], features: ResidueFeatures) -> NDArray[np.str_]:
    """A letter a residue, (sum of lengths,), empty where there is no label.

    Raises
    ------
    InputError
        If a protein has more or fewer labels than residues; those that a space cut off are no reason.
    """
    texts = [str(text) for text in data.labels[rows]]
    stated = features.space.identity.get("long")
    policy = LongSequencePolicy.parse(str(stated)) if stated else None
    cut = policy.limit if policy and policy.kind == "truncate" else None
    for position, (text, length) in enumerate(zip(texts, np.diff(features.offsets).tolist(), strict=True)):
        if len(text) > length == cut:
            texts[position] = text[:cut]
        elif len(text) != length:
            raise InputError(
                f"{data.ids[rows[position]]!r} of {data.source} has {length:,} residues and {len(text):,} labels in "
                f"column {data.label_column!r}; expected one letter a residue. Correct that row or leave it empty."
            )
    return spread_letters(texts, MASKED)
