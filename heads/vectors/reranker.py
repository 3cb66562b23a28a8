"""Candidates of the linear discriminant and of the nearest neighbours, put in order by trees: for many classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import softmax
from heads.base import Head, LabelledExamples
from heads.calibration.temperature import fit_temperature
from heads.features.base import Features, Float32
from heads.tasks.splitting import HELD_OUT_SHARE, folds, hold_out
from heads.tasks.targets import Codes
from heads.vectors.losses import SMALLEST
from heads.vectors.nested_heads import make_member, member_arrays, member_records, restore_members

if TYPE_CHECKING:
    from lightgbm import Booster

    from heads.vectors.lightgbm_model import Part

MEMBERS = ("linear", "knn")
"""Heads that name candidates."""

TOP = 10
"""Candidates that each of them names."""

_RANK_ROWS = 20_000
_STOP_ROWS = 5_000
_N_FOLDS = 5


class _Candidates(NamedTuple):
    """Candidates of n rows.

    ``codes``: (n, 2 TOP) int64 classes, -1 where the second head names one of the first head's. ``features``:
    (n, 2 TOP, F) float32.
    """

    codes: NDArray[np.int64]
    features: Float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateRanker:
    """The two heads, the trees that rank, and how scores become probabilities.

    Attributes
    ----------
    members
        Fitted on all training rows, in the order of `MEMBERS`.
    prior
        (C,) float32 share of each class.
    booster
        Ranks candidates.
    n_rounds
        Rounds that it grew.
    temperature
        What its scores are divided by.
    background
        Probability that the class is none of the candidates.
    valid_loss
        Log-loss on the rows that it was stopped by, in nats.
    held_out
        Training rows set aside to stop by.
    """

    members: list[Head]
    prior: Float32
    booster: Booster
    n_rounds: int
    temperature: float
    background: float
    valid_loss: float
    held_out: int

    @classmethod
    def fit(
        cls,
        train: LabelledExamples,
        valid: LabelledExamples | None,
        params: Mapping[str, Any],
        *,
        max_rounds: int,
        patience: int,
        seed: int,
    ) -> Self:
        """Learn to rank on a fifth of the rows, which the heads that name their candidates have not seen."""
        from heads.vectors.lightgbm_model import train_booster

        counts = np.bincount(train.targets.require_codes(), minlength=len(train.targets.classes))
        prior = (counts / counts.sum()).astype(np.float32)
        share = HELD_OUT_SHARE if valid is None else 0.0
        learned_rows, held_out = hold_out(train.features.group_keys, train.targets, seed=seed, share=share)
        learn = train if valid is not None else train.subset(learned_rows)
        # With too few rows to hold any out it stops by those that it learns from.
        unseen = valid if valid is not None else train.subset(held_out if len(held_out) else learned_rows)
        stop = unseen.random_subset(_STOP_ROWS, seed=seed)
        fold = folds(learn.features.group_keys, _N_FOLDS, seed=seed + 1)
        ranked = learn.subset(np.flatnonzero(fold == 0)).random_subset(_RANK_ROWS, seed=seed)
        novices = _fit_members(learn.subset(np.flatnonzero(fold != 0)), stop, seed)
        learned, watched = (_grouped(_candidates(novices, prior, part.features), part) for part in (ranked, stop))
        rank = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [1, 3], "max_delta_step": 0.0}
        booster, n_rounds = train_booster(
            learned, watched, {**params, **rank}, max_rounds=max_rounds, patience=patience
        )
        members = _fit_members(train, valid, seed)
        # Where the stopping rows were trained on by the final heads, those that have not seen them speak.
        found = _candidates(members if valid is not None else novices, prior, stop.features)
        return cls(
            members=members,
            prior=prior,
            booster=booster,
            n_rounds=n_rounds,
            held_out=len(held_out),
            **_calibrate(_ranks(booster, found), found.codes, stop.targets.require_codes(), prior),
        )

    @property
    def n_features(self) -> int:
        """Dimensions of the vectors."""
        return self.members[0].n_features_in_

    def outputs(self, X: Features) -> Iterator[Float32]:
        """Probabilities, (n, C) float32, block by block."""
        for found in _candidate_blocks(self.members, self.prior, X):
            yield _spread(_ranks(self.booster, found), found.codes, self.prior, self.temperature, self.background)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the two heads and the prior."""
        return {"prior": self.prior, **member_arrays(self.members)}

    def settings(self) -> dict[str, Any]:
        """What was chosen, and the records of the two heads."""
        names = ("n_rounds", "temperature", "background", "valid_loss", "held_out")
        return {name: getattr(self, name) for name in names} | {"members": member_records(MEMBERS, self.members)}

    @classmethod
    def restore(
        cls, classes: NDArray[Any], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], text: str
    ) -> Self:
        """The ranker again."""
        from heads.vectors.lightgbm_model import read

        kept = dict(settings)
        members = restore_members(classes, kept.pop("members"), arrays, {})
        return cls(members=members, prior=arrays["prior"], booster=read(text), **kept)


