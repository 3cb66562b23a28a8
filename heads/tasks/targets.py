"""What is to be predicted: one class, several, a number, a level; checked and encoded once for all heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

KINDS = ("class", "multilabel", "regression", "ordinal")
"""One class of several; any number of labels; a number; a level of an ordered scale."""

Codes: TypeAlias = NDArray[np.int64]
"""(N,) int64: position of each row's label among the classes, -1 where it is not one of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """The targets of N rows.

    Attributes
    ----------
    target_type
        One of `KINDS`.
    classes
        (C,) labels, sorted; the levels as float64, ascending, for ``"ordinal"``; empty for ``"regression"``.
    codes
        For ``"class"`` and ``"ordinal"``: (N,) int64 positions among the classes, -1 for a label that is none of them.
    members
        For ``"multilabel"``: (N, C) sparse bool.
    values
        For ``"regression"`` and ``"ordinal"``: (N,) float64.
    """

    target_type: str
    classes: NDArray[Any]
    codes: Codes | None = None
    members: csr_array | None = None
    values: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        for one in (self.codes, self.values):
            if one is not None:
                return len(one)
        return cast(int, self.members.shape[0]) if self.members is not None else 0

    @property
    def n_outputs(self) -> int:
        """Width of what a head gives for a row: C, or 1 for a number."""
        return 1 if self.target_type == "regression" else len(self.classes)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) bool: rows whose target can be learned from or chosen on."""
        return np.ones(len(self), np.bool_) if self.codes is None else self.codes >= 0

    def subset(self, indices: NDArray[np.int64]) -> Targets:
        """The targets at (n,) indices."""
        return Targets(
            target_type=self.target_type,
            classes=self.classes,
            codes=None if self.codes is None else self.codes[indices],
            members=None if self.members is None else self.members[indices],
            values=None if self.values is None else self.values[indices],
        )

    def require_codes(self) -> Codes:
        """Codes of a target that has them."""
        if self.codes is None:
            raise TypeError(f"Targets of kind {self.target_type!r} have no codes.")
        return self.codes

    def require_values(self) -> NDArray[np.float64]:
        """Numbers of a target that has them."""
        if self.values is None:
            raise TypeError(f"Targets of kind {self.target_type!r} have no values.")
        return self.values

    def require_members(self) -> csr_array:
        """Indicators of a target that has them."""
        if self.members is None:
            raise TypeError(f"Targets of kind {self.target_type!r} have no members.")
        return self.members


def encode(y: Any, *, target_type: str, n_rows: int, classes: NDArray[Any] | None = None, name: str = "y") -> Targets:
    """Check targets and encode them.

    Parameters
    ----------
    y
        ``"class"``: (N,) text or integers, an empty text for a row without a label. ``"multilabel"``: N collections of
        texts. ``"regression"``, ``"ordinal"``: (N,) numbers.
    target_type
        One of `KINDS`.
    n_rows
        N of the vectors.
    classes
        The classes of the training rows, for rows to choose or test on; None finds them in `y`.
    name
        What `y` is called in messages.

    Raises
    ------
    InputError
        If there is not one target a row, a target is of another kind, a number is NaN or infinite, or (where classes
        are to be found) there is nothing to tell apart.
    """
    if target_type not in KINDS:
        raise InputError(f"target_type is {target_type!r}; expected one of {', '.join(KINDS)}.")
    if target_type == "multilabel":
        return _encode_sets(y, n_rows=n_rows, classes=classes, name=name)
    if target_type == "class":
        if classes is None:
            found, codes = encode_labels(y, n_rows=n_rows)
            return Targets(target_type=target_type, classes=found, codes=codes)
        codes = codes_of(classes, y)
        _require_one_each(codes.shape, n_rows=n_rows, name=name, what="label")
        return Targets(target_type=target_type, classes=classes, codes=codes)
    values = _as_numbers(y, target_type=target_type, n_rows=n_rows, name=name)
    if classes is None and len(np.unique(values)) < 2:
        only = f" ({values[0]:g})" if len(values) else ""
        raise InputError(
            f"The training rows have {min(len(values), 1)} distinct value{only}; expected two or more. "
            "Check the label column."
        )
    if target_type == "regression":
        return Targets(target_type=target_type, classes=np.zeros(0), values=values)
    levels = np.unique(values) if classes is None else classes
    return Targets(target_type=target_type, classes=levels, codes=codes_of_numbers(levels, values), values=values)


