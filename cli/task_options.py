"""The options that say which labelled rows a command of ``heads`` works on, in one place for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

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
    from heads.tasks import TaskSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
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

    def selection(self, seed: int) -> TaskSelection:
        """Which labelled rows the command works on."""
        from heads.tasks import TaskSelection

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return TaskSelection(**given, seed=seed)


def with_task_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `TaskOptions`, which reach it together as its argument ``options``."""

    @wraps(command)
    def wrapped(**given: Any) -> None:
        options = TaskOptions(**{field.name: given.pop(field.name) for field in fields(TaskOptions)})
        command(options=options, **given)

    hints = get_type_hints(TaskOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(TaskOptions)
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "options"
    ]
    # What typer reads: the signature, and the annotations by name.
    wrapped.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
    return wrapped
