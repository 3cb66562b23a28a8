"""The same weights under another configuration are another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from embedstore.models import load_model
from embedstore.testing.checkpoints import make_checkpoint


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [({"layer_norm_eps": 0.1}, False), ({"transformers_version": "9.9"}, True), ({"_name_or_path": "x"}, True)],
)
def test_what_of_the_configuration_decides_a_vector_is_in_the_identity(
    tmp_path: Path, changed: dict[str, object], is_same: bool
) -> None:
    first = make_checkpoint(tmp_path / "a" / "tiny", "esm")
    second = tmp_path / "b" / "tiny"
    shutil.copytree(first, second)
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, **changed}))
    identities = [load_model(path, family="esm", device="cpu").identity() for path in (first, second)]
    assert identities[0]["weights_sha256"] == identities[1]["weights_sha256"]
    assert (identities[0] == identities[1]) == is_same
