"""Windows over long proteins, and the regions selected among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError

AUTO = "auto"
_N_SIZES = 4
_MIN_SIZE = 30
_STEPS_PER_WINDOW = 4

MAX_OVERLAP = 0.3
"""Largest overlap of two regions of different families, as a share of the shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Window sizes and step.

    Attributes
    ----------
    sizes
        Lengths in residues, ascending; domains of many lengths need several.
    step
        Residues from one window to the next; None for a quarter of the window.
    """

    sizes: tuple[int, ...]
    step: int | None

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Start and stop, from 0, of each window; a protein shorter than a window is one window.

        >>> Windows(sizes=(4,), step=2).spans(7)
        [(0, 4), (2, 6), (3, 7)]
        >>> Windows(sizes=(4, 9), step=None).spans(5)
        [(0, 4), (1, 5), (0, 5)]
        """
        spans: dict[tuple[int, int], None] = {}
        for size in self.sizes:
            if size >= length:
                spans[0, length] = None
                continue
            step = self.step or max(1, size // _STEPS_PER_WINDOW)
            starts = [*range(0, length - size, step), length - size]
            spans.update(dict.fromkeys((start, start + size) for start in starts))
        return list(spans)


def make_windows(window: int | str | Sequence[int], step: int | None, lengths: NDArray[np.int64]) -> Windows:
    """Windows from the arguments of a lookup.

    Parameters
    ----------
    window
        Residues, or several such numbers, or ``auto``: four lengths between the 10% and the 90% quantile of `lengths`.
    step
        Residues, or None.
    lengths
        (N,) lengths of the labelled proteins.

    Raises
    ------
    InputError
        For anything else than positive whole numbers.
    """
    if window == AUTO:
        low, high = np.quantile(lengths, (0.1, 0.9))
        sizes = np.geomspace(max(_MIN_SIZE, low), max(_MIN_SIZE, high), _N_SIZES).round().astype(int).tolist()
    else:
        sizes = [window] if isinstance(window, int | str) else list(window)
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise InputError(f"window is {window!r}; expected numbers of residues of at least 1, or 'auto'.")
    if step is not None and step < 1:
        raise InputError(f"step is {step}; expected at least 1 residue.")
    return Windows(sizes=tuple(sorted(set(sizes))), step=step)


def select_regions(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    labels: NDArray[np.int64],
    answered: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> list[int]:
    """Select the windows of one protein that are reported, in the order of their starts.

    Windows are taken from the most probable down, and skipped where they overlap a taken one: of the same label at
    all, of another label by more than `MAX_OVERLAP` of the shorter.

    Parameters
    ----------
    starts, stops
        (W,) start and stop of each window.
    labels
        (W,) label of each.
    answered
        (W,) whether it is confident.
    probabilities, scores
        (W,); ties of the probability are broken by the score.

    Returns
    -------
    list of int
        Indices of windows; without a confident one the best window.
    """
    best = np.lexsort((starts - stops, -scores, -probabilities))
    selected: list[int] = []
    for window in best[answered[best]].tolist():
        for other in selected:
            shared = min(stops[window], stops[other]) - max(starts[window], starts[other])
            allowed = 0 if labels[window] == labels[other] else MAX_OVERLAP
            if shared > allowed * min(stops[window] - starts[window], stops[other] - starts[other]):
                break
        else:
            selected.append(window)
    return sorted(selected, key=lambda window: int(starts[window])) or [int(best[0])]
