from __future__ import annotations

import numpy as np
import pytest
import torch

from embedstore.errors import UnknownNameError
from embedstore.pooling import POOLINGS, find_pooling


@pytest.mark.parametrize("name", list(POOLINGS))
def test_every_pooling_does_the_same_to_arrays_and_tensors(name: str) -> None:
    states = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    pooled = find_pooling(name)(states)
    assert pooled.shape == (8,)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(find_pooling(name)(torch.from_numpy(states)).numpy(), pooled, rtol=1e-5, atol=1e-6)


def test_an_unknown_pooling_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Unknown pooling 'cls'. Known: mean"):
        find_pooling("cls")
