"""What scikit-learn expects of a head on vectors: subclass `SklearnContract` and give it a `head` fixture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedstore.errors import EmbedstoreError, InputError
from heads.base import Head


class SklearnContract:
    """The battery.

    A subclass defines a fixture ``head`` that returns an unfitted classifier::

        class TestMyHead(SklearnContract):
            @pytest.fixture
            def head(self):
                return MyHead()
    """

    @pytest.fixture
    def head(self) -> Head:
        """The unfitted head to test."""
        raise NotImplementedError("Define a fixture `head` that returns an unfitted head.")

    @pytest.fixture
    def examples(self) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """Vectors and labels of three classes that are easy to tell apart."""
        rng = np.random.default_rng(0)
        codes = np.arange(90) % 3
        X = (3 * np.eye(3, 8)[codes] + 0.5 * rng.normal(size=(90, 8))).astype(np.float32)
        return X, np.array(["first", "second", "third"])[codes]

    def test_a_head_not_yet_fitted_says_so(self, head: Head, examples: tuple[NDArray[np.float32], object]) -> None:
        with pytest.raises(NotFittedError, match="not fitted yet") as raised:
            head.predict(examples[0])
        assert isinstance(raised.value, EmbedstoreError)

    def test_score_is_the_accuracy(self, head: Head, examples: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
        X, y = examples
        head.fit(X, y)
        assert head.score(X, y) == (head.predict(X) == y).mean() > 0.9
        assert head.score(X[:3], ["other", *y[1:3]], np.array([2.0, 1.0, 1.0])) <= 0.5
        assert is_classifier(head)

    def test_a_clone_has_the_parameters_and_is_not_fitted(
        self, head: Head, examples: tuple[NDArray[np.float32], NDArray[np.str_]]
    ) -> None:
        copy = clone(head.fit(*examples))
        assert copy.get_params() == head.get_params()
        assert not hasattr(copy, "classes_")
        assert repr(copy).startswith(f"{type(head).__name__}(")

    def test_it_works_in_cross_validation_grid_search_and_pipelines(
        self, head: Head, examples: tuple[NDArray[np.float32], NDArray[np.str_]]
    ) -> None:
        X, y = examples
        assert cross_val_score(clone(head), X, y, cv=2).min() > 0.8
        search = GridSearchCV(clone(head), {"target_type": [head.target_type]}, cv=2).fit(X, y)
        assert search.best_score_ > 0.8
        pipeline = make_pipeline(StandardScaler(), clone(head)).fit(X, y)
        assert pipeline.predict(X).shape == (90,)
        np.testing.assert_allclose(pipeline.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
        assert pipeline.score(X, y) > 0.8

    def test_it_can_be_calibrated_and_vote(
        self, head: Head, examples: tuple[NDArray[np.float32], NDArray[np.str_]]
    ) -> None:
        X, y = examples
        calibrated = CalibratedClassifierCV(clone(head), cv=2).fit(X, y)
        assert calibrated.score(X, y) > 0.8
        for voting in ("hard", "soft"):
            assert VotingClassifier([("a", clone(head)), ("b", clone(head))], voting=voting).fit(X, y).score(X, y) > 0.8

    def test_a_data_frame_keeps_its_column_names(
        self, head: Head, examples: tuple[NDArray[np.float32], NDArray[np.str_]]
    ) -> None:
        X, y = examples
        frame = pd.DataFrame(X, columns=[f"d{number}" for number in range(8)])
        head.fit(frame, pd.Series(y))
        assert head.feature_names_in_.tolist() == frame.columns.tolist()
        assert head.n_features_in_ == 8
        np.testing.assert_array_equal(head.predict(frame), head.predict(X))
        with pytest.raises(InputError, match="'d7' in place of 'd0'"):
            head.predict(frame[frame.columns[::-1]])
