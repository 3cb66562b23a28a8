"""Building spaces: plan which sequences are missing, embed them, account for each."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embedstore.catalog import suggest_arguments
from embedstore.embedding.embedder import Embedder, space_spec
from embedstore.embedding.estimate import check_disk_space, estimate
from embedstore.embedding.executors.process_pool import piece_residues, run_processes, split_unit
from embedstore.embedding.executors.worker import BuildCounters, Worker
from embedstore.embedding.executors.worker_process import WorkerConfig
from embedstore.embedding.planner import BuildPlanner, PlanTotals, WorkUnit
from embedstore.embedding.report import BuildPlan, BuildReport
from embedstore.embedding.windows import LongSequencePolicy, long_sequence_policy
from embedstore.errors import InputError, LedgerError, WorkerDiedError
from embedstore.models import Model
from embedstore.sequences import key_text
from embedstore.store import ResidueSpace, Space, Store
from embedstore.store.space_writer import write_build, write_skipped
from embedstore.types import RESIDUES, Progress, ProgressCallback, null_progress

_log = logging.getLogger(__name__)


@suggest_arguments
def plan(
    store: Store,
    model: Model,
    datasets: Sequence[str] | None = None,
    *,
    pooling: str | Sequence[str] = "mean",
    residues: bool = False,
    dtype: str = "float16",
    long: str = "window",
    max_residues: int | None = None,
    overlap: int | None = None,
    batch_residues: int | None = None,
    devices: Sequence[str] | None = None,
    sample_seconds: float = 0.0,
) -> BuildPlan:
    """What `build` would do with the same arguments; writes nothing.

    Parameters
    ----------
    devices
        As `build` takes them: the time is divided by their number.
    sample_seconds
        Time for embedding a sample, from which the build's time and memory are estimated: at least two batches, and
        no further one after so many seconds. 0 takes none, and does not load the model's weights.
    """
    setup = _BuildSetup(store, model, pooling, residues, dtype, long, max_residues, overlap, batch_residues)
    with setup.planner(datasets) as planner:
        totals = planner.totals(setup.long)
        setup.check(totals)
        sample = estimate(store, planner, setup.embedder, sample_seconds, n_workers=len(devices or [""]))
        return BuildPlan(
            spaces=planner.space_ids,
            model=model.name,
            datasets=planner.datasets,
            n_expected=totals.n_expected,
            n_present=totals.n_expected - totals.n_missing,
            n_missing=totals.n_missing,
            n_residues=totals.n_residues,
            longest=totals.longest,
            n_long=totals.n_long,
            long=str(setup.long),
            batch_residues=setup.batch_residues,
            n_batches=totals.n_batches,
            padded_share=totals.padded_share,
            n_bytes=setup.n_bytes(totals),
            free_bytes=store.free_bytes(),
            seconds=sample.seconds,
            seconds_range=sample.seconds_range,
            memory_bytes=sample.memory_bytes,
        )


@suggest_arguments
def build(
    store: Store,
    model: Model,
    datasets: Sequence[str] | None = None,
    *,
    pooling: str | Sequence[str] = "mean",
    residues: bool = False,
    dtype: str = "float16",
    long: str = "window",
    max_residues: int | None = None,
    overlap: int | None = None,
    batch_residues: int | None = None,
    devices: Sequence[str] | None = None,
    progress: ProgressCallback = null_progress,
) -> BuildReport:
    """Embed every distinct sequence of these data sets that a space of this model lacks.

    Parts are committed as the work goes on; a run that was killed is continued by running it again, and gives
    the vectors, bit by bit, that it would have given without the interruption.

    Parameters
    ----------
    store
        Opened with ``mode="a"`` or not: building writes into it either way.
    model
        From `embedstore.models.load_model`.
    datasets
        Names of data sets; all where None.
    pooling
        How residue vectors become one: a name in `embedstore.models.pooling.POOLINGS`, or several. Each is a
        space of its own, and all are filled from one forward pass.
    residues
        Keep the vector of every residue too, in a space of matrices.
    dtype
        ``float16`` or ``float32``: how vectors are stored.
    long
        What happens to proteins over the limit: ``window`` embeds overlapping windows, blends the residue vectors and
        pools over the whole protein; ``truncate`` takes the first residues; ``skip`` makes no vector, and names them;
        ``error`` refuses to start.
    max_residues
        The limit; the model's own where None: for ``window`` what it takes comfortably in one pass, else what it can
        take at all.
    overlap
        Residues that neighbouring windows share, at least.
    batch_residues
        Padded residues in a batch; the model's own budget where None.
    devices
        One process for each of these devices (``["cuda:0", "cuda:1"]``); where None, this process and the model's
        own device.
    progress
        Called after each batch, in residues.

    Raises
    ------
    UnknownNameError
        If a data set is not there.
    InputError
        If arguments do not go together, or ``long`` is ``error`` and a protein is too long.
    StoreWriteError
        If the disk is full, too small for what would come, or not writable; what was committed stays.
    WorkerDiedError
        If workers died and no work got done meanwhile.
    LedgerError
        If a sequence is unaccounted for.
    """
    started = time.monotonic()
    setup = _BuildSetup(store, model, pooling, residues, dtype, long, max_residues, overlap, batch_residues)
    with setup.planner(datasets) as planner:
        totals = planner.totals(setup.long)
        setup.check(totals)
        check_disk_space(store, setup.n_bytes(totals))
        spaces = [store.create_space(identity) for identity in setup.identities]
        counters = BuildCounters(skipped=[{} for _ in spaces])

        def count(added: BuildCounters) -> None:
            counters.add(added)
            n_done = min(counters.n_done, totals.n_residues)
            note = f"{added.padded_share:.0%} padding"
            progress(Progress(stage="embed", done=n_done, total=totals.n_residues, unit="residues", note=note))

        if devices:
            n_died = _run_processes(setup, planner, totals, devices, count)
        else:
            n_died = 0
            with Worker(store, setup.embedder, spaces) as worker:
                for unit in planner.units():
                    if unit.batches:
                        worker.run(unit, count)
        return _close_ledger(store, planner, totals, counters, n_died=n_died, started=started)


class _BuildSetup:
    """The arguments of a build, checked and resolved against the model."""

    def __init__(
        self,
        store: Store,
        model: Model,
        pooling: str | Sequence[str],
        residues: bool,
        dtype: str,
        long: str,
        max_residues: int | None,
        overlap: int | None,
        batch_residues: int | None,
    ) -> None:
        names = [pooling] if isinstance(pooling, str) else list(pooling)
        self.poolings = list(dict.fromkeys([*names, *([RESIDUES] if residues else [])]))
        if not self.poolings:
            raise InputError("No pooling was named, and residues is False: there is nothing to store.")
        self.store, self.model = store, model
        self.long: LongSequencePolicy = long_sequence_policy(
            long,
            longest=model.max_residues,
            window=model.window_residues,
            max_residues=max_residues,
            overlap=overlap,
            model=model.name,
        )
        self.batch_residues = model.batch_residues if batch_residues is None else batch_residues
        self.embedder = Embedder(model, self.poolings, self.long, batch_residues=self.batch_residues)
        self.identities = [space_spec(model, pooling=name, dtype=dtype, long=self.long) for name in self.poolings]
        self._item_bytes = np.dtype(dtype).itemsize

    def planner(self, datasets: Sequence[str] | None) -> BuildPlanner:
        """The planner of the missing sequences."""
        max_length = self.long.limit if self.long.kind == "truncate" else None
        return BuildPlanner(self.store, datasets, self.identities, budget=self.batch_residues, max_length=max_length)

    def check(self, totals: PlanTotals) -> None:
        """Raise InputError if a protein is too long and the policy is ``error``."""
        if self.long.kind == "error" and totals.n_long:
            named = ", ".join(key_text(key) for key in totals.long_keys)
            raise InputError(
                f"{totals.n_long:,} proteins have more than {self.long.limit:,} residues (the longest "
                f"{totals.longest:,}), among them {named}. Nothing was embedded. Choose what to do with them: "
                "--long window, truncate or skip (long=)."
            )

    def n_bytes(self, totals: PlanTotals) -> int:
        """Bytes of all missing vectors."""
        rows = [
            totals.n_residues_missing[number] if name == RESIDUES else totals.n_rows_missing[number]
            for number, name in enumerate(self.poolings)
        ]
        return sum(rows) * self.model.dim * self._item_bytes


def _run_processes(
    setup: _BuildSetup,
    planner: BuildPlanner,
    totals: PlanTotals,
    devices: Sequence[str],
    count: Callable[[BuildCounters], None],
) -> int:
    """Run the units in one process a device, again while workers die and make progress; returns how many died."""
    if setup.model.load_options is None:
        raise InputError(
            f"{setup.model.name} was not made by load_model, so that other processes cannot load it. "
            "Leave devices= out."
        )
    on_cpu = sum(device == "cpu" for device in devices)
    config = WorkerConfig(
        store=str(setup.store.path),
        load_options=setup.model.load_options,
        poolings=setup.poolings,
        identities=setup.identities,
        long=str(setup.long),
        batch_residues=setup.batch_residues,
        n_threads=max(1, (os.cpu_count() or 1) // max(1, on_cpu)),
    )
    n_residues = piece_residues(totals.n_residues, n_workers=len(devices), batch_residues=setup.batch_residues)
    n_died, n_missing = 0, totals.n_missing
    while n_missing:
        failures = run_processes(config, devices, _split_units(planner, n_residues), count)
        if not failures:
            break
        n_died += len(failures)
        planner.refresh()
        n_left = planner.totals(setup.long).n_missing
        if n_left >= n_missing:
            raise WorkerDiedError(
                f"{failures[0].description} Nothing was embedded since the last time a worker died. "
                f"{failures[0].advice} "
                "What is committed is kept: run the same command again to go on."
            )
        for failure in failures:
            _log.warning("%s Its unfinished work is done again.", failure.description)
        n_missing = n_left
    return n_died


def _split_units(planner: BuildPlanner, n_residues: int) -> Iterator[WorkUnit]:
    for unit in planner.units():
        yield from split_unit(unit, n_residues=n_residues)


def _close_ledger(
    store: Store, planner: BuildPlanner, totals: PlanTotals, counters: BuildCounters, *, n_died: int, started: float
) -> BuildReport:
    """Read again which keys the spaces hold, account for every key, and record the build."""
    spaces: list[Space | ResidueSpace] = [store.create_space(identity) for identity in planner.identities]
    for space, sample in zip(spaces, counters.skipped, strict=True):
        write_skipped(space, sample)
    planner.refresh()
    n_embedded = n_residues = 0
    skipped: dict[str, str] = {}
    unaccounted: list[bytes] = []
    for unit in planner.units():
        for number, reasons in enumerate(counters.skipped):
            for row in unit.keys.digests[unit.keys.missing[number]]:
                key = row.tobytes()
                if key in reasons:
                    skipped[key_text(key)] = reasons[key]
                else:
                    unaccounted.append(key)
        is_done = ~unit.needed
        n_embedded += int(is_done.sum())
        n_residues += int(unit.keys.lengths[is_done].sum())
    if unaccounted:
        raise LedgerError(
            f"{len(unaccounted):,} of {totals.n_expected:,} sequences are neither embedded nor skipped, among them "
            f"{', '.join(map(key_text, unaccounted[:5]))}. Running the build again embeds them. Unless vectors of "
            f"{', '.join(planner.space_ids)} were removed meanwhile (`embedstore rm`), this is a defect of embedstore: "
            "please report it."
        )
    n_present = totals.n_expected - totals.n_missing
    report = BuildReport(
        spaces=planner.space_ids,
        datasets=planner.datasets,
        n_expected=totals.n_expected,
        n_present=n_present,
        n_embedded=n_embedded - n_present,
        n_skipped=len(skipped),
        n_residues=n_residues - totals.n_residues_present,
        n_unknown_residues=counters.n_unknown_residues,
        n_halved_batches=counters.n_halved_batches,
        n_recomputed=counters.n_recomputed,
        n_windowed=counters.n_windowed,
        n_truncated=counters.n_truncated,
        n_died=n_died,
        seconds=time.monotonic() - started,
        seconds_model=counters.seconds_model,
        skipped=skipped,
    )
    if report.n_expected != report.n_present + report.n_embedded + report.n_skipped or report.n_embedded < 0:
        raise LedgerError(f"The ledger does not balance: {report}. This is a defect of embedstore: please report it.")
    counts = {name: value for name, value in report.to_dict().items() if name != "skipped"}
    for space in spaces:
        if report.n_embedded or planner.covers not in [ledger["covers"] for ledger in space.builds]:
            write_build(space, {**counts, "covers": planner.covers})
    return report
