"""A small store."""

from __future__ import annotations

from pathlib import Path

import pytest

import embedstore
from embedstore.store import Store
from embedstore.testing.exchange_files import PROTEINS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    table = tmp_path / "mine.csv"
    rows = [f'"{name}",{residues},fam{len(residues) % 2},train' for name, residues in PROTEINS.items()]
    table.write_text("\n".join(["id,sequence,family,split", *rows, ""]), encoding="utf-8")
    opened = embedstore.open(tmp_path / "store.zarr", mode="a")
    opened.add("mine", table)
    return opened
