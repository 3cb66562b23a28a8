"""ProtCNN is the published network, and ProtENN its vote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from embedstore.errors import InputError
from heads.networks.protcnn import ProtCNN, ProtENNHead
from heads.testing.sequence_contract import random_proteins
from heads.training.tokens import STANDARD, standard_shares


def published(n_families: int, *, filters: int = 1100) -> int:
    """Parameters by hand, from the architecture of Bileschi et al. 2022."""
    half = filters // 2
    first = 9 * 20 * filters + filters
    block = 2 * filters + (9 * filters * half + half) + 2 * half + (half * filters + filters)
    return first + 5 * block + filters * n_families + n_families


@pytest.mark.parametrize(("n_families", "width"), [(17_929, 1100), (100, 64)])
def test_the_number_of_parameters_is_that_of_the_published_architecture(n_families: int, width: int) -> None:
    with torch.device("meta"):
        network = ProtCNN(n_families, width=width)
    assert sum(one.numel() for one in network.parameters()) == published(n_families, filters=width)
    assert published(17_929) == 50_213_679


def test_ambiguous_residues_are_shares_of_those_they_may_be() -> None:
    shares = {letter: dict(zip(STANDARD, standard_shares()[ord(letter) - 64], strict=True)) for letter in "ABZXUO"}
    assert shares["A"]["A"] == 1
    assert (shares["B"]["D"], shares["B"]["N"]) == (0.5, 0.5)
    assert (shares["Z"]["E"], shares["Z"]["Q"]) == (0.5, 0.5)
    assert shares["U"]["C"] == 1
    assert shares["O"] == shares["X"]
    np.testing.assert_allclose(list(shares["X"].values()), 1 / 20)


def test_the_receptive_field_is_that_of_the_dilations() -> None:
    """Guard dilations 1, 1, 3, 9, 27: a change 4 * (1 + 1 + 1 + 3 + 9 + 27) = 168 residues away is seen, not beyond."""
    torch.manual_seed(0)
    network = ProtCNN(2, width=8).eval()
    states = torch.rand(1, 500, 20, requires_grad=True)
    mask = torch.ones(1, 500, dtype=torch.bool)
    found = network.first(states, mask)
    for block in network.blocks:
        # Without ReLU every path is open.
        inner = found
        for convolution in block.convolutions:
            inner = convolution(inner, mask)
        found = found + inner
    found[0, 250].sum().backward()
    seen = states.grad.abs().sum(dim=2)[0].nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (250 - 168, 250 + 168)


def test_the_majority_wins_and_the_mean_breaks_ties(proteins: Callable[..., Any]) -> None:
    each = np.array([[[0.4, 0.6, 0]], [[0.4, 0.6, 0]], [[0.9, 0.1, 0]]], np.float32)
    head = ProtENNHead(members=3)
    assert head._joined(each).argmax() == 1
    assert head._joined(each[1:]).argmax() == 0
    assert ProtENNHead(members=3, vote="mean")._joined(each).argmax() == 0
    np.testing.assert_allclose(head._joined(each).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(head._joined(each)[0], [0.5, 0.5, 0], rtol=1e-6)
    with pytest.raises(InputError, match="vote is 'loudest'; expected one of majority, mean"):
        ProtENNHead(vote="loudest", width=8).fit(*proteins(8))
    with pytest.raises(InputError, match="width is 7; expected an even number"):
        ProtENNHead(width=7).fit(*proteins(8))


def test_members_that_agree_and_are_unsure_stay_unsure() -> None:
    """Guard the vote against saying that it is sure: where it changes nothing, probabilities are the mean."""
    rng = np.random.default_rng(0)
    each = rng.dirichlet(np.ones(6), (5, 400)).astype(np.float32)
    joined, mean = ProtENNHead(members=5)._joined(each), each.mean(axis=0)
    counts = np.stack([(each.argmax(axis=2) == code).sum(axis=0) for code in range(6)], axis=1)
    voted = np.where(counts == counts.max(axis=1, keepdims=True), mean, -1).argmax(axis=1)
    assert joined.argmax(axis=1).tolist() == voted.tolist()
    same = mean.argmax(axis=1) == voted
    assert 100 < same.sum() < 400
    np.testing.assert_array_equal(joined[same], mean[same])
    np.testing.assert_allclose(joined.sum(axis=1), 1, rtol=1e-6)
    assert (joined.max(axis=1) <= mean.max(axis=1) * (1 + 1e-6)).all()


def test_labels_without_a_signal_leave_the_vote_unsure() -> None:
    """Guard the confidence of several members that have nothing to learn but how common a class is."""
    rng = np.random.default_rng(0)
    X, X_valid, queries = (random_proteins(n, seed=seed, length=30) for n, seed in ((120, 1), (120, 2), (300, 3)))
    y, y_valid, truth = (rng.choice(["a", "b"], len(part), p=[0.65, 0.35]) for part in (X, X_valid, queries))
    head = ProtENNHead(members=3, width=8, warmup_steps=0, epochs=2, device="cpu").fit(X, y, X_valid, y_valid)
    accuracy = (head.predict(queries) == truth).mean()
    assert abs(head.predict_proba(queries).max(axis=1).mean() - accuracy) < 0.1
