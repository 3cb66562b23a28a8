"""What heads of alignments share: training proteins kept, hits searched, and their scores made probabilities."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
from heads.alignment.hits import Hits
from heads.base import Head, LabelledExamples, has_prediction
from heads.calibration.thresholds import choose_thresholds
from heads.features.base import Features, FeaturesLike, Float32, sequences_of
from heads.features.residue_codes import ALIGNABLE, cleaned, pack, unpack

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 4096
"""Queries that a program is given at once."""

_VALID_ROWS = 1000
"""Validation rows that are searched at most: two or three numbers are fitted on them, and a threshold a label."""


class HomologyHead(Head):
    """Answers with the class of the best hit.

    A query that hits nothing gets no answer: a row of zeros, and from `predict` an empty label. Probabilities come from
    the scores of the best hit of each class (`heads.alignment.class_scores`), calibrated on the validation rows.

    A new head has a constructor, `missing`, `_version`, `_index` and `_search`.

    Attributes
    ----------
    letters
        What the method knows; any other letter becomes X.
    program_
        Name and version of the program that it was fitted with.
    confidence_
        What makes probabilities of scores.
    """

    letters: ClassVar[bytes] = ALIGNABLE

    threads: int | None
    n_votes: int = 1

    program_: str
    confidence_: ScoreSoftmax | ScoreSigmoid

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What is not installed, and how to get it; None if nothing is missing."""

    @classmethod
    @abstractmethod
    def _version(cls) -> str:
        """Name and version of the program."""

    @abstractmethod
    def _search(self, queries: Sequence[str]) -> Hits:
        """Hits of some queries, which are clean and may be empty texts."""

    @abstractmethod
    def _learn(self, residues: Sequence[str], train: LabelledExamples) -> None:
        """Take the clean training proteins, and make ready to search."""

    @property
    @abstractmethod
    def _members(self) -> csr_array:
        """(targets, C) sparse bool: the classes of what `_search` finds."""

    def hits(self, X: FeaturesLike) -> Hits:
        """What each protein hits, with scores in bits and E-values."""
        parts = list(self._hit_blocks(sequences_of(X)))
        counts = np.cumsum([0, *(part.n_queries for part in parts)])
        nothing = np.zeros(0)
        return Hits(
            n_queries=int(counts[-1]),
            query=np.concatenate([nothing, *(p.query + at for p, at in zip(parts, counts, strict=False))]).astype(
                np.int64
            ),
            target=np.concatenate([nothing, *(part.target for part in parts)]).astype(np.int64),
            score=np.concatenate([nothing, *(part.score for part in parts)]).astype(np.float32),
            evalue=np.concatenate([nothing, *(part.evalue for part in parts)]),
        )

    def has_prediction(self, X: FeaturesLike) -> NDArray[np.bool_]:
        """Which proteins have an answer, (N,) bool."""
        return np.concatenate([np.zeros(0, np.bool_), *(has_prediction(block) for block in self.outputs(X))])

    def settings(self) -> dict[str, Any]:
        """The program, and what makes probabilities of scores."""
        return {"program": self.program_, "confidence": self.confidence_.to_dict()}

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._require()
        _require_counts(threads=self.threads, n_votes=self.n_votes)
        self.program_ = self._version()
        self._learn(cleaned(sequences_of(train.features).residues, self.letters), train)
        one_of = self.target_type == "class"
        self.confidence_ = ScoreSoftmax() if one_of else ScoreSigmoid()
        self._searched: tuple[ClassScores, csr_array] | None = None
        if valid is None:
            return
        valid = valid.sample(_VALID_ROWS, seed=0)
        scores = self._scores(self.hits(valid.features))
        if one_of:
            self.confidence_ = fit_softmax(scores, valid.targets.require_codes(), self.n_outputs)
        else:
            members = valid.targets.require_members()
            self.confidence_ = fit_sigmoid(scores, members)
            self._searched = scores, members

    def _thresholds(self, valid: LabelledExamples | None) -> Float32:
        if self._searched is None:
            return super()._thresholds(None)
        # What was found for the confidences; to search again takes as long as all the rest.
        (scores, members), self._searched = self._searched, None
        return choose_thresholds(self.confidence_.shares(scores, self.n_outputs), members)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        self._require()
        for hits in self._hit_blocks(sequences_of(X)):
            yield self.confidence_.shares(self._scores(hits), self.n_outputs)

    def _hit_blocks(self, X: Features) -> Iterator[Hits]:
        residues = sequences_of(X).residues
        for start in range(0, len(residues), _BLOCK):
            yield self._search(cleaned(residues[start : start + _BLOCK], self.letters))

    def _scores(self, hits: Hits) -> ClassScores:
        return class_scores(hits, self._members, n_votes=self.n_votes)

    def _require(self) -> None:
        lacking = self.missing()
        if lacking is not None:
            raise MissingPackageError(lacking)

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.program_ = settings["program"]
        target_type = ScoreSoftmax if self.target_type == "class" else ScoreSigmoid
        self.confidence_ = target_type(**settings["confidence"])


class NearestHead(HomologyHead):
    """Answers with the classes of the training proteins that are hit; keeps those proteins."""

    target_types = ("class", "multilabel")

    residues_: list[str]

    @abstractmethod
    def _index(self) -> None:
        """Make ready to search `residues_`; called again after loading."""

    @property
    def _members(self) -> csr_array:
        return self._labels

    def _learn(self, residues: Sequence[str], train: LabelledExamples) -> None:
        self.residues_ = list(residues)
        targets = train.targets
        if targets.members is not None:
            self._labels = targets.members
        else:
            self._labels = _one_each(targets.require_codes(), self.n_outputs)
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
        there = np.ones(len(arrays["labels"]), np.bool_)
        shape = len(self.residues_), self.n_outputs
        self._labels = csr_array((there, arrays["labels"], arrays["label_starts"]), shape=shape)
        self._index()


def n_threads(threads: int | None) -> int:
    """Threads to use: those asked for, or one for each CPU that this process may use."""
    if threads is not None:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_each(codes: NDArray[np.int64], n_classes: int) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(codes), np.bool_), codes, np.arange(len(codes) + 1)), shape=(len(codes), n_classes))


def _require_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} is {count}; expected a whole number of at least 1.")