def encode_labels(y: ArrayLike, *, n_rows: int) -> tuple[NDArray[Any], Codes]:
    """Classes, sorted, and the code of each row.

    Parameters
    ----------
    y
        (N,) labels: text or integers. An empty text is no label; its code is -1.
    n_rows
        N of the vectors.

    Returns
    -------
    classes : numpy.ndarray
        (C,), sorted.
    codes : numpy.ndarray
        (N,) int64.

    Raises
    ------
    InputError
        If there is not one label a row, labels are no names, or there is only one class.
    """
    labels = _as_labels(y)
    _require_one_each(labels.shape, n_rows=n_rows, name="y", what="label")
    classes, codes = np.unique(labels, return_inverse=True)
    codes = codes.astype(np.int64, copy=False)
    if classes.dtype.kind == "U" and len(classes) and classes[0] == "":
        classes, codes = classes[1:], codes - 1
    if len(classes) < 2:
        only = f" ({classes[0].item()!r})" if len(classes) else ""
        raise InputError(
            f"The training rows have {len(classes)} class{only}; expected two or more. Check the label column."
        )
    return classes, codes


def codes_of(classes: NDArray[Any], y: ArrayLike) -> Codes:
    """Position of each label among sorted `classes`, (N,) int64; -1 for a label that is not one of them.

    >>> codes_of(np.array(["a", "c"]), ["c", "b", "a"])
    array([ 1, -1,  0])
    """
    labels = _as_labels(y)
    if len(labels) and (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise InputError(
            f"The training rows' classes are {'names' if classes.dtype.kind == 'U' else 'integers'} (first: "
            f"{classes[0].item()!r}), and other rows' are of another kind (first: {labels[0].item()!r}). Give both as "
            "text or both as integers."
        )
    return codes_of_numbers(classes, labels)


def codes_of_numbers(classes: NDArray[Any], values: NDArray[Any]) -> Codes:
    """As `codes_of`, of labels that are an array of the classes' own type."""
    position = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
    return np.where(classes[position] == values, position, -1).astype(np.int64)


def _encode_sets(y: Any, *, n_rows: int, classes: NDArray[Any] | None, name: str) -> Targets:
    """(N, C) members of N collections of texts; labels that are no class are left out."""
    from scipy.sparse import csr_array

    if hasattr(y, "toarray") or (isinstance(y, np.ndarray) and y.dtype.kind in "biuf"):
        raise InputError(
            f"{name} is a matrix of indicators, which do not say what the labels are; expected for each row a list of "
            "labels: [[names[k] for k in np.flatnonzero(row)] for row in y]."
        )
    if isinstance(y, str) or len(y) != n_rows or any(isinstance(labels, str) for labels in y):
        raise InputError(
            f"{name} has {len(y):,} entries for {n_rows:,} rows of X; expected for each row a list of labels."
        )
    sizes = np.fromiter((len(labels) for labels in y), np.int64, count=n_rows)
    flat = np.array([label for labels in y for label in labels], dtype=np.str_)
    if classes is None:
        classes = np.unique(flat)
        if not len(classes):
            raise InputError("The training rows have no label at all; expected at least one. Check the label column.")
    codes = codes_of(classes, flat) if len(flat) else np.zeros(0, np.int64)
    rows, there = np.repeat(np.arange(n_rows), sizes), codes >= 0
    members = csr_array((np.ones(int(there.sum())), (rows[there], codes[there])), shape=(n_rows, len(classes)))
    return Targets(target_type="multilabel", classes=classes, members=members.astype(np.bool_))


def _as_numbers(y: Any, *, target_type: str, n_rows: int, name: str) -> NDArray[np.float64]:
    values = np.asarray(y)
    if values.dtype.kind not in "fiub":
        first = values.ravel()[:1].tolist()
        raise InputError(
            f"{name} holds text (first: {first[0]!r}), but target_type {target_type!r} predicts numbers. "
            f"Name a column of numbers, "
            "or predict classes (target_type='class')."
            if first
            else f"{name} is empty; expected one number a row."
        )
    _require_one_each(values.shape, n_rows=n_rows, name=name, what="number")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        bad = np.flatnonzero(~np.isfinite(numbers))
        raise InputError(
            f"{name} holds NaN or infinity in {len(bad):,} rows (first: row {bad[0]}); expected a number in each. "
            "Leave those rows out."
        )
    return numbers


def _require_one_each(shape: tuple[int, ...], *, n_rows: int, name: str, what: str) -> None:
    if shape != (n_rows,):
        raise InputError(
            f"{name} has shape {shape} for {n_rows} rows of X{name.removeprefix('y')}; expected one {what} a row."
        )


def _as_labels(y: ArrayLike) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype(np.str_)
    if labels.dtype.kind not in "Uiu":
        raise InputError(f"y holds {labels.dtype} values; expected names (text) or integers.")
    return labels


def label_sets(texts: Sequence[str], separator: str) -> list[list[str]]:
    """The labels of each text, each once, in the order of the source.

    >>> label_sets(["a|b|a", ""], "|")
    [['a', 'b'], []]
    """
    return [list(dict.fromkeys(part for label in text.split(separator) if (part := label.strip()))) for text in texts]
