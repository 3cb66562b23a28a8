"""The methods of a comparison: heads on a source of features, or anything else that can be fitted and scored."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from embedstore.errors import InputError
from embedstore.store.store import Store
from embedstore.types import RESIDUES
from heads.base import make_head
from heads.catalog import HEADS
from heads.evaluation.resources import Cost, measure_cost
from heads.evaluation.scoring import Scores, score_head, validation_rows
from heads.features.sources import BOTH, SEQUENCES, SequenceSource, Source, VectorsAndSequences, VectorSource, as_store
from heads.tasks.data import TaskData


class Method(Protocol):
    """A method of a comparison.

    Attributes
    ----------
    name
        Unique within a comparison.
    head, source
        The head, and the id of the source of its features.
    """

    name: str
    head: str
    source: str

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Fit on the training rows with a seed, and score all rows of the split, in their order.

        Returns
        -------
        heads.evaluation.resources.Cost
            Of the fit.
        heads.evaluation.scoring.Scores
            With ``n_resamples`` resamples drawn with ``draw_seed``, so that methods are compared on the same ones; see
            `heads.evaluation.scoring.score_outcomes` for methods that are not a `heads.base.Head`.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """The source, for JSON."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What the last fit selected, for JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Parameters of the heads of a comparison.

    Attributes
    ----------
    params
        Arguments of a head's constructor, by the head's name.
    small
        Whether heads take the catalog's parameters for a quick trial, unless others are given.
    epochs
        Most epochs of heads with a parameter of that name; None: the default of each.
    """

    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    small: bool = False
    epochs: int | None = None

    def params_of(self, head: str, defaults: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Arguments of a head: those of a quick trial, overridden by `defaults`, then by the caller's."""
        params = (dict(HEADS[head].small) if self.small else {}) | dict(defaults)
        if self.epochs is not None and _has_epochs(head):
            params["epochs"] = self.epochs
        return params | dict(self.params.get(head, {}))

    def check(self, heads: Sequence[str]) -> None:
        """Refuse parameters of heads that are not compared.

        Raises
        ------
        InputError
            With the name of the first.
        """
        for name in self.params:
            if name not in heads:
                raise InputError(
                    f"Parameters were given for head {name!r}, which is not compared; compared are {', '.join(heads)}."
                )
        if self.epochs is None:
            return
        if self.epochs < 1:
            raise InputError(f"epochs is {self.epochs}; expected 1 or more (epochs=, --epochs).")
        if not any(_has_epochs(name) for name in heads):
            raise InputError(
                f"epochs is {self.epochs}, and no head that is compared has that parameter: {', '.join(heads)}. "
                "Leave it out (epochs=, --epochs)."
            )


def _has_epochs(head: str) -> bool:
    return "epochs" in inspect.signature(HEADS.load(head)).parameters


class UnavailableMethod:
    """A method that cannot be fitted; scoring it raises the reason.

    Parameters
    ----------
    name, head
        See `Method`.
    reason
        What is missing and how to get it.
    """

    source = ""

    def __init__(self, name: str, head: str, reason: str) -> None:
        self.name, self.head, self._reason = name, head, reason

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Raise the reason."""
        raise InputError(self._reason)

    def describe(self) -> dict[str, Any]:
        """No source."""
        return {"id": self.source, "identity": {}}

    def settings(self) -> Mapping[str, Any]:
        """No settings."""
        return {}


class HeadMethod:
    """A head of the catalog on a source of features.

    Parameters
    ----------
    head
        Name in the catalog.
    source
        Where features are read.
    params
        Arguments of the head's constructor.
    name
        Name of the method; None for the head and its source.
    """

    def __init__(self, head: str, source: Source, params: Mapping[str, Any], *, name: str | None = None) -> None:
        self.head = head
        self.source = source.id
        self.name = name or (head if source.id == SEQUENCES else f"{head} · {source.id}")
        self._source = source
        self._params = params
        self._settings: dict[str, Any] = {}

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Fit, then predict and score."""
        params = dict(self._params)
        if params.get("checkpoint") is not None:
            # Each seed is a training of its own.
            params["checkpoint"] = str(Path(params["checkpoint"]) / f"seed_{seed}")
        model = make_head(self.head, params, target_type=data.target_type, input_=data.input, seed=seed)
        train = self._source.examples(data, data.rows("train"), what="train row")
        valid = validation_rows(self._source, data)
        with measure_cost() as cost:
            model.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
        # Only its settings, so that the heads of all methods are not in memory together.
        self._settings = {"params": dict(self._params), **model.settings()}
        return cost, score_head(model, self._source, data, split, n_resamples=n_resamples, seed=draw_seed)

    def describe(self) -> dict[str, Any]:
        """The space and its identity."""
        return {"id": self._source.id, "identity": dict(self._source.identity)}

    def settings(self) -> Mapping[str, Any]:
        """The parameters, under ``params``, and what the last fit selected."""
        return self._settings


def head_methods(
    store: Store | None, data: TaskData, heads: Sequence[str] | None, spaces: Sequence[str] | None, settings: Settings
) -> Iterator[HeadMethod]:
    """Yield every head on every space that fits the task.

    Raises
    ------
    UnknownNameError
        For an unknown head or space.
    InputError
        If no space fits.
    """
    names = compared_heads(data, heads)
    sources = vector_sources(store, data, spaces) if any(HEADS[name].reads != SEQUENCES for name in names) else []
    for head in dict.fromkeys(names):
        if HEADS[head].reads == SEQUENCES:
            yield HeadMethod(head, SequenceSource(), settings.params_of(head))
            continue
        for source, label in sources:
            features = VectorsAndSequences(source.space) if HEADS[head].reads == BOTH else source
            yield HeadMethod(head, features, settings.params_of(head), name=f"{head} · {label}")


def compared_heads(data: TaskData, heads: Sequence[str] | None) -> list[str]:
    """The heads that are named, or all on vectors that support the task."""
    if heads is not None:
        return list(heads)
    able = [spec for spec in HEADS.values() if data.target_type in spec.target_types and data.input in spec.inputs]
    return [spec.name for spec in able if spec.reads == "vectors"]


def vector_sources(store: Store | None, data: TaskData, spaces: Sequence[str] | None) -> list[tuple[VectorSource, str]]:
    """The spaces that are named, or all of the store that fit the task, each with a label.

    Raises
    ------
    UnknownNameError
        For an unknown space.
    StoreNotFoundError
        Without a store.
    InputError
        If no space fits.
    """
    store = as_store(None) if store is None else store
    is_residue = data.input == "residue"
    if spaces:
        selected = [store.residue_space(name) if is_residue else store.space(name) for name in spaces]
    else:
        every = [store.any_space(name) for name in store.spaces()]
        selected = [space for space in every if (space.pooling == RESIDUES) is is_residue]
    if not selected:
        what = "residue vectors" if is_residue else "vectors"
        how = f"`embedstore build --model NAME {'--residues ' if is_residue else ''}{data.source}`"
        raise InputError(f"The store at {store.path} has no space with {what} for {data.name}. Make one: {how}.")
    models = [str(space.model) for space in selected]
    # The model is enough where it has one space.
    labels = [
        model if models.count(model) == 1 else str(space.id) for model, space in zip(models, selected, strict=True)
    ]
    return [(VectorSource(space), label) for space, label in zip(selected, labels, strict=True)]
