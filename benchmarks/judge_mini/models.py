"""The models that are compared, each vector computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.train_mini.judging import vectors_of
from embedstore.batching import plan_batches
from embedstore.index import ExactIndex
from embedstore.index.base import unit_rows
from embedstore.models import load_model
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder
from embedstore.models.mini_tokens import mini_tokens
from embedstore.sequences import digest
from embedstore.windows import OVERLAP, blend, window_starts
from heads.votes import row_keys

WINDOW = 4_096
"""Longest stretch that the encoder sees at once, as for other models of the package."""

BUDGET = 4_096
_REPORT_S = 60.0


class Embeds(Protocol):
    """Turns proteins into vectors of norm 1."""

    key: str
    has_residues: bool

    def vectors(self, sequences: Sequence[bytes]) -> NDArray[np.float32]:
        """(n, D)."""
        ...

    def residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """(L, D) of each."""
        ...


class EncoderVectors:
    """An encoder of the shape of `mini`, from a directory with ``config.json`` and ``model.safetensors``."""

    has_residues = True

    def __init__(self, directory: Path) -> None:
        self.encoder = read_encoder(directory)
        said = [hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in (CONFIG, WEIGHTS)]
        self.key = hashlib.sha256(" ".join(said).encode()).hexdigest()[:24]

    def vectors(self, sequences: Sequence[bytes]) -> NDArray[np.float32]:
        lengths = np.array([len(sequence) for sequence in sequences])
        found = np.empty((len(sequences), self.encoder.config.output_size), np.float32)
        short = np.flatnonzero(lengths <= WINDOW)
        found[short] = vectors_of(self.encoder, [sequences[row] for row in short])
        for row in np.flatnonzero(lengths > WINDOW):
            found[row] = unit_rows(self.residues([sequences[row]])[0].mean(axis=0)[None])[0]
        return found

    def residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        cut = [window_starts(len(sequence), size=WINDOW, overlap=OVERLAP) for sequence in sequences]
        pieces = [s[start : start + WINDOW] for s, starts in zip(sequences, cut, strict=True) for start in starts]
        states = iter(self._states(pieces))
        return [
            blend([next(states) for _ in starts], starts, len(sequence))
            for sequence, starts in zip(sequences, cut, strict=True)
        ]

    def _states(self, pieces: Sequence[bytes]) -> list[NDArray[np.float32]]:
        table = mini_tokens()
        found: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for batch in plan_batches(np.array([len(piece) for piece in pieces]), budget=BUDGET):
                tokens, mask = table.batch([pieces[row] for row in batch])
                states = self.encoder(torch.from_numpy(tokens), torch.from_numpy(mask))[-1]
                wide = self.encoder.project(states).numpy()
                found.update((row, wide[n, : len(pieces[row])].copy()) for n, row in enumerate(batch.tolist()))
        return [found[row] for row in range(len(pieces))]


class CatalogVectors:
    """A model of embedstore's catalog that takes proteins of any length."""

    def __init__(self, name: str) -> None:
        self.model = load_model(name, precision="float32")
        self.has_residues = self.model.has_residues
        self.key = hashlib.sha256(json.dumps(self.model.identity(), sort_keys=True).encode()).hexdigest()[:24]

    def vectors(self, sequences: Sequence[bytes]) -> NDArray[np.float32]:
        found = np.empty((len(sequences), self.model.dim), np.float32)
        lengths = np.array([len(sequence) for sequence in sequences])
        for batch in plan_batches(lengths, budget=self.model.batch_residues):
            found[batch] = unit_rows(self.model.embed([sequences[row] for row in batch]))
        return found

    def residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        return self.model.embed_residues(sequences)


CONFIG, WEIGHTS = "config.json", "model.safetensors"


def open_mini(directory: Path) -> EncoderVectors:
    """`mini` from the directory that training wrote.

    The one place to change when `mini` is to be measured as the package runs it: ``embedstore.models.load_model(
    directory, family="mini", precision="float32")``.
    """
    return EncoderVectors(directory)


def open_model(name: str, weights: Path, work: Path) -> EncoderVectors | CatalogVectors:
    """`mini`, `random`, or a model of the catalog by name."""
    if name == "mini":
        return open_mini(weights)
    return EncoderVectors(untrained(weights, work)) if name == "random" else CatalogVectors(name)


def read_encoder(directory: Path) -> MiniEncoder:
    """The encoder in float32."""
    encoder = MiniEncoder(MiniConfig.from_dict(json.loads((directory / CONFIG).read_text())))
    encoder.load_state_dict({name: value.float() for name, value in load_file(directory / WEIGHTS).items()})
    return encoder.eval()


def untrained(like: Path, work: Path) -> Path:
    """A directory with an encoder of the same shape as the one in ``like``, as initialised with seed 0."""
    config = MiniConfig.from_dict(json.loads((like / CONFIG).read_text()))
    text = json.dumps({"model_type": "mini", **asdict(config)})
    directory = work / f"random-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not (directory / CONFIG).exists():
        directory.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            states = MiniEncoder(config).state_dict()
        save_file({name: value.half().contiguous() for name, value in states.items()}, directory / WEIGHTS)
        (directory / CONFIG).write_text(text)
    return directory


class VectorFinder:
    """A model as a finder of nearest proteins, with a memory on disk of every vector that it ever gave."""

    def __init__(self, name: str, model: Embeds, work: Path) -> None:
        self.name = name
        self.model = model
        self._kept = work / f"{name}-{model.key}"
        self._kept.mkdir(parents=True, exist_ok=True)
        self._parts: list[NDArray[np.float32]] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        for keys in sorted(self._kept.glob("*.keys.npy")):
            self._open(keys)

    def nearest(
        self, queries: Sequence[bytes], base: Sequence[bytes], own: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Row of the largest inner product of each query with `base`, (n,) int64, as `Aligner.nearest`."""
        vectors = self.vectors(base)
        index = ExactIndex.from_arrays(row_keys(len(base)), vectors)
        found = index.search(self.vectors(queries), 1 if own is None else 2)
        ranked = np.ascontiguousarray(found.digests[:, :, -8:]).view(">i8")[:, :, 0].astype(np.int64)
        if own is None:
            return ranked[:, 0]
        return np.where(ranked[:, 0] == own, ranked[:, 1], ranked[:, 0])

    def vectors(self, sequences: Sequence[bytes]) -> NDArray[np.float32]:
        """(n, D) of norm 1."""
        keys = [digest(sequence) for sequence in sequences]
        missing = {key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in self._place}
        if missing:
            self._add(list(missing), list(missing.values()))
        places = [self._place[key] for key in keys]
        return np.stack([self._parts[part][row] for part, row in places])

    def _add(self, keys: list[bytes], sequences: list[bytes]) -> None:
        started = time.monotonic()
        path = self._kept / f"{len(self._parts):04}.vectors.npy"
        np.save(path, self.model.vectors(sequences))
        # The keys are written last: without them there is no part.
        np.save(path.with_name(f"{len(self._parts):04}.keys.npy"), np.frombuffer(b"".join(keys), np.uint8))
        self._open(path.with_name(f"{len(self._parts):04}.keys.npy"))
        seconds = time.monotonic() - started
        if seconds > _REPORT_S:
            print(f"{self.name}: {len(keys):,} proteins embedded in {seconds:.0f} s", flush=True)

    def _open(self, path: Path) -> None:
        keys = np.load(path).reshape(-1, 24)
        self._place.update((key.tobytes(), (len(self._parts), row)) for row, key in enumerate(keys))
        self._parts.append(np.load(path.with_name(path.name.replace("keys", "vectors")), mmap_mode="r"))
