"""Nearest family: the neighbours of a protein among labelled proteins, their vote, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from embedstore.indexes.api import AUTO
from embedstore.models import Model
from embedstore.types import ProgressCallback, null_progress
from heads.api.predict import RecordsLike, open_records
from heads.calibration.risk_control import CONFIDENCE
from heads.family_lookup.alignment import require_parasail
from heads.family_lookup.calibration import UNKNOWN_SHARE
from heads.family_lookup.hits import Hits
from heads.family_lookup.lookup import FamilyLookup
from heads.features.vectors import StoreLike, as_store
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

__all__ = ["Hits", "lookup"]


def lookup(
    records: RecordsLike,
    *,
    store: StoreLike = None,
    task: str | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    labels_id_column: str | None = None,
    labels_sequence_column: str | None = None,
    labels_skip_invalid: bool = False,
    space: str | None = None,
    k: int = 10,
    reference: str = "train",
    index: str = AUTO,
    max_error: float | None = None,
    confidence: float = CONFIDENCE,
    unknown_share: float = UNKNOWN_SHARE,
    exclude_self: bool = False,
    align: bool = False,
    window: int | str | Sequence[int] | None = None,
    step: int | None = None,
    seed: int = 0,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> Hits:
    """Find the nearest family of each protein, and how likely it is the right one.

    The k nearest of the task's labelled proteins vote. What a vote is worth is learned on the validation rows, each
    asked once with its family among the labelled proteins and once without it, so that an unknown family gets a low
    probability. The test split is not looked at.

    With several labels a protein (`label_separator`), each label that a neighbour has gets a probability of its own,
    and `max_error` is the share of wrong ones among the labels that are given.

    Parameters
    ----------
    records
        A file (FASTA, CSV, TSV, Parquet), or records.
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    task, labels, dataset, label_column, split_column, seed
        Which labelled proteins; see `heads.fit`.
    label_separator
        What stands between the labels of a protein that has several, such as ``|``.
    labels_id_column, labels_sequence_column
        Columns of the labelled file, where they have unusual names.
    labels_skip_invalid
        Whether its rows that are no proteins are left out, and named, in place of an error.
    space
        Space id or model name; None where the store has one space.
    k
        Neighbours that vote.
    reference
        ``train`` for the training rows alone, ``all`` for every labelled row, the test rows among them.
    index
        ``auto``: a kept index of the space if there is one (`embedstore.build_index`), else exact search. ``flat``:
        exact search. Or a kept one by its kind.
    max_error
        Largest share of the answers that may be wrong; what is less certain gets no answer. It holds with the stated
        `confidence` for queries like the calibration rows, of which `unknown_share` are of unknown families. None:
        whatever has a probability of 0.5 is answered.
    confidence
        Of that guarantee.
    unknown_share
        Share of the queries that are assumed to be of a family that the labelled proteins lack.
    exclude_self
        Let a query that is itself a labelled protein not find itself. By default it does, with a score of 1.
    align
        Align each protein with its nearest neighbour; needs parasail.
    window
        Search windows of so many residues and report where each family lies: a number, several, or ``auto`` for four
        lengths that suit the labelled proteins. The odds of a window are divided by the number of such windows that
        lie side by side on the protein.
    step
        Residues from one window to the next; None for a quarter of a window.
    model
        The model of the space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    UnknownNameError
        For an unknown task, data set, space or index.
    InputError
        For an argument that is out of range, or an error rate that the calibration rows are too few to guarantee.
    MissingPackageError
        If alignments are asked for and parasail is not installed.
    StoreError
        If labelled rows have no vector; the message has the command that makes them.
    """
    if align:
        require_parasail()
    opened = as_store(store)
    selection = TaskSelection.of(
        task=task,
        labels=labels,
        dataset=dataset,
        label_column=label_column,
        split_column=split_column,
        id_column=labels_id_column,
        sequence_column=labels_sequence_column,
        skip_invalid=labels_skip_invalid,
        seed=seed,
        label_separator=label_separator,
    )
    families = FamilyLookup(
        opened,
        opened.space(space),
        read_task(selection, opened),
        k=k,
        reference=reference,
        index=index,
        unknown_share=unknown_share,
        exclude_self=exclude_self,
        seed=seed,
    )
    return families.query(
        open_records(records),
        max_error=max_error,
        confidence=confidence,
        align=align,
        window=window,
        step=step,
        model=model,
        progress=progress,
    )
