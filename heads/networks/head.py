"""A network as a head: parameters, what is learned, and how it is kept."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedstore.models.devices import DTYPES, resolve_device, resolve_precision
from heads.base import Head, LabelledExamples
from heads.calibration.temperature import fit_temperature
from heads.features.base import Features, Float32, sequences_of
from heads.tasks.splitting import hold_out
from heads.tasks.targets import Targets
from heads.training.batches import Collate, collate_tokens
from heads.training.checks import require_share
from heads.training.loop import Epoch, Examples, Trainer, TrainingSettings
from heads.training.objectives import Objective, make_objective
from heads.training.tokens import Tokens, encode_residues

_BLOCK_ROWS = 2048
_CALIBRATION_LOGITS = 2**26
_MIN_CALIBRATION_ROWS = 2048
_NOT_IN_IDENTITY = ("epochs", "patience", "max_seconds", "checkpoint", "checkpoint_s", "device", "residue_budget")


class _Learned(Head):
    """What `fit` learns; apart from `NetworkHead`, whose fields are its parameters."""

    network_: nn.Module
    objective_: Objective
    temperature_: float
    curve_: list[Epoch]
    n_parameters_: int


@dataclass(kw_only=True, eq=False)
class NetworkHead(_Learned):
    """A network that reads residues and is trained from nothing.

    A subclass has `_build`, and where it reads something else than letters `_prepare`, `_tokenise` and `_collate`.

    Parameters
    ----------
    epochs
        Most passes over the training rows.
    batch_size
        Proteins in a step.
    learning_rate
        Highest rate of Adam.
    schedule, warmup_steps, decay_rate
        How the rate goes: see `heads.training.schedule.Schedule`.
    clip
        Longest gradient, ``"adaptive"`` or None: see `heads.training.schedule.Clipping`.
    patience
        Epochs without a lower validation loss after which it stops.
    max_seconds
        Time after which it stops, wherever it stands; None for no limit. What is learned then depends on the machine.
    valid_share
        Share of training rows, drawn by their keys, to stop and to calibrate on where no validation rows are given;
        0 trains on all, for all epochs.
    class_weights
        None, or ``"balanced"``: see `heads.training.objectives.make_objective`.
    max_length
        Longest protein, in residues; longer ones are an error. None takes every length whole.
    residue_budget
        Most residues in memory at once, padding counted; a step with more is computed in parts.
    checkpoint
        Directory to go on from after a kill, written after each epoch and every `checkpoint_s` seconds. A comparison
        makes one in it for each seed.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    precision
        ``"auto"``: bfloat16 products where the device multiplies it natively, else float32.
    seed
        Of weights, order and dropout: on a CPU the same seed gives the same head.
    target_type
        What is predicted.

    Attributes
    ----------
    network_
        The network.
    temperature_
        What logits of classes are divided by, chosen on validation rows; 1 without.
    curve_
        Loss on training and validation rows after each epoch, and seconds.
    n_parameters_
        Weights that are learned.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class", "multilabel", "regression", "ordinal")
    half: ClassVar[str | None] = "bfloat16"
    """Precision to compute in where it pays; None: float32 everywhere."""
    pool_batches: ClassVar[int] = 16
    """Batches that are sorted by length among themselves. For Pfam's domains 1.2 residues are computed for each one
    with 16, 2.1 with 2, 3.1 with 1."""

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_rate: float = 1.0
    clip: float | str | None = None
    patience: int = 10
    max_seconds: float | None = None
    valid_share: float = 0.1
    class_weights: str | None = None
    max_length: int | None = None
    residue_budget: int = 2**15
    checkpoint: str | None = None
    checkpoint_s: float = 300.0
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    target_type: str = "class"

    @abstractmethod
    def _build(self, n_outputs: int) -> nn.Module:
        """The network, with fresh weights: takes what `_collate` makes, gives (n, n_outputs) logits."""

    def _prepare(self, residues: Sequence[str]) -> None:
        """Learn from the training rows what sequences are read with: sub-words, say."""
        return

    def _tokenise(self, residues: Sequence[str], *, first_row: int = 0) -> Tokens:
        """What stands for each residue or piece of it; rows of an error are counted from `first_row`."""
        return encode_residues(residues, max_length=self.max_length, first_row=first_row)

    def _collate(self) -> Collate:
        """Makes what the network reads of some rows."""
        return collate_tokens

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._recipe()
        residues = sequences_of(train.features).residues
        # All rows are checked before a part of them is held out, so that a message has the row's own number.
        encode_residues(residues, max_length=self.max_length)
        if valid is None:
            require_share(valid_share=self.valid_share)
            learn, held_out = hold_out(
                train.features.group_keys, train.targets, seed=self.seed, share=self.valid_share, from_top=True
            )
            if len(held_out):
                train, valid = train.subset(learn), train.subset(held_out)
            residues = sequences_of(train.features).residues
        self._prepare(residues)
        self.objective_ = make_objective(train.targets, class_weights=self.class_weights)
        examples = Examples(self._tokenise(residues), train.targets)
        valid_examples = None
        if valid is not None:
            valid_examples = Examples(self._tokenise(sequences_of(valid.features).residues), valid.targets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = self._build(self.objective_.n_outputs)
        self.n_parameters_ = sum(parameter.numel() for parameter in self.network_.parameters())
        trainer = self._trainer()
        self.curve_ = trainer.fit(examples, valid_examples, identity=self._identity(examples, valid_examples))
        self.temperature_ = self._calibrate(trainer, valid)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        residues = sequences_of(X).residues
        trainer = self._trainer()
        for start in range(0, len(residues), _BLOCK_ROWS):
            tokens = self._tokenise(residues[start : start + _BLOCK_ROWS], first_row=start)
            yield self.objective_.outputs(trainer.logits(tokens), self.temperature_)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.network_.state_dict().items()}

    def settings(self) -> dict[str, Any]:
        """Temperature, size, learning curve, and the scale of numbers."""
        return {
            "temperature": self.temperature_,
            "n_parameters": self.n_parameters_,
            "objective": self.objective_.settings(),
            "curve": [asdict(point) for point in self.curve_],
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.temperature_, self.n_parameters_ = settings["temperature"], settings["n_parameters"]
        self.objective_ = Objective(**settings["objective"])
        self.curve_ = [Epoch(**point) for point in settings["curve"]]
        self.network_ = self._build(self.objective_.n_outputs)
        # Numbers without dimensions come back with one.
        self.network_.load_state_dict(
            {
                name: torch.from_numpy(np.array(arrays[name])).reshape(tensor.shape)
                for name, tensor in self.network_.state_dict().items()
            }
        )

    def _trainer(self) -> Trainer:
        device = resolve_device(self.device)
        dtype = DTYPES[resolve_precision(self.precision, device, half=self.half)]
        return Trainer(self.network_, self._collate(), self.objective_, self._recipe(), device=device, dtype=dtype)

    def _recipe(self) -> TrainingSettings:
        return TrainingSettings(**{field.name: getattr(self, field.name) for field in fields(TrainingSettings)})

    def _calibrate(self, trainer: Trainer, valid: LabelledExamples | None) -> float:
        if valid is None or self.target_type not in ("class", "ordinal"):
            return 1.0
        most = max(_MIN_CALIBRATION_ROWS, _CALIBRATION_LOGITS // self.objective_.n_outputs)
        rows = valid.random_subset(most, seed=self.seed)
        logits = trainer.logits(self._tokenise(sequences_of(rows.features).residues))
        return fit_temperature(logits, rows.targets.require_codes())[0]

    def _identity(self, train: Examples, valid: Examples | None) -> str:
        """Hash of what decides where a training goes."""
        params = {name: value for name, value in self.get_params().items() if name not in _NOT_IN_IDENTITY}
        if self.schedule == "cosine":
            params["epochs"] = self.epochs
        # Checkpoints were first written when it was called so; they are to be gone on from.
        params["kind"] = params.pop("target_type")
        digest = hashlib.sha256(
            json.dumps([type(self).__name__, self.pool_batches, params], sort_keys=True, default=str).encode()
        )
        for examples in (train, valid):
            if examples is None:
                continue
            digest.update(examples.tokens.offsets.tobytes() + examples.tokens.codes.tobytes())
            digest.update(_target_bytes(examples.targets))
        return digest.hexdigest()


def _target_bytes(targets: Targets) -> bytes:
    if targets.members is not None:
        return bytes(targets.members.indptr.tobytes() + targets.members.indices.tobytes())
    return (targets.require_codes() if targets.values is None else targets.values).tobytes()
