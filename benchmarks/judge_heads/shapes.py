"""Residues, pairs and trees: an epoch of ours against the way that the field does it, on the same vectors.

Each side does a little of the work before it is measured: what is imported at the first call is no part of an epoch.
Epochs of pairs, which take seconds, are measured in turns, and the median of each side counts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

import embedstore
from benchmarks.judge_heads.simulated import Families
from embedstore.store import Space
from embedstore.store.manifest import space_identity
from embedstore.store.space_writer import SpaceWriter
from heads.base import make_head
from heads.catalog import HEADS
from heads.features.base import ArrayFeatures, Features, Float32, Rows, shuffled
from heads.features.vectors import PairFeatures

DIM = 1024

TREES_BUDGET_S = 300.0
"""Processor seconds in which trees on raw vectors may reach our error."""

N_TURNS = 5


def cpu(function: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    before = time.process_time()
    function()
    return time.process_time() - before


def compared(ours: float, theirs: float, name: str, **about: Any) -> dict[str, Any]:
    """Both figures and their ratio."""
    found = {
        **about,
        "cpu_s": {"ours": round(ours, 2), name: round(theirs, 2)},
        "cpu_over_ours": round(theirs / ours, 1),
    }
    print(found, flush=True)
    return found


@dataclass(frozen=True, eq=False, slots=True)
class Proteins(Features):
    """Residues of whole proteins in memory, as `heads.features.base.Features`."""

    vectors: Float32
    offsets: NDArray[np.int64] = field()

    @property
    def shape(self) -> tuple[int, int]:
        return self.vectors.shape[0], self.vectors.shape[1]

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        for first in range(0, len(self.offsets) - 1, 16):
            last = min(first + 16, len(self.offsets) - 1)
            rows = slice(int(self.offsets[first]), int(self.offsets[last]))
            yield rows, self.vectors[rows]

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        mean = self.shape[0] / (len(self.offsets) - 1)
        for group in shuffled(len(self.offsets) - 1, max(1, round(n_rows / mean)), seed=seed):
            rows = np.concatenate([np.arange(self.offsets[one], self.offsets[one + 1]) for one in group])
            yield rows, self.vectors[rows]

    def subset(self, indices: Rows) -> ArrayFeatures:
        return ArrayFeatures(self.vectors[indices])

    def _read(self, rows: Rows | slice) -> Float32:
        return self.vectors[rows]


def residues(scale: float) -> dict[str, Any]:
    """The convolution of ProtTrans on packed proteins against Conv2d on a padded batch; an epoch of each."""
    if "cnn" not in HEADS:
        return {"skipped": "there is no head 'cnn' in this checkout"}
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.3, 0.6, round(400 * scale)), 30, 1500).astype(np.int64)
    offsets = np.append(0, np.cumsum(lengths))
    X = rng.standard_normal((int(offsets[-1]), DIM), dtype=np.float32)
    y = rng.integers(0, 3, len(X))
    n_epochs = 2
    head = make_head("cnn", {"max_epochs": n_epochs}, input_="residue")
    head.fit(Proteins(X[: offsets[20]], offsets[:21]), y[: offsets[20]])
    ours = cpu(lambda: head.fit(Proteins(X, offsets), y)) / n_epochs

    class Padded(Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __len__(self) -> int:
            return len(lengths)

        def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
            rows = slice(offsets[number], offsets[number + 1])
            return torch.from_numpy(X[rows]), torch.from_numpy(y[rows])

    def collate(batch: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        values, codes = zip(*batch, strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(list(values), batch_first=True), pad(list(codes), batch_first=True, padding_value=-100)

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(DIM, 32, (7, 1), padding=(3, 0)), torch.nn.ReLU(), torch.nn.Dropout(0.25),
        torch.nn.Conv2d(32, 3, (7, 1), padding=(3, 0)),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def epoch() -> None:
        for x, codes in DataLoader(Padded(), batch_size=128, shuffle=True, collate_fn=collate):
            logits = network(x.permute(0, 2, 1)[..., None])[..., 0]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, codes).backward()
            optimiser.step()

    about = {"proteins": len(lengths), "residues": len(X), "dim": DIM, "unit": "an epoch, ours with its standardising"}
    return compared(ours, cpu(epoch), "padded_conv2d", **about)


def pairs(scale: float) -> dict[str, Any]:
    """Pairs gathered a batch at a time from a store, against a DataLoader of pairs; the same linear layer on both."""
    rng = np.random.default_rng(0)
    n_proteins, n_pairs = round(10_000 * scale), round(40_000 * scale)
    data = Families(n_proteins, DIM, 100)
    X, _ = data.array(n_proteins, 0)
    keys = rng.integers(0, 256, (n_proteins, 24), dtype=np.uint8)
    partners, y = rng.integers(0, n_proteins, (2, n_pairs)), rng.integers(0, 2, n_pairs)

    def trained(batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> None:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4 * DIM, 2)
        optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
        for x, codes in batches:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(x), codes).backward()
            optimiser.step()

    class Single(Dataset[tuple[torch.Tensor, torch.Tensor]]):
        """A pair at a time from a dictionary by id, as biotrainer's interaction mode has it."""

        def __init__(self) -> None:
            self.by_id = {str(number): torch.from_numpy(row.astype(np.float32)) for number, row in enumerate(X)}

        def __len__(self) -> int:
            return n_pairs

        def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
            a, b = (self.by_id[str(one)] for one in partners[:, number])
            return torch.cat([a, b, a * b, (a - b).abs()]), torch.tensor(y[number])

    with tempfile.TemporaryDirectory() as folder:
        store = embedstore.open(Path(folder) / "pairs.zarr", mode="a")
        model = {"model": "simulated", "precision": "float32", "layer": 1}
        space = store.create_space(space_identity(model, dim=DIM, pooling="mean", dtype="float16", long_policy="none"))
        assert isinstance(space, Space)
        with SpaceWriter(space) as writer:
            writer.append(keys, X, np.ones(n_proteins, np.int64), np.zeros(n_proteins, np.uint8))
        store.refresh()
        pairing = ("concatenation", "product", "difference")

        def epoch() -> None:
            features = PairFeatures(store.space(), keys[partners[0]], keys[partners[1]], pairing)
            batches = features.batches(1024, seed=0)
            trained((torch.from_numpy(x), torch.from_numpy(y[rows])) for rows, x in batches)

        trained(iter([(torch.zeros(2, 4 * DIM), torch.zeros(2, dtype=torch.long))]))
        single = Single()
        loader = DataLoader(single, batch_size=128, shuffle=True)
        turns = [(cpu(epoch), cpu(lambda: trained(iter(loader)))) for _ in range(N_TURNS)]
    ours, theirs = np.median(turns, axis=0).tolist()
    unit = f"an epoch, the median of {N_TURNS}; ours reads the store each time"
    return compared(ours, theirs, "data_loader", proteins=n_proteins, pairs=n_pairs, dim=DIM, unit=unit)


