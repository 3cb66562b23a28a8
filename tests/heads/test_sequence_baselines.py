"""The cheap floors against scikit-learn's own pieces, and what they refuse."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from embedstore.errors import InputError
from heads.features.base import SequenceFeatures
from heads.features.encoding import STANDARD, kmer_counts
from heads.sequence_baselines.boosted_trees import BoostedTrees
from heads.sequence_baselines.composition import CompositionHead
from heads.sequence_baselines.kmer import KmerHead
from heads.sequence_baselines.one_hot_ridge import OneHotRidgeHead
from heads.sequence_baselines.position_means import PositionMeansHead
from heads.sequence_baselines.variants import blosum62
from heads.testing.sequence_contract import families
from heads.testing.sequence_kind_contract import variants


def test_kmer_is_scikit_learns_tf_idf_and_logistic_regression() -> None:
    (X, y), (queries, _) = families(80, changed=0.5), families(40, seed=2, changed=0.5)
    words = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False)
    reference = LogisticRegression(C=10, tol=1e-8, max_iter=2000).fit(words.fit_transform(X), y)
    head = KmerHead(penalty=0.1).fit(X, y)
    np.testing.assert_allclose(
        head.predict_proba(queries), reference.predict_proba(words.transform(queries)), atol=2e-3
    )


@pytest.mark.parametrize("target_type", ["class", "multilabel"])
def test_logits_of_some_rows_at_a_time_make_the_same_floor(target_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (X, y), (queries, _) = families(50), families(20, seed=2)
    labels = y if target_type == "class" else [[name, "all"] for name in y]
    whole = CompositionHead(target_type=target_type).fit(X, labels).predict_proba(queries)
    monkeypatch.setattr("heads.sequence_baselines.logistic.MAX_LOGITS", 7 * 6)
    parts = CompositionHead(target_type=target_type).fit(X, labels).predict_proba(queries)
    np.testing.assert_allclose(parts, whole, atol=2e-3)


def test_words_do_not_run_from_one_protein_into_the_next() -> None:
    together, alone = kmer_counts(["AC", "DE", "", "F"], 3), kmer_counts(["DE"], 3)
    assert together.sum(axis=1).tolist() == [3, 3, 0, 1]
    assert (together[[1]] != alone).nnz == 0


def test_composition_does_not_depend_on_length() -> None:
    head = CompositionHead()
    once, thrice = head._raw(["ACDE" * 5, "ACDE" * 500])
    np.testing.assert_allclose(once[:21], thrice[:21], atol=1e-6)
    np.testing.assert_allclose(once[21:], thrice[21:], atol=0.05)


def test_one_hot_ridge_is_ridge_on_one_hot_rows() -> None:
    X, y = variants(200)
    dense = np.array([[letter == residue for residue in protein for letter in STANDARD.decode()] for protein in X])
    reference = Ridge(alpha=1.0).fit(dense, y / y.std()).predict(dense) * y.std()
    np.testing.assert_allclose(OneHotRidgeHead(penalty=1.0).fit(X, y).predict(X), reference, atol=1e-3)


@pytest.mark.parametrize("target_type", [OneHotRidgeHead, PositionMeansHead])
def test_proteins_of_several_lengths_are_no_variants(target_type: type[OneHotRidgeHead]) -> None:
    X, y = variants(40)
    with pytest.raises(InputError, match="Row 1 of X has 39 residues and the others 40; expected variants of one"):
        target_type().fit([X[0], X[1][1:], *X[2:]], y)
    with pytest.raises(InputError, match="Row 0 of X has 3 residues and the others 40"):
        target_type().fit(X, y).predict(["MKV"])
    with pytest.raises(InputError, match="Row 7 of X has 3 residues and the others 40"):
        target_type().fit(X, y).predict(SequenceFeatures([*X[:7], "MKV"], block_rows=5))


def test_position_means_know_a_position_that_matters() -> None:
    (X, y), (queries, truth) = variants(400), variants(150, seed=2)
    head = PositionMeansHead().fit(X, y)
    assert np.corrcoef(head.predict(queries), truth)[0, 1] > 0.85


def test_a_training_variants_own_value_is_not_in_its_numbers() -> None:
    rng = np.random.default_rng(0)
    lonely = ["M" * place + "W" + "M" * (39 - place) for place in range(40)]
    values = rng.normal(size=40)
    head = PositionMeansHead(n_trees=5).fit(lonely, values)
    codes = np.full((40, 40), 10, np.uint8)
    np.fill_diagonal(codes, 18)
    numbers = head._features(codes, (values - values.mean()) / values.std())
    # Nobody else differs there.
    assert np.abs(numbers[:, 1]).max() < 1e-6


def test_trees_as_arrays_predict_what_scikit_learn_predicts() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + rng.normal(size=200)
    options = {"n_estimators": 20, "max_depth": 4, "learning_rate": 0.1}
    reference = GradientBoostingRegressor(random_state=3, **options).fit(X, y)
    np.testing.assert_allclose(BoostedTrees.fit(X, y, seed=3, **options).predict(X), reference.predict(X), atol=1e-9)


def test_blosum62_is_parasails() -> None:
    parasail = pytest.importorskip("parasail")
    places = ["ARNDCQEGHILKMFPSTWYV".index(letter) for letter in STANDARD.decode()]
    np.testing.assert_array_equal(blosum62()[:20, :20], parasail.blosum62.matrix[np.ix_(places, places)])


def test_parameters_that_make_no_sense_are_refused() -> None:
    rows = families(16)
    with pytest.raises(InputError, match="k is 9; expected a whole number from 1 to 4"):
        KmerHead(k=9).fit(*rows)
    with pytest.raises(InputError, match=r"penalty is \(0,\); expected numbers of more than 0"):
        KmerHead(penalty=0).fit(*rows)
