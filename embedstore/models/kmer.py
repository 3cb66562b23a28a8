"""The k-mer model: hashed spectra of composition, chain profile and residue pairs; no weights, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from math import cos, pi
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.models.base import (
    RESIDUE_LETTERS,
    STANDARD_RESIDUES,
    Model,
    ModelSpec,
    check_sequences,
    require_poolings,
    resolve_layer,
)
from embedstore.numerics import splitmix64

REVISION = "1"
"""Raised with any change to the arithmetic: the vectors are then another space."""

FREQUENCY = np.array(
    [825, 138, 546, 671, 386, 707, 227, 591, 580, 965, 241, 406, 474, 393, 553, 665, 536, 686, 110, 292], dtype=np.int64
)
"""Residues per 10,000 in Swiss-Prot (UniProtKB release statistics), in the order of STANDARD_RESIDUES; sum 10,002."""

_TOTAL = int(FREQUENCY.sum())
_OTHER = 20  # code of every letter that is none of the twenty
_GAPS = (1, 2, 3, 4)
_N_WAVES = 10
_N_PAIRS = 400
# Norms of the three blocks; tuned, with _GAPS and _N_WAVES, on Pfam train/valid rows alone.
_COMPOSITION_NORM = 0.4
_PROFILE_NORM = 1.0
_PAIRS_NORM = 1.0
_N_EXACT = 21 + 20 * _N_WAVES
_PHASES = 8192
_WAVE_UNIT = 1024
_PAIR_UNIT = 8.0
# A chunk holds at most this many rows, so that a batch of very short sequences stays small in memory.
_CHUNK_ROWS = 256

_CODE = np.full(256, _OTHER, dtype=np.int64)
_CODE[np.frombuffer(STANDARD_RESIDUES, dtype=np.uint8)] = np.arange(20)


class KmerModel(Model):
    """Length-normalised k-mer and composition spectrum under a fixed random projection.

    A vector is three blocks side by side, each of fixed norm, the whole of norm 1. Counts enter as Pearson residuals
    against Swiss-Prot's composition ``p``, so that what every protein shares cancels out of the cosine:

    1. composition, 21 numbers (norm 0.4): ``(n_a - L p_a) / sqrt(p_a)`` for each residue ``a``, and the count of
       letters that are none of the twenty;
    2. chain profile, 200 numbers (norm 1): the first ten cosine waves of each residue's occurrence along the chain,
       ``sum_i ([s_i = a] - p_a) cos(pi j (i + 1/2) / L) / sqrt(p_a)``, so that where a residue stands counts, relative
       to the length;
    3. gapped 2-mers, all other numbers (norm 1): ``(n_gab - N_g p_a p_b) / sqrt(p_a p_b)`` over the 400 pairs at
       distances 1 to 4 (1,600 features), multiplied by a matrix of signs. The sign of a feature and a column is
       a bit of SplitMix64 (Steele et al. 2014), which makes it feature hashing (Weinberger et al. 2009) in the
       dense form of Achlioptas (2003): inner products are kept in expectation.

    A letter that is none of the twenty adds to its own count in block 1 and to nothing else. All sums are sums of whole
    numbers and exact in any order, so a row has the same bits alone and in any batch.

    Parameters
    ----------
    spec
        The catalog row; ``spec.dim`` is the length of a vector, at least 285.
    directory
        Must be None: there are no weights.
    device, precision
        ``"auto"``, ``"cpu"`` and ``"float32"`` are accepted.
    layer
        Must be None, 0 or -1: there are no layers.

    Raises
    ------
    InputError
        If a weights directory, another device, another precision or a layer is asked for.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        directory: Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        layer: int | None = None,
    ) -> None:
        resolve_layer(layer, 0, name=spec.name)
        if directory is not None:
            raise InputError(f"Model {spec.name!r} has no weights; got weights={str(directory)!r}. Leave weights= out.")
        if device not in ("auto", "cpu") or precision not in ("auto", "float32"):
            raise InputError(
                f"Model {spec.name!r} computes on the CPU in float32; got device={device!r}, precision={precision!r}. "
                "Leave both at 'auto'."
            )
        if spec.dim < _N_EXACT + 64:
            raise InputError(f"Model {spec.name!r} has dim {spec.dim}; expected at least {_N_EXACT + 64}.")
        self.name = spec.name
        self.dim = spec.dim
        self.max_residues = None
        self.batch_residues = 65_536
        self.unknown_letters = bytes(letter for letter in RESIDUE_LETTERS if letter not in STANDARD_RESIDUES)

    def identity(self) -> dict[str, str | int | None]:
        """What decides the vectors; ``weights_sha256`` is over revision and projection matrix."""
        table = _projection(self.dim - _N_EXACT).astype("<i2")
        weights = hashlib.sha256(REVISION.encode() + table.tobytes())
        return {
            "model": self.name,
            "family": "kmer",
            "checkpoint": None,
            "revision": REVISION,
            "weights_sha256": weights.hexdigest(),
            "tokens_sha256": hashlib.sha256(_CODE.astype("<i8").tobytes()).hexdigest(),
            "adapter_sha256": None,
            "layer": 0,
            "precision": "float32",
            "residue_policy": f"{self.unknown_letters.decode()} counted as one other letter, pairs over them left out",
        }

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        """Embed sequences: (n, dim) float32, rows of norm 1, in the order given.

        ``pooling`` is checked and has no effect: the spectrum is one vector from the start.
        """
        check_sequences(sequences, name=self.name)
        require_poolings(self, [pooling])
        vectors = np.empty((len(sequences), self.dim), dtype=np.float32)
        for start in range(0, len(sequences), _CHUNK_ROWS):
            chunk = sequences[start : start + _CHUNK_ROWS]
            vectors[start : start + len(chunk)] = _spectra(chunk, self.dim - _N_EXACT)
        return vectors


