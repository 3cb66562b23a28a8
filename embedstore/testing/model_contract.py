"""The battery of tests that every model must pass; a plug-in subclasses it and gives one fixture."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedstore.errors import InputError
from embedstore.models import load_model
from embedstore.models.base import RESIDUE_LETTERS, STANDARD_RESIDUES, Model
from embedstore.models.parity import relative_distance as distance
from embedstore.models.pooling import POOLINGS, find_pooling
from embedstore.sequences.batching import plan_batches
from embedstore.types import RESIDUES

TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}
"""Largest ``|a - b| / |b|`` (Euclidean) between a vector computed alone and in a batch, by precision.

For small checkpoints; `embedstore.models.parity` has those for deep ones. Padding changes the order of sums. Measured
on random checkpoints of 2 and of 12 layers, the largest of three families: float32 2e-7 and 2e-6, bfloat16 5e-3 and
2e-2; float16 was not measured. A batch without its mask moves vectors by more than 0.1.
"""

IDENTITY_KEYS = {
    "model",
    "family",
    "checkpoint",
    "revision",
    "weights_sha256",
    "tokens_sha256",
    "adapter_sha256",
    "layer",
    "precision",
    "residue_policy",
}
"""What :meth:`embedstore.models.Model.identity` must at least hold."""

MIXED = (
    b"MKVLATGHISAGLKCDWEYRNPQF" * 4,
    b"W",
    b"ACDEFGHIKLMNPQRSTVWY",
    b"MXKV",
    b"GG",
    b"MSTNPKPQRKTKRNTNRRPQDVKFPGGGQIVGGVYLLPRRGPRLGVRATRKTSERSQPRG",
)
"""Sequences of very different lengths, one residue the shortest."""


class ModelContract:
    """Subclass, and give a fixture ``model``; pytest collects the rest.

    A model that inherits from `embedstore.models.Model` passes with `identity` and `embed` alone.

    Attributes
    ----------
    reads_as_x
        Letters that the model replaces by X: each must give exactly what X gives.

    Examples
    --------
    ::

        class TestMyModel(ModelContract):
            reads_as_x = b"UZOB"

            @pytest.fixture
            def model(self):
                return load_model("my_model")
    """

    reads_as_x: bytes = b""

    def test_vectors_are_finite_float32_rows_of_the_declared_dimension(self, model: Model) -> None:
        vectors = model.embed(MIXED)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(MIXED), model.dim)
        assert np.isfinite(vectors).all()
        assert (np.linalg.norm(vectors, axis=1) > 0).all()

    def test_an_empty_batch_gives_no_rows(self, model: Model) -> None:
        assert model.embed([]).shape == (0, model.dim)

    def test_a_sequence_alone_equals_itself_in_a_mixed_batch(self, model: Model) -> None:
        alone = np.vstack([model.embed([sequence]) for sequence in MIXED])
        assert distance(model.embed(MIXED), alone) <= tolerance(model)

    def test_rows_follow_the_order_of_the_input(self, model: Model) -> None:
        order = np.random.default_rng(0).permutation(len(MIXED))
        shuffled = model.embed([MIXED[row] for row in order])
        assert distance(shuffled, model.embed(MIXED)[order]) <= tolerance(model)

    def test_equal_sequences_in_one_batch_get_equal_vectors(self, model: Model) -> None:
        first, _, second = model.embed([MIXED[2], MIXED[0], MIXED[2]])
        assert distance(first[None], second[None]) <= tolerance(model)

    def test_planned_batches_give_what_one_batch_gives(self, model: Model) -> None:
        lengths = np.array([len(sequence) for sequence in MIXED], dtype=np.int64)
        planned = np.empty((len(MIXED), model.dim), dtype=np.float32)
        for batch in plan_batches(lengths, budget=60):
            planned[batch] = model.embed([MIXED[row] for row in batch])
        assert distance(planned, model.embed(MIXED)) <= tolerance(model)

    def test_two_runs_on_a_cpu_give_the_same_bits(self, model: Model) -> None:
        if str(getattr(model, "device", "cpu")) != "cpu":
            pytest.skip("bit equality is guaranteed only on a CPU")
        np.testing.assert_array_equal(model.embed(MIXED), model.embed(MIXED))

    def test_one_residue_is_enough(self, model: Model) -> None:
        assert np.isfinite(model.embed([b"M"])).all()

    def test_each_of_the_twenty_residues_has_its_own_vector(self, model: Model) -> None:
        vectors = model.embed([bytes([letter]) for letter in STANDARD_RESIDUES])
        # One unknown token for all is what a wrong tokenizer gives.
        assert len(np.unique(np.round(vectors, 4), axis=0)) == len(STANDARD_RESIDUES)

    def test_neighbours_change_a_vector(self, model: Model) -> None:
        assert distance(model.embed([b"MKVLATGW"]), model.embed([b"MKWLATGV"])) > tolerance(model)

    def test_unknown_letters_are_declared_and_embedded(self, model: Model) -> None:
        assert set(model.unknown_letters) <= set(RESIDUE_LETTERS)
        assert not set(model.unknown_letters) & set(STANDARD_RESIDUES)
        vectors = model.embed([b"MKV" + bytes([letter]) * 2 + b"LAT" for letter in RESIDUE_LETTERS])
        assert np.isfinite(vectors).all()
        only_unknown = model.embed([b"X", b"XXXX", b"*BJOUZ"])
        assert (np.linalg.norm(only_unknown, axis=1) > 0).all()

    def test_u_z_o_and_b_follow_the_declared_policy(self, model: Model) -> None:
        for letter in b"UZOB":
            with_letter, with_x = model.embed([b"MK" + bytes([letter]) + b"VL", b"MKXVL"])
            same = distance(with_letter[None], with_x[None]) <= tolerance(model)
            assert same or letter not in self.reads_as_x, f"{chr(letter)} is not read as X"
            assert not same or letter in model.unknown_letters, f"{chr(letter)} is read as X and not declared"

    @pytest.mark.parametrize(
        ("bad", "message"),
        [(b"", "Sequence 1 .* is empty"), (b"MKv", "'v' at residue 3"), (b"M K", "' ' at residue 2")],
    )
    def test_what_is_no_normalised_sequence_is_refused_by_row(self, model: Model, bad: bytes, message: str) -> None:
        with pytest.raises(InputError, match=message):
            model.embed([b"MKV", bad])

    def test_a_sequence_over_the_longest_is_refused(self, model: Model) -> None:
        if model.max_residues is None:
            pytest.skip("the model takes any length")
        with pytest.raises(InputError, match=f"at most {model.max_residues}"):
            model.embed([b"M" * (model.max_residues + 1)])

    def test_an_unknown_pooling_is_refused(self, model: Model) -> None:
        with pytest.raises(InputError, match=r"Unknown pooling 'maen'\. Did you mean 'mean'"):
            model.embed([b"MKV"], pooling="maen")

    def test_several_poolings_at_once_are_each_what_they_are_alone(self, model: Model) -> None:
        together = model.embed_each(MIXED, model.poolings)
        assert list(together) == list(model.poolings)
        for name in model.poolings:
            alone, values = model.embed(MIXED, pooling=name), together[name]
            assert isinstance(values, np.ndarray)
            assert values.shape == (len(MIXED), model.dim)
            np.testing.assert_array_equal(values, alone)

    def test_its_poolings_are_known_and_others_are_refused_by_name(self, model: Model) -> None:
        assert model.poolings[0] == "mean"
        for name in set(POOLINGS) - set(model.poolings):
            with pytest.raises(InputError, match=f"Unknown pooling '{name}' for model .* it has mean"):
                model.embed_each([b"MKV"], ["mean", name])

    def test_residues_are_what_is_pooled(self, model: Model) -> None:
        if not model.has_residues:
            with pytest.raises(InputError, match="Unknown pooling 'residues' for model"):
                model.embed_each([b"MKV"], [RESIDUES])
            return
        together = model.embed_each(MIXED, [RESIDUES, "mean"])
        rows = together[RESIDUES]
        assert [states.shape for states in rows] == [(len(sequence), model.dim) for sequence in MIXED]
        assert {states.dtype for states in rows} == {np.dtype(np.float32)}
        pooled = np.vstack([find_pooling("mean")(states) for states in rows])
        assert distance(pooled, np.asarray(together["mean"])) <= 1e-5

    def test_an_empty_batch_gives_no_rows_under_any_pooling(self, model: Model) -> None:
        for name, values in model.embed_each([], model.poolings).items():
            assert np.asarray(values).shape == (0, model.dim), name

    def test_a_window_is_no_longer_than_the_model_takes(self, model: Model) -> None:
        if model.window_residues is not None:
            assert 1 <= model.window_residues <= (model.max_residues or model.window_residues)

    def test_load_options_give_the_same_model_again(self, model: Model) -> None:
        if model.load_options is None:
            pytest.skip("not made by load_model")
        options = json.loads(json.dumps(model.load_options))
        again = load_model(**options, device=str(getattr(model, "device", "cpu")))
        assert again.identity() == model.identity()

    def test_identity_names_all_that_decides_the_vectors(self, model: Model) -> None:
        identity = model.identity()
        assert set(identity) >= IDENTITY_KEYS
        assert identity["model"] == model.name
        assert identity == model.identity()
        assert json.loads(json.dumps(identity)) == identity

    def test_the_default_batch_budget_is_usable(self, model: Model) -> None:
        assert model.batch_residues >= 1


def tolerance(model: Model) -> float:
    """The entry of :data:`TOLERANCE` for a model's precision."""
    return TOLERANCE[str(model.identity()["precision"])]
