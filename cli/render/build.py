"""What ``embedstore build`` takes and tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.render.add import SHOWN, print_added
from cli.render.output import print_facts, print_json, say, warn

SAMPLE_SECONDS = 20.0
"""How long ``--dry-run`` takes samples."""

if TYPE_CHECKING:
    from embedstore.embedding.report import BuildPlan, BuildReport
    from embedstore.store import Store
    from embedstore.types import ProgressCallback


def input_datasets(
    store: Store, inputs: Sequence[str], options: dict[str, Any], progress: ProgressCallback
) -> list[str] | None:
    """Data set names for the arguments, None for no argument; files are added first, named by their stem."""
    known = store.datasets()
    names = []
    for text in inputs:
        path = Path(text)
        if text in known:
            # A folder of the same name is common (`embedstore add pfam pfam/`); ./pfam would mean the folder.
            names.append(text)
        elif path.exists() or path.name != text or path.suffix:
            name = dataset_name(path)
            print_added(store.add(name, path, progress=progress, **options), json_=False)
            names.append(name)
        else:
            # Neither: the store's own error lists the data sets that there are.
            store.dataset(text)
    return names or None


def dataset_name(path: Path) -> str:
    """The name of a file without its extensions: ``swiss.fasta.gz`` gives ``swiss``."""
    return path.resolve().name.split(".")[0]


def worker_devices(text: str) -> list[str]:
    """The devices that ``--device`` names: one, several with commas between, or all GPUs.

    >>> worker_devices("cuda:0,cuda:1")
    ['cuda:0', 'cuda:1']
    """
    if text == "all":
        from embedstore.models.devices import gpu_names

        names: list[str] = gpu_names()
        return names
    return [device.strip() for device in text.split(",") if device.strip()] or ["auto"]


def print_plan(plan: BuildPlan, *, json_: bool) -> None:
    """Print what a build would do."""
    from rich.filesize import decimal

    facts = plan.to_dict()
    if json_:
        print_json(facts)
        return
    for name in ("n_bytes", "free_bytes", "memory_bytes"):
        facts[name] = None if facts[name] is None else decimal(facts[name])
    low, high = plan.seconds_range or (None, None)
    facts["seconds"] = duration(plan.seconds)
    facts["seconds_range"] = None if low is None or high is None else f"{duration(low)} to {duration(high)}"
    print_facts(facts, json_=False, title="Would build:")


def duration(seconds: float | None) -> str | None:
    """A time that a person can read.

    >>> duration(7265), duration(3.2)
    ('2 h 01 min', '3.2 s')
    """
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def print_build(store: Store, report: BuildReport, *, json_: bool) -> None:
    """Print the ledger, and name what was skipped."""
    from embedstore.sequences import parse_key
    from embedstore.store.keys import as_digests

    shown = list(report.skipped.items())[:SHOWN]
    names = store.ids_of(as_digests([parse_key(key) for key, _ in shown])) if shown else {}
    for key, reason in shown:
        warn(f"skipped {', '.join(names.get(parse_key(key), []))} ({key}): {reason}")
    if len(report.skipped) > SHOWN:
        warn(f"skipped {len(report.skipped) - SHOWN:,} more; `embedstore info --space {report.space}` counts them.")
    if report.n_recomputed:
        warn(f"{report.n_recomputed:,} sequences overflowed in half precision and were computed in float32.")
    if report.n_windowed:
        warn(f"{report.n_windowed:,} long proteins were embedded in overlapping windows.")
    if report.n_truncated:
        warn(f"{report.n_truncated:,} long proteins were cut: their vectors are over the first residues alone.")
    if report.n_died:
        warn(f"{report.n_died:,} workers died; what they had not committed was done again.")
    if report.n_unknown_residues:
        warn(f"{report.n_unknown_residues:,} residues are letters that the model does not know (read as unknown).")
    if json_:
        print_json(report.to_dict())
        return
    rate = f", {report.n_residues / report.seconds:,.0f} residues/s" if report.n_embedded else ""
    say(
        f"{' + '.join(report.spaces)}: {report.n_expected:,} sequences = {report.n_present:,} there already "
        f"+ {report.n_embedded:,} embedded + {report.n_skipped:,} skipped ({report.seconds:.1f} s{rate})."
    )
