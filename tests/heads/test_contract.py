"""Every head of the catalog passes the battery; nobody lists them again."""

import pytest

from heads.base import Head
from heads.catalog import HEADS
from heads.testing.head_contract import HeadContract


class TestEveryHead(HeadContract):
    @pytest.fixture(params=list(HEADS))
    def head(self, request: pytest.FixtureRequest) -> Head:
        return HEADS.load(request.param)()