def gbm(scale: float) -> dict[str, Any]:
    """Trees on principal components against LightGBM on raw vectors, which learn a number.

    ``same_rounds``: components alone, a hundred rounds each. ``same_loss``: the head as it is, against as many rounds
    on raw vectors as reach its validation error, `TREES_BUDGET_S` processor seconds of them at most.
    """
    import lightgbm

    data = Families(round(20_000 * scale), DIM, 50, noise=2.0)
    X, _ = data.array(data.n_rows, 0)
    held, _ = data.array(2000, 1)
    raw, raw_held = X.astype(np.float32), held.astype(np.float32)
    weights = np.random.default_rng(5).normal(size=DIM)
    y, y_held = (one @ weights + np.random.default_rng(6).normal(size=len(one)) for one in (raw, raw_held))

    def error(found: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean((found - y_held) ** 2)))

    def fitted(**params: Any) -> tuple[float, float]:
        head = make_head("gbm", params, target_type="regression")
        head.fit(raw[:200], y[:200], raw_held[:100], y_held[:100])
        spent = cpu(lambda: head.fit(raw, y, raw_held, y_held))
        return spent, error(head.predict(raw_held))

    alone, alone_error = fitted(max_rounds=100, patience=100, linear=False)
    model = lightgbm.LGBMRegressor(n_estimators=100, num_threads=1, verbose=-1)
    hundred = cpu(lambda: model.fit(raw, y))
    errors = {"ours": alone_error, "raw_features": error(np.asarray(model.booster_.predict(raw_held)))}
    same_rounds = compared(alone, hundred, "raw_features", rounds=100, valid_rmse=errors)

    ours, ours_error = fitted()
    grown = lightgbm.Booster({"objective": "regression", "num_threads": 1, "verbose": -1}, lightgbm.Dataset(raw, y))
    spent, reached, rounds = 0.0, float("inf"), 0
    while reached > ours_error and spent < TREES_BUDGET_S:
        spent += cpu(lambda: [grown.update() for _ in range(10)])
        reached, rounds = error(np.asarray(grown.predict(raw_held))), rounds + 10
    about = {"valid_rmse": {"ours": ours_error, "raw_features": reached}, "reached": reached <= ours_error}
    same_loss = compared(ours, spent, "raw_features", rounds=rounds, **about)
    return {"rows": len(X), "dim": DIM, "same_rounds": same_rounds, "same_loss": same_loss}
