"""Metrics of every kind against scikit-learn and scipy; intervals that cover; tests between heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from heads.base import Head
from heads.evaluation.metrics import NumberOutcomes, average, compare_paired, mcnemar, measure
from heads.evaluation.metrics.bootstrap import resamples
from heads.evaluation.outcomes import add_missing, join, predict_outcomes, subset
from heads.features.base import ArrayFeatures


class Told(Head):
    """A head that says what it is told: its vectors are its outputs."""

    target_types = ("class", "multilabel", "regression", "ordinal")

    def __init__(self, *, target_type: str, classes: Any, thresholds: Any = None) -> None:
        self.target_type, self.classes_, self.thresholds_ = target_type, np.asarray(classes), thresholds
        self.n_features_in_ = len(self.classes_)

    def _outputs(self, X: Any) -> Any:
        for _, block in X.blocks():
            yield block

    def _fit(self, train: Any, valid: Any) -> None: ...
    def _arrays(self) -> Any: ...
    def settings(self) -> Any: ...
    def _restore(self, arrays: Any, settings: Any, texts: Any) -> None: ...


def told(head: Head, outputs: Any, y: Any) -> Any:
    return predict_outcomes(head, ArrayFeatures(np.asarray(outputs, np.float32), block_rows=17), y)


def figures(found: Any, **options: Any) -> dict[str, float]:
    return {name: one.value for name, one in measure(found.parts(), len(found), n_resamples=20, **options).items()}


def shares(n: int, n_classes: int, *, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + signal * np.eye(n_classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return true, probabilities


@pytest.mark.parametrize("n_classes", [2, 7])
def test_class_metrics_are_those_of_scikit_learn(n_classes: int) -> None:
    true, p = shares(200, n_classes, seed=n_classes)
    names = np.array([f"f{code}" for code in range(n_classes)])
    found = figures(told(Told(target_type="class", classes=names), p, names[true]))
    predicted = p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(true, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(true, predicted),
        "macro_f1": sk.f1_score(true, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(true, predicted),
        "log_loss": sk.log_loss(true, p),
        "brier": sk.brier_score_loss(
            true, p[:, 1] if n_classes == 2 else p, **({} if n_classes == 2 else {"labels": range(n_classes)})
        ),
    }
    if n_classes == 2:
        expected |= {"auroc": sk.roc_auc_score(true, p[:, 1]), "auprc": sk.average_precision_score(true, p[:, 1])}
    else:
        expected |= {
            "top3_accuracy": sk.top_k_accuracy_score(true, p, k=3),
            "macro_auroc": sk.roc_auc_score(true, p, multi_class="ovr"),
            "macro_auprc": sk.average_precision_score(np.eye(n_classes)[true], p, average="macro"),
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_ordinal_metrics_are_those_of_scikit_learn() -> None:
    true, p = shares(300, 5, seed=1)
    levels = np.array([0.0, 1.0, 2.0, 5.0, 9.0])
    head = Told(target_type="ordinal", classes=levels)
    found = figures(told(head, p, levels[true]))
    predicted = np.searchsorted(levels, head.decide(p))
    assert found["quadratic_kappa"] == pytest.approx(sk.cohen_kappa_score(true, predicted, weights="quadratic"))
    assert found["mae_levels"] == pytest.approx(sk.mean_absolute_error(true, predicted))


def test_a_level_that_training_never_saw_keeps_its_place_among_the_others() -> None:
    known, rng = np.array([1.0, 2.0, 4.0, 5.0]), np.random.default_rng(3)
    true = rng.integers(1, 6, 300).astype(float)
    guess = np.abs(known - true[:, None]).argmin(axis=1)
    found = figures(told(Told(target_type="ordinal", classes=known), np.eye(4)[guess], true))
    assert found["quadratic_kappa"] == pytest.approx(sk.cohen_kappa_score(true, known[guess], weights="quadratic"))
    assert found["mae_levels"] == pytest.approx(np.abs(true - known[guess]).mean())


def test_number_metrics_are_those_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=150).round(1)
    predicted = (true + rng.normal(size=150)).round(1)
    found = figures(NumberOutcomes(true=true, predicted=predicted))
    expected = {
        "spearman": stats.spearmanr(true, predicted).statistic,
        "pearson": stats.pearsonr(true, predicted).statistic,
        "rmse": sk.root_mean_squared_error(true, predicted),
        "mae": sk.mean_absolute_error(true, predicted),
        "r2": sk.r2_score(true, predicted),
    }
    assert found == pytest.approx(expected)
    assert figures(NumberOutcomes(true=true, predicted=np.ones(150)))["spearman"] == 0


def labels(n: int, n_labels: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    rng = np.random.default_rng(seed)
    members = rng.random((n, n_labels)) < 0.3
    p = np.clip(0.3 * rng.normal(size=members.shape) + 0.3 + 0.4 * members, 0, 1).round(2)
    names = np.array([f"l{code}" for code in range(n_labels)])
    head = Told(target_type="multilabel", classes=names, thresholds=np.full(n_labels, 0.5, np.float32))
    sets = [names[row].tolist() for row in members]
    return members, p, told(head, p, sets), head


def test_multilabel_metrics_are_those_of_scikit_learn() -> None:
    members, p, outcomes, _ = labels(120, 6, seed=3)
    found, given = figures(outcomes), p >= 0.5
    expected = {
        "micro_f1": sk.f1_score(members, given, average="micro"),
        "macro_f1": sk.f1_score(members, given, average="macro"),
        "jaccard": sk.jaccard_score(members, given, average="samples", zero_division=1),
        "subset_accuracy": sk.accuracy_score(members, given),
        "micro_auprc": sk.average_precision_score(members, p, average="micro"),
        "macro_auroc": sk.roc_auc_score(members, p, average="macro"),
        "macro_auprc": sk.average_precision_score(members, p, average="macro"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_fmax_is_the_best_of_a_loop_over_thresholds() -> None:
    members, p, outcomes, _ = labels(80, 9, seed=4)
    best = 0.0
    for threshold in np.arange(1, 101) / 100:
        given = p >= threshold - 1e-9
        some, has_label = given.any(axis=1), members.any(axis=1)
        if some.any():
            precision = ((given & members).sum(axis=1)[some] / given.sum(axis=1)[some]).mean()
            recall = ((given & members).sum(axis=1)[has_label] / members.sum(axis=1)[has_label]).mean()
            best = max(best, 2 * precision * recall / (precision + recall)) if precision + recall else best
    assert figures(outcomes)["fmax"] == pytest.approx(best, abs=1e-6)


def test_every_metric_of_a_resample_is_that_of_the_rows_it_repeats() -> None:
    true, p = shares(60, 4, seed=8)
    binary, p2 = shares(60, 2, seed=9)
    rng = np.random.default_rng(2)
    numbers = NumberOutcomes(true=rng.normal(size=60).round(1), predicted=rng.normal(size=60).round(1))
    classes, two = Told(target_type="class", classes=[0, 1, 2, 3]), Told(target_type="class", classes=[0, 1])
    for outcomes in (told(classes, p, true), told(two, p2, binary), numbers, labels(60, 5, seed=5)[2]):
        measured = measure(outcomes.parts(), 60, n_resamples=3, seed=1)
        counts = np.concatenate(list(resamples(60, 3, seed=1))).astype(np.int64)
        for number, drawn in enumerate(counts):
            rows = np.repeat(np.arange(60), drawn)
            again = figures(subset(outcomes, rows))
            here = {name: one.draws[number] for name, one in measured.items()}
            assert here == pytest.approx({name: again[name] for name in here}, abs=1e-5)


def test_how_many_draws_are_made_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    y, outputs = shares(90, 3, seed=6)
    found, groups = told(Told(target_type="class", classes=np.unique(y)), outputs, y), np.arange(90) // 9
    whole = measure(found.parts(), 90, groups=groups, n_resamples=40)
    monkeypatch.setattr("heads.evaluation.metrics.bootstrap._BATCH_DRAWS", 7 * 90)
    for name, one in measure(found.parts(), 90, groups=groups, n_resamples=40).items():
        np.testing.assert_array_equal(one.draws, whole[name].draws)


def test_the_mean_of_fits_without_an_error_has_the_interval_of_one() -> None:
    found = told(Told(target_type="class", classes=["a", "b"]), np.eye(2)[[0, 1] * 30], np.array(["a", "b"] * 30))
    one = measure(found.parts(), 60, n_resamples=50)
    assert average([one, one])["accuracy"].interval == one["accuracy"].interval
    assert one["accuracy"].interval.low < 0.95


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 40)
    right = np.repeat(rng.random(50) < 0.5, 40)
    outcomes = told(Told(target_type="class", classes=[0, 1]), np.eye(2)[right.astype(int)], np.ones(2000, int))
    narrow = measure(outcomes.parts(), 2000)["accuracy"].interval
    wide = measure(outcomes.parts(), 2000, groups=groups)["accuracy"].interval
    assert wide.value == narrow.value
    # 50 proteins say as much as 50 rows: the interval is about the square root of 40 times as wide.
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(40**0.5, rel=0.15)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "auroc", "spearman", "rmse"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(name: str) -> None:
    def sample(n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=n)
        if name in ("spearman", "rmse"):
            return NumberOutcomes(true=x, predicted=x + rng.normal(size=n))
        positive = rng.random(n) < 1 / (1 + np.exp(-2 * x))
        p = 1 / (1 + np.exp(-x))
        return told(Told(target_type="class", classes=[0, 1]), np.stack([1 - p, p], axis=1), positive.astype(int))

    truth = figures(sample(200_000, 1))[name]
    covered = 0
    for seed in range(60):
        outcomes = sample(150, 100 + seed)
        interval = measure(outcomes.parts(), 150, n_resamples=200, seed=seed)[name].interval
        covered += interval.low <= truth <= interval.high
    # 57 expected; fewer than 51 in one case of 300.
    assert covered >= 51


def test_rows_of_unseen_classes_and_without_a_vector_are_wrong() -> None:
    head = Told(target_type="class", classes=["a", "b"])
    found = told(head, [[0.9, 0.1], [0.2, 0.8]], ["a", "z"])
    assert (found.right.tolist(), found.rank.tolist()) == ([True, False], [0, 2])
    np.testing.assert_allclose(found.p_true, [0.9, 0])
    whole = add_missing(found, head, ["b", "y"], fallback=0.0)
    assert whole.names.tolist() == ["a", "b", "y", "z"]
    assert [whole.names[code] for code in whole.true] == ["a", "z", "b", "y"]
    assert figures(whole)["accuracy"] == 0.25
    number = Told(target_type="regression", classes=[])
    assert add_missing(told(number, [[1.0]], [2.0]), number, [5.0], fallback=3.0).predicted.tolist() == [1.0, 3.0]
    several = Told(target_type="multilabel", classes=["a", "b"], thresholds=np.float32([0.5, 0.5]))
    lost = add_missing(told(several, [[0.9, 0.9]], [["a", "b"]]), several, [["b", "q"]], fallback=0.0)
    assert (lost.n_true.tolist(), lost.n_unseen.tolist(), lost.exact.tolist()) == ([2, 2], [0, 1], [True, False])
    assert figures(lost)["micro_recall"] == 0.5


def test_outcomes_are_joined_and_taken_row_by_row() -> None:
    true, p = shares(40, 3, seed=1)
    head = Told(target_type="class", classes=[0, 1, 2])
    whole, parts = told(head, p, true), [told(head, p[:15], true[:15]), told(head, p[15:], true[15:])]
    order = np.random.default_rng(0).permutation(40)
    for name, value in figures(subset(join(parts), order)).items():
        assert value == pytest.approx(figures(whole)[name], abs=1e-6)


def test_worst_pairs_name_what_is_taken_for_what() -> None:
    head = Told(target_type="class", classes=["a", "b", "c"])
    found = told(head, np.eye(3)[[1, 1, 0, 2]], ["a", "a", "a", "b"])
    assert found.worst_pairs()[0] == {"true": "a", "predicted": "b", "n": 2, "share": 2 / 3}
    several = Told(target_type="multilabel", classes=["a", "b"], thresholds=np.float32([0.5, 0.5]))
    assert told(several, [[0.1, 0.9]], [["a"]]).worst_pairs() == [{"true": "a", "predicted": "b", "n": 1, "share": 1.0}]


def test_mcnemar_is_a_sign_test_where_two_heads_disagree() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.9, rng.random(200) < 0.8
    n, m = int((first & ~second).sum()), int((second & ~first).sum())
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(min(n, m), n + m).pvalue)
    assert mcnemar(first, first) == 1.0


def test_a_paired_test_sees_what_intervals_that_overlap_hide_and_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(5)
    true = rng.normal(size=400)
    shared = rng.normal(size=400)
    good = NumberOutcomes(true=true, predicted=true + shared)
    worse = NumberOutcomes(true=true, predicted=true + shared + 0.2 * rng.normal(size=400))
    a, b = (measure(one.parts(), 400, seed=3)["rmse"] for one in (good, worse))
    assert a.interval.high > b.interval.low
    found = compare_paired(a, b)
    assert found.p_value < 0.05
    assert found.difference.high < 0
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=100)
        pair = [NumberOutcomes(true=true, predicted=true + rng.normal(size=100)) for _ in range(2)]
        p_values.append(compare_paired(*(measure(one.parts(), 100, n_resamples=200)["rmse"] for one in pair)).p_value)
    assert sum(p < 0.05 for p in p_values) <= 7
