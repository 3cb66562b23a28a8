"""What every head must do for each kind of target but one class: subclass `KindContract`, and pytest runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from embedstore.errors import InputError
from heads.api.load import load
from heads.base import Head
from heads.features.base import ArrayFeatures
from heads.testing.head_contract import as_fitted_head

LEVELS = np.array([1.0, 2.0, 5.0, 10.0])


class _Rows(NamedTuple):
    X: NDArray[np.float32]
    y: Any


class KindContract:
    """The battery for ``"regression"``, ``"ordinal"`` and ``"multilabel"``.

    A subclass defines a fixture ``head`` that returns an unfitted head made with one of these kinds.
    """

    dim = 16

    @pytest.fixture
    def head(self) -> Head:
        """The unfitted head to test."""
        raise NotImplementedError("Define a fixture `head` that returns an unfitted head with a kind.")

    @pytest.fixture
    def rows(self, head: Head) -> Callable[..., _Rows]:
        """Make rows that have three hidden properties, and targets of the head's kind that depend on them."""

        def make(n: int, *, seed: int = 0) -> _Rows:
            fixed = np.random.default_rng(99)
            mixing, origin = fixed.normal(size=(3, self.dim)), 2 * fixed.normal(size=self.dim)
            rng = np.random.default_rng(seed)
            hidden = rng.normal(size=(n, 3))
            X = (origin + hidden @ mixing + 0.05 * rng.normal(size=(n, self.dim))).astype(np.float32)
            return _Rows(X, _targets(head.target_type, hidden))

        return make

    @pytest.fixture
    def fitted(self, head: Head, rows: Callable[..., _Rows]) -> Head:
        """The head, fitted with a validation split."""
        return head.fit(*rows(500), *rows(150, seed=1))

    def test_what_the_vectors_tell_is_learned(self, fitted: Head, rows: Callable[..., _Rows]) -> None:
        """Guard that it learns the kind of target that it states."""
        X, y = rows(300, seed=2)
        assert _quality(fitted, X, y) > 0.85

    def test_learns_without_a_validation_split(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard the documented defaults."""
        X, y = rows(300, seed=2)
        assert _quality(head.fit(*rows(500)), X, y) > 0.75

    def test_outputs_have_the_shape_of_the_kind(self, fitted: Head, rows: Callable[..., _Rows]) -> None:
        """Guard shapes and types, of no rows too."""
        X, _ = rows(30, seed=2)
        found = fitted.predict(X)
        if fitted.target_type == "regression":
            assert found.shape == (30,)
            assert found.dtype == np.float64
            with pytest.raises(InputError, match="predicts numbers"):
                fitted.predict_proba(X)
            assert fitted.predict(X[:0]).shape == (0,)
            return
        shares = fitted.predict_proba(X)
        assert shares.shape == (30, len(fitted.classes_))
        assert shares.dtype == np.float32
        assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
        if fitted.target_type == "ordinal":
            np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
            assert fitted.classes_.tolist() == LEVELS.tolist()
            assert set(found.tolist()) <= set(LEVELS.tolist())
        else:
            assert found.shape == (30, 3)
            assert found.dtype == np.bool_
            assert fitted.predict(X[:0]).shape == (0, 3)
        assert fitted.predict_proba(X[:0]).shape == (0, len(fitted.classes_))

    def test_a_stream_gives_what_an_array_gives(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard streaming, with a last block that is not full."""
        (X, y), (X_valid, y_valid), (queries, _) = rows(403), rows(101, seed=1), rows(57, seed=2)
        whole = _outputs(head.fit(X, y, X_valid, y_valid), queries)
        streams = [ArrayFeatures(part, block_rows=50) for part in (X, X_valid, queries)]
        again = type(head)(**head.get_params()).fit(streams[0], y, streams[1], y_valid)
        np.testing.assert_allclose(_outputs(again, streams[2]), whole, rtol=1e-4, atol=1e-4)

    def test_a_row_does_not_depend_on_its_batch(self, fitted: Head, rows: Callable[..., _Rows]) -> None:
        """Guard batch size and order."""
        X, _ = rows(40, seed=2)
        whole = _outputs(fitted, X)
        np.testing.assert_allclose(_outputs(fitted, X[::-1])[::-1], whole, rtol=1e-5, atol=1e-5)
        parts = [_outputs(fitted, X[start : start + 7]) for start in range(0, len(X), 7)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-5)

    def test_saved_and_loaded_it_predicts_the_same(
        self, fitted: Head, rows: Callable[..., _Rows], tmp_path: Path
    ) -> None:
        """Guard persistence: not one bit of an output changes."""
        X, _ = rows(50, seed=2)
        again = load(as_fitted_head(fitted).save(tmp_path / "head")).head
        assert again.target_type == fitted.target_type
        np.testing.assert_array_equal(_outputs(again, X), _outputs(fitted, X))
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        assert again.settings() == fitted.settings()

    def test_fitting_twice_gives_the_same(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard determinism."""
        queries, _ = rows(50, seed=2)
        first = _outputs(head.fit(*rows(300), *rows(100, seed=1)), queries)
        again = _outputs(head.fit(*rows(300), *rows(100, seed=1)), queries)
        np.testing.assert_array_equal(again, first)

    def test_targets_without_a_signal_are_not_learned(self, head: Head) -> None:
        """Guard against learning from validation rows, and against outputs that claim to know."""
        rng = np.random.default_rng(3)
        noise = [rng.normal(size=(n, self.dim)).astype(np.float32) for n in (600, 200, 1000)]
        y, y_valid, truth = (_targets(head.target_type, rng.normal(size=(len(X), 3))) for X in noise)
        head.fit(noise[0], y, noise[1], y_valid)
        # Three standard errors of 200 rows are 0.21; settings that were chosen on these very rows add a little.
        assert _rank_quality(head, noise[1], y_valid) < 0.3
        of_rates = np.repeat(_rates(head.target_type, y), len(noise[2]), axis=0)
        assert _loss(head.target_type, _outputs(head, noise[2]), truth) < 1.1 * _loss(head.target_type, of_rates, truth)

    def test_the_scale_of_numbers_does_not_matter(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard targets such as melting temperatures in kelvin, or counts in millions."""
        if head.target_type != "regression":
            pytest.skip("of numbers alone")
        (X, y), (X_valid, y_valid), (queries, truth) = rows(500), rows(150, seed=1), rows(200, seed=2)
        head.fit(X, 1e6 + 1e4 * y, X_valid, 1e6 + 1e4 * y_valid)
        error = head.predict(queries) - (1e6 + 1e4 * truth)
        assert np.sqrt((error**2).mean()) < 0.5 * 1e4 * truth.std()

    def test_targets_of_another_kind_are_refused(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard against text for numbers, NaN among them, one label for several, one value for all."""
        X, _ = rows(20)
        if head.target_type == "multilabel":
            with pytest.raises(InputError, match="expected for each row a list of labels"):
                head.fit(X, ["a"] * 20)
            with pytest.raises(InputError, match="no label at all"):
                head.fit(X, [[]] * 20)
            return
        with pytest.raises(InputError, match=r"y holds text \(first: 'high'\), but target_type"):
            head.fit(X, ["high"] * 20)
        with pytest.raises(InputError, match=r"NaN or infinity in 1 rows \(first: row 3\)"):
            head.fit(X, np.where(np.arange(20) == 3, np.nan, np.arange(20)))
        with pytest.raises(InputError, match="expected two or more"):
            head.fit(X, np.ones(20))


def _targets(target_type: str, hidden: NDArray[np.float64]) -> Any:
    if target_type == "regression":
        return 3 + 0.5 * hidden[:, 0]
    if target_type == "ordinal":
        return LEVELS[np.digitize(hidden[:, 0], [-0.7, 0.0, 0.7])]
    marks = hidden > [0.0, 0.5, -0.5]
    return [[name for name, has in zip("abc", row, strict=True) if has] for row in marks.tolist()]


def _outputs(head: Head, X: Any) -> NDArray[np.float32]:
    return np.concatenate(list(head.outputs(X)))


def _members(y: list[list[str]]) -> NDArray[np.bool_]:
    return np.array([[name in labels for name in "abc"] for labels in y])


def _quality(head: Head, X: NDArray[np.float32], y: Any) -> float:
    """Spearman's rho of numbers and of levels; micro-averaged F1 of label sets."""
    found = head.predict(X)
    if head.target_type != "multilabel":
        return float(spearmanr(found, y).statistic)
    truth = _members(y)
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def _rank_quality(head: Head, X: NDArray[np.float32], y: Any) -> float:
    """Spearman's rho between outputs and truth, of several labels the mean; 0 where the outputs do not vary."""
    outputs = _outputs(head, X)
    if head.target_type == "multilabel":
        return float(np.mean([_rho(outputs[:, code], _members(y)[:, code]) for code in range(3)]))
    return _rho(outputs @ np.arange(outputs.shape[1]) if head.target_type == "ordinal" else outputs[:, 0], y)


def _rates(target_type: str, y: Any) -> NDArray[np.float64]:
    """What a head gives that knows nothing of a row, (1, C): the mean, or the share of each level or label."""
    if target_type == "regression":
        return np.array([[np.mean(y)]])
    truth = np.asarray(y)[:, None] == LEVELS if target_type == "ordinal" else _members(y)
    rates: NDArray[np.float64] = truth.mean(axis=0, keepdims=True)
    return rates


def _loss(target_type: str, outputs: NDArray[Any], y: Any) -> float:
    """Mean squared error of numbers; log-loss of levels and labels."""
    if target_type == "regression":
        return float(((outputs[:, 0] - y) ** 2).mean())
    shares = np.clip(outputs.astype(np.float64), 1e-6, 1 - 1e-6)
    if target_type == "ordinal":
        return float(-np.log(shares[np.arange(len(y)), np.searchsorted(LEVELS, y)]).mean())
    members = _members(y)
    return float(-np.log(np.where(members, shares, 1 - shares)).mean())


def _rho(found: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(spearmanr(found, truth).statistic) if np.ptp(found) > 1e-7 else 0.0
