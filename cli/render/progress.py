"""A progress bar on stderr; a line each minute where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from embedstore.types import Progress, ProgressCallback

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """A callback that draws what it is told."""
    if sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}  {task.fields[rate]}  {task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}
        started: dict[str, float] = {}

        def callback(step: Progress) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, unit=step.unit, rate="", note="")
                started[step.stage] = time.monotonic()
            seconds = time.monotonic() - started[step.stage]
            rate = f"{step.done / seconds:,.0f}/s" if seconds > 1 else ""
            bars.update(tasks[step.stage], completed=step.done, total=step.total, rate=rate, note=step.note)

        yield callback


class _Lines:
    """Progress for log files."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        seconds = now - self._started
        share = f" of {step.total:,} ({step.done / step.total:.0%})" if step.total else ""
        rate = step.done / seconds
        left = f", {(step.total - step.done) / rate / 60:,.0f} min left" if step.total and rate else ""
        note = f", {step.note}" if step.note else ""
        typer.echo(f"{step.stage}: {step.done:,}{share} {step.unit}, {rate:,.0f}/s{left}{note}", err=True)
