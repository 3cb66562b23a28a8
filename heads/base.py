"""What a head is: scikit-learn's contract over vectors that stream, and the checks that all heads share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.errors import InputError
from embedstore.types import DIGEST_BYTES, Digests, Vectors

Float32: TypeAlias = NDArray[np.float32]
Codes: TypeAlias = NDArray[np.int64]
"""(N,) int64: position of each row's label among the classes, -1 where it is not one of them."""

BLOCK_ROWS = 8192
"""Rows that a stream hands out at once: 32 MiB of float32 at 1,024 dimensions."""


class Features(Protocol):
    """Vectors that come in blocks, so that they need not fit into memory.

    Attributes
    ----------
    shape
        Rows and dimensions.
    digests
        Key of each row, (N, 24) uint8, or None for vectors that have no key.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        ...

    @property
    def digests(self) -> Digests | None:
        """Keys, or None."""
        ...

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield each row once and in order: the rows' slice and their (n, D) float32 vectors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFeatures:
    """Vectors in memory, handed out in blocks.

    Parameters
    ----------
    vectors
        (N, D) floating.
    digests
        Key of each row, (N, 24) uint8, where there are keys.
    block_rows
        Most rows in a block.
    """

    vectors: Vectors
    digests: Digests | None = None
    block_rows: int = BLOCK_ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return self.vectors.shape[0], self.vectors.shape[1]

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.vectors), self.block_rows):
            rows = slice(start, min(start + self.block_rows, len(self.vectors)))
            yield rows, np.asarray(self.vectors[rows], dtype=np.float32)


FeaturesLike: TypeAlias = Features | Vectors
"""What ``fit`` and ``predict`` take: a stream, or an (N, D) array."""


class Head(Protocol):
    """Learns labels from vectors.

    The constructor stores its arguments and nothing else; `fit` learns, into attributes with a trailing underscore.
    Besides scikit-learn's methods a head can be taken apart into arrays and settings, so that it is saved without
    pickle, and put together again.

    Attributes
    ----------
    classes_
        The labels, sorted, (C,).
    n_features_in_
        D of the vectors that it was fitted on.
    """

    classes_: NDArray[Any]
    n_features_in_: int

    def fit(
        self,
        X: FeaturesLike,
        y: ArrayLike,
        X_valid: FeaturesLike | None = None,
        y_valid: ArrayLike | None = None,
    ) -> Self:
        """Learn; what is to be chosen or calibrated is chosen on the validation rows."""
        ...

    def predict(self, X: FeaturesLike) -> NDArray[Any]:
        """The most probable label of each row, (N,)."""
        ...

    def predict_proba(self, X: FeaturesLike) -> Float32:
        """Probability of each class for each row, (N, C) float32 with rows that sum to 1."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt that is an array, by name; the classes are kept apart."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything learnt that is a number or a text, for JSON."""
        ...

    def restore(self, classes: NDArray[Any], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over what `arrays` and `settings` of a fitted head gave."""
        ...


def as_tuple(values: object) -> tuple[Any, ...]:
    """What to choose from, as a tuple; a single value is a choice of one."""
    return tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else (values,)


def constructor_params(head: object) -> dict[str, Any]:
    """The constructor's arguments and their values, which the head keeps under the same names."""
    return {name: getattr(head, name) for name in inspect.signature(type(head)).parameters}


def as_features(X: FeaturesLike) -> Features:
    """Wrap an (N, D) array as a stream; leave a stream as it is.

    Raises
    ------
    InputError
        For an array that is not two-dimensional or holds no numbers.
    """
    if not isinstance(X, np.ndarray):
        return X
    if X.ndim != 2 or X.dtype.kind not in "fiu":
        raise InputError(
            f"X is an array of shape {X.shape} and type {X.dtype}; expected (rows, dimensions) of numbers."
        )
    return ArrayFeatures(X)


def checked_blocks(X: FeaturesLike, *, n_features: int | None = None) -> Iterator[tuple[slice, Float32]]:
    """Yield the blocks of `X`, every one found to be finite and of the right width.

    Parameters
    ----------
    X
        A stream or an array.
    n_features
        D that the head was fitted on; None in a fit.

    Raises
    ------
    InputError
        For vectors of another dimension, or NaN or infinity among them.
    """
    features = as_features(X)
    if n_features is not None and features.shape[1] != n_features:
        raise InputError(
            f"X has {features.shape[1]} dimensions; this head was fitted on {n_features}. "
            "Give it vectors of the space that it was fitted on."
        )
    for rows, block in features.blocks():
        if not np.isfinite(block).all():
            bad = int(np.argmin(np.isfinite(block).all(axis=1)))
            raise InputError(
                f"Row {rows.start + bad} of X holds NaN or infinity. "
                "Leave such rows out; for stored vectors run `embedstore verify`."
            )
        yield rows, block


def encode_labels(y: ArrayLike, *, n_rows: int) -> tuple[NDArray[Any], Codes]:
    """Classes, sorted, and the code of each row.

    Parameters
    ----------
    y
        (N,) labels: text or integers.
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
    if labels.ndim != 1 or len(labels) != n_rows:
        raise InputError(f"y has shape {labels.shape} for {n_rows} rows of X; expected one label a row.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        only = f" ({classes[0].item()!r})" if len(classes) else ""
        raise InputError(
            f"The training rows have {len(classes)} class{only}; expected two or more. Check the label column."
        )
    return classes, codes.astype(np.int64, copy=False)


def codes_of(classes: NDArray[Any], y: ArrayLike) -> Codes:
    """Position of each label among sorted `classes`, (N,) int64; -1 for a label that is not one of them.

    >>> codes_of(np.array(["a", "c"]), ["c", "b", "a"])
    array([ 1, -1,  0])
    """
    labels = _as_labels(y)
    position = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[position] == labels, position, -1).astype(np.int64)


def softmax(logits: NDArray[np.floating[Any]]) -> Float32:
    """Probabilities of each row, (N, C) float32; `logits` is used up as work space."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits.astype(np.float32, copy=False)


def validation_sample(y_valid: Codes, *, limit: int, seed: int) -> NDArray[np.int64]:
    """Validation rows to choose parameters on: those whose class was trained, at most `limit` of them, sorted."""
    rows = np.flatnonzero(y_valid >= 0)
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=limit, replace=False))
    return rows


def take_rows(X: FeaturesLike, rows: NDArray[np.int64], *, n_features: int) -> Float32:
    """The vectors of some rows, (n, D) float32; `rows` is sorted. One pass over the stream."""
    out = np.empty((len(rows), n_features), np.float32)
    for span, block in checked_blocks(X, n_features=n_features):
        first, last = np.searchsorted(rows, (span.start, span.stop))
        out[first:last] = block[rows[first:last] - span.start]
    return out


def _as_labels(y: ArrayLike) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype(np.str_)
    if labels.dtype.kind not in "Uiu":
        raise InputError(f"y holds {labels.dtype} values; expected names (text) or integers.")
    return labels


def sortable_keys(digests: Digests) -> NDArray[np.bytes_]:
    """Keys (..., 24) as texts (...,), which sort and compare as the keys do."""
    # numpy pads such texts with zeros, and all lengths are equal.
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}")[..., 0]
