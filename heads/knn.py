"""Nearest neighbours by cosine similarity, voting with weights that fall off with distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.index import FlatIndex, Neighbours
from heads.base import Head, Labelled, as_tuple
from heads.streams import Features, Float32, Rows, checked_blocks, take_rows
from heads.targets import Codes
from heads.votes import LabelledKeys, labelled_keys, row_keys

KS = (1, 2, 3, 5, 10, 20, 50)
"""Tried on the validation split."""

SHARPNESSES = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""Tried on the validation split."""

DEFAULT_K = 10
DEFAULT_SHARPNESS = 50.0
DEFAULT_BACKGROUND = 0.01
"""Used where there is no validation split to choose on; chosen on the validation rows of a Pfam random split."""

_VALID_ROWS = 4096
_VOTE_ROWS = 512


class _Choice(NamedTuple):
    """Parameters of the vote and the log-loss that they reach; ordered by the latter."""

    log_loss: float
    k: int
    sharpness: float
    background: float


class NeighboursHead(Head):
    """Weighted vote of the k training proteins with the most similar vectors.

    A neighbour with cosine similarity s weighs ``exp(sharpness * (s - s_best))``. The probabilities are the shares of
    the weight, mixed with a little of the class frequencies (`background_`), since a class that no neighbour has is
    not impossible. A sequence that stands in several training rows is one neighbour and splits its vote.

    Parameters
    ----------
    k
        Neighbours. None: the one of `ks` with the least log-loss on the validation rows, or 10 without them.
    sharpness
        How fast weights fall; 0 lets all k count the same. None: chosen as k is, or 50.
    ks, sharpnesses
        What to choose from.
    seed
        Picks the validation rows to choose on where there are more than 4,096.
    kind
        What is predicted.

    Attributes
    ----------
    k_, sharpness_
        What was used.
    background_
        Weight of the class frequencies: the share of validation rows with no neighbour of their class, or 0.01.
    valid_log_loss_
        Log-loss on the validation rows in nats, or None.
    """

    k_: int
    sharpness_: float
    background_: float
    valid_log_loss_: float | None

    def __init__(
        self,
        *,
        k: int | None = None,
        sharpness: float | None = None,
        ks: Sequence[int] = KS,
        sharpnesses: Sequence[float] = SHARPNESSES,
        seed: int = 0,
        kind: str = "class",
    ) -> None:
        self.k = k
        self.sharpness = sharpness
        self.ks = ks
        self.sharpnesses = sharpnesses
        self.seed = seed
        self.kind = kind

    def _fit(self, train: Labelled, valid: Labelled | None) -> None:
        ks = as_tuple(self.ks) if self.k is None else (self.k,)
        sharpnesses = as_tuple(self.sharpnesses) if self.sharpness is None else (self.sharpness,)
        if not ks or not all(isinstance(k, int) and k >= 1 for k in ks):
            raise InputError(f"k is {ks}; expected whole numbers of at least 1.")
        if not sharpnesses or not all(isinstance(s, int | float) and s >= 0 for s in sharpnesses):
            raise InputError(f"sharpness is {sharpnesses}; expected numbers of at least 0.")
        features, codes = train.features, train.targets.require_codes()
        digests = row_keys(features.shape[0]) if features.digests is None else features.digests
        keys = labelled_keys(digests, codes)
        self._adopt(keys, _half_rows_of(features, keys.first_rows))
        choices = [] if valid is None else self._validate(valid, ks, sharpnesses)
        self.k_ = ks[0] if self.k is not None else DEFAULT_K
        self.sharpness_ = sharpnesses[0] if self.sharpness is not None else DEFAULT_SHARPNESS
        self.background_, self.valid_log_loss_ = DEFAULT_BACKGROUND, None
        if choices:
            self.valid_log_loss_, self.k_, self.sharpness_, self.background_ = min(choices)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        keys = self._keys
        return {
            "vectors": self._vectors,
            "digests": keys.digests,
            "starts": keys.starts,
            "rows": keys.rows,
            "codes": keys.codes.astype(np.int32),
        }

    def settings(self) -> dict[str, Any]:
        """What was chosen, and the log-loss on validation."""
        return {
            "k": self.k_,
            "sharpness": self.sharpness_,
            "background": self.background_,
            "valid_log_loss": self.valid_log_loss_,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.k_, self.sharpness_ = settings["k"], settings["sharpness"]
        self.background_, self.valid_log_loss_ = settings["background"], settings["valid_log_loss"]
        keys = LabelledKeys(
            digests=arrays["digests"],
            starts=arrays["starts"],
            rows=arrays["rows"],
            codes=arrays["codes"].astype(np.int64),
        )
        self._adopt(keys, arrays["vectors"])

    def _adopt(self, keys: LabelledKeys, vectors: NDArray[Any]) -> None:
        self._keys = keys
        self._vectors = vectors
        self.n_features_in_ = vectors.shape[1]
        self._index = FlatIndex.from_arrays(keys.digests, vectors)
        self._prior = np.bincount(keys.codes, minlength=len(self.classes_)) / len(keys.codes)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, block in checked_blocks(X, n_features=self.n_features_in_):
            found = self._index.search(block, self.k_)
            for start in range(0, len(block), _VOTE_ROWS):
                rows = slice(start, start + _VOTE_ROWS)
                positions = self._keys.find(found.digests[rows])
                votes = self._keys.vote(positions, _weights(found.scores[rows], self.sharpness_), len(self.classes_))
                votes = (1 - self.background_) * votes + self.background_ * self._prior
                yield votes.astype(np.float32)

    def _validate(self, valid: Labelled, ks: Sequence[int], sharpnesses: Sequence[float]) -> list[_Choice]:
        """Log-loss of each pair of parameters on validation rows."""
        chosen = valid.sample(_VALID_ROWS, seed=self.seed)
        codes = chosen.targets.require_codes()
        vectors = take_rows(chosen.features, np.arange(len(chosen)), n_features=self.n_features_in_)
        found = self._index.search(vectors, max(ks))
        right = self._share_right(found, codes)
        prior = self._prior[codes]
        return [_choice(found.scores, right, prior, k, sharpness) for k in ks for sharpness in sharpnesses]

    def _share_right(self, found: Neighbours, codes: Codes) -> NDArray[np.float64]:
        """Share of each neighbour's labels that is the query's own, (n, k)."""
        source, entry, share = self._keys.spread(self._keys.find(found.digests).ravel())
        hit = self._keys.codes[entry] == codes[source // found.k]
        right = np.bincount(source, weights=share * hit, minlength=found.scores.size).astype(np.float64)
        return right.reshape(found.scores.shape)


def _weights(scores: Float32, sharpness: float) -> NDArray[np.float64]:
    """Weight of each neighbour; the best has 1."""
    return np.exp(sharpness * (scores.astype(np.float64) - scores[:, :1]))


def _choice(
    scores: Float32, right: NDArray[np.float64], prior: NDArray[np.float64], k: int, sharpness: float
) -> _Choice:
    weights = _weights(scores[:, :k], sharpness)
    vote = (weights * right[:, :k]).sum(axis=1) / weights.sum(axis=1)
    # Laplace's estimate of how often the true class is not among the neighbours.
    background = (int((vote == 0).sum()) + 1) / (len(vote) + 2)
    log_loss = -np.log((1 - background) * vote + background * prior).mean()
    return _Choice(float(log_loss), k, sharpness, background)


def _half_rows_of(features: Features, rows: Rows) -> NDArray[np.float16]:
    """The vectors of some rows, in that order, as float16."""
    out = np.empty((len(rows), features.shape[1]), np.float16)
    for span, block in checked_blocks(features.select(rows)):
        out[span] = _half(block)
    return out


def _half(vectors: Float32) -> NDArray[np.float16]:
    """Vectors as float16, each scaled by a power of two to a largest value in [0.5, 1).

    Cosines do not see the scale, nothing overflows, and what was float16 in the store stays exact.
    """
    exponent = np.frexp(np.abs(vectors).max(axis=1, initial=0.0))[1]
    scaled: Float32 = np.ldexp(vectors, -exponent[:, None])
    return scaled.astype(np.float16)
