"""The battery for heads that read sequences and predict numbers or sets of labels: subclass, and pytest runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from embedstore.errors import InputError
from heads.api.load import load
from heads.base import Head
from heads.testing.head_contract import as_fitted_head
from heads.testing.sequence_contract import LETTERS, families

LEVELS = np.array([1.0, 2.0, 5.0, 10.0])
_LENGTH = 40


class _Rows(NamedTuple):
    X: list[str]
    y: Any


class SequenceKindContract:
    """The battery for ``"regression"``, ``"ordinal"`` and ``"multilabel"``.

    Numbers and levels belong to variants of one protein of 40 residues, so that heads of aligned variants pass too;
    sets of labels belong to families. A subclass defines a fixture ``head`` that returns an unfitted head made with
    one of these kinds.
    """

    n_train = 300
    min_quality = 0.5

    @pytest.fixture
    def head(self) -> Head:
        """The unfitted head to test."""
        raise NotImplementedError("Define a fixture `head` that returns an unfitted head with a kind.")

    def rows(self, head: Head, n: int, *, seed: int = 0) -> _Rows:
        """Proteins, and targets of the head's kind that depend on them."""
        if head.target_type == "multilabel":
            X, names = families(n, seed=seed, n_families=6)
            return _Rows(X, [_labels_of(int(name[2:7])) for name in names.tolist()])
        X, values = variants(n, seed=seed)
        return _Rows(X, values if head.target_type == "regression" else LEVELS[np.digitize(values, [-2.5, -1.5, -0.7])])

    @pytest.fixture
    def fitted(self, head: Head) -> Head:
        """The head, fitted with a validation split."""
        return head.fit(*self.rows(head, self.n_train), *self.rows(head, 80, seed=1))

    def test_what_the_residues_tell_is_learned(self, fitted: Head) -> None:
        """Guard that it learns the kind of target that it states."""
        assert _quality(fitted, *self.rows(fitted, 150, seed=2)) > self.min_quality

    def test_learns_without_a_validation_split(self, head: Head) -> None:
        """Guard the documented defaults."""
        head.fit(*self.rows(head, self.n_train))
        assert _quality(head, *self.rows(head, 150, seed=2)) > self.min_quality - 0.1

    def test_outputs_have_the_shape_of_the_kind(self, fitted: Head) -> None:
        """Guard shapes and types, of no rows too."""
        X, _ = self.rows(fitted, 30, seed=2)
        found, outputs = fitted.predict(X), _outputs(fitted, X)
        assert outputs.dtype == np.float32
        assert outputs.shape == (30, fitted.n_outputs)
        assert np.isfinite(outputs).all()
        assert len(fitted.predict([])) == 0
        if fitted.target_type == "regression":
            assert found.shape == (30,)
            assert found.dtype == np.float64
        elif fitted.target_type == "ordinal":
            np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)
            assert set(found.tolist()) <= set(LEVELS.tolist())
        else:
            assert found.shape == outputs.shape
            assert found.dtype == np.bool_
            assert ((outputs >= 0) & (outputs <= 1 + 1e-6)).all()

    def test_a_row_does_not_depend_on_its_batch(self, fitted: Head) -> None:
        """Guard batch size and order."""
        X, _ = self.rows(fitted, 20, seed=2)
        whole = _outputs(fitted, X)
        np.testing.assert_allclose(_outputs(fitted, X[::-1])[::-1], whole, rtol=1e-4, atol=1e-4)
        parts = [_outputs(fitted, X[start : start + 7]) for start in range(0, len(X), 7)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-4)

    def test_saved_and_loaded_it_predicts_the_same(self, fitted: Head, tmp_path: Path) -> None:
        """Guard persistence: not one bit of an output changes."""
        X, _ = self.rows(fitted, 30, seed=2)
        again = load(as_fitted_head(fitted).save(tmp_path / "head")).head
        assert again.target_type == fitted.target_type
        np.testing.assert_array_equal(_outputs(again, X), _outputs(fitted, X))
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        assert again.settings() == fitted.settings()

    def test_fitting_twice_gives_the_same(self, head: Head) -> None:
        """Guard determinism."""
        queries, _ = self.rows(head, 30, seed=2)
        first = _outputs(head.fit(*self.rows(head, 150), *self.rows(head, 60, seed=1)), queries)
        again = _outputs(head.fit(*self.rows(head, 150), *self.rows(head, 60, seed=1)), queries)
        np.testing.assert_array_equal(again, first)

    def test_targets_without_a_signal_are_not_learned(self, head: Head) -> None:
        """Guard against a leak."""
        X, y = self.rows(head, self.n_train)
        X_valid, y_valid = self.rows(head, 80, seed=1)
        rng = np.random.default_rng(3)
        mixed, mixed_valid = ([part[row] for row in rng.permutation(len(part))] for part in (y, y_valid))
        queries, truth = self.rows(head, 300, seed=2)
        outputs = _outputs(head.fit(X, mixed, X_valid, mixed_valid), queries)
        if head.target_type == "multilabel":
            # Every family has nearly the share that all proteins have.
            assert (outputs.std(axis=0) < 0.25).all()
            return
        found = outputs @ np.arange(outputs.shape[1]) if head.target_type == "ordinal" else outputs[:, 0]
        assert np.ptp(found) < 1e-7 or abs(spearmanr(found, truth).statistic) < 0.35

    def test_the_scale_of_numbers_does_not_matter(self, head: Head) -> None:
        """Guard targets such as melting temperatures in kelvin, or counts in millions."""
        if head.target_type != "regression":
            pytest.skip("of numbers alone")
        (X, y), (X_valid, y_valid) = self.rows(head, self.n_train), self.rows(head, 80, seed=1)
        queries, truth = self.rows(head, 100, seed=2)
        head.fit(X, 1e6 + 1e4 * y, X_valid, 1e6 + 1e4 * y_valid)
        error = head.predict(queries) - (1e6 + 1e4 * truth)
        assert np.sqrt((error**2).mean()) < 1e4 * truth.std()

    def test_targets_of_another_kind_are_refused(self, head: Head) -> None:
        """Guard against text for numbers, and one label for several."""
        X, _ = self.rows(head, 20)
        match = "expected for each row a list of labels" if head.target_type == "multilabel" else "y holds text"
        with pytest.raises(InputError, match=match):
            head.fit(X, ["high"] * 20)


