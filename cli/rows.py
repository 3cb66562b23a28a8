"""The options that say which labelled rows a command of ``heads`` works on, in one place for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from cli.options import (
    DatasetName,
    GroupColumn,
    IdColumn,
    Identity,
    InputKind,
    Kind,
    LabelColumn,
    Labels,
    LabelSeparator,
    MaskColumn,
    Pairing,
    PartnerColumn,
    SequenceColumn,
    SkipInvalid,
    SplitBy,
    SplitColumn,
    TaskName,
    TopLabels,
)

if TYPE_CHECKING:
    from heads.tasks.selection import SelectionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Options that are called as the fields of `heads.tasks.TaskSelection` that they fill."""

    task: TaskName = None
    labels: Labels = None
    dataset: DatasetName = None
    label_column: LabelColumn = None
    split_column: SplitColumn = None
    id_column: IdColumn = None
    sequence_column: SequenceColumn = None
    skip_invalid: SkipInvalid = False
    target_type: Kind = None
    label_separator: LabelSeparator = None
    input: InputKind = None
    mask_column: MaskColumn = None
    partner_column: PartnerColumn = None
    pairing: Pairing = None
    group_column: GroupColumn = None
    top: TopLabels = None
    split_by: SplitBy = None
    identity: Identity = 0.4

    @property
    def selection(self) -> SelectionOptions:
        """By name, for the library."""
        return cast("SelectionOptions", {field.name: getattr(self, field.name) for field in fields(self)})


def takes_rows(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `RowOptions`, which reach it together as its argument ``of``."""

    @wraps(command)
    def wrapped(**given: Any) -> None:
        of = RowOptions(**{field.name: given.pop(field.name) for field in fields(RowOptions)})
        command(of=of, **given)

    hints = get_type_hints(RowOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(RowOptions)
    ]
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(command, eval_str=True).parameters.items()
        if name != "of"
    ]
    # What typer reads: the signature, and the annotations by name.
    wrapped.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*shared, *own)}
    return wrapped
