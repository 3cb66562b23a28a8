"""Every homology head of the catalog passes the batteries, nobody lists them again; and one network of each group."""

from functools import cache
from typing import Any

import pytest

from heads.base import Head
from heads.catalog import HEADS
from heads.testing.sequence_contract import SequenceHeadContract, families
from heads.testing.sequence_kind_contract import SequenceKindContract

ON_SEQUENCES = [name for name, row in HEADS.items() if row.target.startswith("heads.alignment")]
"""Networks take longer, and have tests of their own beside the battery."""

NETWORKS: dict[str, dict[str, Any]] = {
    "protcnn": {"width": 8, "learning_rate": 1e-2, "batch_size": 16, "epochs": 6},
    "rnn": {"hidden": 16, "batch_size": 8, "epochs": 12},
    # Its batch norm needs batches of several families: these are of several lengths.
    "gcn": {"batch_size": 20, "epochs": 15},
}
"""One of each group, and what makes it quick on few proteins."""

SMALL: dict[str, dict[str, Any]] = {"position_means": {"n_trees": 100}}
"""Arguments that make a head small enough for the batteries, where its own defaults are not."""


SLOW = ("blastp", "diamond", "mmseqs", "phmmer", "hmm_top_pick")
"""Programs that take long to start, whatever is searched; the battery of the others guards what they share."""


def marked(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow if name.split("-")[0] in SLOW else ())


def small_head(name: str, target_type: str) -> Head:
    target = HEADS.load(name)
    missing = getattr(target, "missing", lambda: None)()
    if missing:
        pytest.skip(missing)
    return target(target_type=target_type, **{**HEADS[name].small, **SMALL.get(name, {})})


class TestEverySequenceHead(SequenceHeadContract):
    @pytest.fixture(params=[marked(name) for name in ON_SEQUENCES if "class" in HEADS[name].target_types])
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(request.param, "class")


class TestEveryKindOfSequenceHead(SequenceKindContract):
    @pytest.fixture(
        params=[
            marked(f"{name}-{target_type}")
            for name in ON_SEQUENCES
            for target_type in HEADS[name].target_types
            if target_type != "class"
        ]
    )
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_head(*request.param.split("-"))


@cache
def fitted_network(name: str) -> Head:
    return small_network(name).fit(*families(48, n_families=3), *families(48, seed=1, n_families=3))


def small_network(name: str) -> Head:
    network: Head = HEADS.load(name)(**{**HEADS[name].small, **NETWORKS[name], "device": "cpu"})
    return network


class TestNetworks(SequenceHeadContract):
    n_families = 3
    n_train = 48
    longest = 6_000

    @pytest.fixture(params=list(NETWORKS))
    def head(self, request: pytest.FixtureRequest) -> Head:
        return small_network(request.param)

    @pytest.fixture(params=list(NETWORKS))
    def fitted(self, request: pytest.FixtureRequest) -> Head:
        """Fitted once for all tests, which leave it as it is."""
        return fitted_network(request.param)