def _fit_members(train: LabelledExamples, valid: LabelledExamples | None, seed: int) -> list[Head]:
    valid = None if valid is None else valid.of_known_classes(train)
    return [make_member(name, target_type="class", seed=seed).fit_labelled(train, valid) for name in MEMBERS]


def _candidates(members: list[Head], prior: Float32, X: Features) -> _Candidates:
    blocks = list(_candidate_blocks(members, prior, X))
    return _Candidates(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _candidate_blocks(members: list[Head], prior: Float32, X: Features) -> Iterator[_Candidates]:
    """Candidates of the rows, some rows at a time."""
    for _, block in X.blocks():
        streams = [_fine(head, block) for head in members]
        for shares in zip(*streams, strict=True):
            yield _name(np.stack(shares), prior)


def _fine(head: Head, block: Float32) -> Iterator[Float32]:
    """Outputs of a head, 512 rows at a time whatever its own blocks are."""
    for start in range(0, len(block), 512):
        yield np.concatenate(list(head.outputs(block[start : start + 512])))


def _name(shares: Float32, prior: Float32) -> _Candidates:
    """Candidates and what is known of each, from (2, n, C) probabilities."""
    n_heads, _, n_classes = shares.shape
    top = min(TOP, n_classes)
    best = [_top(each, top) for each in shares]
    repeated = (best[1][:, :, None] == best[0][:, None, :]).any(axis=2)
    codes = np.concatenate([best[0], np.where(repeated, -1, best[1])], axis=1)
    at = np.maximum(codes, 0)
    logs = [np.log(np.maximum(np.take_along_axis(each, at, axis=1), SMALLEST)) for each in shares]
    features = [np.log(np.maximum(prior[at], SMALLEST))]
    for number in range(n_heads):
        highest = logs[number].max(axis=1, keepdims=True)
        rank = (logs[number][:, None, :] > logs[number][:, :, None]).sum(axis=2)
        # Logarithms rounded to what float32 holds of sums over other blocks: trees are cut at thresholds.
        features += [logs[number].round(4), (logs[number] - highest).round(4), rank, np.broadcast_to(highest, at.shape)]
    return _Candidates(codes, np.stack(features, axis=2).astype(np.float32))


def _top(shares: Float32, n: int) -> NDArray[np.int64]:
    """The `n` largest of each row, best first; of equal ones the lower code."""
    some = np.sort(np.argpartition(-shares, n - 1, axis=1)[:, :n], axis=1)
    order = np.argsort(-np.take_along_axis(shares, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _grouped(found: _Candidates, rows: LabelledExamples) -> Part:
    """Candidates as rows for trees: is it the right one? Groups without the right one teach nothing."""
    from heads.vectors.lightgbm_model import Part

    right = found.codes == rows.targets.require_codes()[:, None]
    useful = right.any(axis=1)
    there = (found.codes >= 0) & useful[:, None]
    return Part(X=found.features[there], y=right[there].astype(np.int64), groups=there[useful].sum(axis=1))


def _ranks(booster: Booster, found: _Candidates) -> NDArray[np.float64]:
    """Score of each candidate, (n, 2 TOP); minus infinity where there is none."""
    from heads.vectors.lightgbm_model import scores

    out = np.full(found.codes.shape, -np.inf)
    there = found.codes >= 0
    if there.any():
        # Between equal ranks the linear discriminant decides.
        out[there] = scores(booster, found.features[there]) + 1e-3 * found.features[there][:, 2]
    return out


def _calibrate(scores: NDArray[np.float64], codes: NDArray[np.int64], true: Codes, prior: Float32) -> dict[str, float]:
    """Temperature, background and log-loss on rows that were not learned from."""
    right = codes == true[:, None]
    named = right.any(axis=1)
    background = (int((~named).sum()) + 1) / (len(true) + 2)
    temperature = 1.0
    if named.any():
        finite = np.where(np.isfinite(scores[named]), scores[named], -1e4)
        temperature, _ = fit_temperature(finite, right[named].argmax(axis=1))
    shares = softmax(scores / temperature)
    of_true = (1 - background) * (shares * right).sum(axis=1) + background * prior[true]
    loss = float(-np.log(np.maximum(of_true, SMALLEST)).mean())
    return {"temperature": temperature, "background": background, "valid_loss": loss}


def _spread(
    scores: NDArray[np.float64], codes: NDArray[np.int64], prior: Float32, temperature: float, background: float
) -> Float32:
    """Probabilities of all classes, (n, C), from those of the candidates."""
    out = np.repeat(np.float32(background) * prior[None], len(codes), axis=0)
    shares = np.float32(1 - background) * softmax(scores / temperature)
    rows, columns = np.nonzero(codes >= 0)
    out[rows, codes[rows, columns]] += shares[rows, columns]
    return out
