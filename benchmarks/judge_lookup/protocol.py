"""The protocol: a tenth of the families is known to nobody; calibrate on the rest, then ask the test proteins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge_lookup.searchers import ByVectors, Searcher
from benchmarks.judge_mini.intervals import Statistic, interval, share
from benchmarks.judge_mini.sets import Proteins
from heads.evaluation.metrics import Interval
from heads.family_lookup.calibration import MAX_QUERIES, UNKNOWN_SHARE, CalibrationQueries, calibrate

K = 10
CONFIDENCE = 0.95
MAX_ERRORS = (0.01, 0.05, 0.1)
N_BINS = 15
_TIMED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Proteins with one label each; ``strangers`` are of families that no other split has, and may be none."""

    train: Proteins
    valid: Proteins
    test: Proteins
    strangers: Proteins | None = None


@dataclass(slots=True, kw_only=True)
class Asked:
    """Test proteins of one draw: what was said of each, and whether its family was in the reference."""

    right: NDArray[np.bool_]
    known: NDArray[np.bool_]
    family: NDArray[np.str_]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    thresholds: dict[float, float]
    promises: dict[float, dict[str, Any]]


def judge(searcher: Searcher, splits: Splits, *, draws: int, seed: int = 0) -> dict[str, Any]:
    """Every figure of a searcher on a set; several draws of unknown families are pooled."""
    asked = [draw(searcher, splits, seed=seed + number) for number in range(draws)]
    return {
        "accuracy": accuracy(searcher, splits).to_dict(),
        "n_test": len(splits.test),
        "draws": draws,
        "calibration_error": _ece(asked).to_dict(),
        "at_half": _answers(asked, [one.probabilities >= 0.5 for one in asked]),
        "max_error": {str(rate): _at_rate(asked, rate) for rate in MAX_ERRORS},
        "oracle": {str(rate): _oracle(asked, rate) for rate in MAX_ERRORS},
    }


def accuracy(searcher: Searcher, splits: Splits) -> Interval:
    """Share of the test proteins whose family is voted for, with every family in the reference."""
    codes, n = _codes([splits.train, splits.test])
    reference = searcher.reference(splits.train, codes[0], n)
    votes = reference.search(searcher.queries(splits.test), K).votes(sharpness=50.0)
    return share(votes.label[votes.top_label()] == codes[1])


def draw(searcher: Searcher, splits: Splits, *, seed: int) -> Asked:
    """Leave a tenth of the families out of reference and calibration, and ask all test proteins."""
    strangers = [] if splits.strangers is None else [splits.strangers]
    (train, valid, test, *rest), n = _codes([splits.train, splits.valid, splits.test, *strangers])
    families = np.unique(train)
    out = np.zeros(n, np.bool_)
    out[np.random.default_rng(seed).choice(families, max(1, len(families) // 10), replace=False)] = True
    kept, chosen = np.flatnonzero(~out[train]), np.flatnonzero(~out[valid])
    if len(chosen) > MAX_QUERIES:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MAX_QUERIES, replace=False))
    reference = searcher.reference(splits.train.take(kept), train[kept], n)
    rows = CalibrationQueries(
        vectors=searcher.queries(splits.valid.take(chosen)), label_sets=valid[chosen][:, None].tolist(), source="valid"
    )
    learned = calibrate(reference, rows, k=K, is_multilabel=False, unknown_share=UNKNOWN_SHARE, seed=seed)
    assert learned.calibrator is not None and learned.examples is not None, learned.reason
    queries = [searcher.queries(part) for part in (splits.test, *strangers)]
    true = np.concatenate([test, *rest])
    found = reference.search(np.concatenate(queries), K)
    votes = found.votes(sharpness=learned.sharpness)
    votes = votes.subset(votes.top_label())
    logits = learned.calibrator.logits(votes.features(reference.within_label_similarity(found, votes)))
    thresholds, promises = {}, {}
    for rate in MAX_ERRORS:
        try:
            risk = learned.risk_threshold(rate, CONFIDENCE)
        except ValueError as error:
            thresholds[rate], promises[rate] = np.inf, {"refused": str(error)}
            continue
        thresholds[rate] = risk.threshold
        promises[rate] = {"bound": risk.upper_bound, "seen": risk.observed_error, "lowest": risk.lowest_bound}
    return Asked(
        right=votes.label == true,
        known=np.isin(true, train[kept]),
        family=np.concatenate([part.labels for part in (splits.test, *strangers)]),
        logits=logits,
        probabilities=learned.calibrator.probabilities(logits),
        thresholds=thresholds,
        promises=promises,
    )


def seconds_per_thousand(
    searcher: Searcher, splits: Splits, embed: Callable[[list[bytes]], object] | None
) -> dict[str, float]:
    """Wall seconds of a thousand test queries against the training proteins: vectors made anew, programs run anew."""
    chosen = splits.test.take(np.arange(min(_TIMED, len(splits.test))))
    codes, n = _codes([splits.train])
    reference = searcher.reference(splits.train, codes[0], n)
    scale = 1000 / len(chosen)
    if isinstance(searcher, ByVectors):
        queries = searcher.queries(chosen)
        started = time.perf_counter()
        assert embed is not None
        embed(chosen.sequences)
        embedded = time.perf_counter()
        found = reference.search(queries, K)
        votes = found.votes(sharpness=50.0)
        votes = votes.subset(votes.top_label())
        votes.features(reference.within_label_similarity(found, votes))
        done = time.perf_counter()
        return {"embed": (embedded - started) * scale, "search": (done - embedded) * scale}
    started = time.perf_counter()
    searcher.aligner.ranked(chosen.sequences, splits.train.sequences, K, keep=False)
    return {"search": (time.perf_counter() - started) * scale}


def _codes(parts: list[Proteins]) -> tuple[list[NDArray[np.int64]], int]:
    names, codes = np.unique(np.concatenate([part.labels for part in parts]), return_inverse=True)
    return np.split(codes, np.cumsum([len(part) for part in parts])[:-1]), len(names)


def _weights(one: Asked) -> NDArray[np.float64]:
    """Rows weighed so that unknown families are the share that calibration assumes."""
    return np.where(one.known, (1 - UNKNOWN_SHARE) / one.known.sum(), UNKNOWN_SHARE / (~one.known).sum())


def _mean(columns: list[NDArray[np.float64]], asked: list[Asked], statistic: Statistic) -> Interval:
    """A statistic of sums over all draws, with an interval over families."""
    groups = np.concatenate([one.family for one in asked])
    return interval(np.concatenate(columns), statistic, groups=groups)


def _share_of(top: list[NDArray[np.float64]], of: list[NDArray[np.float64]], asked: list[Asked]) -> dict[str, float]:
    columns = [np.stack([a, b], axis=1) for a, b in zip(top, of, strict=True)]
    return _mean(columns, asked, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1e-12)).to_dict()


