"""What every network of the catalog must do, beside the battery of heads that read sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from embedstore.errors import InputError
from heads.api.load import load
from heads.base import Head
from heads.catalog import HEADS, NETWORKS
from heads.networks.recurrent import BothDirections
from heads.testing.head_contract import as_fitted_head

QUICK = ("protcnn", "rnn", "gcn")
"""One of each group; the others are tested by `make test-all`."""

NAMES = [row.name if row.name in QUICK else pytest.param(row.name, marks=pytest.mark.slow) for row in NETWORKS]
SLOW: dict[str, dict[str, Any]] = {
    "mpnn": {"epochs": 120},
    "graph_transformer": {"epochs": 120},
    "attentive_fp": {"epochs": 120, "learning_rate": 5e-3, "dropout": 0.0},
}
"""Networks that take more than 60 steps to learn 32 sequences by heart."""


def small(name: str, **params: Any) -> Head:
    head: Head = HEADS.load(name)(**{**HEADS[name].small, "device": "cpu", **params})
    return head


@pytest.mark.parametrize("name", NAMES)
def test_32_sequences_are_learned_to_zero_error(name: str, proteins: Callable[..., Any]) -> None:
    """Guard that a network can learn at all: labels are drawn, and only the sequences themselves tell them."""
    X, _ = proteins(32)
    y = np.random.default_rng(3).choice(["a", "b", "c"], 32)
    head = small(name, **{"epochs": 60, "valid_share": 0.0, "batch_size": 32, **SLOW.get(name, {})}).fit(X, y)
    assert head.predict(X).tolist() == y.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_protein_does_not_depend_on_its_batch_and_is_kept(
    name: str, proteins: Callable[..., Any], tmp_path: Path
) -> None:
    """Guard padding, order and size of batches, and saving without a changed bit."""
    head = small(name, epochs=1).fit(*proteins(40))
    X, _ = proteins(12, seed=1)
    X.append("".join(X))
    whole = head.predict_proba(X)
    for part in (X[3:4], X[::-1], X[:5]):
        expected = whole[[X.index(text) for text in part]]
        np.testing.assert_allclose(head.predict_proba(part), expected, rtol=1e-4, atol=1e-5)
    again = load(as_fitted_head(head).save(tmp_path / "head")).head
    np.testing.assert_array_equal(again.predict_proba(X), whole)
    assert again.settings() == head.settings()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_head(name: str, proteins: Callable[..., Any]) -> None:
    X, _ = proteins(5, seed=1)
    first, again, other = (small(name, epochs=1, seed=seed).fit(*proteins(20)).predict_proba(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_one_residue_alone_in_a_batch_is_taken(name: str, proteins: Callable[..., Any]) -> None:
    """Guard N = k * B + 1 where the last protein is one residue, which has no variance."""
    X, y = proteins(17)
    X[16] = "M"
    head = small(name, epochs=1, batch_size=8, valid_share=0.0).fit(X, y)
    assert np.isfinite(head.predict_proba(X)).all()
    assert all(np.isfinite(array).all() for array in head.arrays().values())


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_labels_are_guessed_and_the_head_says_so(name: str, proteins: Callable[..., Any]) -> None:
    """Guard rows held out to stop and to calibrate on: where they are those learned from, labels by heart look sure."""
    X, _ = proteins(280)
    y = np.random.default_rng(1).integers(4, size=280)
    head = small(name, epochs=12, patience=3, valid_share=0.4).fit(X[:160], y[:160])
    shares = head.predict_proba(X[160:])
    assert shares.max(axis=1).mean() < 0.4
    assert -np.log(shares[np.arange(120), y[160:]]).mean() < np.log(4) + 0.1


def test_both_directions_are_those_of_packed_sequences() -> None:
    """Guard the turned direction against PyTorch's own bidirectional net, weights and all."""
    torch.manual_seed(0)
    theirs, ours = nn.LSTM(5, 4, num_layers=2, batch_first=True, bidirectional=True), BothDirections(nn.LSTM, 5, 4, 2)
    for name, weight in theirs.state_dict().items():
        layer = int(name.partition("_l")[2][0])
        side = ours.backwards if name.endswith("_reverse") else ours.forwards
        getattr(side[layer], name.removesuffix("_reverse").replace(f"_l{layer}", "_l0")).data.copy_(weight)
    lengths = torch.tensor([7, 3, 1])
    states, mask = torch.randn(3, 7, 5), torch.arange(7) < lengths[:, None]
    packed = pack_padded_sequence(states, lengths, batch_first=True)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    np.testing.assert_allclose(ours(states, mask)[mask].detach(), expected[mask].detach(), atol=1e-6)
    assert sum(one.numel() for one in ours.parameters()) == sum(one.numel() for one in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("rnn", {"learning_rate": "fast"}, "learning_rate is 'fast'; expected a number above 0"),
        ("rnn", {"learning_rate": float("nan")}, "learning_rate is nan; expected a number above 0"),
        ("rnn", {"epochs": 2.5}, "epochs is 2.5; expected a whole number from 1 on"),
        ("rnn", {"batch_size": True}, "batch_size is True; expected a whole number from 1 on"),
        ("rnn", {"warmup_steps": -5}, "warmup_steps is -5; expected a whole number from 0 on"),
        ("rnn", {"decay_rate": 0}, "decay_rate is 0; expected a number above 0, at most 1"),
        ("rnn", {"max_seconds": "soon"}, "max_seconds is 'soon'; expected a number of seconds from 0 on"),
        ("rnn", {"checkpoint_s": None}, "checkpoint_s is None; expected a number of seconds from 0 on"),
        ("rnn", {"seed": -1}, "seed is -1; expected a whole number from 0 on"),
        ("rnn", {"valid_share": "some"}, "valid_share is 'some'; expected a number from 0 to below 1"),
        ("rnn", {"max_length": "long"}, "max_length is 'long'; expected a whole number from 1 on"),
        ("rnn", {"hidden": (8,)}, r"hidden is \(8,\); expected a whole number from 1 on"),
        ("protenn", {"members": 1.5}, "members is 1.5; expected a whole number from 1 on"),
        ("deepprotein_cnn", {"filters": 8}, "filters is 8; expected a list of whole numbers from 1 on, such as"),
        ("deepprotein_cnn", {"kernels": ()}, r"kernels is \(\); expected a list of whole numbers from 1 on, such as"),
        ("deepprotein_cnn", {"predictor": 64}, "predictor is 64; expected a list of whole numbers from 1 on, or none"),
        ("deepprotein_cnn", {"dropout": 1.0}, "dropout is 1.0; expected a number from 0 to below 1"),
        ("deepprotein_gru", {"predictor": (64, 0)}, r"predictor is \(64, 0\); expected a list of whole numbers"),
        ("deepprotein_cnn_rnn", {"embedding": "wide"}, "embedding is 'wide'; expected a whole number from 1 on"),
        ("deepprotein_transformer", {"n_subwords": "many"}, "n_subwords is 'many'; expected a whole number"),
        ("deepprotein_transformer", {"dropout": -0.1}, "dropout is -0.1; expected a number from 0 to below 1"),
        ("gcn", {"predictor": "64"}, "predictor is '64'; expected a list of whole numbers from 1 on, or none"),
    ],
)
def test_a_parameter_that_is_no_such_number_is_named(
    name: str, params: dict[str, Any], message: str, proteins: Callable[..., Any]
) -> None:
    """Guard one error for one row of a comparison, not an end to all of them."""
    with pytest.raises(InputError, match=message):
        small(name, **{"epochs": 1, **params}).fit(*proteins(12))