def variants(n: int, *, seed: int = 0) -> tuple[list[str], NDArray[np.float64]]:
    """Variants of one protein of 40 residues with one to three replacements, and how much each loses by them.

    What a replacement costs depends on the position and on the new residue.
    """
    fixed = np.random.default_rng(98)
    ancestor = fixed.choice(LETTERS, _LENGTH)
    by_position, by_residue = fixed.gamma(1.0, 1.0, _LENGTH), fixed.normal(0.5, 0.5, 20)
    rng = np.random.default_rng(seed)
    proteins, values = [], np.zeros(n)
    for row in range(n):
        residues = ancestor.copy()
        for place in rng.choice(_LENGTH, rng.integers(1, 4), replace=False):
            new = rng.integers(20)
            residues[place] = LETTERS[new]
            values[row] -= (residues[place] != ancestor[place]) * (by_position[place] + by_residue[new]) / 2
        proteins.append(residues.tobytes().decode())
    return proteins, values + rng.normal(0, 0.05, n)


def _labels_of(family: int) -> list[str]:
    """Label sets of six families: none for the first, one to three for the others."""
    return [name for name, owners in (("a", (1, 2, 3)), ("b", (2, 4)), ("c", (3, 4, 5))) if family in owners]


def _outputs(head: Head, X: list[str]) -> NDArray[np.float32]:
    return np.concatenate(list(head.outputs(X)))


def _members(y: list[list[str]]) -> NDArray[np.bool_]:
    return np.array([[name in labels for name in "abc"] for labels in y])


def _quality(head: Head, X: list[str], y: Any) -> float:
    """Spearman's rho of numbers and of levels; micro-averaged F1 of label sets."""
    found = head.predict(X)
    if head.target_type != "multilabel":
        return float(spearmanr(found, y).statistic)
    truth = _members(y)
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
