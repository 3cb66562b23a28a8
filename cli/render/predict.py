"""Predictions on stdout or into a file, and what must be said of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.render.output import print_json, print_rows, say
from embedstore.errors import InputError

if TYPE_CHECKING:
    from heads import Predictions


def print_predictions(
    batches: Iterator[Predictions], *, out: Path | None, probabilities: bool, json_: bool, tsv: bool
) -> None:
    """Write predictions to a file as they come, or print them when all are there."""
    if out is not None and (json_ or tsv):
        raise InputError("--out says the format by its name; leave --json and --tsv out.")
    seen = _Counted(batches)
    if out is not None:
        from heads.api.prediction_writers import write_predictions

        n = write_predictions(out, seen, probabilities=probabilities)
        seen.report()
        say(f"{out}: {n:,} proteins.")
        return
    from heads.api.predictions import join

    parts = list(seen)
    if json_:
        print_json([document for part in parts for document in part.to_dicts()])
    else:
        columns = join(parts).columns() if parts else {}
        print_rows([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], tsv=tsv)
    seen.report()


class _Counted:
    """Batches that are counted as they go by."""

    def __init__(self, batches: Iterator[Predictions]) -> None:
        self._batches = batches
        self._n, self._n_answered = 0, 0
        self._last: Predictions | None = None

    def __iter__(self) -> Iterator[Predictions]:
        for batch in self._batches:
            self._last = batch
            self._n += len(batch)
            if batch.answered is not None:
                self._n_answered += int(batch.answered.sum())
            yield batch

    def report(self) -> None:
        """Say what is guaranteed."""
        risk = None if self._last is None else self._last.risk_threshold
        if risk is None:
            return
        if risk.n_answered == 0:
            say(
                "no threshold guarantees that error: the head abstains on everything. The lowest error that the "
                f"validation rows can guarantee is {risk.lowest_bound:.3g}."
            )
            return
        answered = f"; answered here: {self._n_answered:,} of {self._n:,}" if self._last_answers() else ""
        say(
            f"answers from a probability of {risk.threshold:.3g} on: at most {risk.upper_bound:.3g} of them wrong "
            "with 95% confidence, on proteins like the validation rows, of which "
            f"{risk.coverage:.1%} are answered{answered}."
        )

    def _last_answers(self) -> bool:
        return self._last is not None and self._last.answered is not None
