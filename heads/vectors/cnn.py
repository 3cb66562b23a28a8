"""The convolutional head for residues of ProtTrans, over packed proteins."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedstore.errors import InputError
from embedstore.numerics import softmax
from heads.base import Head, LabelledExamples
from heads.calibration.temperature import fit_temperature
from heads.features.base import Features, Float32, checked_blocks, require_finite
from heads.tasks.targets import Codes
from heads.training.early_stopping import StoppingRule, run_epochs
from heads.vectors.packed_conv import convolve, only_residues, pack

_log = logging.getLogger(__name__)

_FEWEST_STEPS = 24
"""Steps of an epoch, at least, where there are so many proteins: small sets are learned in smaller batches."""

_RATE = 0.3
_HIGHEST_RATE = 5e-3
_CALIBRATION_ROWS = 200_000
_WITHOUT_VALIDATION = 15
_NAMES = ("weight_1", "bias_1", "weight_2", "bias_2")


@dataclass(slots=True, eq=False)
class _Network:
    """Two convolutions with a rectifier and dropout between them."""

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor

    @classmethod
    def drawn(cls, shape: tuple[int, int, int, int], generator: torch.Generator) -> _Network:
        """Random weights as PyTorch draws those of convolutions, for (width, D, channels, C)."""
        width, n_in, channels, n_out = shape

        def draw(*size: int, fan: int) -> Tensor:
            bound = 1 / np.sqrt(fan)
            drawn: Tensor = (2 * torch.rand(*size, generator=generator) - 1) * bound
            return drawn.requires_grad_()

        first, second = width * n_in, width * channels
        return cls(
            draw(width, n_in, channels, fan=first),
            draw(channels, fan=first),
            draw(width, channels, n_out, fan=second),
            draw(n_out, fan=second),
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and biases, in the order of `_NAMES`."""
        return self.weight_1, self.bias_1, self.weight_2, self.bias_2

    def logits(
        self, vectors: Float32, starts: NDArray[np.int64], *, dropout: float = 0.0, generator: Any = None
    ) -> Tensor:
        """(n, C) logits of the residues of packed proteins."""
        packed = pack(vectors, starts, self.weight_1.shape[0] // 2)
        hidden = functional.relu(convolve(packed.values, self.weight_1, self.bias_1))
        if dropout:
            hidden = hidden * (torch.rand(hidden.shape, generator=generator) >= dropout) / (1 - dropout)
        hidden = only_residues(hidden, packed.places)
        return convolve(hidden, self.weight_2, self.bias_2)[packed.places]


class ConvolutionHead(Head):
    """Two convolutions along the protein, as ProtTrans predicts secondary structure (Elnaggar et al. 2022).

    The first, over 7 residues, gives 32 channels; a rectifier and dropout of a quarter follow; the second, over 7
    residues, gives the classes. Vectors are standardised with mean and deviation of the training residues. Proteins
    are packed into one matrix with three rows of zeros between them, so that all products are spent on residues.
    Training stops when the loss on the validation rows no longer falls, and the best epoch is kept; the logits are then
    divided by one temperature. Rows without neighbours (`Features.offsets` is None) are proteins of one residue.

    Parameters
    ----------
    channels, width, dropout
        Of the network; the width is odd.
    learning_rate
        Of Adam. None: 0.3 / D, at most 0.005, since a step of Adam moves a sum over D standardised inputs D times as
        far as one weight; chosen on validation proteins of FLIP's secondary structure.
    batch_residues
        Residues of a step, about: whole proteins; fewer where an epoch would have less than 24 steps.
    max_epochs
        Most passes over the training residues; without validation rows at most 15.
    patience
        Passes without a lower loss on validation after which it stops.
    class_weight
        ``"balanced"`` weighs classes by the inverse of their number of residues; None weighs residues alike.
    seed
        Of weights, order and dropout.
    target_type
        What is predicted.

    Attributes
    ----------
    temperature_
        What the logits are divided by; 1 without validation rows.
    n_epochs_
        The epoch that was kept.
    valid_log_loss_
        Log-loss on the validation rows in nats, or None.
    """

    whole_proteins: ClassVar[bool] = True

    mean_: Float32
    scale_: Float32
    temperature_: float
    n_epochs_: int
    valid_log_loss_: float | None

    def __init__(
        self,
        *,
        channels: int = 32,
        width: int = 7,
        dropout: float = 0.25,
        learning_rate: float | None = None,
        batch_residues: int = 2048,
        max_epochs: int = 50,
        patience: int = 3,
        class_weight: str | None = None,
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.channels = channels
        self.width = width
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_residues = batch_residues
        self.max_epochs = max_epochs
        self.patience = patience
        self.class_weight = class_weight
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._check()
        self.mean_, self.scale_ = _moments(train.features)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.width, self.n_features_in_, self.channels, len(self.classes_))
        network = _Network.drawn(shape, generator)
        rate = min(_RATE / self.n_features_in_, _HIGHEST_RATE) if self.learning_rate is None else self.learning_rate
        optimiser = torch.optim.Adam(network.tensors, lr=rate)
        codes = train.targets.require_codes()
        weights = torch.from_numpy(_class_weights(codes, len(self.classes_), self.class_weight))
        self.temperature_, self.valid_log_loss_ = 1.0, None

        def load_weights(weights: list[Tensor]) -> None:
            self._network = _Network(*weights)

        history = run_epochs(
            lambda epoch: self._epoch(network, optimiser, train.features, codes, weights, generator, epoch + 1),
            StoppingRule(
                max_epochs=self.max_epochs if valid else min(self.max_epochs, _WITHOUT_VALIDATION),
                patience=self.patience,
            ),
            validation_loss=None if valid is None else lambda _: self._loss(network, valid),
            copy_weights=lambda: [one.detach().clone() for one in network.tensors],
            load_weights=load_weights,
            on_epoch=lambda epoch, loss: _log.debug("epoch %d: log-loss on validation %.4f", epoch, loss),
        )
        self.n_epochs_ = history.best_epoch
        if valid is not None:
            logits, known = self._known_logits(self._network, valid)
            self.temperature_, self.valid_log_loss_ = fit_temperature(logits, known)

    def _epoch(
        self,
        network: _Network,
        optimiser: torch.optim.Optimizer,
        features: Features,
        codes: Codes,
        weights: Tensor,
        generator: torch.Generator,
        epoch: int,
    ) -> None:
        n_rows = max(1, min(self.batch_residues, features.shape[0] // _FEWEST_STEPS))
        for rows, block in features.batches(n_rows, seed=self.seed + epoch):
            known = codes[rows] >= 0
            if not known.any():
                continue
            starts = _starts(features.offsets, rows)
            logits = network.logits(self._scaled(block), starts, dropout=self.dropout, generator=generator)
            loss = functional.cross_entropy(
                logits[torch.from_numpy(known)], torch.from_numpy(codes[rows][known]), weight=weights
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _loss(self, network: _Network, valid: LabelledExamples) -> float:
        """Log-loss on the validation rows, in nats a residue."""
        codes, total = valid.targets.require_codes(), 0.0
        for rows, logits in self._logits(network, valid.features):
            known = torch.from_numpy(codes[rows] >= 0)
            true = torch.from_numpy(codes[rows])
            total += float(functional.cross_entropy(logits[known], true[known], reduction="sum"))
        return total / int((codes >= 0).sum())

    def _known_logits(self, network: _Network, valid: LabelledExamples) -> tuple[Float32, Codes]:
        """Logits and codes of validation rows with a label, the first 200,000."""
        codes, found, true, n_found = valid.targets.require_codes(), [], [], 0
        for rows, logits in self._logits(network, valid.features):
            known = codes[rows] >= 0
            found.append(logits.numpy()[known])
            true.append(codes[rows][known])
            n_found += int(known.sum())
            if n_found >= _CALIBRATION_ROWS:
                break
        return np.concatenate(found), np.concatenate(true)

    def _logits(self, network: _Network, features: Features) -> Iterator[tuple[slice, Tensor]]:
        for rows, block in checked_blocks(features, n_features=self.n_features_in_):
            starts = _starts(features.offsets, np.arange(rows.start, rows.stop))
            with torch.inference_mode():
                logits = network.logits(self._scaled(block), starts)
            yield rows, logits

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, logits in self._logits(self._network, X):
            yield softmax(logits.numpy() / np.float32(self.temperature_))

    def _scaled(self, block: Float32) -> Float32:
        return (block - self.mean_) / self.scale_

    def _arrays(self) -> dict[str, NDArray[Any]]:
        weights = zip(_NAMES, self._network.tensors, strict=True)
        return {"mean": self.mean_, "scale": self.scale_, **{name: one.numpy() for name, one in weights}}

    def settings(self) -> dict[str, Any]:
        """Temperature, log-loss on validation and the epoch that was kept."""
        return {
            "temperature": self.temperature_,
            "valid_log_loss": self.valid_log_loss_,
            "n_epochs": self.n_epochs_,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.mean_, self.scale_ = arrays["mean"], arrays["scale"]
        self.n_features_in_ = len(self.mean_)
        self._network = _Network(*(torch.from_numpy(np.array(arrays[name])) for name in _NAMES))
        self.temperature_, self.valid_log_loss_ = settings["temperature"], settings["valid_log_loss"]
        self.n_epochs_ = settings["n_epochs"]

    def _check(self) -> None:
        if self.width < 1 or self.width % 2 == 0:
            raise InputError(f"width is {self.width}; expected an odd number of residues.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; expected a share from 0 to less than 1.")
        if self.class_weight not in (None, "balanced"):
            raise InputError(f"class_weight is {self.class_weight!r}; expected 'balanced' or None.")
        for name in ("channels", "batch_residues", "max_epochs", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more.")


def _starts(offsets: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions among ascending rows at which a protein begins; all of them where rows stand for themselves."""
    if offsets is None:
        return np.arange(len(rows))
    owners = np.searchsorted(offsets, rows, side="right")
    return np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]])[: len(rows)])


def _moments(features: Features) -> tuple[Float32, Float32]:
    """Mean and standard deviation of each dimension, (D,) float32, in one pass."""
    total = np.zeros(features.shape[1])
    squares = np.zeros(features.shape[1])
    origin = None
    for rows, block in features.blocks():
        require_finite(block, first_row=rows.start)
        # Sums around the first row lose no digits to a mean far from zero.
        origin = block[0].astype(np.float64) if origin is None else origin
        centred = block - origin
        total += centred.sum(axis=0)
        squares += np.einsum("ij,ij->j", centred, centred)
    mean = total / features.shape[0]
    variance = np.maximum(squares / features.shape[0] - mean**2, 0)
    scale = np.where(variance > 0, np.sqrt(variance), 1)
    return (mean + (0 if origin is None else origin)).astype(np.float32), scale.astype(np.float32)


def _class_weights(codes: Codes, n_classes: int, rule: str | None) -> Float32:
    """(C,) float32 weight of each class in the loss, 1 on average over the rows."""
    if rule is None:
        return np.ones(n_classes, np.float32)
    counts = np.bincount(codes[codes >= 0], minlength=n_classes)
    weights: Float32 = (counts.sum() / (n_classes * np.maximum(counts, 1))).astype(np.float32)
    return weights
