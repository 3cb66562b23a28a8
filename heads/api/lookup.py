"""Nearest family of proteins: neighbours among labelled proteins, their vote, and its calibrated probability."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from embedstore.catalog import suggest_arguments
from embedstore.indexes.api import AUTO
from embedstore.models import Model
from embedstore.types import ProgressCallback, null_progress
from heads.api.predict import RecordsLike, open_records
from heads.calibration.risk_control import CONFIDENCE
from heads.family_lookup.alignment import require_parasail
from heads.family_lookup.calibration import UNKNOWN_SHARE
from heads.family_lookup.hits import Hits
from heads.family_lookup.lookup import FamilyLookup, check_risk
from heads.features.sources import StoreLike
from heads.tasks.selection import TaskSelection

__all__ = ["FamilyLookup", "Hits", "lookup"]


@suggest_arguments
def lookup(
    store: StoreLike,
    records: RecordsLike,
    *,
    task: str | TaskSelection | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
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

    The k nearest labelled proteins vote. The probability is calibrated on validation proteins looked up twice, with
    and without their family in the reference, so that new families are rejected. The test split is not used. For
    many calls make one `heads.FamilyLookup`, which is prepared and calibrated once.

    With several labels a protein (`TaskSelection.label_separator`) each label of a neighbour has a probability of its
    own, and `max_error` is the share of wrong ones among the labels that are given.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    records
        A file (FASTA, CSV, TSV, Parquet), or records.
    task, labels, dataset
        Which labelled proteins, as in `heads.fit`.
    space
        Space id or model name; None where the store has one space.
    k
        Number of neighbours that vote.
    reference
        ``train``: the training rows are searched. ``all``: every labelled row, test rows included.
    index
        ``auto``: a stored index of the space if there is one (`embedstore.build_index`), else exact search. ``flat``:
        exact search. Or the type of a stored index.
    max_error
        Abstain so that, with the stated `confidence`, at most this share of the answers is wrong for queries like the
        calibration proteins, of which `unknown_share` belong to unknown families. None: answer from a probability of
        0.5 on.
    confidence
        Probability that this error rate holds.
    unknown_share
        Share of the queries that are assumed to belong to a family without labelled proteins.
    exclude_self
        Exclude the query itself from its neighbours, where it is a labelled protein; by default it finds itself, with
        a score of 1.
    align
        Align each protein with its nearest neighbour; needs parasail.
    window
        Search windows of so many residues and report where each family lies: a number, several, or ``auto`` for four
        lengths that suit the labelled proteins. The odds of a window are divided by the number of such windows that
        lie side by side on the protein.
    step
        Residues from one window to the next; None for a quarter of a window.
    seed
        Of the random split and of the calibration.
    model
        The model of the space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    UnknownNameError
        For an unknown task, data set, space or index.
    InputError
        For an argument out of range, or an error rate that the calibration proteins are too few to guarantee.
    MissingPackageError
        If alignments are asked for and parasail is not installed.
    StoreError
        If labelled rows have no vector; the message has the command that makes them.

    Examples
    --------
    >>> import heads
    >>> hits = heads.lookup("proteins.zarr", "unknown.fasta", task="pfam")  # doctest: +SKIP
    """
    check_risk(max_error, confidence)
    if align:
        require_parasail()
    families = FamilyLookup(
        store,
        task=task,
        labels=labels,
        dataset=dataset,
        space=space,
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
