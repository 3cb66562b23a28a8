"""Where on a protein families lie: windows of it, and regions chosen among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError

AUTO = "auto"
_N_SIZES = 4
_SHORTEST = 30
_STEPS = 4
"""A window moves by a quarter of its length."""

MAX_OVERLAP = 0.3
"""Of the shorter of two regions: two families that claim more of the same residues are not both reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How proteins are cut.

    Attributes
    ----------
    sizes
        Lengths in residues, ascending; domains of many lengths need several.
    step
        Residues from one window to the next; None for a quarter of its length.
    """

    sizes: tuple[int, ...]
    step: int | None

    def spans(self, length: int) -> list[tuple[int, int]]:
        """First and one past the last residue of each window, from 0; a protein shorter than a window is one.

        >>> Windows(sizes=(4,), step=2).spans(7)
        [(0, 4), (2, 6), (3, 7)]
        >>> Windows(sizes=(4, 9), step=None).spans(5)
        [(0, 4), (1, 5), (0, 5)]
        """
        found: dict[tuple[int, int], None] = {}
        for size in self.sizes:
            if size >= length:
                found[0, length] = None
                continue
            step = self.step or max(1, size // _STEPS)
            starts = [*range(0, length - size, step), length - size]
            found.update(dict.fromkeys((start, start + size) for start in starts))
        return list(found)


def as_windows(window: int | str | Sequence[int], step: int | None, lengths: NDArray[np.int64]) -> Windows:
    """Check what was asked for.

    Parameters
    ----------
    window
        Residues, or several such numbers, or ``auto``: four lengths between the 10% and the 90% quantile of the
        labelled proteins' lengths.
    step
        Residues, or None.
    lengths
        (N,) of the labelled proteins.

    Raises
    ------
    InputError
        For anything else than positive whole numbers.
    """
    if window == AUTO:
        low, high = np.quantile(lengths, (0.1, 0.9))
        sizes = np.geomspace(max(_SHORTEST, low), max(_SHORTEST, high), _N_SIZES).round().astype(int).tolist()
    else:
        sizes = [window] if isinstance(window, int | str) else list(window)
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise InputError(f"window is {window!r}; expected numbers of residues of at least 1, or 'auto'.")
    if step is not None and step < 1:
        raise InputError(f"step is {step}; expected at least 1 residue.")
    return Windows(sizes=tuple(sorted(set(sizes))), step=step)


def choose_regions(
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    labels: NDArray[np.int64],
    answered: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> list[int]:
    """The windows of one protein that stand for its regions, by their start.

    The best window is taken, then the best of those that overlap no taken one by more than `MAX_OVERLAP` of the
    shorter, and so on. Windows of the same label that overlap a taken one say the same and are dropped.

    Parameters
    ----------
    starts, stops
        (W,) first and one past the last residue.
    labels
        (W,) what each voted for.
    answered
        (W,) whether it is confident.
    probabilities, scores
        (W,); the more probable, and then the more similar, comes first.

    Returns
    -------
    list of int
        Numbers of the chosen windows; without a confident one the best window alone.
    """
    best = np.lexsort((starts - stops, -scores, -probabilities))
    taken: list[int] = []
    for window in best[answered[best]].tolist():
        for other in taken:
            shared = min(stops[window], stops[other]) - max(starts[window], starts[other])
            allowed = 0 if labels[window] == labels[other] else MAX_OVERLAP
            if shared > allowed * min(stops[window] - starts[window], stops[other] - starts[other]):
                break
        else:
            taken.append(window)
    return sorted(taken, key=lambda window: int(starts[window])) or [int(best[0])]
