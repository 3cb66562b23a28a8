"""Verifying a store: its files are whole and, with ``deep``, its vectors are those that its models give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedstore.catalog import suggest_arguments
from embedstore.embedding.query import embed_records, load_space_model
from embedstore.errors import InputError, MissingPackageError, WeightsUnavailableError
from embedstore.sequences import key_text
from embedstore.store import ResidueSpace, Space, Store, VerifyReport
from embedstore.store.maintenance.verify import verify as verify_files
from embedstore.types import Digests, ProgressCallback, Record, null_progress

TOLERANCES = {"float32": 1e-5, "float16": 1e-4, "bfloat16": 1e-3}
"""Precision computed in -> largest 1 - cosine between a vector and the same vector made in another batch, on another
device: float16 against float32 stays above a cosine of 0.9999; bfloat16 has 8 times coarser steps."""

SAMPLE = 32
"""Proteins of a space that are embedded again."""


@suggest_arguments
def verify(
    store: Store,
    *,
    deep: bool = False,
    quick: bool = False,
    space: str | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    weights: str | Path | None = None,
    progress: ProgressCallback = null_progress,
) -> VerifyReport:
    """Prove that nothing in a store is lost or changed; see `embedstore.store.maintenance.verify` for what is read.

    Parameters
    ----------
    store
        The store; others may be writing to it.
    deep
        Embed a random sample of each space again, with the space's own model, and compare. A model that is not
        available here is a note, not a problem.
    quick
        Only records and sizes of files.
    space
        Only this space, chosen as in `Store.any_space`.
    sample
        Proteins of each space that ``deep`` embeds.
    seed
        Which ones: the same seed, the same proteins.
    weights
        Directory of the checkpoint, for spaces whose model is in no catalog or not in the hub's cache.
    progress
        Called after each part, in parts, and after each batch, in residues.

    Raises
    ------
    InputError
        If both ``deep`` and ``quick`` are asked for, or a sample of none.
    """
    if deep and quick:
        raise InputError("A verification is either deep or quick; choose one.")
    if sample < 1:
        raise InputError(f"A sample of {sample} proteins proves nothing; give at least 1.")
    report = verify_files(store, quick=quick, space=space, progress=progress)
    if not deep:
        return report
    if not report.ok:
        report.notes.append("Nothing was embedded again, because the store is damaged.")
        return report
    for name in [store.any_space(space).id] if space else store.spaces():
        try:
            comparison = reembed_sample(
                store, store.any_space(name), sample=sample, seed=seed, weights=weights, progress=progress
            )
        except (InputError, WeightsUnavailableError, MissingPackageError) as error:
            report.notes.append(f"Space {name} was not embedded again: {error}")
            continue
        report.n_embedded_again += comparison.n_compared
        summary = (
            f"Space {name}: {comparison.n_compared:,} of its proteins were embedded again; "
            f"lowest cosine {comparison.lowest:.6f}"
        )
        if comparison.differing:
            report.problems.append(
                f"{summary}. {len(comparison.differing)} differ by more than {comparison.precision} explains, first "
                f"{comparison.differing[0]}. Find out what changed (model, library, device), "
                f"or `embedstore rm {name}` and build again."
            )
        else:
            report.notes.append(f"{summary}.")
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Stored vectors against recomputed ones: the lowest cosine, and the keys of those that differ too much."""

    n_compared: int
    lowest: float
    precision: str
    differing: list[str]


def reembed_sample(
    store: Store,
    space: Space | ResidueSpace,
    *,
    sample: int,
    seed: int,
    weights: str | Path | None = None,
    progress: ProgressCallback = null_progress,
) -> Comparison:
    """Embed a random sample of a space again and compare each vector with the stored one.

    Raises
    ------
    InputError, WeightsUnavailableError, MissingPackageError
        If the space's model is not available here, or gives other vectors.
    """
    precision = str(space.identity.get("precision"))
    if precision not in TOLERANCES:
        raise InputError(f"it is not known in which precision it was computed ({precision}).")
    digests = space.digests
    rows = np.sort(np.random.default_rng(seed).choice(len(digests), min(sample, len(digests)), replace=False))
    sampled = digests[rows]
    # Those whose sequence was dropped cannot be embedded.
    sampled = sampled[store.sequences.contains(sampled)]
    if not len(sampled):
        raise InputError("none of its sequences is in the store.")
    lowest, differing = 1.0, []
    for digest, cosine, ratio in _compare(store, space, sampled, weights, progress):
        lowest = min(lowest, cosine)
        tolerance = TOLERANCES[precision]
        # Of two vectors at a distance of d lengths, 1 - cosine is about d * d / 2.
        if not cosine >= 1 - tolerance or abs(ratio - 1) > np.sqrt(2 * tolerance):
            differing.append(key_text(digest))
    return Comparison(n_compared=len(sampled), lowest=lowest, precision=precision, differing=differing)


def _compare(
    store: Store,
    space: Space | ResidueSpace,
    digests: Digests,
    weights: str | Path | None,
    progress: ProgressCallback,
) -> Iterator[tuple[bytes, float, float]]:
    """Key, cosine and ratio of norms of each stored vector and the recomputed one; of a matrix, of its mean."""
    sequences = store.sequences.take(digests)
    records = [
        Record(id=key_text(digest.tobytes()), residues=residues)
        for digest, residues in zip(digests, sequences, strict=True)
    ]
    identity = space.identity
    if isinstance(space, ResidueSpace):
        identity = {**identity, "pooling": "mean", "dtype": "float32"}
        stored = np.stack([matrix.mean(axis=0, dtype=np.float64) for matrix in space.take(digests)])
    else:
        stored = space.take(digests).astype(np.float64)
    # A space without a directory holds nothing, so that everything is computed.
    unstored = Space(identity)
    model = load_space_model(unstored, weights=weights)
    computed = embed_records(unstored, records, model=model, progress=progress).astype(np.float64)
    for digest, a, b in zip(digests, stored, computed, strict=True):
        lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
        yield (
            digest.tobytes(),
            float(a @ b) / (lengths[0] * lengths[1]),
            lengths[0] / lengths[1],
        )
