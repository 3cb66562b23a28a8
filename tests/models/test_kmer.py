from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.errors import InputError
from embedstore.models import MODELS, load_model
from embedstore.models.kmer import KmerModel
from embedstore.numerics import splitmix64

PROTEIN = b"MSTNPKPQRKTKRNTNRRPQDVKFPGGGQIVGGVYLLPRRGPRLGVRATRKTSERSQPRG"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("ACDEFGHIKLMNPQRSTVWYXU", min_size=1, max_size=80), min_size=1, max_size=12))
def test_a_row_has_the_same_bits_alone_and_in_any_batch(texts: list[str]) -> None:
    model = load_model("kmer")
    sequences = [text.encode() for text in texts]
    batch = model.embed(sequences)
    for row, sequence in enumerate(sequences):
        np.testing.assert_array_equal(model.embed([sequence])[0], batch[row])


def test_a_giant_beside_short_ones_changes_no_bit() -> None:
    model = load_model("kmer")
    batch = model.embed([b"MK", b"W" * 35_000, PROTEIN])
    np.testing.assert_array_equal(batch[0], model.embed([b"MK"])[0])
    np.testing.assert_array_equal(batch[2], model.embed([PROTEIN])[0])
    assert np.isfinite(batch).all()


def test_more_rows_than_a_chunk_keep_their_order() -> None:
    model = load_model("kmer")
    sequences = [PROTEIN[: 1 + row % 60] for row in range(1_000)]
    vectors = model.embed(sequences)
    np.testing.assert_array_equal(vectors[:60], vectors[60:120])
    np.testing.assert_array_equal(vectors[999], model.embed([sequences[999]])[0])


def test_first_values_are_what_they_were_when_the_space_was_made() -> None:
    model = load_model("kmer")
    assert model.identity()["weights_sha256"] == GOLDEN_SHA256
    np.testing.assert_allclose(model.embed([PROTEIN])[0, GOLDEN_COLUMNS], GOLDEN_VALUES, rtol=0, atol=1e-7)


GOLDEN_SHA256 = "0ef64141ab8ea072a7baeb291afbe1c631183d6c0ed501ba65f5ff57e1835397"
GOLDEN_COLUMNS = [0, 4, 20, 21, 120, 220, 221, 500, 1023]
GOLDEN_VALUES = [
    -0.07242391,
    -0.03528987,
    0.0,
    -0.02551644,
    -0.04990651,
    0.0381913,
    -0.02290905,
    0.02638043,
    -0.0129986,
]


def test_rows_have_norm_one_so_that_a_product_is_a_cosine() -> None:
    vectors = load_model("kmer").embed([PROTEIN, b"M", b"XX", PROTEIN * 50])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_mutated_protein_is_nearer_than_a_shuffled_one() -> None:
    shuffled = bytes(np.random.default_rng(1).permutation(np.frombuffer(PROTEIN, dtype=np.uint8)))
    original, mutated, other = load_model("kmer").embed([PROTEIN, PROTEIN.replace(b"RR", b"KR"), shuffled])
    assert original @ mutated > 0.8 > 0.6 > original @ other


def test_the_generator_is_splitmix64_as_published() -> None:
    # The first outputs of the reference implementation for seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    golden_gamma = 0x9E3779B97F4A7C15
    counter = [(1234567 + step * golden_gamma) % 2**64 for step in range(3)]
    # splitmix64 multiplies the counter by the gamma; here the state is given, so divide it out (gamma is odd).
    inverse = pow(golden_gamma, -1, 2**64)
    found = splitmix64(np.array([value * inverse % 2**64 for value in counter], dtype=np.uint64))
    assert found.tolist() == expected


def test_weights_device_and_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no weights"):
        load_model("kmer", weights=tmp_path)
    with pytest.raises(InputError, match="computes on the CPU"):
        load_model("kmer", precision="bfloat16")


def test_another_dimension_is_another_row() -> None:
    spec = replace(MODELS["kmer"], dim=512)
    model = KmerModel(spec)
    assert model.embed([PROTEIN]).shape == (1, 512)
    assert model.identity()["weights_sha256"] != load_model("kmer").identity()["weights_sha256"]
    with pytest.raises(InputError, match="dim 100; expected at least 285"):
        KmerModel(replace(spec, dim=100))


def test_neither_the_catalog_nor_kmer_imports_torch() -> None:
    code = (
        "import sys; from embedstore.models import MODELS, load_model; list(MODELS);"
        "load_model('kmer').embed([b'MKV']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
