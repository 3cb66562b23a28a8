"""Every homology head of the catalog passes the batteries; nobody lists them again."""

import os
from typing import Any

import pytest

from heads.base import Head
from heads.catalog import HEADS, NETWORKS
from heads.testing.sequence_contract import SequenceHeadContract
from heads.testing.sequence_kind_contract import SequenceKindContract

ON_SEQUENCES = [name for name, row in HEADS.items() if row.target.startswith("heads.homology")]
"""Networks have arguments and tests of their own."""

SMALL: dict[str, dict[str, Any]] = {"position_means": {"n_trees": 100}}
"""Arguments that make a head small enough for the batteries, where its own defaults are not."""


SLOW = ("mmseqs", *(row.name for row in NETWORKS))
"""Seconds a fit: the batteries run where EMBEDSTORE_SLOW_TESTS is set."""


def small_head(name: str, kind: str) -> Head:
    target = HEADS.load(name)
    missing = getattr(target, "missing", lambda: None)()
    if missing:
        pytest.skip(missing)
    if name in SLOW and not os.environ.get("EMBEDSTORE_SLOW_TESTS"):
        pytest.skip(f"{name} is slow to start; set EMBEDSTORE_SLOW_TESTS to run this.")
    return target(kind=kind, **{**HEADS[name].small, **SMALL.get(name, {})})


class TestEverySequenceHead(SequenceHeadContract):
    @pytest.fixture(params=[name for name in ON_SEQUENCES if "class" in HEADS[name].kinds])
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(request.param, "class")


class TestEveryKindOfSequenceHead(SequenceKindContract):
    @pytest.fixture(
        params=[(name, kind) for name in ON_SEQUENCES for kind in HEADS[name].kinds if kind != "class"],
        ids=lambda pair: "-".join(pair),
    )
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(*request.param)