def test_too_long_a_protein_is_an_error_and_nothing_is_cut(proteins: Callable[..., Any]) -> None:
    X, y = proteins(12)
    X[5] = X[5] * 3
    with pytest.raises(InputError, match=r"Row 5 of X has \d+ residues and max_length is 30; nothing is cut"):
        small("rnn", epochs=1, max_length=30).fit(X, y)
    with pytest.raises(InputError, match=r"Row 2 of X holds '-'; expected letters"):
        small("rnn", epochs=1).fit([*X[:2], "M-V", *X[3:]], y)
    with pytest.raises(InputError, match="Row 0 of X has no residues"):
        small("rnn", epochs=1).fit(["", *X[1:]], y)


@pytest.mark.parametrize("name", ["rnn", "deepprotein_transformer"])
def test_an_error_of_a_later_block_names_the_row_of_X(
    name: str, proteins: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heads.networks.head._BLOCK_ROWS", 4)
    X, y = proteins(12)
    fitted = small(name, epochs=1, max_length=40).fit(X, y)
    for wrong, message in (("", "has no residues"), ("M-V", "holds '-'"), ("M" * 41, "has 41 residues")):
        with pytest.raises(InputError, match=f"Row 6 of X {message}"):
            fitted.predict([*X[:6], wrong, *X[6:]])
