"""Embeds what spaces lack: plan, work, ledger."""

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
    job = _Job(store, model, pooling, residues, dtype, long, max_residues, overlap, batch_residues)
    with job.work(datasets) as work:
        totals = work.totals(job.long)
        job.check(totals)
        found = estimate(store, work, job.embedder, sample_seconds, n_workers=len(devices or [""]))
        return BuildPlan(
            spaces=work.space_ids,
            model=model.name,
            datasets=work.datasets,
            n_expected=totals.n_expected,
            n_present=totals.n_expected - totals.n_missing,
            n_missing=totals.n_missing,
            n_residues=totals.n_residues,
            longest=totals.longest,
            n_long=totals.n_long,
            long=str(job.long),
            batch_residues=job.batch_residues,
            n_batches=totals.n_batches,
            padded_share=totals.padded_share,
            n_bytes=job.n_bytes(totals),
            free_bytes=store.free_bytes(),
            seconds=found.seconds,
            seconds_range=found.seconds_range,
            memory_bytes=found.memory_bytes,
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
    job = _Job(store, model, pooling, residues, dtype, long, max_residues, overlap, batch_residues)
    with job.work(datasets) as work:
        totals = work.totals(job.long)
        job.check(totals)
        check_disk_space(store, job.n_bytes(totals))
        spaces = [store.create_space(identity) for identity in job.identities]
        tally = BuildCounters(skipped=[{} for _ in spaces])

        def done(more: BuildCounters) -> None:
            tally.add(more)
            seen = min(tally.n_done, totals.n_residues)
            note = f"{more.padded_share:.0%} padding"
            progress(Progress(stage="embed", done=seen, total=totals.n_residues, unit="residues", note=note))

        if devices:
            n_died = _run_processes(job, work, totals, devices, done)
        else:
            n_died = 0
            with Worker(store, job.embedder, spaces) as worker:
                for unit in work.units():
                    if unit.batches:
                        worker.run(unit, done)
        return _close_ledger(store, work, totals, tally, n_died=n_died, started=started)


class _Job:
    """The arguments of a build, checked and turned into what they mean."""

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
            raise InputError("No pooling was named, and no residue vectors were asked for: there is nothing to keep.")
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

    def work(self, datasets: Sequence[str] | None) -> BuildPlanner:
        """What there is to do."""
        cut = self.long.limit if self.long.kind == "truncate" else None
        return BuildPlanner(self.store, datasets, self.identities, budget=self.batch_residues, cut=cut)

    def check(self, totals: PlanTotals) -> None:
        """Raise InputError where a protein is too long and that shall be an error."""
        if self.long.kind == "error" and totals.n_long:
            named = ", ".join(key_text(key) for key in totals.long_keys)
            raise InputError(
                f"{totals.n_long:,} proteins have more than {self.long.limit:,} residues (the longest "
                f"{totals.longest:,}), among them {named}. Nothing was embedded. Choose what to do with them: "
                "--long window, truncate or skip (long=)."
            )

    def n_bytes(self, totals: PlanTotals) -> int:
        """What the vectors of all that is missing take."""
        rows = [
            totals.n_residues_missing[number] if name == RESIDUES else totals.n_rows_missing[number]
            for number, name in enumerate(self.poolings)
        ]
        return sum(rows) * self.model.dim * self._item_bytes


def _run_processes(
    job: _Job, work: BuildPlanner, totals: PlanTotals, devices: Sequence[str], done: Callable[[BuildCounters], None]
) -> int:
    """Run the work in one process a device, again and again while workers die and work gets done; how many died."""
    if job.model.load_options is None:
        raise InputError(
            f"{job.model.name} was not made by load_model, so that other processes cannot load it. Leave devices= out."
        )
    on_cpu = sum(device == "cpu" for device in devices)
    recipe = WorkerConfig(
        store=str(job.store.path),
        load_options=job.model.load_options,
        poolings=job.poolings,
        identities=job.identities,
        long=str(job.long),
        batch_residues=job.batch_residues,
        n_threads=max(1, (os.cpu_count() or 1) // max(1, on_cpu)),
    )
    size = piece_residues(totals.n_residues, n_workers=len(devices), batch_residues=job.batch_residues)
    n_died, n_missing = 0, totals.n_missing
    while n_missing:
        deaths = run_processes(recipe, devices, _pieces(work, size), done)
        if not deaths:
            break
        n_died += len(deaths)
        work.refresh()
        left = work.totals(job.long).n_missing
        if left >= n_missing:
            raise WorkerDiedError(
                f"{deaths[0].told} Nothing was embedded since the last time a worker died. {deaths[0].advice} "
                "What is committed is kept: run the same command again to go on."
            )
        for death in deaths:
            _log.warning("%s Its unfinished work is done again.", death.told)
        n_missing = left
    return n_died


def _pieces(work: BuildPlanner, n_residues: int) -> Iterator[WorkUnit]:
    for unit in work.units():
        yield from split_unit(unit, n_residues=n_residues)


def _close_ledger(
    store: Store, work: BuildPlanner, totals: PlanTotals, tally: BuildCounters, *, n_died: int, started: float
) -> BuildReport:
    """Look again at what the spaces hold, account for every key, and record it."""
    spaces: list[Space | ResidueSpace] = [store.create_space(identity) for identity in work.identities]
    for space, found in zip(spaces, tally.skipped, strict=True):
        write_skipped(space, found)
    work.refresh()
    n_embedded = n_residues = 0
    skipped: dict[str, str] = {}
    lost: list[bytes] = []
    for unit in work.units():
        for number, reasons in enumerate(tally.skipped):
            for row in unit.keys.digests[unit.keys.missing[number]]:
                key = row.tobytes()
                if key in reasons:
                    skipped[key_text(key)] = reasons[key]
                else:
                    lost.append(key)
        got = ~unit.needed
        n_embedded += int(got.sum())
        n_residues += int(unit.keys.lengths[got].sum())
    if lost:
        raise LedgerError(
            f"{len(lost):,} of {totals.n_expected:,} sequences are neither embedded nor skipped, among them "
            f"{', '.join(map(key_text, lost[:5]))}. Running the build again embeds them. Unless vectors of "
            f"{', '.join(work.space_ids)} were removed meanwhile (`embedstore rm`), this is a defect of embedstore: "
            "please report it."
        )
    n_present = totals.n_expected - totals.n_missing
    report = BuildReport(
        spaces=work.space_ids,
        datasets=work.datasets,
        n_expected=totals.n_expected,
        n_present=n_present,
        n_embedded=n_embedded - n_present,
        n_skipped=len(skipped),
        n_residues=n_residues - totals.n_residues_present,
        n_unknown_residues=tally.n_unknown_residues,
        n_halved_batches=tally.n_halved_batches,
        n_recomputed=tally.n_recomputed,
        n_windowed=tally.n_windowed,
        n_truncated=tally.n_truncated,
        n_died=n_died,
        seconds=time.monotonic() - started,
        seconds_model=tally.seconds_model,
        skipped=skipped,
    )
    if report.n_expected != report.n_present + report.n_embedded + report.n_skipped or report.n_embedded < 0:
        raise LedgerError(f"The ledger does not balance: {report}. This is a defect of embedstore: please report it.")
    counts = {name: value for name, value in report.to_dict().items() if name != "skipped"}
    for space in spaces:
        if report.n_embedded or work.covers not in [ledger["covers"] for ledger in space.builds]:
            write_build(space, {**counts, "covers": work.covers})
    return report
