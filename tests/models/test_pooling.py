from __future__ import annotations

import numpy as np
import pytest
import torch

from embedstore.errors import InputError, UnknownNameError
from embedstore.models.pooling import POOLINGS, find_pooling


@pytest.mark.parametrize("name", list(POOLINGS))
def test_every_pooling_does_the_same_to_arrays_and_tensors(name: str) -> None:
    n_rows = 1 if name == "first" else 50
    states = np.random.default_rng(0).normal(size=(n_rows, 8)).astype(np.float32)
    pooled = find_pooling(name)(states)
    assert pooled.shape == (8,)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(find_pooling(name)(torch.from_numpy(states)).numpy(), pooled, rtol=1e-5, atol=1e-6)


def test_an_unknown_pooling_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Unknown pooling 'cls'. Known: mean, max, first"):
        find_pooling("cls")


def test_first_is_never_the_first_residue() -> None:
    with pytest.raises(InputError, match="got 2 rows; expected one, the state of the special token"):
        find_pooling("first")(np.zeros((2, 8), dtype=np.float32))
