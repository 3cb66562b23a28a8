"""Planning a build: which keys are missing, in units that fit into memory and in reproducible batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import InputError, StoreError
from embedstore.sequences import key_text
from embedstore.sequences.batching import plan_batches
from embedstore.store import Store
from embedstore.store.external_partition import BloomFilter, KeyPartition
from embedstore.store.keys import KeyTable, distinct
from embedstore.store.manifest import space_id
from embedstore.types import Digests

UNIT_ROWS = 65536
"""Distinct sequences in a unit of work, about: enough for sorting by length to leave little padding."""

_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The proteins of one forward pass, and where in the store their residues stand.

    Attributes
    ----------
    digests
        (n, 24) uint8: their keys.
    parts
        (n,) int32: index of the part of the sequence table.
    starts, lengths
        (n,) int64: first residue in that part, and number of residues.
    missing
        (S, n) bool: which of the S spaces of the build lack them.
    """

    digests: Digests
    parts: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    missing: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.digests)

    def rows(self, rows: NDArray[Any]) -> Batch:
        """Some of its rows, by number or by mask."""
        return Batch(
            digests=self.digests[rows],
            parts=self.parts[rows],
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            missing=self.missing[:, rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkUnit:
    """A range of keys, and the batches of those that are missing in some space.

    ``n_planned`` batches there would be if all did.
    """

    keys: Batch
    batches: list[NDArray[np.int64]]
    n_planned: int

    @property
    def needed(self) -> NDArray[np.bool_]:
        """(n,) bool: which keys some space lacks."""
        return missing_mask(self.keys)


def missing_mask(keys: Batch) -> NDArray[np.bool_]:
    """Which keys some space lacks, (n,) bool."""
    needed: NDArray[np.bool_] = np.logical_or.reduce(keys.missing, axis=0)
    return needed


@dataclass(slots=True, kw_only=True)
class PlanTotals:
    """Sums over all units of a build; sequences are distinct ones.

    ``n_residues`` and ``longest`` are of those that some space lacks, ``n_residues_present`` of the others;
    ``n_rows_missing`` and ``n_residues_missing`` are what each space lacks and will hold: no more of a protein than the
    long policy leaves. ``n_computed`` positions hold a residue, ``n_padding`` none. ``long_keys`` names the first few
    that are over the limit of the long policy.
    """

    n_expected: int = 0
    n_missing: int = 0
    n_residues: int = 0
    n_residues_present: int = 0
    longest: int = 0
    n_long: int = 0
    n_batches: int = 0
    n_computed: int = 0
    n_padding: int = 0
    n_rows_missing: list[int]
    n_residues_missing: list[int]
    long_keys: list[bytes] = field(default_factory=list)

    @property
    def padded_share(self) -> float:
        """Part of the computed positions that is padding."""
        return self.n_padding / (self.n_padding + self.n_computed) if self.n_computed else 0.0


class BuildPlanner:
    """The keys of the data sets, joined with their sequences and the keys of each space; a context manager.

    Memory is bounded by a unit, whatever the number of keys: they are sorted into ranges on disk (about 100 bytes a
    key in the temporary directory for as long as the work lives).

    Parameters
    ----------
    store
        The store; it is refreshed.
    datasets
        Names of data sets; all where None.
    identities
        The identity of each space that is to be filled.
    budget
        Padded residues in a batch.
    cut
        Residues that are left of a protein that is longer, or None where none is cut.

    Raises
    ------
    UnknownNameError
        If a data set is not there.
    InputError
        If there is nothing to embed.
    StoreError
        If a data set names a key without a sequence.
    """

    def __init__(
        self,
        store: Store,
        datasets: Sequence[str] | None,
        identities: Sequence[dict[str, Any]],
        *,
        budget: int,
        max_length: int | None = None,
    ) -> None:
        store.refresh()
        self.datasets = store.datasets() if datasets is None else list(dict.fromkeys(datasets))
        if not self.datasets:
            raise InputError(f"The store at {store.path} has no data set. Add one: `embedstore add NAME FILE`.")
        if budget < 1:
            raise InputError(f"A batch of {budget} residues holds nothing; pass at least 1.")
        self.identities = list(identities)
        self.space_ids = [space_id(identity) for identity in identities]
        chosen_datasets = [store.dataset(name) for name in self.datasets]
        # What the ledger may claim: the parts that were there when the work was planned, and no later one.
        self.covers = {dataset.name: [part.name for part in dataset.parts] for dataset in chosen_datasets}
        n_rows = sum(dataset.n_rows for dataset in chosen_datasets)
        self.n_units = max(1, -(-n_rows // UNIT_ROWS))
        self._store = store
        self._budget = budget
        self._max_length = max_length
        self._stack = ExitStack()
        # A small data set in a large store: what is not asked for must not fill the units.
        self._bloom = BloomFilter(n_rows)
        with ExitStack() as stack:
            self._keys = stack.enter_context(KeyPartition(self.n_units))
            for dataset in chosen_datasets:
                for part in dataset.parts:
                    for start in range(0, part.n_rows, _BLOCK_ROWS):
                        digests = part.array("digests").read(start, start + _BLOCK_ROWS)
                        self._keys.append(digests)
                        self._bloom.add(digests)
            self._residues = stack.enter_context(KeyPartition(self.n_units, part="<i4", start="<i8", length="<i8"))
            for index, part in enumerate(store.sequences.parts):
                for start in range(0, part.n_rows, _BLOCK_ROWS):
                    digests = part.array("digests").read(start, start + _BLOCK_ROWS)
                    offsets = part.array("residues_offsets").read(start, start + len(digests) + 1)
                    is_wanted = self._bloom.may_hold(digests)
                    lengths = np.diff(offsets)[is_wanted]
                    self._residues.append(digests[is_wanted], part=index, start=offsets[:-1][is_wanted], length=lengths)
            self._present = [stack.enter_context(self._keys_of(space)) for space in self.space_ids]
            self._stack = stack.pop_all()

    def __enter__(self) -> BuildPlanner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def refresh(self) -> None:
        """Read again which keys the spaces hold."""
        self._store.refresh()
        for number in self._present:
            number.close()
        self._present = [self._stack.enter_context(self._keys_of(space)) for space in self.space_ids]

    def units(self) -> Iterator[WorkUnit]:
        """Units in key order, with the batches of what is missing.

        Batches are drawn over all keys of a unit and then stripped of what is done: after a crash, what is left
        runs in the same batches as it would have, so that not even the rounding of a vector differs.
        """
        for number in range(self.n_units):
            keys = self._load_unit(number)
            if not len(keys):
                continue
            needed = missing_mask(keys)
            batches, planned = [], []
            if needed.any():
                planned = plan_batches(self._computed_length(keys.lengths), budget=self._budget)
                batches = [is_wanted for batch in planned if len(is_wanted := batch[needed[batch]])]
            yield WorkUnit(keys=keys, batches=batches, n_planned=len(planned))

    def totals(self, long: LongSequencePolicy) -> PlanTotals:
        """Sums over all units."""
        n_spaces = len(self.space_ids)
        totals = PlanTotals(n_rows_missing=[0] * n_spaces, n_residues_missing=[0] * n_spaces)
        for unit in self.units():
            lengths, needed = unit.keys.lengths, unit.needed
            totals.n_expected += len(unit.keys)
            totals.n_missing += int(needed.sum())
            totals.n_residues += int(lengths[needed].sum())
            totals.n_residues_present += int(lengths[~needed].sum())
            totals.longest = max(totals.longest, int(lengths[needed].max(initial=0)))
            totals.n_batches += len(unit.batches)
            is_wanted = self._computed_length(lengths)
            totals.n_padding += sum(int((is_wanted[batch].max() - is_wanted[batch]).sum()) for batch in unit.batches)
            totals.n_computed += int(is_wanted[needed].sum())
            fits = np.ones(len(lengths), np.bool_)
            if long.limit is not None and long.kind == "skip":
                fits = lengths <= long.limit
            for number, missing in enumerate(unit.keys.missing):
                totals.n_rows_missing[number] += int((missing & fits).sum())
                totals.n_residues_missing[number] += int(is_wanted[missing & fits].sum())
            if long.limit is not None:
                over = needed & (lengths > long.limit)
                totals.n_long += int(over.sum())
                totals.long_keys += [row.tobytes() for row in unit.keys.digests[over][: 3 - len(totals.long_keys)]]
        return totals

    def _computed_length(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """What is computed of proteins of these lengths, in residues."""
        return lengths if self._max_length is None else np.minimum(lengths, self._max_length)

    def _keys_of(self, space: str) -> KeyPartition:
        partition = KeyPartition(self.n_units)
        if space in self._store.spaces():
            for part in self._store.any_space(space).parts:
                for start in range(0, part.n_rows, _BLOCK_ROWS):
                    digests = part.array("digests").read(start, start + _BLOCK_ROWS)
                    partition.append(digests[self._bloom.may_hold(digests)])
        return partition

    def _load_unit(self, number: int) -> Batch:
        digests = distinct(self._keys.read(number)["digest"])
        residues = self._residues.read(number)
        rows = _find(residues["digest"], digests)
        if (rows < 0).any():
            examples = ", ".join(key_text(row.tobytes()) for row in digests[rows < 0][:3])
            raise StoreError(
                f"{int((rows < 0).sum()):,} keys have no sequence in this store, among them {examples}. "
                "Run `embedstore add` with the files of the data set again."
            )
        return Batch(
            digests=digests,
            parts=residues["part"][rows],
            starts=residues["start"][rows],
            lengths=residues["length"][rows],
            missing=np.stack([_find(partition.read(number)["digest"], digests) < 0 for partition in self._present]),
        )


def _find(table: Digests, digests: Digests) -> NDArray[np.int64]:
    """Row of each key in a table that fits into memory; -1 where it is not."""
    keys = KeyTable(lambda rows: table[rows])
    keys.extend(table)
    return keys.find(digests)
