"""What every head must do: subclass `HeadContract`, give it a `head` fixture, and pytest runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.api.load import FittedHead, load
from heads.base import Head
from heads.catalog import HEADS
from heads.features.base import ArrayFeatures


class _Rows(NamedTuple):
    X: NDArray[np.float32]
    y: NDArray[np.str_]


class HeadContract:
    """The battery.

    A subclass defines a fixture ``head`` that returns an unfitted head whose class stands in the head catalog::

        class TestMyHead(HeadContract):
            @pytest.fixture
            def head(self):
                return MyHead()
    """

    dim = 16
    n_classes = 5

    @pytest.fixture
    def head(self) -> Head:
        """The unfitted head to test."""
        raise NotImplementedError("Define a fixture `head` that returns an unfitted head.")

    @pytest.fixture
    def rows(self) -> Callable[..., _Rows]:
        """Make rows of five well separated classes away from the origin, the same ones for the same seed."""

        def make(n: int, *, seed: int = 0) -> _Rows:
            centres = 2 * np.random.default_rng(99).normal(size=(self.n_classes, self.dim)) + 1
            rng = np.random.default_rng(seed)
            codes = np.arange(n) % self.n_classes
            X = (centres[codes] + 0.7 * rng.normal(size=(n, self.dim))).astype(np.float32)
            return _Rows(X, np.array([f"PF{code:05}.{code}" for code in codes]))

        return make

    @pytest.fixture
    def fitted(self, head: Head, rows: Callable[..., _Rows]) -> Head:
        """The head, fitted with a validation split."""
        return head.fit(*rows(400), *rows(100, seed=1))

    def test_the_constructor_stores_its_arguments_and_nothing_else(self, head: Head) -> None:
        """Guard scikit-learn's contract: cloning goes through `get_params`."""
        names = list(inspect.signature(type(head)).parameters)
        assert list(head.get_params()) == names
        assert set(vars(head)) == set(names)
        assert type(head)(**head.get_params()).get_params() == head.get_params()

    def test_fit_returns_the_head_and_leaves_its_parameters_alone(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard that what was chosen goes into attributes with a trailing underscore."""
        before = dict(head.get_params())
        assert head.fit(*rows(100), *rows(50, seed=1)) is head
        assert head.get_params() == before
        assert head.n_features_in_ == self.dim

    def test_separable_classes_are_learned(self, fitted: Head, rows: Callable[..., _Rows]) -> None:
        """Guard that it learns, with labels that are text."""
        X, y = rows(200, seed=2)
        assert (fitted.predict(X) == y).mean() > 0.97
        assert fitted.classes_.tolist() == sorted(set(y.tolist()))

    def test_learns_without_a_validation_split(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard the documented defaults."""
        X, y = rows(200, seed=2)
        assert (head.fit(*rows(400)).predict(X) == y).mean() > 0.97

    def test_integer_labels_come_back_as_integers(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard the type of labels."""
        X, y = rows(100)
        codes = np.unique(y, return_inverse=True)[1] * 7
        found = head.fit(X, codes).predict(X)
        assert found.dtype.kind == "i"
        assert (found == codes).mean() > 0.97

    def test_probabilities_sum_to_one_and_lead_to_the_prediction(
        self, fitted: Head, rows: Callable[..., _Rows]
    ) -> None:
        """Guard that the two methods agree."""
        X, _ = rows(200, seed=2)
        shares = fitted.predict_proba(X)
        assert shares.shape == (200, self.n_classes)
        assert shares.dtype == np.float32
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
        assert (fitted.classes_[shares.argmax(axis=1)] == fitted.predict(X)).all()

    def test_a_stream_gives_what_an_array_gives(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard streaming, with a last block that is not full."""
        X, y = rows(403)
        X_valid, y_valid = rows(101, seed=1)
        queries, _ = rows(57, seed=2)
        whole = head.fit(X, y, X_valid, y_valid).predict_proba(queries)
        streams = [ArrayFeatures(part, block_rows=50) for part in (X, X_valid, queries)]
        again = type(head)(**head.get_params()).fit(streams[0], y, streams[1], y_valid).predict_proba(streams[2])
        np.testing.assert_allclose(again, whole, atol=1e-5)

    def test_a_row_does_not_depend_on_its_batch(self, fitted: Head, rows: Callable[..., _Rows]) -> None:
        """Guard batch size and order."""
        X, _ = rows(40, seed=2)
        whole = fitted.predict_proba(X)
        np.testing.assert_allclose(fitted.predict_proba(X[::-1])[::-1], whole, atol=1e-6)
        for size in (1, 7):
            parts = [fitted.predict_proba(X[start : start + size]) for start in range(0, len(X), size)]
            np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)

    def test_no_rows_give_no_predictions(self, fitted: Head) -> None:
        """Guard the empty input."""
        nothing = np.empty((0, self.dim), np.float32)
        assert fitted.predict(nothing).shape == (0,)
        assert fitted.predict_proba(nothing).shape == (0, self.n_classes)

    def test_fitting_twice_gives_the_same(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard determinism, and that a second fit forgets the first."""
        queries, _ = rows(50, seed=2)
        first = head.fit(*rows(400), *rows(100, seed=1)).predict_proba(queries)
        X, y = rows(60, seed=5)
        head.fit(X[:, :7], np.roll(y, 1))
        again = head.fit(*rows(400), *rows(100, seed=1)).predict_proba(queries)
        np.testing.assert_array_equal(again, first)

    def test_saved_and_loaded_it_predicts_the_same(
        self, fitted: Head, rows: Callable[..., _Rows], tmp_path: Path
    ) -> None:
        """Guard persistence: not one bit of a probability changes."""
        X, _ = rows(50, seed=2)
        load_again = load(as_fitted_head(fitted).save(tmp_path / "head")).head
        np.testing.assert_array_equal(load_again.predict_proba(X), fitted.predict_proba(X))
        assert load_again.predict(X).tolist() == fitted.predict(X).tolist()
        assert load_again.settings() == fitted.settings()

    def test_vectors_of_another_dimension_are_refused(self, fitted: Head) -> None:
        """Guard against vectors of another space."""
        with pytest.raises(InputError, match=f"X has {self.dim + 1} dimensions; this head was fitted on {self.dim}"):
            fitted.predict(np.zeros((3, self.dim + 1), np.float32))

    def test_one_class_is_refused(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard against a head that has nothing to choose from."""
        X, _ = rows(20)
        with pytest.raises(InputError, match=r"1 class \('only'\); expected two or more"):
            head.fit(X, ["only"] * 20)

    def test_a_label_for_each_row_is_required(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard against labels of other rows."""
        X, y = rows(20)
        with pytest.raises(InputError, match="expected one label a row"):
            head.fit(X, y[:19])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_vectors_that_are_not_finite_are_refused(self, head: Head, rows: Callable[..., _Rows], bad: float) -> None:
        """Guard fit and predict against broken vectors, naming the row."""
        X, y = rows(40)
        X_bad = X.copy()
        X_bad[7, 3] = bad
        with pytest.raises(InputError, match="Row 7 of X holds NaN or infinity"):
            head.fit(X_bad, y)
        with pytest.raises(InputError, match="Row 7 of X holds NaN or infinity"):
            head.fit(X, y).predict(X_bad)

    def test_a_class_of_one_member_is_taken(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard the long tail of family sizes."""
        X, y = rows(100)
        lonely = np.concatenate([X, X[:1] + 50]), np.append(y, "lonely")
        assert head.fit(*lonely).predict(lonely[0][-1:]).tolist() == ["lonely"]

    def test_validation_labels_that_were_not_trained_do_no_harm(self, head: Head, rows: Callable[..., _Rows]) -> None:
        """Guard a validation split with other classes, some or all."""
        X, y = rows(100, seed=1)
        some = np.where(np.arange(100) < 10, "new", y)
        for y_valid in (some, np.full(100, "new")):
            assert "new" not in head.fit(*rows(200), X, y_valid).predict(X)

    def test_labels_without_a_signal_are_guessed_and_the_head_says_so(self, head: Head) -> None:
        """Guard against a leak, and against probabilities that claim to know."""
        rng = np.random.default_rng(3)
        noise = [rng.normal(size=(n, self.dim)).astype(np.float32) for n in (500, 500, 1000)]
        y, y_valid, y_test = (rng.choice(["a", "b", "c", "d", "e"], len(X)) for X in noise)
        head.fit(noise[0], y, noise[1], y_valid)
        # Chance is 0.2; 0.04 is three standard errors of 1,000 guesses.
        assert abs((head.predict(noise[2]) == y_test).mean() - 0.2) < 0.04
        assert head.predict_proba(noise[2]).max(axis=1).mean() < 0.35


def as_fitted_head(head: Head) -> FittedHead:
    """The head with what a saved one needs beside it."""
    target = f"{type(head).__module__}:{type(head).__name__}"
    name = next(row.name for row in HEADS.values() if row.target == target)
    nothing: dict[str, Any] = {}
    return FittedHead(
        head=head,
        head_name=name,
        task_name="contract",
        task=nothing,
        data_set="contract",
        label_column="label",
        split_rule="none",
        space_id="simulated-0000000000",
        space_identity=nothing,
        train_sha256="0" * 64,
        n_rows=nothing,
    )
