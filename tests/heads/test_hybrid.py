"""Heads on vectors and heads on sequences as one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads
from embedstore.errors import InputError, MissingPackageError
from embedstore.store import Store
from heads.alignment.phmmer import PhmmerHead
from heads.catalog import HEADS
from heads.features.base import ArrayFeatures, SequenceFeatures, VectorAndSequenceFeatures, sequences_of
from heads.tasks.keys import row_keys
from heads.vectors.hybrid import ALIGNERS, HybridHead

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def proteins(n: int, *, seed: int) -> tuple[VectorAndSequenceFeatures, np.ndarray]:
    """Six classes: three that only the sequences tell apart, three that only the vectors do."""
    words = ["".join(np.random.default_rng(one).choice(list(LETTERS), 12)) for one in range(3)]
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 6, n)
    X = rng.normal(size=(n, 8)).astype(np.float32)
    X[np.arange(n), np.where(codes < 3, 0, codes)] += 6
    texts = []
    for code in codes.tolist():
        noise = "".join(rng.choice(list(LETTERS), 40))
        texts.append(noise[:20] + words[code] + noise[20:] if code < 3 else noise)
    keys = row_keys(n + 10_000 * seed)[10_000 * seed :]
    return VectorAndSequenceFeatures(ArrayFeatures(X, keys), SequenceFeatures(texts, keys)), codes


def test_a_hybrid_tells_apart_what_neither_of_its_parts_can() -> None:
    train, valid, (X, y) = proteins(400, seed=0), proteins(200, seed=1), proteins(300, seed=2)
    alone = [HEADS.load(name)().fit(*train, *valid) for name in ("linear", "kmer")]
    both = HybridHead(members=["linear", "kmer"]).fit(*train, *valid)
    reached = [(head.predict(X) == y).mean() for head in (*alone, both)]
    assert max(reached[:2]) < 0.8
    assert reached[2] > 0.95


@pytest.mark.parametrize(("one_length", "floor"), [(True, "position_means"), (False, "kmer")])
def test_a_hybrid_of_numbers_takes_the_floor_that_suits_the_proteins(one_length: bool, floor: str) -> None:
    def rows(n: int, seed: int) -> tuple[VectorAndSequenceFeatures, Any]:
        rng = np.random.default_rng(seed)
        X, keys = rng.normal(size=(n, 4)).astype(np.float32), row_keys(n + 1000 * seed)[1000 * seed :]
        texts = []
        for number in range(n):
            text = np.array(list("MKVLATGHSDMKVLATGHSD"))
            text[rng.integers(0, 20)] = "W" if rng.random() < 0.5 else "C"
            texts.append("".join(text)[: 20 if one_length else 20 - number % 2])
        signal = np.array([text.count("W") for text in texts])
        return VectorAndSequenceFeatures(ArrayFeatures(X, keys), SequenceFeatures(texts, keys)), X[:, 0] + 2 * signal

    train, (X, y) = rows(300, 0), rows(200, 1)
    alone = [
        np.corrcoef(HEADS.load(name)(target_type="regression").fit(*train).predict(X), y)[0, 1]
        for name in ("linear", floor)
    ]
    both = HybridHead(target_type="regression").fit(*train)
    assert set(both.settings()["alone"]) == {"linear", "knn", "mlp", floor}
    assert np.corrcoef(both.predict(X), y)[0, 1] > max(alone) + 0.02


def test_rows_stay_together_when_some_are_selected() -> None:
    X, _ = proteins(20, seed=0)
    rows = np.array([7, 3])
    chosen = X.subset(rows)
    assert sequences_of(chosen).residues == [X.sequences.residues[7], X.sequences.residues[3]]
    assert np.array_equal(next(chosen.blocks())[1], next(X.blocks())[1][rows])
    assert chosen.keys is not None
    assert np.array_equal(chosen.keys, X.keys[rows])


def test_a_hybrid_is_fitted_judged_saved_and_asked_like_any_head(store: Store, tmp_path: Path, simulated) -> None:
    params = {"members": ["linear", "kmer"]}
    fitted = heads.fit(store, task="pfam", head="hybrid", params=params, out=tmp_path / "hybrid")
    first = heads.evaluate(store, fitted).metrics
    again = heads.evaluate(store, tmp_path / "hybrid").metrics
    assert first["log_loss"].value == again["log_loss"].value
    assert again["accuracy"].value > 0.9
    # Proteins that the store has not: embedded on the way.
    asked = simulated.proteins(12, seed=9)
    found = heads.predict(store, tmp_path / "hybrid", simulated.fasta(tmp_path / "new.fasta", asked))
    assert [label == row[2] for label, row in zip(found.labels[:, 0].tolist(), asked, strict=True)].count(True) >= 11


def test_a_hybrid_stands_in_a_comparison(store: Store) -> None:
    found = heads.compare(
        store, task="pfam", heads=["hybrid", "linear", "kmer"], params={"hybrid": {"members": ["linear", "kmer"]}}
    )
    assert {row.name: bool(row.failure) for row in found.results} == {
        "hybrid · kmer": False, "linear · kmer": False, "kmer": False
    }  # fmt: skip


def test_a_head_on_vectors_and_one_on_sequences_are_joined(store: Store, tmp_path: Path) -> None:
    fitted = [heads.fit(store, task="pfam", head=name) for name in ("kmer", "linear")]
    joined = heads.join(store, fitted, out=tmp_path / "both")
    assert joined.head_name == "hybrid"
    assert joined.space_id == fitted[1].space_id
    assert heads.evaluate(store, tmp_path / "both").metrics["accuracy"].value > 0.9


def test_what_an_aligner_finds_nothing_for_is_left_to_the_vectors() -> None:
    if PhmmerHead.missing() is not None:
        pytest.skip(PhmmerHead.missing())
    train, valid = proteins(200, seed=0), proteins(100, seed=1)
    head = HybridHead(members=["linear", "phmmer"], params={"phmmer": {"evalue": 1e-30}})
    X, y = proteins(100, seed=2)
    told = y >= 3
    assert (head.fit(*train, *valid).predict(X)[told] == y[told]).mean() > 0.9


def test_without_an_aligner_the_usual_members_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALIGNERS:
        monkeypatch.setattr(HEADS.load(name), "missing", classmethod(lambda cls: f"{cls.__name__} is not there."))
    with pytest.raises(MissingPackageError, match=r"No aligner is installed: BlastpHead is not there\."):
        HybridHead().fit(*proteins(50, seed=0))


def test_a_hybrid_of_vectors_alone_needs_sequences() -> None:
    X, y = proteins(50, seed=0)
    with pytest.raises(InputError, match="This head reads sequences, and X holds vectors of 8 dimensions"):
        HybridHead(members=["linear", "kmer"]).fit(X.vectors, y)
