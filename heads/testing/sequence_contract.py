"""What every head that reads sequences must do: subclass `SequenceHeadContract`, and pytest runs it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.api.load import load
from heads.base import Head, has_prediction
from heads.features.base import SequenceFeatures
from heads.testing.head_contract import as_fitted_head

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)

ODD = ("A", "MK", "ACD", "WYVA", "A" * 60, "QN" * 40, "X" * 70, "UZOBXJ*" * 9, "*", "ACGT" * 20, "M*K" * 20)
"""What stands in real files: the very short, runs of one letter, letters that are no residue, what looks like DNA."""


class Proteins(NamedTuple):
    """Proteins and the family of each."""

    X: list[str]
    y: NDArray[np.str_]


def families(n: int, *, seed: int = 0, n_families: int = 8, changed: float = 0.15) -> Proteins:
    """Proteins of families that share an ancestor of 50 to 78 residues, the same ancestors whatever the seed.

    Of each protein a share of the residues is replaced, and one in three lacks a residue.
    """
    fixed = np.random.default_rng(99)
    ancestors = [fixed.choice(LETTERS, 50 + 4 * code) for code in range(n_families)]
    rng = np.random.default_rng(seed)
    proteins = []
    for row in range(n):
        ancestor = ancestors[row % n_families]
        residues = np.where(rng.random(len(ancestor)) < changed, rng.choice(LETTERS, len(ancestor)), ancestor)
        if rng.random() < 1 / 3:
            residues = np.delete(residues, rng.integers(len(residues)))
        proteins.append(residues.astype(np.uint8).tobytes().decode())
    return Proteins(proteins, np.array([f"PF{code:05}.{code}" for code in np.arange(n) % n_families]))


def random_proteins(n: int, *, seed: int, length: int = 60) -> list[str]:
    """Proteins that are related to nothing."""
    rng = np.random.default_rng(seed)
    return [rng.choice(LETTERS, length).tobytes().decode() for _ in range(n)]


class SequenceHeadContract:
    """The battery for heads that predict a class.

    A subclass defines a fixture ``head`` that returns an unfitted head whose class stands in the head catalog, small
    enough to be fitted in about a second on ``n_train`` proteins. A head may give no answer (a row of zeros).
    """

    n_families = 8
    n_train = 120
    longest = 30_000
    min_accuracy = 0.9

    @pytest.fixture
    def head(self) -> Head:
        """The unfitted head to test."""
        raise NotImplementedError("Define a fixture `head` that returns an unfitted head.")

    def rows(self, n: int, *, seed: int = 0) -> Proteins:
        """Proteins of the families."""
        return families(n, seed=seed, n_families=self.n_families)

    @pytest.fixture
    def fitted(self, head: Head) -> Head:
        """The head, fitted with a validation split."""
        return head.fit(*self.rows(self.n_train), *self.rows(48, seed=1))

    def test_the_constructor_stores_its_arguments_and_nothing_else(self, head: Head) -> None:
        """Guard scikit-learn's contract: cloning goes through `get_params`."""
        names = list(inspect.signature(type(head)).parameters)
        assert list(head.get_params()) == names
        assert set(vars(head)) == set(names)
        assert type(head)(**head.get_params()).get_params() == head.get_params()

    def test_fit_returns_the_head_and_leaves_its_parameters_alone(self, head: Head) -> None:
        """Guard that what was chosen goes into attributes with a trailing underscore."""
        before = dict(head.get_params())
        assert head.fit(*self.rows(40), *self.rows(24, seed=1)) is head
        assert head.get_params() == before
        assert head.n_features_in_ == 0

    def test_families_are_learned(self, fitted: Head) -> None:
        """Guard that it learns, with labels that are text."""
        X, y = self.rows(80, seed=2)
        assert (fitted.predict(X) == y).mean() > self.min_accuracy
        assert fitted.classes_.tolist() == sorted(set(y.tolist()))

    def test_learns_without_a_validation_split(self, head: Head) -> None:
        """Guard the documented defaults."""
        X, y = self.rows(80, seed=2)
        assert (head.fit(*self.rows(self.n_train)).predict(X) == y).mean() > self.min_accuracy - 0.05

    def test_integer_labels_come_back_as_integers(self, head: Head) -> None:
        """Guard the type of labels."""
        X, y = self.rows(self.n_train)
        codes = np.unique(y, return_inverse=True)[1] * 7
        found = head.fit(X, codes).predict(X)
        assert found.dtype.kind == "i"
        assert (found == codes).mean() > self.min_accuracy

    def test_probabilities_sum_to_one_and_lead_to_the_prediction(self, fitted: Head) -> None:
        """Guard that the two methods agree, where there is an answer."""
        X, _ = self.rows(40, seed=2)
        X += random_proteins(20, seed=3)
        shares, found = fitted.predict_proba(X), fitted.predict(X)
        assert shares.shape == (60, self.n_families)
        assert shares.dtype == np.float32
        assert (shares >= 0).all()
        there = has_prediction(shares)
        np.testing.assert_allclose(shares[there].sum(axis=1), 1, atol=1e-5)
        assert (fitted.classes_[shares.argmax(axis=1)] == found)[there].all()
        assert (found[~there] == None).all()  # noqa: E711

    def test_a_row_does_not_depend_on_its_batch(self, fitted: Head) -> None:
        """Guard batch size and order."""
        X = [*self.rows(16, seed=2).X, *random_proteins(4, seed=3), *ODD]
        whole = fitted.predict_proba(X)
        np.testing.assert_allclose(fitted.predict_proba(X[::-1])[::-1], whole, atol=1e-5)
        parts = [fitted.predict_proba(X[start : start + 7]) for start in range(0, len(X), 7)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
        blocks = fitted.predict_proba(SequenceFeatures(X, block_rows=9))
        np.testing.assert_allclose(blocks, whole, atol=1e-5)

    def test_no_rows_give_no_predictions(self, fitted: Head) -> None:
        """Guard the empty input."""
        assert fitted.predict([]).shape == (0,)
        assert fitted.predict_proba([]).shape == (0, self.n_families)

    def test_fitting_twice_gives_the_same(self, head: Head) -> None:
        """Guard determinism, and that a second fit forgets the first."""
        queries, _ = self.rows(24, seed=2)
        first = head.fit(*self.rows(64), *self.rows(24, seed=1)).predict_proba(queries)
        X, y = self.rows(30, seed=5)
        head.fit([protein[:40] for protein in X], np.roll(y, 1))
        again = head.fit(*self.rows(64), *self.rows(24, seed=1)).predict_proba(queries)
        np.testing.assert_array_equal(again, first)

    def test_saved_and_loaded_it_predicts_the_same(self, fitted: Head, tmp_path: Path) -> None:
        """Guard persistence: not one bit of a probability changes."""
        X = [*self.rows(24, seed=2).X, *random_proteins(4, seed=3), *ODD]
        again = load(as_fitted_head(fitted).save(tmp_path / "head")).head
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        assert again.predict(X).tolist() == fitted.predict(X).tolist()
        assert again.settings() == fitted.settings()
        assert again.n_features_in_ == 0

    def test_vectors_are_refused(self, head: Head) -> None:
        """Guard against a space where sequences are wanted."""
        with pytest.raises(InputError, match="reads sequences, and X holds vectors of 16 dimensions"):
            head.fit(np.zeros((8, 16), np.float32), list("aabbccdd"))
        head.fit(*self.rows(40))
        with pytest.raises(InputError, match="reads sequences, and X holds vectors of 16 dimensions"):
            head.predict(np.zeros((3, 16), np.float32))

    def test_one_class_is_refused(self, head: Head) -> None:
        """Guard against a head that has nothing to choose from."""
        with pytest.raises(InputError, match=r"1 class \('only'\); expected two or more"):
            head.fit(self.rows(20).X, ["only"] * 20)

    def test_a_label_for_each_row_is_required(self, head: Head) -> None:
        """Guard against labels of other rows."""
        X, y = self.rows(20)
        with pytest.raises(InputError, match="expected one label a row"):
            head.fit(X, y[:19])

    def test_a_class_of_one_member_is_taken(self, head: Head) -> None:
        """Guard the long tail of family sizes."""
        X, y = self.rows(64)
        lonely = random_proteins(1, seed=11, length=95)
        head.fit(X + lonely, np.append(y, "lonely"))
        assert "lonely" in head.classes_
        assert head.predict_proba(lonely).shape == (1, self.n_families + 1)

    def test_validation_labels_that_were_not_trained_do_no_harm(self, head: Head) -> None:
        """Guard a validation split with other classes, some or all."""
        X, y = self.rows(40, seed=1)
        for y_valid in (np.where(np.arange(40) < 10, "new", y), np.full(40, "new")):
            assert "new" not in head.fit(*self.rows(64), X, y_valid).predict(X)

    def test_lower_case_is_upper_case(self, fitted: Head) -> None:
        """Guard against soft-masked input, which some programs score as nothing without a word."""
        X, _ = self.rows(16, seed=2)
        whole = fitted.predict_proba(X)
        np.testing.assert_allclose(fitted.predict_proba([protein.lower() for protein in X]), whole, atol=1e-5)

    def test_odd_queries_get_their_row(self, fitted: Head) -> None:
        """Guard order and count among proteins of which a program drops or refuses some; no NaN."""
        X, _ = self.rows(8, seed=2)
        long = random_proteins(1, seed=4, length=self.longest)
        shares = fitted.predict_proba([*ODD, *X, *long])
        assert shares.shape == (len(ODD) + 8 + 1, self.n_families)
        assert np.isfinite(shares).all()
        np.testing.assert_array_equal(fitted.predict([*ODD, *X, *long])[len(ODD) : -1], fitted.predict(X))

    def test_odd_training_rows_do_no_harm(self, head: Head) -> None:
        """Guard fitting on what real files hold, duplicates among it."""
        X, y = self.rows(self.n_train)
        odd = [*ODD, *random_proteins(1, seed=4, length=self.longest // 10), X[0], X[0]]
        head.fit(X + odd, np.append(y, ["odd"] * len(odd)))
        queries, truth = self.rows(40, seed=2)
        assert (head.predict(queries) == truth).mean() > self.min_accuracy - 0.1

    def test_labels_without_a_signal_are_guessed_and_the_head_says_so(self, head: Head) -> None:
        """Guard against a leak, and against probabilities that claim to know."""
        X, X_valid, queries = (random_proteins(n, seed=seed) for n, seed in ((150, 21), (150, 22), (200, 23)))
        rng = np.random.default_rng(3)
        y, y_valid, truth = (rng.choice(list("abcde"), len(part)) for part in (X, X_valid, queries))
        head.fit(X, y, X_valid, y_valid)
        # Chance is 0.2; 0.1 is three and a half standard errors of 200 guesses. No answer is no guess.
        assert (head.predict(queries) == truth).mean() < 0.3
        assert head.predict_proba(queries).max(axis=1).mean() < 0.4
