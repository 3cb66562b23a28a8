"""Nearest centroid: one prototype a class, the mean of its rows, and cosines to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.numerics import sigmoid, softmax
from heads.base import Head, LabelledExamples
from heads.calibration.temperature import fit_labels, fit_temperature
from heads.features.base import Features, Float32, checked_blocks, vectors_at
from heads.tasks.targets import Targets
from heads.vectors.sufficient_statistics import Statistics, target_statistics
from heads.vectors.whitening import Whitening, fit_whitening

SCALE = 10.0
"""What cosines are multiplied by before a temperature is fitted."""

_CELLS = 2**24
_MIN_ROWS = 1024
_MOST_ROWS = 16384
_BLOCK_ROWS = 1024


class CentroidHead(Head):
    """Cosine similarity to the mean vector of each class, after the nearest class mean and prototypical networks.

    Made for classes with few members: nothing is learned of a class but its mean, from one pass over the vectors.
    Whitened, directions in which members of a class differ count less. Probabilities are the softmax of the cosines at
    a temperature; for several labels a logistic curve of each label's cosine. Both are fitted on validation rows;
    without them on training rows, each compared with a mean that does not hold it.

    Parameters
    ----------
    whiten
        Whether vectors are whitened by the covariance within classes. ``"auto"``: whichever has the smaller log-loss on
        validation rows; not without them.
    seed
        Picks the rows to choose and calibrate on where there are too many for all.
    target_type
        What is predicted.

    Attributes
    ----------
    prototypes_
        (C, D) float32 of length 1, whitened where vectors are.
    whiten_
        Whether vectors are whitened.
    temperature_
        For ``"class"``: what ten times the cosine is divided by.
    valid_log_loss_
        Log-loss on the validation rows in nats, for ``"multilabel"`` the mean over labels; None without such rows.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class", "multilabel")

    prototypes_: Float32
    whiten_: bool
    temperature_: float
    valid_log_loss_: float | None

    def __init__(self, *, whiten: bool | str = "auto", seed: int = 0, target_type: str = "class") -> None:
        self.whiten = whiten
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        if self.whiten != "auto" and not isinstance(self.whiten, bool):
            raise InputError(f"whiten is {self.whiten!r}; expected True, False or 'auto'.")
        statistics = target_statistics(train.features, train.targets)
        limit = min(_MOST_ROWS, max(_MIN_ROWS, _CELLS // len(self.classes_)))
        chosen = (train if valid is None else valid).random_subset(limit, seed=self.seed)
        vectors = vectors_at(chosen.features, np.arange(len(chosen)), n_features=self.n_features_in_)
        choices = (self.whiten is True,) if self.whiten != "auto" else (False,) if valid is None else (False, True)
        tried = []
        for whiten in choices:
            prototypes = _Prototypes(statistics, fit_whitening(statistics) if whiten else None)
            cosines = prototypes.cosines(vectors)
            if valid is None:
                prototypes.leave_out(cosines, vectors, chosen.targets, statistics.amounts)
            tried.append((prototypes, _calibrate(cosines, chosen.targets)))
        prototypes, curves = min(tried, key=lambda one: one[1].log_loss)
        self._adopt(prototypes.unit, prototypes.whitening, curves, None if valid is None else curves.log_loss)

    def _adopt(
        self, prototypes: Float32, whitening: Whitening | None, curves: _Curves, valid_log_loss: float | None
    ) -> None:
        self.prototypes_, self._whitening, self._curves = prototypes, whitening, curves
        self.n_features_in_ = prototypes.shape[1]
        self.whiten_, self.temperature_ = whitening is not None, curves.temperature
        self.valid_log_loss_ = valid_log_loss

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "prototypes": self.prototypes_,
            "slopes": self._curves.slopes,
            "offsets": self._curves.offsets,
        }
        if self._whitening is not None:
            arrays |= {"whitening_mean": self._whitening.mean, "whitening_matrix": self._whitening.matrix}
        return arrays

    def settings(self) -> dict[str, Any]:
        """Whether it whitens, the temperature, and the log-loss on validation."""
        return {
            "whiten": self.whiten_,
            "temperature": self.temperature_,
            "valid_log_loss": self.valid_log_loss_,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        whitening = None
        if settings["whiten"]:
            whitening = Whitening(mean=arrays["whitening_mean"], matrix=arrays["whitening_matrix"])
        curves = _Curves(settings["temperature"], arrays["slopes"], arrays["offsets"], 0.0)
        self._adopt(arrays["prototypes"], whitening, curves, settings["valid_log_loss"])

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, block in checked_blocks(X, n_features=self.n_features_in_):
            for start in range(0, len(block), _BLOCK_ROWS):
                units = _units(block[start : start + _BLOCK_ROWS], self._whitening)
                cosines = units @ self.prototypes_.T
                if self.target_type == "multilabel":
                    yield sigmoid(cosines * self._curves.slopes + self._curves.offsets)
                else:
                    yield softmax(cosines * np.float32(SCALE / self.temperature_))


class _Curves(NamedTuple):
    """Cosines to probabilities: a temperature for classes, a slope and an offset for each label (else empty)."""

    temperature: float
    slopes: Float32
    offsets: Float32
    log_loss: float


class _Prototypes:
    """Class means of length 1, in the whitened space or in that of the vectors."""

    def __init__(self, statistics: Statistics, whitening: Whitening | None) -> None:
        means = (statistics.origin + statistics.class_means()).astype(np.float32)
        self.whitening = whitening
        self._means = means if whitening is None else whitening.apply(means)
        self.unit = _scaled(self._means)

    def cosines(self, vectors: Float32) -> Float32:
        """Of (n, D) vectors with every prototype, (n, C)."""
        return np.asarray(_units(vectors, self.whitening) @ self.unit.T)

    def leave_out(self, cosines: Float32, vectors: Float32, targets: Targets, sizes: NDArray[np.float64]) -> None:
        """Put right the cosines of training rows with their own classes: as if the mean did not hold the row.

        A class of one has no mean without it; its cosine becomes 0.
        """
        moved = vectors if self.whitening is None else self.whitening.apply(vectors)
        if targets.target_type == "multilabel":
            entries = targets.require_members().tocoo()
            rows, codes = entries.row, entries.col
        else:
            rows, codes = np.arange(len(moved)), targets.require_codes()
        for start in range(0, len(rows), _BLOCK_ROWS):
            row, code = rows[start : start + _BLOCK_ROWS], codes[start : start + _BLOCK_ROWS]
            rest = self._means[code] * sizes[code, None].astype(np.float32) - moved[row]
            rest[sizes[code] < 2] = 0
            cosines[row, code] = np.einsum("nd,nd->n", _scaled(rest), _scaled(moved[row]))


def _calibrate(cosines: Float32, targets: Targets) -> _Curves:
    """The temperature, or the curves of labels, that make the targets most likely; and the log-loss with them."""
    nothing = np.zeros(0, np.float32)
    if targets.target_type == "class":
        temperature, log_loss = fit_temperature(SCALE * cosines, targets.require_codes())
        return _Curves(temperature, nothing, nothing, log_loss)
    members = targets.require_members()
    share = (np.asarray(members.sum(axis=0)).ravel() + 0.5) / (len(cosines) + 1)
    spread = np.maximum(cosines.std(axis=0, dtype=np.float64), 1e-6)
    # Each label's cosines on one scale, about its own log-odds, so that one curve for all labels makes sense.
    slopes, offsets = 1 / spread, np.log(share / (1 - share)) - cosines.mean(axis=0, dtype=np.float64) / spread
    curves = fit_labels(cosines * slopes + offsets, members)
    return _Curves(
        1.0,
        (slopes * curves.slopes).astype(np.float32),
        (offsets * curves.slopes + curves.offsets).astype(np.float32),
        curves.log_loss,
    )


def _units(vectors: Float32, whitening: Whitening | None) -> Float32:
    return _scaled(vectors if whitening is None else whitening.apply(vectors))


def _scaled(vectors: Float32) -> Float32:
    """Rows of length 1; a row of zeros stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return np.asarray(vectors / np.where(lengths > 0, lengths, np.float32(1))[:, None])