def _spectra(sequences: Sequence[bytes], n_columns: int) -> NDArray[np.float64]:
    """(n, 221 + n_columns) float64, rows of norm 1."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    codes = _CODE[np.frombuffer(b"".join(sequences), dtype=np.uint8)]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    places = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    blocks = [
        _COMPOSITION_NORM * _unit(_composition(codes, rows, len(sequences))),
        _PROFILE_NORM * _unit(_profile(codes, rows, places, lengths)),
        _PAIRS_NORM * _unit(_pairs(codes, rows, lengths, n_columns)),
    ]
    return _unit(np.hstack(blocks))


def _unit(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows divided by their norm; a zero row (a block that a short sequence does not fill) stays zero."""
    norms = np.sqrt(np.square(matrix).sum(axis=1, keepdims=True))
    return matrix / np.where(norms > 0, norms, 1.0)


def _composition(codes: NDArray[np.int64], rows: NDArray[np.intp], n_rows: int) -> NDArray[np.float64]:
    """(n, 21): Pearson residuals of the residue counts; the other letters have no expectation to subtract."""
    counts = np.bincount(rows * 21 + codes, minlength=n_rows * 21).reshape(n_rows, 21)
    known = counts[:, :20]
    residuals = (known * _TOTAL - known.sum(axis=1, keepdims=True) * FREQUENCY) / np.sqrt(FREQUENCY * _TOTAL)
    # Scaled like an average residue (p = 1/20), so that a protein of X alone has a vector that is not zero.
    return np.hstack([residuals, counts[:, 20:] * np.sqrt(20.0)])


def _profile(
    codes: NDArray[np.int64], rows: NDArray[np.intp], places: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, 200): cosine waves 1 to 10 of each residue's occurrence along the chain, expectation subtracted."""
    n_rows = len(lengths)
    known = codes != _OTHER
    bins = (rows * 20 + codes)[known]
    residuals = np.empty((n_rows, _N_WAVES, 20), dtype=np.float64)
    for wave in range(1, _N_WAVES + 1):
        # pi j (i + 1/2) / L as a whole number of 8192nds of a turn, in integers.
        phases = (2 * places + 1) * wave * (_PHASES // 4) // lengths[rows] % _PHASES
        heights = _wave_table()[phases[known]]
        sums = np.bincount(bins, weights=heights, minlength=n_rows * 20).reshape(n_rows, 20)
        residuals[:, wave - 1] = sums * _TOTAL - sums.sum(axis=1, keepdims=True) * FREQUENCY
    residuals /= np.sqrt(FREQUENCY * _TOTAL)
    return residuals.reshape(n_rows, -1)


def _pairs(
    codes: NDArray[np.int64], rows: NDArray[np.intp], lengths: NDArray[np.int64], n_columns: int
) -> NDArray[np.float64]:
    """(n, n_columns): projected Pearson residuals of the gapped pair counts."""
    n_rows = len(lengths)
    n_features = len(_GAPS) * _N_PAIRS
    bins = []
    for number, gap in enumerate(_GAPS):
        left, right = codes[:-gap], codes[gap:]
        inside = (rows[:-gap] == rows[gap:]) & (left != _OTHER) & (right != _OTHER)
        bins.append((rows[:-gap] * n_features + number * _N_PAIRS + left * 20 + right)[inside])
    counts = np.bincount(np.concatenate(bins), minlength=n_rows * n_features).reshape(n_rows, n_features)
    table = _projection(n_columns)
    # Below 2^24 float32 holds every partial sum exactly; beyond, float64 does: the same bits either way.
    exact = np.float32 if len(_GAPS) * int(lengths.max()) * int(np.abs(table).max()) < 2**24 else np.float64
    sums = counts.astype(exact) @ table.astype(exact, copy=False)
    n_pairs = counts.reshape(n_rows, len(_GAPS), _N_PAIRS).sum(axis=2)
    expected = (n_pairs @ _expected_pair(n_columns)) / float(_TOTAL**2)
    residuals: NDArray[np.float64] = sums.astype(np.float64) - expected
    return residuals


@cache
def _wave_table() -> NDArray[np.float64]:
    """(8192,): one turn of the cosine in whole 1024ths, so that sums of it are exact."""
    table: NDArray[np.float64] = np.rint([_WAVE_UNIT * cos(2 * pi * phase / _PHASES) for phase in range(_PHASES)])
    return table


@cache
def _projection(n_columns: int) -> NDArray[np.float32]:
    """(1600, n_columns) whole numbers: sign(feature, column) * rint(8 / sqrt(p_a p_b))."""
    n_features = len(_GAPS) * _N_PAIRS
    n_words = -(-n_columns // 64)
    words = splitmix64(np.arange(n_features * n_words, dtype=np.uint64)).reshape(n_features, n_words)
    bits = words[:, :, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    signs = 1.0 - 2.0 * bits.reshape(n_features, -1)[:, :n_columns]
    weights = np.rint(_PAIR_UNIT * _TOTAL / np.sqrt(np.outer(FREQUENCY, FREQUENCY).reshape(-1)))
    table: NDArray[np.float32] = (signs * np.tile(weights, len(_GAPS))[:, None]).astype(np.float32)
    return table


@cache
def _expected_pair(n_columns: int) -> NDArray[np.int64]:
    """(4, n_columns): what one pair at each gap adds on average, in units of ``1 / _TOTAL ** 2``."""
    table = _projection(n_columns).astype(np.int64).reshape(len(_GAPS), _N_PAIRS, n_columns)
    frequency = np.outer(FREQUENCY, FREQUENCY).reshape(-1)
    return np.stack([frequency @ table[gap] for gap in range(len(_GAPS))])
