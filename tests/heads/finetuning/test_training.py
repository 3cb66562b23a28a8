"""The loop: kinds of targets, going on after a kill, memory, NaN, lengths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from embedstore.errors import InputError, MissingPackageError, NonFiniteError, OutOfMemoryError, UnknownNameError
from heads.base import make_head
from heads.features.base import SequenceFeatures
from heads.features.sequences import PairSequences, ResidueSequences
from heads.finetuning.examples import epoch_batches, read_examples
from heads.finetuning.head import FinetuneHead
from heads.finetuning.network import Network
from heads.finetuning.settings import PRESETS, Settings
from heads.vectors.linear import LinearHead

from .conftest import Rows

Tuned = Callable[..., FinetuneHead]
MakeRows = Callable[..., Rows]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_thirty_two_sequences_are_learnt_by_heart(method: str, rows: MakeRows, tuned: Tuned) -> None:
    texts, y = rows(32)
    head = tuned(method=method, epochs=40, encoder_rate=1e-2, head_rate=1e-2, rank=16).fit(texts, y)
    assert (head.predict(texts) == y).mean() == 1.0
    shares = head.predict_proba(texts)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_a_frozen_encoder_is_run_once_and_gives_what_running_it_each_time_gives(
    rows: MakeRows, tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    import heads.finetuning.forward as passes

    texts, y = rows(12)
    kept = tuned(method="frozen", epochs=3).fit(texts, y)
    monkeypatch.setattr(passes, "_MOST_KEPT_BYTES", 0)
    again = tuned(method="frozen", epochs=3).fit(texts, y)
    for one, other in zip(kept.history_, again.history_, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)


@pytest.mark.parametrize("target_type", ["regression", "ordinal", "multilabel"])
def test_numbers_levels_and_sets_are_learnt(target_type: str, rows: MakeRows, tuned: Tuned) -> None:
    texts, _ = rows(24)
    share = np.array([text.count("A") + text.count("C") for text in texts])
    levels = np.minimum(share, 3).astype(np.float64)
    y: Any = (
        [[letter for letter in "ACD" if letter in text] for text in texts] if target_type == "multilabel" else levels
    )
    head = tuned(method="full", epochs=25, encoder_rate=1e-2, head_rate=1e-2)
    head.set_params(target_type=target_type)
    head.fit(texts, y, texts, y)
    outputs = np.concatenate(list(head.outputs(texts)))
    assert outputs.shape == (24, head.n_outputs)
    assert head.history_[-1].train_loss < head.history_[0].train_loss / 2
    if target_type == "multilabel":
        true = np.array([["A" in text, "C" in text, "D" in text] for text in texts])
        assert (head.predict(texts) == true).mean() > 0.9
    else:
        assert np.corrcoef(head.predict(texts), levels)[0, 1] > 0.8
    if target_type == "ordinal":
        assert (outputs >= -1e-6).all()
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)


def test_residues_have_a_class_each_and_unlabelled_ones_count_for_nothing(rows: MakeRows, tuned: Tuned) -> None:
    texts, _ = rows(12)
    letters = np.array(list("".join(texts)))
    y = np.where(np.isin(letters, list("ACDEFGHIK")), "x", "z")
    y[::7] = ""
    X = ResidueSequences(texts)
    head = tuned(method="full", epochs=15, encoder_rate=1e-2, head_rate=1e-2).fit(X, y)
    known = y != ""
    assert (head.predict(X)[known] == y[known]).mean() > 0.95
    assert len(head.predict(X)) == len(letters)
    with pytest.raises(InputError, match="fine-tuned on rows that are 'residue', and X has rows that are 'protein'"):
        head.predict(texts)


@pytest.mark.parametrize("pairing", ["concatenation+product+difference", "sum+product+difference"])
def test_pairs_are_made_of_the_means_of_both(pairing: str, rows: MakeRows, tuned: Tuned) -> None:
    texts, _ = rows(20)
    first, second = texts[:10] + texts[:10], texts[10:] + texts[10:][::-1]
    y = np.array(["bound", "free"])[np.arange(20) % 2]
    X = PairSequences(first, partners=second)
    head = tuned(method="full", epochs=30, encoder_rate=1e-2, head_rate=1e-2, pairing=pairing).fit(X, y)
    assert (head.predict(X) == y).mean() > 0.9
    turned = PairSequences(second, partners=first)
    same = np.allclose(head.predict_proba(X), head.predict_proba(turned), atol=1e-5)
    assert same == (pairing[:3] == "sum")


TRAINING = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from heads.finetuning.head import FinetuneHead

base, root, *methods = sys.argv[1:]
rng = np.random.default_rng(0)
texts = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(6, 24))) for _ in range(24)]
y = np.array(["a", "b", "c"])[np.arange(24) % 3]

def train(method, folder, kill_at=-1):
    head = FinetuneHead(model=base, family="esm", method=method, epochs=3, batch_size=4, dropout=0.2,
                        encoder_dropout=0.1, adapter_dropout=0.1, precision="float32", device="cpu",
                        checkpoint_steps=2, encoder_rate=3e-3)
    def progress(step):
        if step.done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    head.progress, head.folder = progress, Path(root, folder)
    head.fit(texts, y, texts[:6], y[:6])
    return [[epoch.to_dict() for epoch in head.history_], head.predict_proba(texts).tolist()]

if len(methods) == 1:
    # Six steps an epoch, a checkpoint every two: killed in the second epoch, one step after a checkpoint.
    train(methods[0], methods[0], kill_at=9)
else:
    print(json.dumps([[train(method, method), train(method, method + "-whole")] for method in methods]))
"""


