from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedstore.testing.checkpoints import KINDS, family_of, make_checkpoint
from heads.finetuning.head import FinetuneHead

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
Rows = tuple[list[str], NDArray[np.str_]]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small checkpoint of each kind."""
    root = tmp_path_factory.mktemp("bases")
    return {
        target_type: make_checkpoint(root / f"tiny_{target_type}", target_type, dim=16, n_heads=2)
        for target_type in KINDS
    }


@pytest.fixture(scope="session")
def rows() -> Callable[..., Rows]:
    """Random proteins of three classes that nothing but the single protein tells."""

    def make(n: int, *, seed: int = 0, longest: int = 24) -> Rows:
        rng = np.random.default_rng(seed)
        texts = ["".join(rng.choice(LETTERS, rng.integers(6, longest))) for _ in range(n)]
        return texts, np.array([["a", "b", "c"][row % 3] for row in range(n)])

    return make


@pytest.fixture
def tuned(checkpoints: dict[str, Path]) -> Callable[..., FinetuneHead]:
    """An unfitted head on a small checkpoint that begins at random, without dropout, in float32."""

    def make(target_type: str = "esm", **settings: Any) -> FinetuneHead:
        quiet: dict[str, Any] = {"start": "random"}
        quiet |= {"dropout": 0.0, "encoder_dropout": 0.0, "precision": "float32", "patience": None, "device": "cpu"}
        options = {**quiet, "encoder_rate": 3e-3, "head_rate": 3e-3, "batch_size": 8, **settings}
        return FinetuneHead(model=str(checkpoints[target_type]), family=family_of(target_type), **options)

    return make
