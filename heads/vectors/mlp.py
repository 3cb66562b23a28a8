"""A network of full layers, trained in shuffled blocks and stopped by validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, LabelledExamples, as_tuple
from heads.calibration.temperature import fit_temperature
from heads.catalog.param_space import Choice, FloatRange, Range
from heads.features.base import Features, Float32, checked_blocks
from heads.tasks.splitting import hold_out
from heads.tasks.targets import KINDS, Targets
from heads.vectors.linear import LinearHead
from heads.vectors.losses import best_temperature, logits_to_outputs, row_losses
from heads.vectors.scaling import L2NormalisedFeatures, Scaler

SCHEDULES = ("plateau", "cosine")
"""How the learning rate falls: where validation stands still, or along half a cosine."""

STARTS = ("auto", "linear", None)
"""What a network adds to: the logits of a linear discriminant, or nothing."""

_WIDTHS = ((50_000, (1024, 512)), (5_000, (512, 256)), (1_000, (256,)), (0, (64,)))
_FEW_ROWS = 1_000
_RECIPE = (
    "dropout",
    "weight_decay",
    "max_epochs",
    "patience",
    "schedule",
    "class_weight",
    "label_smoothing",
    "device",
    "precision",
    "seed",
)
_CHOSEN_ON = 2**26
_MIN_CHOSEN_ON = 2048
_LOGIT_ROWS = 1024


class NetworkHead(Head):
    """A multi-layer perceptron on standardised vectors.

    Classes are learned by cross-entropy, sets of labels by the cross-entropy of each label, levels by the
    proportional-odds model, numbers by their squared error after standardising. Of classes the network learns what is
    to be added to a linear discriminant, so that thousands of classes with few rows each are known before it begins.
    Rows are read in random blocks, so that more than fit into memory can be learned from. Training stops where the loss
    on validation rows stands still, and the weights of the best epoch are kept. Without validation rows a tenth of the
    training rows, drawn by key, is set aside for that (`settings` says so). On one machine the same seed gives the same
    weights on the CPU.

    Parameters
    ----------
    hidden
        Width of each hidden layer. None: by the number of rows, from (64,) to (1024, 512).
    dropout
        Share of hidden units that are left out in a training step.
    learning_rate, weight_decay
        Of AdamW. A rate of None is 0.002 below 1,000 rows and 0.001 from there.
    batch_rows
        Rows in a training step; None: by the number of rows, 64 to 1,024.
    max_epochs
        Most passes over the training rows.
    patience
        Epochs without a gain on validation before the learning rate drops, or the training stops.
    schedule
        ``"plateau"``: the rate drops to a fifth, once, where validation stands still. ``"cosine"``: it falls along
        half a cosine over `max_epochs`.
    class_weight
        ``"balanced"``: each class weighs the same in the loss, however many rows it has. None: each row does.
    label_smoothing
        For ``"class"``: share of the probability that is spread over all classes.
    start
        ``"linear"``, for ``"class"``: a `heads.vectors.linear.LinearHead` is fitted first, without refinement, and the
        network learns what is to be added to its logits; vectors are brought to one length where it found that better.
        None: the network learns all by itself. ``"auto"``: ``"linear"`` for ``"class"``.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"`` or ``"cuda"``; for the training.
    precision
        Of the products in training: ``"auto"`` is bfloat16 where the device multiplies that natively and the layers
        are wide, ``"float32"`` and ``"bfloat16"`` are that. Predictions are computed in float32.
    seed
        Of the first weights, the order of the rows, the dropout, and the rows set aside.
    target_type
        What is predicted.

    Attributes
    ----------
    hidden_, batch_rows_
        What was used.
    n_epochs_, best_epoch_
        Epochs trained, and the one whose weights were kept; 0 where no epoch was better than the start.
    normalize_
        Whether vectors are brought to one length.
    temperature_
        What the logits are divided by.
    valid_loss_
        Loss on the rows that it was stopped by: log-loss in nats, for numbers the root of the mean squared error.
    held_out_
        Training rows that were set aside, 0 with a validation split.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS
    search_space: ClassVar[Mapping[str, Range]] = {
        "hidden": Choice(((256,), (512,), (1024,), (512, 256), (1024, 512), (1024, 1024, 512))),
        "dropout": FloatRange(low=0.0, high=0.6),
        "learning_rate": FloatRange(low=1e-4, high=3e-3, log=True),
        "weight_decay": FloatRange(low=1e-4, high=1.0, log=True),
        "label_smoothing": FloatRange(low=0.0, high=0.2),
        "batch_rows": Choice((32, 64, 128, 256, 512)),
    }

    def __init__(
        self,
        *,
        hidden: Sequence[int] | None = None,
        dropout: float = 0.4,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        batch_rows: int | None = None,
        max_epochs: int = 100,
        patience: int = 5,
        schedule: str = "plateau",
        class_weight: str | None = None,
        label_smoothing: float = 0.0,
        start: str | None = "auto",
        device: str = "auto",
        precision: str = "auto",
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_rows = batch_rows
        self.max_epochs = max_epochs
        self.patience = patience
        self.schedule = schedule
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.start = start
        self.device = device
        self.precision = precision
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        from heads.vectors.mlp_network import NetworkSettings, fit_network

        self._check()
        n_rows = len(train)
        self.hidden_ = usual_widths(n_rows) if self.hidden is None else tuple(as_tuple(self.hidden))
        self.batch_rows_ = usual_batch(n_rows) if self.batch_rows is None else self.batch_rows
        aside = None if valid is not None else hold_out(train.features.group_keys, train.targets, seed=self.seed)
        self._scaler, features = Scaler.of(train.features)
        train, self.held_out_ = LabelledExamples(features=features, targets=self._standardised(train.targets)), 0
        if valid is not None:
            stop = LabelledExamples(features=valid.features, targets=self._scale_numbers(valid.targets))
        elif aside is not None and len(aside[1]):
            stop, train, self.held_out_ = train.subset(aside[1]), train.subset(aside[0]), len(aside[1])
        else:
            # Too few rows to set any aside.
            stop = train
        first = self._first(train, stop)
        self.normalize_ = first is not None and first.normalize_
        if self.normalize_:
            stop = replace(stop, features=L2NormalisedFeatures(stop.features))
            self._scaler, features = Scaler.of(L2NormalisedFeatures(train.features))
            train = replace(train, features=features)
        self._start = None if first is None else _of_scaled(first, self._scaler)
        stop = stop.random_subset(
            max(_MIN_CHOSEN_ON, _CHOSEN_ON // max(self.n_outputs, self.n_features_in_)), seed=self.seed
        )
        recipe = NetworkSettings(
            **{name: getattr(self, name) for name in _RECIPE},
            hidden=self.hidden_,
            batch=self.batch_rows_,
            learning_rate=usual_rate(n_rows) if self.learning_rate is None else self.learning_rate,
        )
        learnt = fit_network(train, stop, self._scaler, recipe, start=self._start, on_epoch=self.on_epoch)
        self._layers, self._cut_points = learnt.layers, learnt.cut_points
        self.n_epochs_, self.best_epoch_ = len(learnt.history.losses), learnt.history.best_epoch
        self._calibrate(stop)

    def _first(self, train: LabelledExamples, stop: LabelledExamples) -> LinearHead | None:
        """The linear head to begin with."""
        if self.start is None or (self.start == "auto" and self.target_type != "class"):
            return None
        head = LinearHead(class_weight=self.class_weight, refine=False, seed=self.seed)
        return head.fit_labelled(train, None if stop is train else stop)

    def _calibrate(self, stop: LabelledExamples) -> None:
        """Set the temperature and the loss, on the rows that the training was stopped by."""
        logits = np.concatenate(list(self._logits(stop.features)))
        self.temperature_ = 1.0
        if self.target_type == "regression":
            losses = row_losses(logits, stop.targets)
            self.valid_loss_ = self._number_scale * float(np.sqrt(losses.mean()))
        elif self.target_type == "class":
            # By the largest logits alone, which 17,929 classes need.
            self.temperature_, self.valid_loss_ = fit_temperature(logits, stop.targets.require_codes())
        else:
            self.temperature_, self.valid_loss_ = best_temperature(logits, stop.targets)

    def _check(self) -> None:
        widths = () if self.hidden is None else as_tuple(self.hidden)
        if not all(isinstance(width, int) and width >= 1 for width in widths):
            raise InputError(f"hidden is {self.hidden}; expected the widths of the hidden layers, such as [512, 256].")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; expected a number from 0 to less than 1.")
        for name in ("learning_rate", "max_epochs", "patience", "batch_rows"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; expected a number above 0.")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is {self.schedule!r}; expected {' or '.join(SCHEDULES)}.")
        if self.start not in STARTS or (self.start == "linear" and self.target_type != "class"):
            raise InputError(f"start is {self.start!r}; expected 'auto', None or, for classes, 'linear'.")

    def _standardised(self, targets: Targets) -> Targets:
        """Training targets, numbers with mean 0 and standard deviation 1."""
        self._number_mean, self._number_scale = 0.0, 1.0
        if targets.target_type == "regression":
            values = targets.require_values()
            self._number_mean, self._number_scale = float(values.mean()), float(values.std()) or 1.0
        return self._scale_numbers(targets)

    def _scale_numbers(self, targets: Targets) -> Targets:
        if targets.target_type != "regression":
            return targets
        return replace(targets, values=(targets.require_values() - self._number_mean) / self._number_scale)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for logits in self._logits(X):
            if self.target_type == "regression":
                yield logits * np.float32(self._number_scale) + np.float32(self._number_mean)
            else:
                logits /= np.float32(self.temperature_)
                yield logits_to_outputs(logits, self.target_type)

    def _logits(self, X: Features) -> Iterator[Float32]:
        """What the network gives, (n, C) or fewer columns, block by block."""
        # Bringing rows to one length that are so already changes nothing.
        features = L2NormalisedFeatures(X) if self.normalize_ else X
        for _, block in checked_blocks(features, n_features=self.n_features_in_):
            for first in range(0, len(block), _LOGIT_ROWS):
                scaled = hidden = self._scaler(block[first : first + _LOGIT_ROWS])
                for number, (weight, bias) in enumerate(self._layers):
                    hidden = np.maximum(hidden, 0.0) if number else hidden
                    hidden = hidden @ weight.T + bias
                if self._start is not None:
                    hidden += scaled @ self._start[0].T + self._start[1]
                yield hidden - self._cut_points if self.target_type == "ordinal" else hidden

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"mean": self._scaler.mean, "scale": self._scaler.scale}
        if self._start is not None:
            arrays |= {"start_weight": self._start[0], "start_bias": self._start[1]}
        for number, (weight, bias) in enumerate(self._layers):
            arrays |= {f"weight_{number}": weight, f"bias_{number}": bias}
        return arrays | ({"cut_points": self._cut_points} if self.target_type == "ordinal" else {})

    def settings(self) -> dict[str, Any]:
        """What was used and chosen, and the loss on the rows that stopped the training."""
        return {
            "hidden": list(self.hidden_),
            "batch_rows": self.batch_rows_,
            "n_epochs": self.n_epochs_,
            "best_epoch": self.best_epoch_,
            "temperature": self.temperature_,
            "valid_loss": self.valid_loss_,
            "held_out": self.held_out_,
            "normalize": self.normalize_,
            "number_mean": self._number_mean,
            "number_scale": self._number_scale,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self._scaler = Scaler(mean=arrays["mean"], scale=arrays["scale"])
        self.n_features_in_ = len(self._scaler.mean)
        self.hidden_, self.batch_rows_ = tuple(settings["hidden"]), settings["batch_rows"]
        self._layers = [(arrays[f"weight_{n}"], arrays[f"bias_{n}"]) for n in range(len(self.hidden_) + 1)]
        self._cut_points = arrays.get("cut_points", np.zeros(0, np.float32))
        self._start = (arrays["start_weight"], arrays["start_bias"]) if "start_weight" in arrays else None
        self.n_epochs_, self.best_epoch_ = settings["n_epochs"], settings["best_epoch"]
        self.temperature_, self.valid_loss_ = settings["temperature"], settings["valid_loss"]
        self.held_out_, self.normalize_ = settings["held_out"], settings.get("normalize", False)
        self._number_mean, self._number_scale = settings["number_mean"], settings["number_scale"]


def _of_scaled(head: LinearHead, scaler: Scaler) -> tuple[Float32, Float32]:
    """The calibrated logits of a linear head as a map of scaled vectors: (C, D) weights and (C,) biases."""
    coef = head.coef_.astype(np.float64)
    bias = head.intercept_ + coef @ (scaler.mean.astype(np.float64) - head.mean_)
    return (
        (coef * scaler.scale / head.temperature_).astype(np.float32),
        (bias / head.temperature_).astype(np.float32),
    )


def usual_widths(n_rows: int) -> tuple[int, ...]:
    """Hidden layers where none are given: wider for more rows.

    >>> usual_widths(400), usual_widths(100_000)
    ((64,), (1024, 512))
    """
    for least, widths in _WIDTHS:
        if n_rows >= least:
            return widths
    return _WIDTHS[-1][1]


def usual_batch(n_rows: int) -> int:
    """Rows in a training step where the number is not given: a power of two, some 64 steps a pass.

    >>> usual_batch(400), usual_batch(10_000), usual_batch(1_000_000)
    (64, 128, 1024)
    """
    return int(np.clip(2 ** round(np.log2(max(n_rows, 1) / 64)), 64, 1024))


def usual_rate(n_rows: int) -> float:
    """Learning rate where none is given."""
    return 2e-3 if n_rows < _FEW_ROWS else 1e-3
