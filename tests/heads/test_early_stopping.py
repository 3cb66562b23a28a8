"""Epochs of training: when they stop, and whose weights are kept."""

from __future__ import annotations

import pytest

from heads.training.early_stopping import History, StoppingRule, run_epochs


def run(losses: list[float] | None, rule: StoppingRule) -> tuple[History, int, list[int]]:
    """Train a weight that counts the epochs since it was loaded; its loss after n epochs in all is ``losses[n]``."""
    weight, drops = 0, []

    def train_epoch(epoch: int) -> None:
        nonlocal weight
        weight += 1

    def load(copied: int) -> None:
        nonlocal weight
        weight = copied

    history = run_epochs(
        train_epoch,
        rule,
        validation_loss=None if losses is None else losses.__getitem__,
        copy_weights=lambda: weight,
        load_weights=load,
        drop_rate=lambda n_drops: drops.append(weight),
    )
    return history, weight, drops


@pytest.mark.parametrize("rate_drops", [0, 1])
def test_it_stops_without_a_gain_and_keeps_the_best(rate_drops: int) -> None:
    rule = StoppingRule(max_epochs=9, patience=2, n_drops=rate_drops)
    history, weight, drops = run([9, 3, 2, 4, 5, 6, 7, 1, 1, 1], rule)
    assert history.losses == [3, 2, 4, 5, 6, 7][: 4 + 2 * rate_drops]
    assert (history.best_epoch, weight) == (2, 2)
    assert drops == [2] * rate_drops, "the rate drops from the best weights"


def test_the_first_weights_remain_where_no_epoch_is_better_and_count_only_if_asked() -> None:
    losses = [1.0, 3, 2, 2]
    first, weight, _ = run(losses, StoppingRule(max_epochs=3, patience=3, validate_start=True))
    assert (first.best_epoch, weight) == (0, 0)
    later, weight, _ = run(losses, StoppingRule(max_epochs=3, patience=3))
    assert (later.best_epoch, weight) == (2, 2)


def test_a_small_gain_is_kept_and_not_waited_for() -> None:
    rule = StoppingRule(max_epochs=6, patience=2, validate_start=True, min_gain=0.1)
    history, weight, _ = run([10.0, 5, 4.9, 4.8, 4.7, 0, 0], rule)
    assert history.losses == [5, 4.9, 4.8]
    assert (history.best_epoch, weight) == (3, 3)


def test_without_validation_the_last_weights_are_kept() -> None:
    history, weight, _ = run(None, StoppingRule(max_epochs=5, patience=1))
    assert (history, weight) == (History(losses=[], best_epoch=5), 5)
