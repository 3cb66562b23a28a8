"""What a build would do, and what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What a build would do.

    ``n_expected`` distinct sequences are asked for, ``n_present`` have all that is wanted, ``n_missing`` would be
    embedded or skipped; of those, ``n_residues`` and the ``longest`` are in residues, ``n_long`` are over the limit of
    the policy ``long``; ``n_batches`` and ``padded_share`` (part of the computed positions that is padding) follow
    from the batch budget ``batch_residues``; ``n_bytes`` is what the vectors take and ``free_bytes`` what the disk
    has, None where that is not known. ``seconds`` (with a range) and ``memory_bytes`` (of this process, weights
    included) come from a timed sample, None where none was taken.
    """

    spaces: list[str]
    model: str
    datasets: list[str]
    n_expected: int
    n_present: int
    n_missing: int
    n_residues: int
    longest: int
    n_long: int
    long: str
    batch_residues: int
    n_batches: int
    padded_share: float
    n_bytes: int
    free_bytes: int | None
    seconds: float | None = None
    seconds_range: tuple[float, float] | None = None
    memory_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """The ledger of a build: ``n_expected == n_present + n_embedded + n_skipped``.

    A sequence is present when every space had it before, skipped when a space has nothing of it in the end, and else
    embedded, by this build or by another at the same time. ``n_residues`` are those of the embedded.
    ``n_unknown_residues`` counts residues that the model has no token for, ``n_recomputed`` sequences that overflowed
    in half precision and were computed in float32, ``n_windowed`` and ``n_truncated`` proteins that were too long for
    one pass, ``n_died`` workers that died, whose unfinished work was done again (and is counted again in these).
    ``skipped`` gives the reason by key; ``seconds`` is the whole, ``seconds_model`` the part of it spent inside the
    model, added up over workers.
    """

    spaces: list[str]
    datasets: list[str]
    n_expected: int
    n_present: int
    n_embedded: int
    n_skipped: int
    n_residues: int
    n_unknown_residues: int
    n_halved_batches: int
    n_recomputed: int
    n_windowed: int
    n_truncated: int
    n_died: int
    seconds: float
    seconds_model: float
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def space(self) -> str:
        """Id of the first space, which is the only one unless several poolings were asked for."""
        return self.spaces[0]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)
