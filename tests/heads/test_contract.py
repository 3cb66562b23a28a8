"""Every head of the catalog passes the batteries; nobody lists them again."""

import pytest

from heads.base import Head
from heads.catalog import HEADS
from heads.testing.head_contract import HeadContract
from heads.testing.kind_contract import KindContract
from heads.testing.sklearn_contract import SklearnContract

ON_ROWS = [name for name, row in HEADS.items() if "protein" in row.inputs and row.reads == "vectors"]
"""Heads of vectors that need no whole proteins."""


class TestEveryHead(HeadContract):
    @pytest.fixture(params=ON_ROWS)
    def head(self, request: pytest.FixtureRequest) -> Head:
        return HEADS.load(request.param)(**HEADS[request.param].small)


class TestScikitLearn(SklearnContract):
    @pytest.fixture(params=ON_ROWS)
    def head(self, request: pytest.FixtureRequest) -> Head:
        return HEADS.load(request.param)(**HEADS[request.param].small)


class TestEveryKind(KindContract):
    @pytest.fixture(
        params=[
            (name, target_type)
            for name in ON_ROWS
            for target_type in HEADS[name].target_types
            if target_type != "class"
        ],
        ids=lambda pair: "-".join(pair),
    )
    def head(self, request: pytest.FixtureRequest) -> Head:
        name, target_type = request.param
        return HEADS.load(name)(target_type=target_type, **HEADS[name].small)


@pytest.mark.parametrize("name", list(HEADS))
def test_the_catalog_states_what_the_head_can_predict(name: str) -> None:
    assert HEADS[name].target_types == HEADS.load(name).target_types
