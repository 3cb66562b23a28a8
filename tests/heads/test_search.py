"""Searching settings: never worse than the defaults, reproducible, on validation rows alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import heads
from cli.heads_commands import app as heads_app
from embedstore.errors import InputError, MissingPackageError
from embedstore.store import Store
from heads.api.tune import tune
from heads.base import make_head
from heads.catalog import HEADS
from heads.catalog.param_space import Choice, FloatRange, IntRange
from heads.vectors.mlp import NetworkHead


def rows(n: int, *, seed: int):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(int)


def run(name: str, n_trials: int, *, seed: int = 0, with_valid: bool = True, **fixed):
    learned = make_head(name).labelled(*rows(300, seed=0), *(rows(150, seed=1) if with_valid else ()))
    return tune(lambda tried: make_head(name, {**fixed, **tried}), *learned, n_trials=n_trials, seed=seed, fixed=fixed)


def test_the_best_is_never_worse_than_the_defaults_and_the_same_again() -> None:
    found, again = run("knn", 8), run("knn", 8)
    losses = [trial["valid_loss"] for trial in found.trials]
    assert found.trials[0]["params"] == {}
    assert len(losses) == 8
    assert min(losses) <= losses[0]
    assert found.best == found.trials[int(np.argmin(losses))]["params"]
    assert [trial["params"] for trial in again.trials] == [trial["params"] for trial in found.trials]
    assert [trial["params"] for trial in run("knn", 8, seed=1).trials] != [trial["params"] for trial in found.trials]


def test_what_the_caller_gave_is_not_searched() -> None:
    assert all("k" not in trial["params"] for trial in run("knn", 4, k=3).trials)


def test_a_head_that_learns_in_epochs_is_stopped_where_it_lags() -> None:
    found = run("mlp", 14, max_epochs=8, hidden=[8], batch_rows=64)
    assert {trial["state"] for trial in found.trials} == {"done", "stopped"}
    assert all((trial["valid_loss"] is None) == (trial["state"] != "done") for trial in found.trials)


def test_without_validation_rows_a_tenth_is_set_aside() -> None:
    assert 10 < run("knn", 2, with_valid=False).held_out < 60


def test_every_declared_range_is_of_a_setting_that_the_head_has_and_takes() -> None:
    for name in HEADS:
        target = HEADS.load(name)
        known = target(target_type=target.target_types[0]).get_params()
        for setting, what in target.search_space.items():
            assert setting in known, (name, setting)
            assert what.options if isinstance(what, Choice) else what.low < what.high
            assert isinstance(what, Choice | FloatRange | IntRange)


def test_a_head_without_settings_to_search_says_so() -> None:
    with pytest.raises(InputError, match="declares nothing to search"):
        run("centroid", 2)
    with pytest.raises(InputError, match="search is 0; expected the number of settings"):
        run("knn", 0)


def test_settings_that_cannot_be_fitted_do_not_end_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkHead, "search_space", {"learning_rate": Choice((1e30, 1e-3))})
    found = run("mlp", 6, max_epochs=2, hidden=[8])
    assert {trial["state"] for trial in found.trials} == {"done", "failed"}
    assert "diverged" in next(trial["reason"] for trial in found.trials if trial["state"] == "failed")


def test_without_optuna_the_message_has_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'embedstore\[search\]'"):
        run("knn", 2)


def test_the_search_is_kept_with_the_head_and_printed(store: Store, tmp_path: Path) -> None:
    fitted = heads.fit(store, task="pfam", head="knn", tune=3, out=tmp_path / "knn")
    kept = heads.load(tmp_path / "knn")
    assert kept.search == fitted.search
    assert {name: kept.head.get_params()[name] for name in kept.search["best"]} == kept.search["best"]
    args = [
        "fit",
        "--task",
        "pfam",
        "--head",
        "knn",
        "--search",
        "3",
        "--store",
        str(store.path),
        "--out",
        str(tmp_path / "x"),
    ]
    told = CliRunner().invoke(heads_app, [*args, "--json"])
    assert told.exit_code == 0, told.output
    shown = json.loads(told.stdout)["search"]
    assert [trial["params"] for trial in shown["trials"]] == [trial["params"] for trial in fitted.search["trials"]]
    table = CliRunner().invoke(heads_app, args)
    assert "log_loss" in table.stdout
    assert "the defaults" in table.stdout
