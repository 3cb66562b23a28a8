from __future__ import annotations

from pathlib import Path

import pytest

from embedstore.models import Model, load_model
from embedstore.testing.checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small checkpoint of each family; ProtT5's weights are a .bin, as in its repository."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        family: make_checkpoint(root / f"tiny_{family}", family, safetensors=family != "t5")
        for family in ("t5", "bert", "esm")
    }


@pytest.fixture(scope="session")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Model]:
    """The same, loaded on the CPU in float32; models are not changed by use."""
    return {
        family: load_model(path, family=family, device="cpu", precision="float32")
        for family, path in checkpoints.items()
    }
