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
from safetensors.torch import save_file

from embedstore.indexes import FlatIndex
from embedstore.indexes.base import unit_rows
from embedstore.models import Model, load_model
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder
from embedstore.sequences import digest
from embedstore.sequences.batching import plan_batches
from heads.tasks.keys import row_keys

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


class ModelVectors:
    """A model as `build` runs it, in batches of its own size."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.has_residues = model.has_residues
        self.key = hashlib.sha256(json.dumps(model.identity(), sort_keys=True).encode()).hexdigest()[:24]

    def vectors(self, sequences: Sequence[bytes]) -> NDArray[np.float32]:
        found = np.empty((len(sequences), self.model.dim), np.float32)
        for batch in self._batches(sequences):
            found[batch] = unit_rows(self.model.embed([sequences[row] for row in batch]))
        return found

    def residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}
        for batch in self._batches(sequences):
            states = self.model.embed_residues([sequences[row] for row in batch])
            found.update(zip(batch.tolist(), states, strict=True))
        return [found[row] for row in range(len(sequences))]

    def _batches(self, sequences: Sequence[bytes]) -> list[NDArray[np.int64]]:
        lengths = np.array([len(sequence) for sequence in sequences])
        return plan_batches(lengths, budget=self.model.batch_residues)


CONFIG, WEIGHTS = "config.json", "model.safetensors"


def open_model(name: str, weights: Path, work: Path) -> ModelVectors:
    """`mini`, `random`, or a model of the catalog by name."""
    if name in ("mini", "random"):
        directory = weights if name == "mini" else untrained(weights, work)
        return ModelVectors(load_model(directory, family="mini", device="cpu"))
    return ModelVectors(load_model(name, precision="float32"))


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

    def __init__(self, name: str, model: ModelVectors, work: Path) -> None:
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
        index = FlatIndex.from_arrays(row_keys(len(base)), vectors)
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
