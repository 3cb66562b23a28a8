"""What alignment heads share: hits of queries, and probabilities from their scores."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, MissingPackageError
from heads.alignment.class_scores import (
    ClassScores,
    ScoreSigmoid,
    ScoreSoftmax,
    class_scores,
    fit_sigmoid,
    fit_softmax,
)
from heads.alignment.hits import Hits, join_hits
from heads.base import Head, LabelledExamples
from heads.calibration.thresholds import choose_thresholds
from heads.features.base import Features, FeaturesLike, Float32, sequences_of
from heads.features.encoding import ALIGNABLE, cleaned, pack, unpack

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 4096
"""Queries of one run of a program."""

_VALID_ROWS = 1000
"""Most validation rows that are searched; they fit two or three numbers, and a threshold a label."""


class HomologyHead(Head):
    """Predicts the class of the best hit.

    A query without a hit has no prediction: a row of zeros. Probabilities come from the score of the best hit of each
    class (`heads.alignment.class_scores`), calibrated on the validation rows.

    A new head has a constructor, `missing`, `_version`, `_index` and `_search`.

    Attributes
    ----------
    letters
        Letters that the method knows; any other becomes X.
    program_
        Name and version of the program of the fit.
    confidence_
        Maps scores to probabilities.
    """

    letters: ClassVar[bytes] = ALIGNABLE

    threads: int | None
    n_votes: int = 1
    n_hits: int | None = None

    program_: str
    confidence_: ScoreSoftmax | ScoreSigmoid

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What is not installed, and how to install it; None if nothing is missing."""

    @classmethod
    @abstractmethod
    def _version(cls) -> str:
        """Name and version of the program."""

    @abstractmethod
    def _search(self, queries: Sequence[str]) -> Hits:
        """Hits of clean sequences, of which some may be empty."""

    @abstractmethod
    def _learn(self, residues: Sequence[str], train: LabelledExamples) -> None:
        """Store the clean training sequences, ready to be searched."""

    @property
    @abstractmethod
    def _members(self) -> csr_array:
        """(targets, C) sparse bool, the classes of the targets of `_search`."""

    def hits(self, X: FeaturesLike) -> Hits:
        """Hits of each protein, with scores in bits and E-values."""
        return join_hits(list(self._hit_blocks(sequences_of(X))))

    def settings(self) -> dict[str, Any]:
        """The program, and the map from scores to probabilities."""
        return {"program": self.program_, "confidence": asdict(self.confidence_)}

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._require()
        _require_counts(threads=self.threads, n_votes=self.n_votes, n_hits=self.n_hits)
        self.program_ = self._version()
        self._learn(cleaned(sequences_of(train.features).residues, self.letters), train)
        self.confidence_ = ScoreSoftmax() if self.target_type == "class" else ScoreSigmoid()
        self._valid_scores: tuple[ClassScores, csr_array] | None = None
        if valid is None:
            return
        valid = valid.random_subset(_VALID_ROWS, seed=0)
        scores = self._scores(self.hits(valid.features))
        if self.target_type == "class":
            self.confidence_ = fit_softmax(scores, valid.targets.require_codes(), self.n_outputs)
        else:
            members = valid.targets.require_members()
            self.confidence_ = fit_sigmoid(scores, members)
            self._valid_scores = scores, members

    def _thresholds(self, valid: LabelledExamples | None) -> Float32:
        if self._valid_scores is None:
            return super()._thresholds(None)
        # Those of `_fit`; a second search would double the time of the fit.
        (scores, members), self._valid_scores = self._valid_scores, None
        return choose_thresholds(self.confidence_.probabilities(scores, self.n_outputs), members)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        self._require()
        for hits in self._hit_blocks(sequences_of(X)):
            yield self.confidence_.probabilities(self._scores(hits), self.n_outputs)

    def _hit_blocks(self, X: Features) -> Iterator[Hits]:
        residues = sequences_of(X).residues
        for start in range(0, len(residues), _BLOCK):
            yield self._search(cleaned(residues[start : start + _BLOCK], self.letters))

    def _scores(self, hits: Hits) -> ClassScores:
        return class_scores(hits, self._members, n_votes=self.n_votes)

    def _require(self) -> None:
        missing = self.missing()
        if missing is not None:
            raise MissingPackageError(missing)

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.program_ = settings["program"]
        confidence = ScoreSoftmax if self.target_type == "class" else ScoreSigmoid
        self.confidence_ = confidence(**settings["confidence"])


class NearestHead(HomologyHead):
    """Predicts the classes of the training proteins that are hit; stores these proteins.

    Parameters
    ----------
    n_hits
        Most hits of each query; None: the default of the method, `default_hits`.
    n_votes
        Number of hits whose bits are summed by class; 1: the best hit decides. It raises `n_hits` if larger.
    evalue
        Largest E-value of a hit.
    threads
        None: the number of CPUs.
    target_type
        What is predicted.
    """

    target_types = ("class", "multilabel")
    default_hits: ClassVar[int] = 100

    residues_: list[str]

    def __init__(
        self,
        *,
        n_hits: int | None = None,
        n_votes: int = 1,
        evalue: float = 10.0,
        threads: int | None = None,
        target_type: str = "class",
    ) -> None:
        self.n_hits = n_hits
        self.n_votes = n_votes
        self.evalue = evalue
        self.threads = threads
        self.target_type = target_type

    @property
    def max_hits(self) -> int:
        """Most hits of each query."""
        return max(self.default_hits if self.n_hits is None else self.n_hits, self.n_votes)

    @abstractmethod
    def _index(self) -> None:
        """Prepare to search `residues_`; called after fitting and after loading."""

    @property
    def _members(self) -> csr_array:
        return self._labels

    def _learn(self, residues: Sequence[str], train: LabelledExamples) -> None:
        self.residues_ = list(residues)
        targets = train.targets
        if targets.members is not None:
            self._labels = targets.members
        else:
            self._labels = _one_hot(targets.require_codes(), self.n_outputs)
        self._index()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        labels = self._labels
        return pack(self.residues_) | {
            "label_starts": labels.indptr.astype(np.int64),
            "labels": labels.indices.astype(np.int32),
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        from scipy.sparse import csr_array

        super()._restore(arrays, settings, texts)
        self.residues_ = unpack(arrays)
        ones = np.ones(len(arrays["labels"]), np.bool_)
        shape = len(self.residues_), self.n_outputs
        self._labels = csr_array((ones, arrays["labels"], arrays["label_starts"]), shape=shape)
        self._index()


def n_threads(threads: int | None) -> int:
    """`threads`, or the number of CPUs that this process may use."""
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_hot(codes: NDArray[np.int64], n_classes: int) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(codes), np.bool_), codes, np.arange(len(codes) + 1)), shape=(len(codes), n_classes))


def _require_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} is {count}; expected a whole number of at least 1.")
