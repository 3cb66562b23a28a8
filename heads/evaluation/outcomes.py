"""What a head makes of labelled rows, block by block: of each row only what metrics need is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from heads.base import Head, has_prediction
from heads.evaluation.metrics import ClassOutcomes, LabelOutcomes, NumberOutcomes, Outcomes
from heads.evaluation.metrics.curves import MOST_CURVES, SCORES_LIMIT
from heads.evaluation.metrics.multilabel import bin_sums, threshold_counts
from heads.features.base import Features, Float32
from heads.tasks.targets import codes_of_numbers


def outcomes_of(head: Head, features: Features, y: Any) -> Outcomes:
    """Outcomes of the rows of a stream.

    Parameters
    ----------
    head
        A fitted head.
    features
        (N, D), in blocks.
    y
        N targets as `heads.tasks.targets.encode` takes them; classes that the head does not know are always wrong.
    """
    if head.target_type == "regression":
        predicted = np.concatenate([np.zeros(0), *map(head.decide, head.outputs(features))])
        return NumberOutcomes(true=np.asarray(y, np.float64), predicted=predicted)
    if head.target_type == "multilabel":
        return _of_labels(head, features, y)
    return _of_classes(head, features, np.asarray(y))


def with_missing(found: Outcomes | None, head: Head, y_missing: Any, *, fallback: float) -> Outcomes:
    """Outcomes with the rows put after them that have no vector: nothing is predicted for those.

    Parameters
    ----------
    found
        Outcomes of the rows with a vector; None where there is none.
    head
        The head.
    y_missing
        Targets of the rows without one.
    fallback
        For numbers: what is taken to be predicted, the mean of the training rows.
    """
    n = len(y_missing)
    missing: Outcomes
    if head.target_type == "regression":
        missing = NumberOutcomes(true=np.asarray(y_missing, np.float64), predicted=np.full(n, fallback))
    elif head.target_type == "multilabel":
        nothing = np.zeros((n, len(head.classes_)), np.float32)
        missing = _labels_block(head, nothing, _sets(head.classes_, y_missing), np.zeros(nothing.shape, np.bool_))
    else:
        missing = _no_classes(head, np.asarray(y_missing))
    return missing if found is None else join([found, missing])


def join(parts: list[Any]) -> Any:
    """Outcomes of one kind, one after the other."""
    first = parts[0]
    if isinstance(first, NumberOutcomes):
        return NumberOutcomes(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in first.__slots__})
    if isinstance(first, LabelOutcomes):
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("n_unseen", "n_over", "n_right_over", "bins")
        }
        members = {
            name: vstack([getattr(part, name) for part in parts], format="csr") for name in ("true", "predicted")
        }
        return LabelOutcomes(names=first.names, scores=_scores(parts), **arrays, **members)
    return _join_classes(parts)


def take(found: Outcomes, rows: NDArray[np.int64]) -> Outcomes:
    """Outcomes of some rows, in the order given."""
    whole = ("names", "n_known", "ordered")
    values = {name: getattr(found, name) for name in found.__slots__}
    kept = {name: v if name in whole or v is None else v[rows] for name, v in values.items()}
    return type(found)(**kept)


def _of_classes(head: Head, features: Features, y: NDArray[Any]) -> ClassOutcomes:
    names, true = _union(head.classes_, y)
    n_known, n_rows = len(head.classes_), len(true)
    kept: dict[str, list[NDArray[Any]]] = {}
    keep_scores = n_rows * n_known <= SCORES_LIMIT and n_known <= MOST_CURVES
    for rows, shares in _numbered(head.outputs(features)):
        plain = head.target_type == "class"
        predicted = shares.argmax(axis=1) if plain else codes_of_numbers(head.classes_, head.decide(shares))
        predicted = np.where(has_prediction(shares), predicted, -1)
        block = _class_block(shares, true[rows], predicted, keep_scores=keep_scores)
        for name, values in block.items():
            kept.setdefault(name, []).append(values)
    return ClassOutcomes(
        names=names,
        n_known=n_known,
        true=true,
        ordered=head.target_type == "ordinal",
        **{name: np.concatenate(values) for name, values in kept.items()},
    )


def _class_block(
    shares: Float32, true: NDArray[np.int64], predicted: NDArray[np.int64], *, keep_scores: bool
) -> dict[str, NDArray[Any]]:
    here = np.arange(len(shares))
    known = true < shares.shape[1]
    own = shares[here, np.where(known, true, 0)]
    block = {
        "predicted": predicted,
        "confidence": np.where(predicted >= 0, shares[here, np.maximum(predicted, 0)], np.float32(0)),
        "p_true": np.where(known, own, np.float32(0)),
        # Of equally probable classes the first is predicted, and stands before the others.
        "rank": np.where(
            known,
            (shares > own[:, None]).sum(axis=1)
            + ((shares == own[:, None]) & (np.arange(shares.shape[1]) < true[:, None])).sum(axis=1),
            shares.shape[1],
        ),
        "squares": np.einsum("nc,nc->n", shares, shares),
    }
    return block | ({"scores": shares} if keep_scores else {})


def _no_classes(head: Head, y: NDArray[Any]) -> ClassOutcomes:
    names, true = _union(head.classes_, y)
    n, n_known = len(true), len(head.classes_)
    zeros = np.zeros(n, np.float32)
    return ClassOutcomes(
        names=names,
        n_known=n_known,
        true=true,
        predicted=np.full(n, -1, np.int64),
        confidence=zeros,
        p_true=zeros,
        rank=np.full(n, n_known, np.int64),
        squares=zeros,
        scores=np.zeros((n, n_known), np.float32),
        ordered=head.target_type == "ordinal",
    )


def _join_classes(parts: list[ClassOutcomes]) -> ClassOutcomes:
    first = parts[0]
    known = first.names[: first.n_known]
    extra = np.unique(np.concatenate([part.names[part.n_known :] for part in parts]))
    names = np.concatenate([known, extra])
    true = []
    for part in parts:
        place = np.arange(len(part.names))
        place[part.n_known :] = first.n_known + np.searchsorted(extra, part.names[part.n_known :])
        true.append(place[part.true])
    arrays = ("predicted", "confidence", "p_true", "rank", "squares")
    return ClassOutcomes(
        names=names,
        n_known=first.n_known,
        true=np.concatenate(true),
        scores=_scores(parts),
        ordered=first.ordered,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
    )


def _of_labels(head: Head, features: Features, y: Any) -> LabelOutcomes:
    true, n_unseen = _sets(head.classes_, y)
    parts = []
    keep_scores = len(n_unseen) * len(head.classes_) <= SCORES_LIMIT
    for rows, shares in _numbered(head.outputs(features)):
        block = true[rows], n_unseen[rows]
        parts.append(_labels_block(head, shares, block, head.decide(shares), keep_scores=keep_scores))
    joined: LabelOutcomes = join(parts)
    return joined


def _labels_block(
    head: Head,
    shares: Float32,
    true: tuple[csr_array, NDArray[np.int64]],
    decided: NDArray[np.bool_],
    *,
    keep_scores: bool = True,
) -> LabelOutcomes:
    members = true[0].toarray().astype(np.bool_)
    n_over, n_right_over = threshold_counts(shares, members)
    return LabelOutcomes(
        names=head.classes_,
        true=true[0],
        predicted=csr_array(decided),
        n_unseen=true[1],
        n_over=n_over,
        n_right_over=n_right_over,
        bins=bin_sums(shares, members),
        scores=shares if keep_scores else None,
    )


def _numbered(blocks: Iterator[Float32]) -> Iterator[tuple[slice, Float32]]:
    start = 0
    for block in blocks:
        yield slice(start, start + len(block)), block
        start += len(block)


def _union(known: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The known classes followed by the others among `y`, and the position of each."""
    found, codes = np.unique(y, return_inverse=True)
    place = codes_of_numbers(known, found)
    place[place < 0] = len(known) + np.arange(int((place < 0).sum()))
    return np.concatenate([known, found[place >= len(known)]]), place[codes]


def _sets(known: NDArray[Any], y: Any) -> tuple[csr_array, NDArray[np.int64]]:
    """(n, C) members of n label sets, and how many labels of each are not known."""
    position = {label: code for code, label in enumerate(known.tolist())}
    codes = [[position.get(label, -1) for label in dict.fromkeys(labels)] for labels in y]
    rows = np.repeat(np.arange(len(codes)), [len(row) for row in codes])
    flat = np.array([code for row in codes for code in row], np.int64)
    there = flat >= 0
    members = csr_array((np.ones(int(there.sum()), np.bool_), (rows[there], flat[there])), (len(codes), len(known)))
    return members, np.bincount(rows[~there], minlength=len(codes)).astype(np.int64)


def _scores(parts: list[Any]) -> Float32 | None:
    kept = [part.scores for part in parts]
    return None if any(one is None for one in kept) else np.concatenate(kept)
