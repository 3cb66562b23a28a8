"""Every homology head of the catalog passes the batteries; nobody lists them again."""

from typing import Any

import pytest

from heads.base import Head
from heads.catalog import HEADS
from heads.testing.sequence_contract import SequenceHeadContract
from heads.testing.sequence_kind_contract import SequenceKindContract

ON_SEQUENCES = [name for name, row in HEADS.items() if row.target.startswith("heads.homology")]
"""Networks have arguments and tests of their own."""

SMALL: dict[str, dict[str, Any]] = {"position_means": {"n_trees": 100}}
"""Arguments that make a head small enough for the batteries, where its own defaults are not."""


SLOW = ("blastp", "diamond", "mmseqs", "phmmer", "hmm_top_pick")
"""Programs that take long to start, whatever is searched; the battery of the others guards what they share."""


def marked(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow if name.split("-")[0] in SLOW else ())


def small_head(name: str, kind: str) -> Head:
    target = HEADS.load(name)
    missing = getattr(target, "missing", lambda: None)()
    if missing:
        pytest.skip(missing)
    return target(kind=kind, **{**HEADS[name].small, **SMALL.get(name, {})})


class TestEverySequenceHead(SequenceHeadContract):
    @pytest.fixture(params=[marked(name) for name in ON_SEQUENCES if "class" in HEADS[name].kinds])
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(request.param, "class")


class TestEveryKindOfSequenceHead(SequenceKindContract):
    @pytest.fixture(
        params=[marked(f"{name}-{kind}") for name in ON_SEQUENCES for kind in HEADS[name].kinds if kind != "class"]
    )
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(*request.param.split("-"))
