"""What takes part in a comparison: heads on a source of rows, and anything else that can be fitted and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from embedstore.errors import InputError
from embedstore.pooling import RESIDUES
from embedstore.store.store import Store
from heads.base import Head
from heads.catalog import HEADS
from heads.fitting import make_head
from heads.measuring.costs import Cost, measured
from heads.measuring.protocol import Judged, judge, validation_rows
from heads.sources import SEQUENCES, Residues, Source, Vectors
from heads.tasks.base import TaskData


class Contender(Protocol):
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

    def judge(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Judged]:
        """Fit on the training rows with a seed and judge on all rows of the split, in their order.

        Returns
        -------
        heads.measuring.costs.Cost
            Of the fit.
        heads.measuring.protocol.Judged
            With ``n_resamples`` resamples drawn with ``draw_seed``, so that rows can be tested against each other; see
            `heads.measuring.protocol.judged` for what does not come from a `heads.base.Head`.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What the source is, for JSON."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What the last fit chose, for JSON."""
        ...


class HeadContender:
    """A head of the catalog on a source of rows.

    Parameters
    ----------
    head
        Name of the catalog.
    source
        Where the rows are read.
    params
        Arguments of the head's constructor.
    label
        What the source is called in the row's name; its own name if not given.
    """

    def __init__(self, head: str, source: Source, params: Mapping[str, Any], *, label: str | None = None) -> None:
        self.head = head
        self.source = source.id
        self.name = head if source.id == SEQUENCES else f"{head} · {label or source.id}"
        self._source = source
        self._params = params
        self._fitted: Head | None = None

    def judge(self, data: TaskData, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> tuple[Cost, Judged]:
        """Fit, then predict."""
        model = make_head(self.head, self._params, kind=data.kind, input_=data.input, seed=seed)
        train = self._source.rows(data, data.rows("train"), what="train row")
        valid = validation_rows(self._source, data)
        with measured() as cost:
            model.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
        self._fitted = model
        return cost, judge(model, self._source, data, split, n_resamples=n_resamples, seed=draw_seed)

    def describe(self) -> dict[str, Any]:
        """The space and its identity."""
        return {"id": self._source.id, "identity": dict(self._source.identity)}

    def settings(self) -> Mapping[str, Any]:
        """The head's settings."""
        return {} if self._fitted is None else self._fitted.settings()


def contenders_of(
    store: Store,
    data: TaskData,
    heads: Sequence[str] | None,
    spaces: Sequence[str] | None,
    params: Mapping[str, Mapping[str, Any]],
) -> Iterator[HeadContender]:
    """Yield every head on every space that fits the task.

    Raises
    ------
    UnknownNameError
        For a head or a space that is not there.
    InputError
        If parameters are given for a head that does not take part, or no space fits.
    """
    if heads is None:
        able = [row for row in HEADS.values() if data.kind in row.kinds and data.input in row.inputs]
        heads = [row.name for row in able if row.reads == "vectors"]
    for name in params:
        if name not in heads:
            raise InputError(f"Parameters were given for head {name!r}, which does not take part: {', '.join(heads)}.")
    sources = _vector_sources(store, data, spaces) if any(HEADS[name].reads == "vectors" for name in heads) else []
    for name in dict.fromkeys(heads):
        if HEADS[name].reads != "vectors":
            yield HeadContender(name, Residues(), params.get(name, {}))
            continue
        for source in sources:
            # The model says it where only one of the spaces is of it.
            model = str(source.space.model)
            alone = sum(other.space.model == model for other in sources) == 1
            yield HeadContender(name, source, params.get(name, {}), label=model if alone else None)


def _vector_sources(store: Store, data: TaskData, named: Sequence[str] | None) -> list[Vectors]:
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
    return [Vectors(space) for space in chosen]
