"""Nearest neighbours by cosine similarity, voting with weights that fall off with distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes import FlatIndex
from heads.base import Head, LabelledExamples, as_tuple
from heads.catalog.param_space import Choice, FloatRange, IntRange, Range
from heads.features.base import Features, Float32, Rows, checked_blocks, vectors_at
from heads.tasks.keys import row_keys
from heads.tasks.targets import KINDS, Targets
from heads.vectors.fit_knn import DEFAULT_K, DEFAULT_SHARPNESS, Vote, default_vote, fit_vote
from heads.vectors.neighbour_targets import KeyTargets, key_targets
from heads.vectors.sufficient_statistics import target_statistics
from heads.vectors.whitening import Whitening, fit_whitening

KS = (1, 2, 3, 5, 10, 20, 50, 100, 200)
"""Tried on the validation split."""

SHARPNESSES = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""Tried on the validation split."""

_VALID_ROWS = 4096
_CELLS = 2**22
_VOTE_ROWS = 512
_ASKED_BYTES = 2**30
_USABLE_SHARE = 0.8


class NeighboursHead(Head):
    """Weighted vote of the k training proteins with the most similar vectors.

    A neighbour with cosine similarity s weighs ``exp(sharpness * (s - s_best))``. What is predicted is the weighted
    mean of what the neighbours have: the share of each class, level or label, or the mean number, drawn a little
    towards the mean of all rows (`background_`), since a class that no neighbour has is not impossible. A sequence that
    stands in several training rows is one neighbour, with the mean of its rows. Probabilities are calibrated on
    validation rows. The training vectors are held in memory as float16.

    Parameters
    ----------
    k
        Neighbours. None: the one of `ks` that is best on the validation rows, or 10 without them.
    sharpness
        How fast weights fall; 0 lets all k count the same. None: chosen as k is, or 50.
    ks, sharpnesses
        What to choose from.
    whiten
        Whether vectors are scaled so that all directions vary alike before cosines are taken. ``"auto"``: whichever is
        better on the validation rows; not without them. Costs one more pass over the vectors.
    seed
        Picks the validation rows to choose on where there are more than 4,096.
    target_type
        What is predicted.

    Attributes
    ----------
    k_, sharpness_, whiten_
        What was used.
    background_
        Weight of the mean over all rows.
    valid_log_loss_, valid_rmse_
        Log-loss on the validation rows in nats (for ``"multilabel"`` the mean over labels), for numbers the root mean
        squared error; None without such rows.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS
    search_space: ClassVar[Mapping[str, Range]] = {
        "k": IntRange(low=1, high=50, log=True),
        "sharpness": FloatRange(low=1.0, high=500.0, log=True),
        "whiten": Choice((False, True)),
    }

    k_: int
    sharpness_: float
    whiten_: bool
    background_: float
    valid_log_loss_: float | None
    valid_rmse_: float | None

    def __init__(
        self,
        *,
        k: int | None = None,
        sharpness: float | None = None,
        ks: Sequence[int] = KS,
        sharpnesses: Sequence[float] = SHARPNESSES,
        whiten: bool | str = "auto",
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.k = k
        self.sharpness = sharpness
        self.ks = ks
        self.sharpnesses = sharpnesses
        self.whiten = whiten
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        ks, sharpnesses = self._candidates()
        features = train.features
        digests = row_keys(features.shape[0]) if features.keys is None else features.keys
        keys, first_rows = key_targets(digests, train.targets)
        tried = self._whitenings(valid)
        require_room(len(first_rows), features.shape[1], copies=len(tried))
        found: list[_Fitted] = []
        for whiten in tried:
            whitening = None
            if whiten:
                whitening = fit_whitening(target_statistics(features, train.targets))
            vectors = _half_rows_of(features, first_rows, whitening)
            index = FlatIndex.from_arrays(keys.digests, vectors)
            vote = self._choose(keys, index, whitening, valid, ks, sharpnesses)
            found.append(_Fitted(vote, vectors, whitening))
        vote, vectors, whitening = min(found, key=lambda one: one.vote.loss)
        self._adopt(keys, vectors, whitening, vote)

    def _candidates(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        ks = as_tuple(self.ks) if self.k is None else (self.k,)
        sharpnesses = as_tuple(self.sharpnesses) if self.sharpness is None else (self.sharpness,)
        if not ks or not all(isinstance(k, int) and k >= 1 for k in ks):
            raise InputError(f"k is {ks}; expected whole numbers of at least 1.")
        if not sharpnesses or not all(isinstance(s, int | float) and s >= 0 for s in sharpnesses):
            raise InputError(f"sharpness is {sharpnesses}; expected numbers of at least 0.")
        return ks, sharpnesses

    def _whitenings(self, valid: LabelledExamples | None) -> tuple[bool, ...]:
        if self.whiten == "auto":
            return (False,) if valid is None else (False, True)
        if isinstance(self.whiten, bool):
            return (self.whiten,)
        raise InputError(f"whiten is {self.whiten!r}; expected True, False or 'auto'.")

    def _choose(
        self,
        keys: KeyTargets,
        index: FlatIndex,
        whitening: Whitening | None,
        valid: LabelledExamples | None,
        ks: tuple[int, ...],
        sharpnesses: tuple[float, ...],
    ) -> Vote:
        if valid is None:
            return default_vote(
                self.target_type,
                len(self.classes_),
                ks[0] if self.k is not None else DEFAULT_K,
                sharpnesses[0] if self.sharpness is not None else DEFAULT_SHARPNESS,
            )
        limit = min(_VALID_ROWS, max(512, _CELLS // max(1, self.n_outputs)))
        chosen = valid.random_subset(limit, seed=self.seed)
        vectors = vectors_at(chosen.features, np.arange(len(chosen)), n_features=self.n_features_in_)
        found = index.search(vectors if whitening is None else whitening.apply(vectors), max(ks))
        return fit_vote(keys, found.scores, keys.find(found.digests), chosen.targets, ks, sharpnesses)

    def _adopt(self, keys: KeyTargets, vectors: NDArray[np.float16], whitening: Whitening | None, vote: Vote) -> None:
        self._keys, self._vectors, self._whitening, self._vote = keys, vectors, whitening, vote
        self.n_features_in_ = vectors.shape[1]
        self._index = FlatIndex.from_arrays(keys.digests, vectors)
        self.k_, self.sharpness_, self.background_ = vote.k, vote.sharpness, vote.background
        self.whiten_ = whitening is not None
        self.valid_log_loss_, self.valid_rmse_ = vote.log_loss, vote.rmse

    def _arrays(self) -> dict[str, NDArray[Any]]:
        keys, whitening = self._keys, self._whitening
        arrays: dict[str, NDArray[Any]] = {
            "vectors": self._vectors,
            "digests": keys.digests,
            "starts": keys.starts,
            "columns": keys.columns.astype(np.int32),
            "amounts": keys.amounts,
            "centre": keys.centre,
            "slopes": self._vote.slopes,
            "offsets": self._vote.offsets,
        }
        if whitening is not None:
            arrays |= {"whitening_mean": whitening.mean, "whitening_matrix": whitening.matrix}
        return arrays

    def settings(self) -> dict[str, Any]:
        """What was chosen, and how well it does on validation."""
        return {
            "k": self.k_,
            "sharpness": self.sharpness_,
            "whiten": self.whiten_,
            "background": self.background_,
            "temperature": self._vote.temperature,
            "valid_log_loss": self.valid_log_loss_,
            "valid_rmse": self.valid_rmse_,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        if "codes" in arrays:
            self._adopt(*_of_first_release(arrays, settings, self.classes_))
            return
        keys = KeyTargets(
            digests=arrays["digests"],
            starts=arrays["starts"],
            columns=arrays["columns"].astype(np.int64),
            amounts=arrays["amounts"],
            centre=arrays["centre"],
        )
        whitening = None
        if settings["whiten"]:
            whitening = Whitening(mean=arrays["whitening_mean"], matrix=arrays["whitening_matrix"])
        vote = Vote(
            k=settings["k"],
            sharpness=settings["sharpness"],
            background=settings["background"],
            temperature=settings["temperature"],
            slopes=arrays["slopes"],
            offsets=arrays["offsets"],
            log_loss=settings["valid_log_loss"],
            rmse=settings["valid_rmse"],
        )
        self._adopt(keys, arrays["vectors"], whitening, vote)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, block in checked_blocks(X, n_features=self.n_features_in_):
            found = self._index.search(block if self._whitening is None else self._whitening.apply(block), self.k_)
            for start in range(0, len(block), _VOTE_ROWS):
                rows = slice(start, start + _VOTE_ROWS)
                yield self._vote.outputs(
                    self.target_type, self._keys, found.scores[rows], self._keys.find(found.digests[rows])
                )


def _of_first_release(
    arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], classes: NDArray[Any]
) -> tuple[KeyTargets, NDArray[np.float16], None, Vote]:
    """What heads of classes kept before other kinds came: the rows of each key and their codes, nothing calibrated."""
    codes = arrays["codes"].astype(np.int64)
    digests = np.repeat(arrays["digests"], np.diff(arrays["starts"]), axis=0)
    keys, _ = key_targets(digests, Targets(target_type="class", classes=classes, codes=codes))
    vote = replace(
        default_vote("class", len(classes), settings["k"], settings["sharpness"]),
        background=settings["background"],
        log_loss=settings["valid_log_loss"],
    )
    return keys, arrays["vectors"], None, vote


class _Fitted(NamedTuple):
    vote: Vote
    vectors: NDArray[np.float16]
    whitening: Whitening | None


def require_room(n_rows: int, dim: int, *, copies: int) -> None:
    """Refuse more training vectors than fit into memory.

    Raises
    ------
    InputError
        With the size, what is there, and what to do.
    """
    needed = n_rows * dim * 2 * copies
    if needed < _ASKED_BYTES:
        return
    # Costs an import of torch, and matters for large sets alone.
    import torch

    from embedstore.models.memory import available_bytes

    there = available_bytes(torch.device("cpu"))
    if needed > _USABLE_SHARE * there:
        raise InputError(
            f"Neighbours are found among {n_rows:,} vectors of {dim} numbers, which take {needed / 2**30:,.1f} GiB of "
            f"memory; {there / 2**30:,.1f} GiB are free, of which {_USABLE_SHARE:.0%} may be taken. Take a head that "
            "streams (linear, mlp), or fewer rows" + (", or whiten=False." if copies > 1 else ".")
        )


def _half_rows_of(features: Features, rows: Rows, whitening: Whitening | None) -> NDArray[np.float16]:
    """The vectors of some rows, in that order, as float16."""
    out = np.empty((len(rows), features.shape[1]), np.float16)
    for span, block in checked_blocks(features.subset(rows)):
        out[span] = _half(block if whitening is None else whitening.apply(block))
    return out


def _half(vectors: Float32) -> NDArray[np.float16]:
    """Vectors as float16, each scaled by a power of two to a largest value in [0.5, 1).

    Cosines do not see the scale, nothing overflows, and what was float16 in the store stays exact.
    """
    exponent = np.frexp(np.abs(vectors).max(axis=1, initial=0.0))[1]
    scaled: Float32 = np.ldexp(vectors, -exponent[:, None])
    return scaled.astype(np.float16)
