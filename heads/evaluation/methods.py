"""What takes part in a comparison: heads on a source of rows, and anything else that can be fitted and judged."""

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
from heads.features.sources import BOTH, SEQUENCES, SequenceSource, Source, VectorsAndSequences, VectorSource
from heads.features.vectors import as_store
from heads.tasks.data import TaskData


class Method(Protocol):
    """A row of a comparison.

    Attributes
    ----------
    name
        What it is called; no two rows of a comparison share one.
    head, source
        What predicts, and from what.
    """

    name: str
    head: str
    source: str

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Fit on the training rows with a seed and judge on all rows of the split, in their order.

        Returns
        -------
        heads.evaluation.resources.Cost
            Of the fit.
        heads.evaluation.scoring.Scores
            With ``n_resamples`` resamples drawn with ``draw_seed``, so that rows can be tested against each other; see
            `heads.evaluation.scoring.score_outcomes` for what does not come from a `heads.base.Head`.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What the source is, for JSON."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What the last fit chose, for JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the heads of a comparison are told.

    Attributes
    ----------
    params
        Arguments of a head's constructor, by the head's name.
    small
        Whether heads take the catalog's settings for a quick trial where nothing else is said.
    epochs
        Most epochs of heads with a parameter of that name, which are trained on sequences; None: as each has it.
    """

    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    small: bool = False
    epochs: int | None = None

    def of(self, head: str, usual: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Arguments of a head, of which `usual` ones go before a quick trial's and after the caller's."""
        told = (dict(HEADS[head].small) if self.small else {}) | dict(usual)
        if self.epochs is not None and _has_epochs(head):
            told["epochs"] = self.epochs
        return told | dict(self.params.get(head, {}))

    def require(self, heads: Sequence[str]) -> None:
        """Refuse settings for heads that do not take part.

        Raises
        ------
        InputError
            Naming the first.
        """
        for name in self.params:
            if name not in heads:
                raise InputError(
                    f"Parameters were given for head {name!r}, which does not take part: {', '.join(heads)}."
                )
        if self.epochs is None:
            return
        if self.epochs < 1:
            raise InputError(f"epochs is {self.epochs}; expected 1 or more (epochs=, --epochs).")
        if not any(_has_epochs(name) for name in heads):
            raise InputError(
                f"epochs is {self.epochs}, and no head that takes part has that parameter: {', '.join(heads)}. "
                "Leave it out (epochs=, --epochs)."
            )


def _has_epochs(head: str) -> bool:
    return "epochs" in inspect.signature(HEADS.load(head)).parameters


class UnavailableMethod:
    """A row that cannot even begin.

    Parameters
    ----------
    name, head
        As of a `Contender`.
    why
        What is missing and how to get it.
    """

    source = ""

    def __init__(self, name: str, head: str, why: str) -> None:
        self.name, self.head, self._why = name, head, why

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Fail with the reason."""
        raise InputError(self._why)

    def describe(self) -> dict[str, Any]:
        """Nothing: there is no source."""
        return {"id": self.source, "identity": {}}

    def settings(self) -> Mapping[str, Any]:
        """Nothing was chosen."""
        return {}


class HeadMethod:
    """A head of the catalog on a source of rows.

    Parameters
    ----------
    head
        Name of the catalog.
    source
        Where the rows are read.
    params
        Arguments of the head's constructor.
    name
        What the row is called; the head, and the space that it reads, if not given.
    """

    def __init__(self, head: str, source: Source, params: Mapping[str, Any], *, name: str | None = None) -> None:
        self.head = head
        self.source = source.id
        self.name = name or (head if source.id == SEQUENCES else f"{head} · {source.id}")
        self._source = source
        self._params = params
        self._settings: dict[str, Any] = {}

    def score(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Scores]:
        """Fit, then predict."""
        params = dict(self._params)
        if params.get("checkpoint") is not None:
            # Each seed is a training of its own.
            params["checkpoint"] = str(Path(params["checkpoint"]) / f"seed_{seed}")
        model = make_head(self.head, params, target_type=data.target_type, input_=data.input, seed=seed)
        train = self._source.rows(data, data.rows("train"), what="train row")
        valid = validation_rows(self._source, data)
        with measure_cost() as cost:
            model.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
        # Not the head itself: those of all rows would stand in memory together.
        self._settings = {"params": dict(self._params), **model.settings()}
        return cost, score_head(model, self._source, data, split, n_resamples=n_resamples, seed=draw_seed)

    def describe(self) -> dict[str, Any]:
        """The space and its identity."""
        return {"id": self._source.id, "identity": dict(self._source.identity)}

    def settings(self) -> Mapping[str, Any]:
        """What the head was told, under ``params``, and what it chose."""
        return self._settings


def methods_of(
    store: Store | None,
    data: TaskData,
    heads: Sequence[str] | None,
    spaces: Sequence[str] | None,
    given: Settings,
) -> Iterator[HeadMethod]:
    """Yield every head on every space that fits the task.

    Raises
    ------
    UnknownNameError
        For a head or a space that is not there.
    InputError
        If no space fits.
    """
    heads = taking_part(data, heads)
    sources = vector_sources(store, data, spaces) if any(HEADS[name].reads != SEQUENCES for name in heads) else []
    for head in dict.fromkeys(heads):
        if HEADS[head].reads == SEQUENCES:
            yield HeadMethod(head, SequenceSource(), given.of(head))
            continue
        for source, label in sources:
            rows = VectorsAndSequences(source.space) if HEADS[head].reads == BOTH else source
            yield HeadMethod(head, rows, given.of(head), name=f"{head} · {label}")


def taking_part(data: TaskData, heads: Sequence[str] | None) -> list[str]:
    """The heads that are named, or all that read vectors and can predict this of such rows."""
    if heads is not None:
        return list(heads)
    able = [row for row in HEADS.values() if data.target_type in row.target_types and data.input in row.inputs]
    return [row.name for row in able if row.reads == "vectors"]


def vector_sources(store: Store | None, data: TaskData, named: Sequence[str] | None) -> list[tuple[VectorSource, str]]:
    """The spaces of a store that fit the task, or those that are named, and what to call each.

    Raises
    ------
    UnknownNameError
        For a space that is not there.
    StoreNotFoundError
        Without a store.
    InputError
        If no space fits.
    """
    store = as_store(None) if store is None else store
    wants_residues = data.input == "residue"
    if named:
        chosen = [store.residue_space(name) if wants_residues else store.space(name) for name in named]
    else:
        every = [store.any_space(name) for name in store.spaces()]
        chosen = [space for space in every if (space.pooling == RESIDUES) is wants_residues]
    if not chosen:
        what = "residue vectors" if wants_residues else "vectors"
        how = f"`embedstore build --model NAME {'--residues ' if wants_residues else ''}{data.source}`"
        raise InputError(f"The store at {store.path} has no space with {what} for {data.name}. Make one: {how}.")
    models = [str(space.model) for space in chosen]
    # The model says it where only one of the spaces is of it.
    labels = [model if models.count(model) == 1 else str(space.id) for model, space in zip(models, chosen, strict=True)]
    return [(VectorSource(space), label) for space, label in zip(chosen, labels, strict=True)]
