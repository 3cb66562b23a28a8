"""What happens to a protein that is longer than a model takes in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import unknown_name
from embedstore.errors import InputError

LONG_POLICIES = ("window", "truncate", "skip", "error")
"""Overlapping windows, the first residues alone, no vector, or no build."""

OVERLAP = 256
"""Residues that two windows share at least, unless said otherwise: context for those at a cut."""

_TEXT = re.compile(
    r"skip over none|window (?P<window>\d+) overlap (?P<overlap>\d+)|truncate (?P<truncate>\d+)|skip over (?P<skip>\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongSequencePolicy:
    """What is done with proteins longer than ``limit`` residues.

    As text it is part of a space's identity: ``window 4096 overlap 256``, ``truncate 1022``, ``skip over 1022``, or
    ``skip over none`` where no protein is too long. ``error`` stores what ``skip`` stores, and reads the same.

    >>> policy = LongSequencePolicy(kind="window", limit=1022, overlap=256)
    >>> str(policy), LongSequencePolicy.parse(str(policy)) == policy
    ('window 1022 overlap 256', True)
    """

    kind: str
    limit: int | None
    overlap: int = 0

    def __str__(self) -> str:
        if self.limit is None:
            return "skip over none"
        if self.kind == "window":
            return f"window {self.limit} overlap {self.overlap}"
        return f"{'truncate' if self.kind == 'truncate' else 'skip over'} {self.limit}"

    @classmethod
    def parse(cls, text: str) -> LongSequencePolicy:
        """The policy that a space's identity states."""
        match = _TEXT.fullmatch(text)
        if not match:
            raise InputError(f"{text!r} is not a policy for long proteins that this release knows. Upgrade embedstore.")
        for kind in ("window", "truncate", "skip"):
            if match[kind]:
                return cls(kind=kind, limit=int(match[kind]), overlap=int(match["overlap"] or 0))
        return cls(kind="skip", limit=None)


def long_sequence_policy(
    kind: str,
    *,
    longest: int | None,
    window: int | None,
    max_residues: int | None = None,
    overlap: int | None = None,
    model: str,
) -> LongSequencePolicy:
    """The policy that a user asks for, checked against what the model can do.

    Parameters
    ----------
    kind
        One of `LONG_POLICIES`.
    longest
        Most residues that the model can take at all, or None.
    window
        Most residues that it takes in one pass by default under ``window``, or None for all.
    max_residues
        The user's own limit for one pass, at most ``longest``.
    overlap
        Residues that windows share; `OVERLAP`, or a quarter of a window that is short, where None.
    model
        Its name, for messages.

    Raises
    ------
    InputError
        For an unknown policy, or numbers that do not go together.
    """
    if kind not in LONG_POLICIES:
        raise unknown_name("policy for long proteins", kind, list(LONG_POLICIES))
    if max_residues is not None and (max_residues < 1 or max_residues > (longest or max_residues)):
        allowed = f"from 1 to {longest:,}" if longest else "1 or more"
        raise InputError(
            f"A limit of {max_residues:,} residues was given; {model} takes {allowed}. "
            "Change it (max_residues=, --max-residues)."
        )
    if kind == "truncate" and (max_residues or longest) is None:
        raise InputError(f"{model} takes any length: say where to cut (max_residues=, --max-residues).")
    limit = max_residues or ((window or longest) if kind == "window" else longest)
    if overlap is not None and (kind != "window" or limit is None):
        raise InputError("An overlap was given, but nothing is cut into windows. Leave it out (overlap=, --overlap).")
    if kind != "window" or limit is None:
        return LongSequencePolicy(kind=kind, limit=limit)
    shared_residues = min(OVERLAP, limit // 4) if overlap is None else overlap
    if not 0 <= shared_residues <= limit // 2:
        raise InputError(
            f"Windows of {limit:,} residues cannot share {shared_residues:,}; expected 0 to {limit // 2:,}. "
            "Change it (overlap=, --overlap)."
        )
    return LongSequencePolicy(kind=kind, limit=limit, overlap=shared_residues)


def window_starts(length: int, *, size: int, overlap: int) -> list[int]:
    """Where windows of ``size`` residues begin: as few as share ``overlap`` or more, spread evenly over the protein.

    >>> window_starts(10, size=4, overlap=1)
    [0, 3, 6]
    >>> window_starts(11, size=4, overlap=1)
    [0, 2, 4, 7]
    """
    if length <= size:
        return [0]
    n_windows = -(-(length - overlap) // (size - overlap))
    return [number * (length - size) // (n_windows - 1) for number in range(n_windows)]


def merge_windows(windows: list[NDArray[np.float32]], starts: list[int], length: int) -> NDArray[np.float32]:
    """One (L, D) float32 matrix from windows (W, D): where they overlap, a mean weighted by the distance to the cut.

    A residue next to a cut has seen its neighbours on one side alone, and counts least.

    >>> a, b = np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32)
    >>> merge_windows([a, b], [0, 2], 6).ravel().round(2)
    array([0.  , 0.  , 0.33, 0.67, 1.  , 1.  ], dtype=float32)
    """
    size = len(windows[0])
    states = np.zeros((length, windows[0].shape[1]), np.float32)
    weights = np.zeros((length, 1), np.float32)
    shared = [start + size - following for start, following in pairwise(starts)]
    for number, (window, start) in enumerate(zip(windows, starts, strict=True)):
        weight = np.ones(size, np.float32)
        if number:
            n = shared[number - 1]
            weight[:n] = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
        if number + 1 < len(starts):
            n = shared[number]
            weight[size - n :] = np.minimum(weight[size - n :], np.arange(n, 0, -1, dtype=np.float32) / (n + 1))
        states[start : start + size] += window * weight[:, None]
        weights[start : start + size] += weight[:, None]
    states /= weights
    return states
