"""Predictions of labelled examples, block by block, reduced to what metrics need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from heads.base import Head, has_prediction
from heads.evaluation.metrics import ClassOutcomes, LabelOutcomes, NumberOutcomes, Outcomes
from heads.evaluation.metrics.curves import MAX_CURVES, MAX_SCORES
from heads.evaluation.metrics.multilabel import bin_sums, threshold_counts
from heads.features.base import Features, Float32
from heads.tasks.targets import codes_of_numbers


def predict_outcomes(head: Head, features: Features, y: Any) -> Outcomes:
    """Outcomes of the examples of a stream.

    Parameters
    ----------
    head
        A fitted head.
    features
        (N, D), in blocks.
    y
        N targets as for `heads.tasks.targets.encode`; classes that the head does not know count as errors.
    """
    if head.target_type == "regression":
        predicted = np.concatenate([np.zeros(0), *map(head.decide, head.outputs(features))])
        return NumberOutcomes(true=np.asarray(y, np.float64), predicted=predicted)
    if head.target_type == "multilabel":
        return _label_outcomes(head, features, y)
    return _class_outcomes(head, features, np.asarray(y))


def add_missing(outcomes: Outcomes | None, head: Head, y_missing: Any, *, fallback: float) -> Outcomes:
    """Append outcomes of examples without a vector: there is no prediction.

    Parameters
    ----------
    outcomes
        Of the examples with a vector; None where there is none.
    head
        The head.
    y_missing
        Targets of the examples without one.
    fallback
        For regression: the prediction that is assumed, the mean of the training rows.
    """
    n = len(y_missing)
    missing: Outcomes
    if head.target_type == "regression":
        missing = NumberOutcomes(true=np.asarray(y_missing, np.float64), predicted=np.full(n, fallback))
    elif head.target_type == "multilabel":
        zeros = np.zeros((n, len(head.classes_)), np.float32)
        missing = _label_block(head, zeros, _encode_sets(head.classes_, y_missing), np.zeros(zeros.shape, np.bool_))
    else:
        names, true = _encode_classes(head.classes_, np.asarray(y_missing))
        zeros = np.zeros((n, len(head.classes_)), np.float32)
        block = _class_block(zeros, true, np.full(n, -1, np.int64), keep_scores=True)
        block["rank"] = np.full(n, len(head.classes_), np.int64)
        missing = _as_class_outcomes(head, names, true, block)
    return missing if outcomes is None else join([outcomes, missing])


def join(parts: list[Any]) -> Any:
    """Outcomes of one type, concatenated."""
    first = parts[0]
    if isinstance(first, NumberOutcomes):
        return NumberOutcomes(**_concatenate(parts, "true", "predicted"))
    scores = [part.scores for part in parts]
    all_scores = None if any(part is None for part in scores) else np.concatenate(scores)
    if isinstance(first, LabelOutcomes):
        members = {
            name: vstack([getattr(part, name) for part in parts], format="csr") for name in ("true", "predicted")
        }
        arrays = _concatenate(parts, "n_unseen", "n_over", "n_right_over", "bins")
        return LabelOutcomes(names=first.names, scores=all_scores, **arrays, **members)
    # The classes that the head does not know differ between the parts.
    unknown = np.unique(np.concatenate([part.names[part.n_known :] for part in parts]))
    true = []
    for part in parts:
        code = np.arange(len(part.names))
        code[part.n_known :] = first.n_known + np.searchsorted(unknown, part.names[part.n_known :])
        true.append(code[part.true])
    return ClassOutcomes(
        names=np.concatenate([first.names[: first.n_known], unknown]),
        n_known=first.n_known,
        true=np.concatenate(true),
        scores=all_scores,
        ordered=first.ordered,
        **_concatenate(parts, "predicted", "confidence", "p_true", "rank", "squares"),
    )


def subset(outcomes: Outcomes, indices: NDArray[np.int64]) -> Outcomes:
    """Some of the outcomes, in the order given."""
    shared = ("names", "n_known", "ordered")
    values = {name: getattr(outcomes, name) for name in outcomes.__slots__}
    selected = {name: v if name in shared or v is None else v[indices] for name, v in values.items()}
    return type(outcomes)(**selected)


def _class_outcomes(head: Head, features: Features, y: NDArray[Any]) -> ClassOutcomes:
    names, true = _encode_classes(head.classes_, y)
    n_known = len(head.classes_)
    keep_scores = len(true) * n_known <= MAX_SCORES and n_known <= MAX_CURVES
    blocks: dict[str, list[NDArray[Any]]] = {}
    for rows, probabilities in _numbered(head.outputs(features)):
        if head.target_type == "class":
            predicted = probabilities.argmax(axis=1)
        else:
            predicted = codes_of_numbers(head.classes_, head.decide(probabilities))
        predicted = np.where(has_prediction(probabilities), predicted, -1)
        for name, values in _class_block(probabilities, true[rows], predicted, keep_scores=keep_scores).items():
            blocks.setdefault(name, []).append(values)
    return _as_class_outcomes(head, names, true, {name: np.concatenate(values) for name, values in blocks.items()})


def _as_class_outcomes(
    head: Head, names: NDArray[Any], true: NDArray[np.int64], arrays: dict[str, NDArray[Any]]
) -> ClassOutcomes:
    return ClassOutcomes(
        names=names, n_known=len(head.classes_), true=true, ordered=head.target_type == "ordinal", **arrays
    )


def _class_block(
    probabilities: Float32, true: NDArray[np.int64], predicted: NDArray[np.int64], *, keep_scores: bool
) -> dict[str, NDArray[Any]]:
    index, n_classes = np.arange(len(probabilities)), probabilities.shape[1]
    is_known = true < n_classes
    p_true = probabilities[index, np.where(is_known, true, 0)]
    # Of equally probable classes the first is predicted, and ranks before the others.
    is_tied_before = (probabilities == p_true[:, None]) & (np.arange(n_classes) < true[:, None])
    rank = (probabilities > p_true[:, None]).sum(axis=1) + is_tied_before.sum(axis=1)
    block = {
        "predicted": predicted,
        "confidence": np.where(predicted >= 0, probabilities[index, np.maximum(predicted, 0)], np.float32(0)),
        "p_true": np.where(is_known, p_true, np.float32(0)),
        "rank": np.where(is_known, rank, n_classes),
        "squares": np.einsum("nc,nc->n", probabilities, probabilities),
    }
    return block | ({"scores": probabilities} if keep_scores else {})


def _label_outcomes(head: Head, features: Features, y: Any) -> LabelOutcomes:
    true, n_unseen = _encode_sets(head.classes_, y)
    keep_scores = len(n_unseen) * len(head.classes_) <= MAX_SCORES
    parts = [
        _label_block(head, block, (true[rows], n_unseen[rows]), head.decide(block), keep_scores=keep_scores)
        for rows, block in _numbered(head.outputs(features))
    ]
    joined: LabelOutcomes = join(parts)
    return joined


def _label_block(
    head: Head,
    probabilities: Float32,
    true: tuple[csr_array, NDArray[np.int64]],
    predicted: NDArray[np.bool_],
    *,
    keep_scores: bool = True,
) -> LabelOutcomes:
    members = true[0].toarray().astype(np.bool_)
    n_over, n_right_over = threshold_counts(probabilities, members)
    return LabelOutcomes(
        names=head.classes_,
        true=true[0],
        predicted=csr_array(predicted),
        n_unseen=true[1],
        n_over=n_over,
        n_right_over=n_right_over,
        bins=bin_sums(probabilities, members),
        scores=probabilities if keep_scores else None,
    )


def _numbered(blocks: Iterator[Float32]) -> Iterator[tuple[slice, Float32]]:
    start = 0
    for block in blocks:
        yield slice(start, start + len(block)), block
        start += len(block)


def _encode_classes(known: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The known classes followed by the others among `y`, and the code of each of `y`."""
    distinct, inverse = np.unique(y, return_inverse=True)
    code = codes_of_numbers(known, distinct)
    is_unknown = code < 0
    code[is_unknown] = len(known) + np.arange(int(is_unknown.sum()))
    return np.concatenate([known, distinct[is_unknown]]), code[inverse]


def _encode_sets(known: NDArray[Any], y: Any) -> tuple[csr_array, NDArray[np.int64]]:
    """(n, C) members of n label sets, and the number of labels of each that are not known."""
    code_of = {label: code for code, label in enumerate(known.tolist())}
    codes = [[code_of.get(label, -1) for label in dict.fromkeys(labels)] for labels in y]
    rows = np.repeat(np.arange(len(codes)), [len(row) for row in codes])
    flat = np.array([code for row in codes for code in row], np.int64)
    is_known = flat >= 0
    values = np.ones(int(is_known.sum()), np.bool_)
    members = csr_array((values, (rows[is_known], flat[is_known])), (len(codes), len(known)))
    return members, np.bincount(rows[~is_known], minlength=len(codes)).astype(np.int64)


def _concatenate(parts: list[Any], *names: str) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