def test_killed_in_mid_epoch_and_resumed_is_as_if_nothing_had_happened(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    def run(*methods: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", TRAINING, str(checkpoints["esm"]), str(tmp_path), *methods]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for method in ("lora", "full"):
        assert run(method).returncode == -signal.SIGKILL
    assert load_record(tmp_path / "full")["step"] == 8
    done = run("lora", "full")
    assert done.returncode == 0, done.stderr
    for resumed, whole in json.loads(done.stdout):
        assert resumed == whole


def load_record(folder: Path) -> dict[str, Any]:
    with safe_open(folder / "training.safetensors", framework="pt") as file:
        return dict(json.loads(file.metadata()["state"]))


def test_a_checkpoint_of_another_training_is_refused(rows: MakeRows, tuned: Tuned, tmp_path: Path) -> None:
    texts, y = rows(12)
    first = tuned(method="frozen", epochs=2)
    first.folder = tmp_path
    first.fit(texts, y)
    other = tuned(method="frozen", epochs=2, head_rate=1e-2)
    other.folder = tmp_path
    with pytest.raises(InputError, match="is the checkpoint of another training"):
        other.fit(texts, y)


def test_tensorboard_reads_the_log(rows: MakeRows, tuned: Tuned, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    texts, y = rows(12)
    head = tuned(method="frozen", epochs=3)
    head.folder = tmp_path
    head.fit(texts, y, texts[:6], y[:6])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"train/loss", "valid/loss", "valid/score", "step/loss", "step/rate"} <= set(events.Tags()["scalars"])
    losses = [event.value for event in events.Scalars("train/loss")]
    np.testing.assert_allclose(losses, [epoch.train_loss for epoch in head.history_], rtol=1e-6)


def test_memory_that_runs_out_halves_the_passes_and_not_the_step(
    rows: MakeRows, tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, y = rows(16)
    plain = tuned(method="full", epochs=2).fit(texts, y)
    forward, refused = Network.forward, []

    def short_of_memory(self: Network, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        if self.training and tokens.numel() > 60:
            refused.append(tokens.numel())
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, tokens, *rest)

    monkeypatch.setattr(Network, "forward", short_of_memory)
    halved = tuned(method="full", epochs=2).fit(texts, y)
    assert refused
    assert halved.settings()["n_halved"] > 0
    for one, other in zip(plain.history_, halved.history_, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_one_protein_that_does_not_fit_is_one_clear_line(
    rows: MakeRows, tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Network, "forward", never)
    with pytest.raises(OutOfMemoryError, match=r"One protein of \d+ residues does not fit into memory"):
        tuned(method="full", epochs=1).fit(*rows(12))


def test_a_loss_that_is_nan_names_the_step_and_what_to_do(rows: MakeRows, tuned: Tuned) -> None:
    with pytest.raises(NonFiniteError, match=r"at step \d+ \(epoch \d+\)\. Take smaller learning rates"):
        tuned(method="full", epochs=30, encoder_rate=1e30, head_rate=1e30, clip=None, schedule="constant").fit(
            *rows(12)
        )


@pytest.mark.parametrize("long", ["error", "skip", "crop"])
def test_nothing_is_cut_off_silently(long: str, rows: MakeRows, tuned: Tuned) -> None:
    texts, y = rows(12)
    texts[3] = texts[3] + "A" * 40
    head = tuned(method="frozen", epochs=1, max_residues=30, long=long)
    if long == "error":
        with pytest.raises(InputError, match="1 of 12 training proteins are longer than 30 residues"):
            head.fit(texts, y)
        return
    head.fit(texts, y)
    counts = head.settings()
    assert (counts["n_skipped"], counts["n_cropped"]) == ((1, 0) if long == "skip" else (0, 1))
    assert len(head.predict(texts)) == 12
    cut = head.predict_proba([texts[3]]), head.predict_proba([texts[3][:30]])
    assert np.array_equal(*cut) == (long == "crop")


def test_residues_of_cropped_proteins_keep_their_own_labels() -> None:
    found = read_examples(ResidueSequences(["ACDEF", "GH", "IKLMN"]), longest=3, long="crop")
    assert found.proteins == [b"ACD", b"GH", b"IKL"]
    assert found.rows(np.array([2, 0])).tolist() == [7, 8, 9, 0, 1, 2]
    skipped = read_examples(ResidueSequences(["ACDEF", "GH", "IKLMN"]), longest=3, long="skip")
    assert skipped.rows(np.array([0])).tolist() == [5, 6]


def test_equal_proteins_of_a_batch_are_encoded_once() -> None:
    found = read_examples(PairSequences(["ACD", "ACD"], partners=["GH", "ACD"]), longest=None, long="error")
    needed, first, second = found.gathered(np.array([0, 1]))
    assert [found.proteins[place] for place in needed.tolist()] == [b"ACD", b"GH"]
    assert first is not None
    assert second is not None
    assert (first.tolist(), second.tolist()) == ([0, 0], [1, 0])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 600])
def test_each_row_is_drawn_once_an_epoch_in_batches_of_alike_lengths(n: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 400, n)
    batches = epoch_batches(lengths, batch_size=8, seed=1, epoch=2)
    assert sorted(int(row) for batch in batches for row in batch) == list(range(n))
    other = epoch_batches(lengths, batch_size=8, seed=1, epoch=3)
    assert n <= 8 or [batch.tolist() for batch in other] != [batch.tolist() for batch in batches]
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert n < 600 or lengths.sum() / padded > 0.93


def test_balanced_draws_as_many_of_each_class(rows: MakeRows, tuned: Tuned) -> None:
    from heads.finetuning.examples import balance
    from heads.tasks.targets import encode

    y = np.array(["common"] * 900 + ["rare"] * 100)
    examples = read_examples(SequenceFeatures(["ACD"] * 1000), longest=None, long="error")
    shares = balance(examples, encode(y, target_type="class", n_rows=1000))
    drawn = np.concatenate(epoch_batches(examples.lengths, batch_size=8, seed=0, epoch=0, shares=shares))
    assert 0.4 < (drawn >= 900).mean() < 0.6
    texts, _ = rows(12)
    head = tuned(method="frozen", balanced=True)
    head.set_params(target_type="regression")
    with pytest.raises(InputError, match="target_type 'regression'|targets of kind 'regression' have not one each"):
        head.fit(texts, np.arange(12.0))


def test_early_stopping_keeps_the_best_epoch(rows: MakeRows, tuned: Tuned) -> None:
    texts, y = rows(24)
    valid, answers = rows(12, seed=9)
    head = tuned(method="full", epochs=40, patience=2, monitor="loss", encoder_rate=3e-2).fit(texts, y, valid, answers)
    losses = [epoch.valid_loss for epoch in head.history_]
    assert len(losses) < 40
    assert head.settings()["best_epoch"] == int(np.argmin(losses)) + 1 == len(losses) - 2


@pytest.mark.parametrize("target_type", ["class", "multilabel", "regression"])
def test_the_head_begins_as_a_linear_head_on_the_frozen_vectors(target_type: str, rows: MakeRows, tuned: Tuned) -> None:
    y: dict[str, Any] = {
        "class": lambda texts: np.array([max("ACD", key=text.count) for text in texts]),
        "multilabel": lambda texts: [[letter for letter in "ACD" if letter in text] for text in texts],
        "regression": lambda texts: np.array([100 + 5 * text.count("A") for text in texts], np.float64),
    }
    texts, valid = rows(60)[0], rows(30, seed=9)[0]
    # With such rates nothing is learnt: what it begins with is what it predicts.
    head = tuned(method="full", epochs=1, norm=False, start="linear", head_rate=1e-12, encoder_rate=1e-12)
    head.set_params(target_type=target_type)
    head.fit(texts, y[target_type](texts), valid, y[target_type](valid))
    head.temperature_ = 1.0  # Found once more at the end.
    frozen = head.base_model()
    vectors = [frozen.embed([text.encode() for text in some]) for some in (texts, valid)]
    linear = LinearHead(target_type=target_type, normalize=False, refine=False)
    linear.fit(vectors[0], y[target_type](texts), vectors[1], y[target_type](valid))
    found, expected = (np.concatenate(list(one.outputs(X))) for one, X in ((head, valid), (linear, vectors[1])))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_where_no_epoch_is_better_the_start_is_kept(rows: MakeRows, tuned: Tuned) -> None:
    texts, y = rows(30)
    valid, answers = rows(12, seed=9)
    head = tuned(method="full", epochs=2, start="auto", encoder_rate=0.3, head_rate=3.0, monitor="loss", clip=None)
    spoilt = head.fit(texts, y, valid, answers)
    assert spoilt.settings()["best_epoch"] == 0
    start = tuned(method="full", epochs=1, start="auto", encoder_rate=1e-12, head_rate=1e-12).fit(
        texts, y, valid, answers
    )
    np.testing.assert_allclose(spoilt.predict_proba(valid), start.predict_proba(valid), atol=1e-4)


def test_levels_and_inner_layers_begin_at_random(rows: MakeRows, tuned: Tuned) -> None:
    with pytest.raises(InputError, match=r"start is 'linear', and hidden is \[4\]"):
        Settings(start="linear", hidden=(4,))
    with pytest.raises(InputError, match="target_type 'ordinal' begin at random"):
        tuned(start="linear").set_params(target_type="ordinal").fit(rows(12)[0], np.arange(12.0) % 3)


def test_torchs_generator_is_left_as_it_was(rows: MakeRows, tuned: Tuned) -> None:
    before = torch.get_rng_state()
    tuned(method="lora", epochs=1).fit(*rows(12))
    assert torch.equal(torch.get_rng_state(), before)


def test_presets_are_the_studies_own_and_what_is_given_goes_first() -> None:
    head = FinetuneHead(preset="protbert_study", epochs=2)
    assert (head.get_params()["model"], head.chosen.method, head.chosen.head_rate) == ("prot_bert", "frozen", 3e-5)
    assert (head.chosen.max_residues, head.chosen.optimizer, head.chosen.epochs) == (1536, "adam", 2)
    assert [PRESETS["deepprotein"][name] for name in ("epochs", "batch_size", "max_residues")] == [50, 16, 300]
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'protbert'\. Did you mean 'protbert_study'"):
        FinetuneHead(preset="protbert")


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown method 'lorra'\. Did you mean 'lora'"):
        Settings(method="lorra")
    with pytest.raises(InputError, match="rank is 0; expected 1 or more"):
        Settings(rank=0)
    with pytest.raises(UnknownNameError, match=r"Unknown parameter of head 'finetune', 'epoch'"):
        make_head("finetune", {"epoch": 3})


def test_a_missing_package_is_named_with_its_extra(
    rows: MakeRows, tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'embedstore\[finetune\]'"):
        tuned(method="lora").fit(*rows(12))


def test_vectors_are_refused(tuned: Tuned) -> None:
    with pytest.raises(InputError, match="This head reads sequences, and X holds vectors of 4 dimensions"):
        tuned().fit(np.zeros((6, 4), np.float32), np.array(["a", "b"] * 3))


SEVERAL = """
import json, os, sys
from heads.finetuning.head import FinetuneHead
given = json.loads(sys.argv[1])
head = FinetuneHead(**given["settings"]).fit(*given["rows"])
if os.environ["RANK"] == "0":
    print(json.dumps([[epoch.train_loss, epoch.valid_loss] for epoch in head.history_]))
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(rows: MakeRows, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SEVERAL)
    texts, labels = rows(21)
    quiet = {"dropout": 0.0, "encoder_dropout": 0.0, "precision": "float32", "device": "cpu", "encoder_rate": 3e-3}
    base = {"model": str(checkpoints["esm"]), "family": "esm", "method": "full"}
    # Batches of four, and a last one of one, of which the second process has nothing.
    settings = {**base, **quiet, "epochs": 2, "batch_size": 4}
    given = [texts, labels.tolist(), texts[:7], labels[:7].tolist()]
    alone = FinetuneHead(**settings).fit(*given)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    both = subprocess.run(
        [*launcher, str(script), json.dumps({"settings": settings, "rows": given})],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert both.returncode == 0, both.stderr[-2000:]
    expected = [[epoch.train_loss, epoch.valid_loss] for epoch in alone.history_]
    np.testing.assert_allclose(json.loads(both.stdout.strip().splitlines()[-1]), expected, rtol=1e-4)
