"""The trainer: the same curve after a kill, batches without waste, one clear error."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from embedstore.errors import InputError, NonFiniteError, StoreCorruptError
from heads.networks.convolution import ConvolutionHead
from heads.networks.protcnn import ProtCNNHead
from heads.networks.recurrent import RnnHead
from heads.training.batches import plan_epoch, within_budget
from heads.training.checkpoint import CHECKPOINT_FILE
from heads.training.schedule import Clipping, Schedule
from heads.training.tokens import encode_residues

SMALL: dict[str, Any] = {"width": 16, "warmup_steps": 0, "batch_size": 8, "device": "cpu"}


def losses(head: Any) -> list[tuple[float, float | None]]:
    return [(point.train_loss, point.valid_loss) for point in head.curve_]


def test_a_training_that_goes_on_has_the_same_curve(proteins: Callable[..., Any], tmp_path: Path) -> None:
    """Guard weights, Adam, clipping, order, dropout and the best epoch across a stop."""
    train, valid, (queries, _) = proteins(40), proteins(20, seed=1), proteins(10, seed=2)
    params: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8, "clip": "adaptive", "predictor": (16,)}
    whole = ConvolutionHead(epochs=4, **params).fit(*train, *valid)
    place = str(tmp_path / "run")
    ConvolutionHead(epochs=2, checkpoint=place, **params).fit(*train, *valid)
    again = ConvolutionHead(epochs=4, checkpoint=place, **params).fit(*train, *valid)
    assert losses(again) == losses(whole)
    np.testing.assert_array_equal(again.predict_proba(queries), whole.predict_proba(queries))
    with pytest.raises(InputError, match="is the checkpoint of another training: its data or settings differ"):
        ConvolutionHead(epochs=4, checkpoint=place, seed=1, **params).fit(*train, *valid)
    (tmp_path / "run" / CHECKPOINT_FILE).write_bytes(b"nothing")
    with pytest.raises(StoreCorruptError, match="is no checkpoint"):
        ConvolutionHead(epochs=4, checkpoint=place, **params).fit(*train, *valid)


def test_with_more_patience_it_goes_on_from_where_it_stopped(proteins: Callable[..., Any], tmp_path: Path) -> None:
    """Guard that a checkpoint does not say that a training is over: more patience than it stopped by is taken."""
    rng = np.random.default_rng(0)
    (X, _), (X_valid, _) = proteins(40), proteins(40, seed=1)
    rows = (X, rng.choice(["a", "b"], 40), X_valid, rng.choice(["a", "b"], 40))
    params = {"epochs": 30, "checkpoint": str(tmp_path), **SMALL}
    stopped = ProtCNNHead(patience=2, **params).fit(*rows)
    again = ProtCNNHead(patience=8, **params).fit(*rows)
    whole = ProtCNNHead(patience=8, **{**params, "checkpoint": None}).fit(*rows)
    assert losses(again) == losses(whole)
    assert len(losses(stopped)) < len(losses(whole)) <= 30
    np.testing.assert_array_equal(again.predict_proba(X), whole.predict_proba(X))


def test_out_of_time_within_an_epoch_its_other_rows_are_seen_later(
    proteins: Callable[..., Any], tmp_path: Path
) -> None:
    """Guard that an epoch that time cut short is not taken for a whole one when the limit is lifted."""
    train, valid = proteins(40), proteins(20, seed=1)
    params: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "predictor": (16,)}
    place, first_step = str(tmp_path), {"max_seconds": 1e-9, **params}
    short = ConvolutionHead(checkpoint=place, **first_step).fit(*train, *valid)
    assert [point.epoch for point in short.curve_] == [1]
    assert losses(short) == losses(ConvolutionHead(**first_step).fit(*train, *valid))
    assert losses(short) == losses(ConvolutionHead(checkpoint=place, **first_step).fit(*train, *valid))
    again = ConvolutionHead(checkpoint=place, **params).fit(*train, *valid)
    whole = ConvolutionHead(**params).fit(*train, *valid)
    assert losses(again) == losses(whole)
    np.testing.assert_array_equal(again.predict_proba(valid.X), whole.predict_proba(valid.X))


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from heads.networks.protcnn import ProtCNNHead
texts, labels = sys.argv[2].split(","), sys.argv[3].split(",")
ProtCNNHead(epochs=10_000, patience=10_000, checkpoint=sys.argv[1], checkpoint_s=0, width=16, warmup_steps=0,
            batch_size=8, device="cpu").fit(texts, labels)
"""


