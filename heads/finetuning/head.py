"""The head whose encoder learns with it: fitted on sequences, saved as a model."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.models import load_model
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.finetuned import read_manifest
from embedstore.models.save import save_finetuned
from embedstore.models.trainable import trainable
from embedstore.types import ProgressCallback, null_progress
from heads.base import Float32, Head, LabelledExamples
from heads.features.base import Features, sequences_of
from heads.features.sequences import input_of
from heads.finetuning.examples import Examples, balance, read_examples
from heads.finetuning.forward import Passes
from heads.finetuning.history import Epoch
from heads.finetuning.linear_init import LINEAR_KINDS, linear_init
from heads.finetuning.methods import prepare
from heads.finetuning.network import HeadLayers, Network, Objective, finished, head_widths
from heads.finetuning.settings import Settings, settings_from, with_preset
from heads.finetuning.trainer import Trainer, TrainingData
from heads.tasks.pairing import parse_pairing
from heads.tasks.targets import KINDS, Targets
from heads.training.distributed import choose_engine, one_seed, own_device, resolve_mixed

_BUDGETS = {"cpu": 2_048, "cuda": 16_384}
"""Padded residues in one training pass, where nothing is said."""

_CHUNK = 1_024
"""Units whose outputs are in memory at once."""

_OWN = {
    "target_type": "class",
    "model": "mini",
    "family": None,
    "weights": None,
    "device": "auto",
    "preset": None,
    "merge": False,
}


@dataclass(slots=True)
class _Trained:
    """An encoder model and a network on it, ready to predict."""

    model: EncoderModel
    network: Network


class FinetuneHead(Head):
    """An encoder and a small head, trained end to end.

    Parameters
    ----------
    target_type
        What is predicted.
    model, family, weights, device
        The encoder to start from, as :func:`embedstore.models.load_model` takes them.
    preset
        A name in `heads.finetuning.settings.PRESETS`; what is given beside it goes first.
    merge
        Write adapters as full weights.
    **settings
        Fields of `heads.finetuning.settings.Settings`.

    Attributes
    ----------
    progress
        Called after each step; set it before `fit`.
    folder
        Where checkpoints and the log go, None for nowhere; set it before `fit`.
    model_name
        What the fine-tuned model is called; None for base and method.
    history_
        The epochs of the training.
    temperature_
        What the logits of classes are divided by, so that probabilities mean something; from the validation rows.
    """

    target_types = KINDS
    whole_proteins = True
    family: str | None
    weights: str | None
    device: str
    merge: bool
    progress: ProgressCallback = staticmethod(null_progress)
    folder: Path | None = None
    model_name: str | None = None
    _trained: _Trained | None = None
    _saved: Path | None = None
    __signature__: ClassVar[inspect.Signature] = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in {**_OWN, **{field.name: field.default for field in fields(Settings)}}.items()
        ]
    )

    def __init__(self, **given: Any) -> None:
        unknown = sorted(given.keys() - self.__signature__.parameters.keys())
        if unknown:
            raise TypeError(f"FinetuneHead has no parameter {unknown[0]!r}.")
        values = with_preset(given.get("preset"), given)
        for name, parameter in self.__signature__.parameters.items():
            setattr(self, name, values.get(name, parameter.default))

    @property
    def chosen(self) -> Settings:
        """The settings, checked."""
        return settings_from(self.get_params())

    def base_model(self) -> EncoderModel:
        """The encoder model to start from.

        Raises
        ------
        InputError
            If it has nothing that learns by gradients.
        """
        given = cast("dict[str, Any]", {name: getattr(self, name) for name in ("family", "weights", "device")})
        given["device"] = own_device(given["device"])
        model = load_model(self.get_params()["model"], **given, precision="float32")
        if not isinstance(model, EncoderModel):
            trainable(model)  # says what is wrong with it
        return cast(EncoderModel, model)

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        settings = self.chosen
        self.input_ = input_of(train.features)
        model = self.base_model()
        longest = _limit(model, settings)
        sides = {"training": train} if valid is None else {"training": train, "validation": valid}
        examples = {
            what: read_examples(
                sequences_of(side.features), longest=longest, long=settings.long, what=f"{what} protein"
            )
            for what, side in sides.items()
        }
        self.centre_, self.scale_ = _scaling(train.targets, examples["training"].starts)
        with one_seed(settings.seed, model.device):
            network = self._new_network(model, train.targets, settings)
            material = {
                what: TrainingData(
                    examples=examples[what], goal=Objective(side.targets, centre=self.centre_, scale=self.scale_)
                )
                for what, side in sides.items()
            }
            if settings.balanced:
                shares = balance(examples["training"], train.targets)
                first = material["training"]
                material["training"] = TrainingData(examples=first.examples, goal=first.goal, shares=shares)
            trainer = Trainer(
                network,
                material["training"],
                material.get("validation"),
                settings,
                engine=choose_engine(model.device),
                precision=resolve_mixed(settings.precision, model.device, half=model.spec.half_precision),
                budget=settings.batch_residues or _BUDGETS.get(model.device.type, _BUDGETS["cpu"]),
                folder=self.folder,
                fingerprint=self._fingerprint(model, sides),
                begin=self._beginning(network, examples, sides, settings),
                progress=self.progress,
            )
            trainer.fit()
        self._trained, self._saved = _Trained(model, network.eval()), None
        valid_part = material.get("validation")
        self.temperature_ = (
            1.0 if valid_part is None or self.target_type != "class" else trainer.temperature(valid_part)
        )
        self._note(trainer, network, examples)

    def _beginning(
        self,
        network: Network,
        examples: Mapping[str, Examples],
        sides: Mapping[str, LabelledExamples],
        settings: Settings,
    ) -> Callable[[Passes, int], None] | None:
        """What sets the head's first weights; None where they stay random."""
        if settings.start == "random" or settings.hidden or self.target_type not in LINEAR_KINDS:
            if settings.start == "linear":
                raise InputError(
                    f"start is 'linear', and target_type {self.target_type!r} begin at random. Leave it out."
                )
            return None
        units = [(examples[what], side.targets) for what, side in sides.items()]

        def begin(passes: Passes, budget: int) -> None:
            linear_init(
                network, passes, units[0], units[1] if len(units) > 1 else None, balanced=settings.balanced,
                budget=budget, seed=settings.seed, centre=self.centre_, scale=self.scale_,
            )  # fmt: skip

        return begin

    def _note(self, trainer: Trainer, network: Network, examples: Mapping[str, Any]) -> None:
        self.history_: list[Epoch] = trainer.history
        weights = list(network.named_parameters())
        self._noted = {
            "input": self.input_,
            "centre": self.centre_,
            "scale": self.scale_,
            "temperature": self.temperature_,
            "dim": network.encoder.dim,
            "history": [epoch.to_dict() for epoch in trainer.history],
            "best_epoch": trainer.best_epoch,
            "n_halved": trainer.n_halved,
            "n_learning": sum(weight.numel() for _, weight in weights if weight.requires_grad),
            "n_weights": sum(weight.numel() for _, weight in weights),
            "n_cropped": sum(part.n_cropped for part in examples.values()),
            "n_skipped": sum(part.n_skipped for part in examples.values()),
        }

    def _new_network(self, model: EncoderModel, targets: Targets, settings: Settings) -> Network:
        encoder = trainable(model)
        prepare(encoder, settings, model=model.name)
        return self._joined(encoder, targets, settings)

    def _joined(self, encoder: Any, targets: Targets, settings: Settings) -> Network:
        pairing = parse_pairing(settings.pairing)
        n_inputs, n_outputs = head_widths(targets, dim=encoder.dim, input_=self.input_, pairing=pairing)
        head = HeadLayers(
            n_inputs,
            n_outputs,
            hidden=settings.hidden,
            dropout=settings.dropout,
            norm=settings.norm,
            ordered=targets.target_type == "ordinal",
        )
        device = next(encoder.parameters()).device
        return Network(encoder, head.to(device), input_=self.input_, pairing=pairing)

    def _fingerprint(self, model: EncoderModel, sides: Mapping[str, LabelledExamples]) -> str:
        """What a checkpoint must be of: settings, base and rows."""
        digest = hashlib.sha256(json.dumps(asdict(self.chosen), sort_keys=True).encode())
        digest.update(json.dumps(model.identity(), sort_keys=True).encode())
        for side in sides.values():
            features = sequences_of(side.features)
            partners = getattr(features, "partners", ())
            digest.update("\n".join([*features.residues, "", *partners]).encode())
            known, targets = side.targets.known, side.targets
            digest.update(known.tobytes())
            for values in (targets.codes, targets.values):
                digest.update(b"" if values is None else values.tobytes())
            if targets.members is not None:
                digest.update(targets.members.indices.tobytes() + targets.members.indptr.tobytes())
        return digest.hexdigest()

    def _outputs(self, X: Features) -> Iterator[Float32]:
        features = sequences_of(X)
        if input_of(features) != self.input_:
            raise InputError(
                f"This model was fine-tuned on rows that are {self.input_!r}, and X has rows that are "
                f"{input_of(features)!r}. Give it rows of its own kind."
            )
        if not features.shape[0]:
            return
        settings, ready = self.chosen, self._ready()
        crops = settings.long == "crop" and self.input_ != "residue"
        limit = _limit(ready.model, settings) if crops else ready.model.max_residues
        precision = resolve_mixed(settings.precision, ready.model.device, half=ready.model.spec.half_precision)
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        budget = max(ready.model.batch_residues, _BUDGETS["cpu"])
        examples = read_examples(features, longest=limit, long="crop" if crops else "error")
        passes = Passes(ready.network, dtype, keep=False, budget=budget)
        for start in range(0, len(examples), _CHUNK):
            units = np.arange(start, min(start + _CHUNK, len(examples)))
            first = examples.rows(units)[0]
            made = np.empty((int(examples.n_rows[units].sum()), self.n_outputs), np.float32)
            for batch, outputs in passes.evaluated(examples, units, budget=budget):
                cooled = outputs / self.temperature_
                predicted = finished(cooled, self.target_type, centre=self.centre_, scale=self.scale_)
                made[examples.rows(batch) - first] = predicted
            yield made

    def _ready(self) -> _Trained:
        """The trained network, loaded from its folder where it was trained before."""
        if self._trained is None:
            if self._saved is None:
                raise InputError("This head was not fitted. Call fit first.")
            weights = None if read_manifest(self._saved).holds == "full" else self.weights
            model = cast(
                EncoderModel, load_model(self._saved, weights=weights, device=self.device, precision="float32")
            )
            settings = self.chosen
            targets = Targets(target_type=self.target_type, classes=self.classes_, codes=np.zeros(0, np.int64))
            with one_seed(0, model.device):
                network = self._joined(trainable(model), targets, settings)
            state = {name: torch.from_numpy(array) for name, array in self._head_arrays.items()}
            network.head.load_state_dict(state)
            self._trained = _Trained(model, network.requires_grad_(False).eval())
        return self._trained

    def settings(self) -> dict[str, Any]:
        """What the training was, and how far it came."""
        return self._noted

    def write_files(self, directory: Path) -> None:
        """Write the encoder: an adapter, full weights, or the name of the base alone."""
        if self._saved is not None:
            for path in self._saved.iterdir():
                if path.is_file() and not (directory / path.name).exists():
                    shutil.copyfile(path, directory / path.name)
            return
        trained = self._ready()
        name = self.model_name or f"{trained.model.name}-{self.chosen.method}"
        save_finetuned(
            trained.model, trained.network.encoder, directory, name=name, method=self.chosen.method, merge=self.merge
        )

    def read_files(self, directory: Path) -> None:
        """Note where the encoder is; it is read when it is needed."""
        self._saved = directory.absolute()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        if self._trained is None:
            return dict(self._head_arrays)
        state = self._trained.network.head.state_dict()
        return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self._head_arrays = {name: array for name, array in arrays.items() if name != "thresholds"}
        self._noted = dict(settings)
        self.input_, self.centre_, self.scale_ = settings["input"], settings["centre"], settings["scale"]
        self.temperature_ = settings["temperature"]
        self.history_ = [Epoch(**epoch) for epoch in settings["history"]]
        self.n_features_in_ = 0


def _limit(model: EncoderModel, settings: Settings) -> int | None:
    """Most residues of a training protein."""
    most, limit = model.max_residues, settings.max_residues
    if limit is not None and most is not None and limit > most:
        raise InputError(f"max_residues is {limit}, and {model.name!r} takes at most {most}. Take less.")
    return limit or most or model.window_residues


def _scaling(targets: Targets, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of the training numbers; 0 and 1 for what is no number."""
    if targets.target_type != "regression":
        return 0.0, 1.0
    values = targets.require_values()[rows]
    return float(values.mean()), float(values.std()) or 1.0