def _answers(asked: list[Asked], answered: list[NDArray[np.bool_]]) -> dict[str, Any]:
    """Of what is answered: its error in the assumed mixture and on known families, coverage, strangers turned away."""
    weights = [_weights(one) for one in asked]
    pairs = list(zip(asked, answered, weights, strict=True))
    return {
        "error": _share_of([w * (a & ~o.right) for o, a, w in pairs], [w * a for _, a, w in pairs], asked),
        "error_known": _share_of(
            [1.0 * (a & o.known & ~o.right) for o, a, _ in pairs], [1.0 * (a & o.known) for o, a, _ in pairs], asked
        ),
        "coverage_known": _share_of(
            [1.0 * (a & o.known) for o, a, _ in pairs], [1.0 * o.known for o, _, _ in pairs], asked
        ),
        "unknown_rejected": _share_of(
            [1.0 * (~a & ~o.known) for o, a, _ in pairs], [1.0 * ~o.known for o, _, _ in pairs], asked
        ),
    }


def _at_rate(asked: list[Asked], rate: float) -> dict[str, Any]:
    said = _answers(asked, [one.logits >= one.thresholds[rate] for one in asked])
    return said | {"promises": [one.promises[rate] for one in asked]}


def _oracle(asked: list[Asked], rate: float) -> dict[str, float]:
    """The most of the known families that could be answered at this error by a threshold chosen on the test rows."""
    mixed, known = [], []
    for one in asked:
        weights = _weights(one)
        order = np.argsort(-one.logits, kind="stable")
        wrong = np.cumsum((weights * ~one.right)[order]) / np.cumsum(weights[order])
        mixed.append(_last(wrong <= rate, one.known[order]))
        order = order[one.known[order]]
        errors = np.cumsum(~one.right[order]) / np.arange(1, len(order) + 1)
        known.append(_last(errors <= rate, np.ones(len(order), np.bool_)))
    return {"coverage_known": float(np.mean(mixed)), "coverage_known_if_all_known": float(np.mean(known))}


def _last(kept: NDArray[np.bool_], counted: NDArray[np.bool_]) -> float:
    places = np.flatnonzero(kept)
    return float(counted[: places[-1] + 1].sum() / counted.sum()) if len(places) else 0.0


def _ece(asked: list[Asked]) -> Interval:
    """Expected calibration error in the assumed mixture: 15 bins of equal width, of the probability of the answer."""
    columns = []
    for one in asked:
        place = np.minimum((one.probabilities * N_BINS).astype(int), N_BINS - 1)
        off = np.zeros((len(place), N_BINS + 1))
        weights = _weights(one)
        off[np.arange(len(place)), place] = weights * (one.right - one.probabilities)
        off[:, -1] = weights
        columns.append(off)
    return _mean(columns, asked, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])
