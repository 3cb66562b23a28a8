"""The battery of heads that read sequences, on the packaged model."""

from __future__ import annotations

import pytest

from heads.base import Head
from heads.catalog import HEADS
from heads.finetuning.head import FinetuneHead
from heads.testing.sequence_contract import SequenceHeadContract


class TestFineTuned(SequenceHeadContract):
    longest = 3_000

    @pytest.fixture
    def head(self) -> Head:
        return FinetuneHead(device="cpu", **HEADS["finetune"].small)