def test_killed_in_mid_epoch_it_goes_on_to_the_same_curve(proteins: Callable[..., Any], tmp_path: Path) -> None:
    X, y = proteins(40)
    place = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(place), ",".join(X), ",".join(y)], env=os.environ)
    until = time.monotonic() + 120
    while not (place / CHECKPOINT_FILE).exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    from safetensors import safe_open

    with safe_open(place / CHECKPOINT_FILE, framework="pt") as file:
        import json

        reached = json.loads(file.metadata()["state"])["epoch"]
    params = {"epochs": reached + 2, "patience": 10_000, **SMALL}
    again = ProtCNNHead(checkpoint=str(place), **params).fit(X, y)
    whole = ProtCNNHead(**params).fit(X, y)
    assert losses(again) == losses(whole)


def test_a_loss_that_is_no_number_is_one_error(proteins: Callable[..., Any]) -> None:
    with pytest.raises(NonFiniteError, match=r"loss is .*in epoch \d+, step \d+; expected numbers. Lower"):
        ConvolutionHead(learning_rate=1e30, epochs=5, predictor=()).fit(*proteins(40))


def test_batches_hold_each_row_once_are_mixed_and_padded_less_than_at_random() -> None:
    lengths = np.random.default_rng(0).integers(20, 400, 5000)
    batches = plan_epoch(lengths, batch_size=32, pool_batches=2, seed=(0, 1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    assert {len(batch) for batch in batches} == {32, 8}
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 0.85 * 400 * len(lengths)
    # Relatives are of one length: what batch norm sees of a batch has to be much like what there is.
    assert np.median([np.ptp(lengths[batch]) for batch in batches]) > 0.4 * np.ptp(lengths)
    assert [batch.tolist() for batch in plan_epoch(lengths, batch_size=32, pool_batches=2, seed=(0, 2))] != [
        batch.tolist() for batch in batches
    ]
    parts = within_budget(batches[0], lengths, budget=1000)
    assert sorted(np.concatenate(parts).tolist()) == sorted(batches[0].tolist())
    assert all(len(part) * lengths[part].max() <= 1000 or len(part) == 1 for part in parts)


def test_lengths_are_worked_out_once() -> None:
    """Guard steps that cost the same whatever the number of training rows."""
    tokens = encode_residues(["MKV", "A", "GG"])
    assert tokens.lengths.tolist() == [3, 1, 2]
    assert tokens.lengths is tokens.lengths


def test_a_step_in_parts_is_the_step(proteins: Callable[..., Any]) -> None:
    """Guard a budget of residues that is smaller than a batch: the same losses up to rounding."""
    # In bfloat16, which "auto" takes where the processor has it, sums over other parts are rounded otherwise.
    params: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-3, "predictor": (16,), "dropout": 0.0}
    params["precision"] = "float32"
    whole, parts = (ConvolutionHead(residue_budget=n, **params).fit(*proteins(40)) for n in (2**15, 64))
    np.testing.assert_allclose(losses(parts), losses(whole), rtol=1e-5)


def test_it_stops_where_validation_gets_worse_and_keeps_the_best(proteins: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    (X, _), (X_valid, _) = proteins(40), proteins(40, seed=1)
    y, y_valid = (rng.choice(["a", "b"], 40) for _ in range(2))
    head = ProtCNNHead(epochs=40, patience=3, **SMALL).fit(X, y, X_valid, y_valid)
    found = [point.valid_loss for point in head.curve_]
    assert len(found) == int(np.argmin(found)) + 1 + 3 < 40
    assert head.settings()["curve"][0]["epoch"] == 1
    assert ProtCNNHead(epochs=1000, patience=1000, max_seconds=0.2, **SMALL).fit(X, y).curve_[-1].seconds < 30


def test_rates_rise_and_fall() -> None:
    up = Schedule(name="exponential", peak=1e-3, warmup_steps=3000, decay_rate=0.9997)
    assert up.rate(0) == pytest.approx(1e-3 / 3000)
    assert up.rate(500_000) == pytest.approx(1e-3 * 0.9997**500)
    wave = Schedule(name="cosine", peak=1.0, total_steps=100)
    assert (wave.rate(0), wave.rate(50), wave.rate(100)) == pytest.approx((1, 0.5, 0))
    with pytest.raises(InputError, match="schedule is 'linear'; expected one of constant, exponential, cosine"):
        Schedule(name="linear", peak=1.0)


def test_an_unusual_gradient_is_shortened_and_a_usual_one_is_not() -> None:
    clipping, parameter = Clipping("adaptive"), torch.nn.Parameter(torch.zeros(1))
    rng = np.random.default_rng(0)
    for _ in range(200):
        parameter.grad = torch.tensor([math.exp(0.1 * rng.normal())])
        clipping.apply([parameter])
    parameter.grad = torch.tensor([50.0])
    assert clipping.apply([parameter]) == 50
    assert parameter.grad.item() < 1.5
    parameter.grad = torch.tensor([1.0])
    clipping.apply([parameter])
    assert parameter.grad.item() == 1
    with pytest.raises(InputError, match="clip is 'hard'"):
        Clipping("hard")


@pytest.mark.slow
def test_numbers_levels_and_sets_of_labels_are_learned(proteins: Callable[..., Any]) -> None:
    """Guard each kind, and that the scale of numbers does not matter."""
    X, y = proteins(120)
    queries, truth = proteins(40, seed=2)
    number = {name: float(rank) for rank, name in enumerate(sorted(set(y)))}
    params: dict[str, Any] = {"epochs": 8, **SMALL}
    for target_type in ("regression", "ordinal"):
        head = ProtCNNHead(target_type=target_type, **params).fit(X, [1e6 + 1e4 * number[name] for name in y])
        assert spearmanr(head.predict(queries), [number[name] for name in truth]).statistic > 0.85
    sets = [["even"] if number[name] % 2 == 0 else ["odd", "any"] for name in y]
    marks = ProtCNNHead(target_type="multilabel", class_weights="balanced", **params).fit(X, sets).predict(queries)
    assert (marks[:, 1] == [number[name] % 2 == 0 for name in truth]).mean() > 0.85


def test_balanced_weights_help_the_rare_class(proteins: Callable[..., Any]) -> None:
    X, _ = proteins(200)
    y = np.where(np.arange(200) % 20 == 0, "rare", "common")
    shares = [
        RnnHead(epochs=6, hidden=8, learning_rate=1e-2, class_weights=weights).fit(X, y).predict_proba(X)[:, 1].mean()
        for weights in (None, "balanced")
    ]
    assert shares[1] > 2 * shares[0]
    with pytest.raises(InputError, match="class_weights is 'equal'; expected None or 'balanced'"):
        RnnHead(class_weights="equal").fit(X, y)


def test_bfloat16_products_learn_as_float32(proteins: Callable[..., Any]) -> None:
    X, y = proteins(60)
    half, full = (ProtCNNHead(epochs=3, precision=name, **SMALL).fit(X, y) for name in ("bfloat16", "float32"))
    assert losses(half) != losses(full)
    np.testing.assert_allclose(losses(half), losses(full), rtol=0.1)
    assert {array.dtype.name for array in half.arrays().values()} == {"float32"}
    with pytest.raises(InputError, match="precision='float16' on a CPU"):
        ProtCNNHead(precision="float16", device="cpu").fit(X, y)
