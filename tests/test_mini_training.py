"""Training of `mini`: alignment columns, batches that a seed decides, runs that go on where they were stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("parasail")
pytest.importorskip("pyfamsa")

from benchmarks.train_mini.alignments import (
    SUBSTITUTIONS,
    Alignments,
    add_families,
    add_star,
    aligned_columns,
    column_profiles,
)
from benchmarks.train_mini.data import DOMAIN_LABELS
from benchmarks.train_mini.objectives import Objectives, Weights
from benchmarks.train_mini.sampling import CURATED, STREAMS, Sampler, TrainingSet
from benchmarks.train_mini.train import Run
from embedstore.models.kmer import FREQUENCY
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder

LETTERS = b"ACDEFGHIKLMNPQRSTVWY"


def families(n_families: int = 4, n_members: int = 5, length: int = 60) -> list[bytes]:
    """Members of families: an ancestor with a fifth of its residues changed, one residue lost in every other."""
    rng = np.random.default_rng(0)
    letters, found = np.frombuffer(LETTERS, np.uint8), []
    for _ in range(n_families):
        ancestor = letters[rng.integers(20, size=length)]
        for member in range(n_members):
            changed = np.where(rng.random(length) < 0.2, letters[rng.integers(20, size=length)], ancestor)
            found.append(np.delete(changed, 30).tobytes() if member % 2 else changed.tobytes())
    return found


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """``train.npz`` and ``alignments.npz`` of four families, the first two of them SCOP domains and their homologs."""
    sequences = families()
    numbers = np.repeat(np.arange(4), 5).astype(np.int32)
    labels = {kind: np.where(numbers < 2, numbers, -1) for kind in CURATED}
    labels |= {"pfam": numbers, "cluster": numbers, "ec": numbers}
    lengths = [len(sequence) for sequence in sequences]
    np.savez(
        tmp_path / "train.npz",
        residues=np.frombuffer(b"".join(sequences), np.uint8),
        offsets=np.cumsum([0, *lengths]),
        secondary=np.ones(sum(lengths), np.uint8),
        has_secondary=np.ones(len(sequences), np.bool_),
        **{f"label_{kind}": held.astype(np.int32) for kind, held in labels.items()},  # type: ignore[arg-type]
    )
    found = Alignments()
    for domain in (0, 5):
        add_star(found, domain, [(domain + 2, 10, 10, "20M1D29M")], sequences)
    add_families(found, numbers, sequences, largest=10, done=set())
    found.write(tmp_path / "alignments.npz", {})
    return tmp_path


def test_a_cigar_gives_each_target_residue_the_column_of_its_query_residue() -> None:
    assert aligned_columns("3M2I2M1D1M", 4, 100).tolist() == [104, 105, 106, 109, 110, -1, 111]


def test_substitution_probabilities_are_distributions_with_the_residue_itself_likeliest() -> None:
    np.testing.assert_allclose(SUBSTITUTIONS.sum(axis=1), 1.0)
    assert (SUBSTITUTIONS.argmax(axis=1) == np.arange(20)).sum() >= 18


def test_the_profile_of_a_column_of_unknown_residues_is_the_background() -> None:
    codes = np.array([[20, 3], [20, 3]], np.uint8)
    profiles = column_profiles(codes)
    np.testing.assert_allclose(profiles.sum(axis=1), 1.0)
    np.testing.assert_allclose(profiles[0], FREQUENCY / FREQUENCY.sum())
    assert profiles[1].argmax() == 3


def test_regions_have_the_residues_columns_and_superfamily_of_their_reference(work: Path) -> None:
    data = TrainingSet.read(work)
    assert len(data.starts) == data.n_sequences + 4
    for reference, region in ((0, 21), (5, 23)):
        parent = reference + 2
        assert data.sequence(region) == data.sequence(parent)[10:60]
        columns = data.columns_of(region)
        assert columns[20] == -1
        assert columns[0] == data.columns_of(region - 1)[10]
        for kind in DOMAIN_LABELS:
            assert data.labels[kind][region] == data.labels[kind][reference]
        assert data.labels["pfam"][region] == -1


def test_members_of_a_family_share_columns_whose_profile_fits_their_residues(work: Path) -> None:
    data = TrainingSet.read(work)
    fits = []
    for example in range(data.n_sequences):
        columns = data.columns_of(example)
        tokens = data.tokens[data.starts[example] :][: data.lengths[example]]
        fits.append((data.profiles[columns].argmax(axis=1) == tokens - 3)[columns >= 0].mean())
    assert np.mean(fits) > 0.7


def test_a_batch_is_decided_by_seed_and_step_and_aligned_residues_share_a_column(work: Path) -> None:
    data = TrainingSet.read(work)
    options = {"residues": 4_096, "seed": 3, "masked": 0.2, "half_plain": True}
    one, other = Sampler(data, **options), Sampler(data, **options)  # type: ignore[arg-type]
    one.batch(6)
    batch, again = one.batch(7), other.batch(7)
    assert torch.equal(batch.tokens, again.tokens)
    assert torch.equal(batch.aligned, again.aligned)
    columns = batch.columns.flatten()[batch.aligned]
    assert len(columns) > len(STREAMS)
    assert bool((columns[:, 0] == columns[:, 1]).all())
    assert bool((columns >= 0).all())


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(work: Path, tmp_path: Path) -> None:
    data = TrainingSet.read(work)
    sampler = Sampler(data, residues=2_048, seed=0, masked=0.2, half_plain=True)

    def run(directory: str) -> Run:
        torch.manual_seed(0)
        encoder = MiniEncoder(MiniConfig(hidden_size=16, wide_size=32, output_size=24, blocks="cc", convolution_size=8))
        return Run(tmp_path / directory, Objectives(encoder, data, Weights()), rate=1e-3, steps=100)

    through = run("through")
    for _ in range(4):
        parts = through.one_step(sampler)
    assert set(parts) == set(Weights.__slots__)
    assert all(np.isfinite(value) for value in parts.values())

    stopped = run("stopped")
    for _ in range(2):
        stopped.one_step(sampler)
    stopped.save()
    resumed = run("stopped")
    for _ in range(2):
        resumed.one_step(sampler)
    for name, value in through.weights().items():
        assert torch.equal(value, resumed.weights()[name]), name
