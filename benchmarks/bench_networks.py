"""Networks from scratch on real proteins: short trainings, and our batches against a padded DataLoader.

Usage: python -m benchmarks.bench_networks DATA [--rows N] [--seconds S]; DATA is a folder with train, valid and test
tables (id, sequence, label), such as SCOP2 domains. Times are CPU seconds of one thread, so that other work on the
machine counts little; the sides take turns in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import write_result
from heads.catalog import HEADS
from heads.networks.protcnn import ProtCNN, ProtCNNHead
from heads.networks.recurrent import Recurrent, RnnHead
from heads.training.batches import TokenBatch, collate_tokens, plan_epoch, within_budget
from heads.training.objectives import Objective
from heads.training.tokens import Tokens, encode_residues

BATCH = 32
PADDED_TO = 1000
"""Residues that DeepProtein pads and cuts every protein to."""


class _Padded(Dataset[Any]):
    """Rows as a DataLoader wants them: each one padded, and cut, to `longest` residues, or as long as it is."""

    def __init__(self, tokens: Tokens, codes: np.ndarray, longest: int | None) -> None:
        self._tokens, self._codes, self._longest = tokens, codes, longest

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        letters = self._tokens.joined(np.array([row]))[: self._longest]
        out = np.zeros(self._longest or len(letters), np.int64)
        out[: len(letters)] = letters
        return torch.from_numpy(out), int(self._codes[row])


def _collate(rows: list[tuple[torch.Tensor, int]]) -> tuple[TokenBatch, torch.Tensor]:
    rows = sorted(rows, key=lambda row: -int((row[0] > 0).sum()))
    codes = torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
    # Padding takes part, as in a loop that knows of no mask.
    mask = torch.ones_like(codes, dtype=torch.bool)
    return TokenBatch(codes, mask, mask.sum(1)), torch.tensor([row[1] for row in rows])


def _ours(tokens: Tokens, codes: np.ndarray, pool_batches: int) -> Iterator[tuple[TokenBatch, torch.Tensor]]:
    for rows in plan_epoch(tokens.lengths, batch_size=BATCH, pool_batches=pool_batches, seed=(0, 0)):
        for part in within_budget(rows, tokens.lengths, budget=2**15):
            yield collate_tokens(tokens, part), torch.from_numpy(codes[part])


def _seconds(network: torch.nn.Module, batches: Iterator[tuple[TokenBatch, torch.Tensor]], n_classes: int) -> float:
    objective = Objective("class", n_classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    start = time.process_time()
    for batch, y in batches:
        optimizer.zero_grad()
        (objective.loss(network(batch), y) / len(y)).backward()
        optimizer.step()
    return time.process_time() - start


def compare_batches(tokens: Tokens, codes: np.ndarray, n_classes: int, repeats: int) -> dict[str, Any]:
    """CPU seconds of one epoch of the same networks on the same rows, by who makes the batches."""
    networks: dict[str, tuple[Callable[[], torch.nn.Module], int]] = {
        "protcnn, 64 filters": (lambda: ProtCNN(n_classes, width=64), ProtCNNHead.pool_batches),
        "rnn, 64 units": (
            lambda: Recurrent(n_classes, cell="lstm", hidden=64, layers=1, readout="max", predictor=(), dropout=0.0),
            RnnHead.pool_batches,
        ),
    }
    found: dict[str, Any] = {}
    for name, (make, pool_batches) in networks.items():
        sides: dict[str, list[float]] = {"ours": [], "dataloader, longest of the batch": [], "dataloader, 1,000": []}
        for _ in range(repeats):
            for side, times in sides.items():
                if side == "ours":
                    batches = _ours(tokens, codes, pool_batches)
                else:
                    data = _Padded(tokens, codes, PADDED_TO if side.endswith("1,000") else None)
                    batches = iter(DataLoader(data, batch_size=BATCH, shuffle=True, collate_fn=_collate))
                times.append(_seconds(make(), batches, n_classes))
        least = {side: min(times) for side, times in sides.items()}
        found[name] = {
            "cpu_seconds": {side: [round(one, 2) for one in times] for side, times in sides.items()},
            "ratio_to_ours": {side: round(seconds / least["ours"], 2) for side, seconds in least.items()},
        }
        print(name, found[name], flush=True)
    return found


def train_shortly(tables: dict[str, pd.DataFrame], seconds: float) -> dict[str, Any]:
    """Test accuracy and learning curve of narrow networks after a short training."""
    settings: dict[str, dict[str, Any]] = {
        "protcnn": {"width": 64, "warmup_steps": 100},
        "rnn": {"hidden": 64, "learning_rate": 3e-3},
    }
    found: dict[str, Any] = {}
    for name, params in settings.items():
        head = HEADS.load(name)(**params, max_seconds=seconds, device="cpu")
        parts = [part for split in ("train", "valid") for part in _columns(tables[split])]
        start = time.process_time()
        head.fit(*parts)
        X, y = _columns(tables["test"])
        right = head.predict(X) == y
        share = float(right.mean())
        found[name] = {
            "params": params,
            "n_parameters": head.n_parameters_,
            "test_accuracy": round(share, 4),
            "standard_error": round(float(np.sqrt(share * (1 - share) / len(right))), 4),
            "most_common_label": round(float(pd.Series(y).value_counts(normalize=True).iloc[0]), 4),
            "cpu_seconds": round(time.process_time() - start, 1),
            "curve": head.settings()["curve"],
        }
        print(name, found[name], flush=True)
    return found


def _columns(table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    return table["sequence"].tolist(), table["label"].to_numpy(dtype=np.str_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=1000, help="training rows of the comparison of batches")
    parser.add_argument("--labels", type=int, default=20, help="most common labels that are kept")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables = {
        split: pd.read_csv(args.data / f"{split}.csv.gz", dtype=str, keep_default_na=False)
        for split in ("train", "valid", "test")
    }
    common = tables["train"]["label"].value_counts().index[: args.labels]
    tables = {split: table[table["label"].isin(common)] for split, table in tables.items()}
    X, y = _columns(tables["train"].sample(n=min(args.rows, len(tables["train"])), random_state=0))
    codes = np.unique(y, return_inverse=True)[1].astype(np.int64)
    record = {
        "data": args.data.name,
        "rows": {split: len(table) for split, table in tables.items()},
        "labels": len(common),
        "batches": compare_batches(encode_residues(X), codes, len(common), args.repeats),
        "training": train_shortly(tables, args.seconds),
    }
    print(write_result("networks", record, packages=("torch", "numpy")))


if __name__ == "__main__":
    main()
