from __future__ import annotations

from pathlib import Path

import pytest

from embedstore.models import Model, load_model
from embedstore.testing.checkpoints import make_checkpoint

KINDS = ("t5", "prost_t5", "ankh", "bert", "electra", "albert", "xlnet", "esm", "esm1", "esmc")


def family_of(kind: str) -> str:
    """ESM-1b and ESM-2 are one family."""
    return "esm" if kind == "esm1" else kind


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small checkpoint of each kind; ProtT5's weights are a .bin, as in its repository."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: make_checkpoint(root / f"tiny_{kind}", kind, safetensors=kind != "t5") for kind in KINDS}


@pytest.fixture(scope="session")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Model]:
    """The same, loaded on the CPU in float32; models are not changed by use."""
    return {
        kind: load_model(path, family=family_of(kind), device="cpu", precision="float32")
        for kind, path in checkpoints.items()
    }
