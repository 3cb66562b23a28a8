"""The Pfam study's table from the rows of `benchmarks.bench_table`: its order, its printed figures, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heads.evaluating.published.study import STUDY
from heads.evaluating.published.table import PublishedRow

SETS: Mapping[str, tuple[str, str]] = {
    "pfam": ("pfam", "all of Pfam 32, random split"),
    "pfam_hard": ("pfam_clustered", "all of Pfam 32, clustered split under 25% identity"),
    "scop2": ("", ""),
}
"""Which published figures stand beside a set, and what they were measured on."""

BESIDE = (
    PublishedRow(name="MMseqs2 -s 7.5", head="mmseqs"),
    PublishedRow(name="DIAMOND ultra-sensitive", head="diamond"),
    PublishedRow(name="Smith-Waterman", head="smith_waterman"),
    PublishedRow(name="length alone", head="length", floor=True),
    PublishedRow(name="embedding, nearest neighbours", head="knn"),
    PublishedRow(name="embedding, best or blend", head="auto"),
    PublishedRow(name="embedding and alignment", head="hybrid"),
)
"""Rows that the study has not."""

_ALL = "17,929 families"
_MIB = 2**20


def study_of(sections: Mapping[str, Any]) -> str:
    """The table as Markdown, a section a set, with the learning curves of what was trained from scratch."""
    lines = [
        "# The Pfam study's table, measured here",
        "",
        "Made by `python -m benchmarks.bench_table DATA --only pfam pfam_hard scop2 --heads …`; the same rows by one "
        "command: `heads compare --task pfam --rows study`. Error on test rows, no hit counted as an error, with 95% "
        "bootstrap intervals. The printed figures were measured on other rows and more families: they say what the "
        "methods reached there, not what ours should reach here. Processor seconds, one thread, other work beside.",
        "",
        *(f"- Erratum: {erratum.text}" for erratum in STUDY.errata),
        "",
    ]
    for name, (task, told) in SETS.items():
        if name in sections:
            lines += [*_section(name, sections[name], task, told), ""]
    return "\n".join(lines)


def _section(name: str, section: Mapping[str, Any], task: str, told: str) -> Iterator[str]:
    rows = {row: found for row, found in section["rows"].items() if "failure" not in found}
    first = next(iter(rows.values()))
    note = f"; {section['note']}" if section["note"] else ""
    yield f"## {name}"
    yield ""
    yield f"{first['n_train']:,} training and {first['n_test']:,} test rows{note}."
    yield ""
    printed = f" printed ({told}) |" if told else ""
    yield f"| method | space | error % |{printed} fit CPU s | predict CPU s | memory MiB | settings |"
    yield f"|---|---|---|{'---|' if told else ''}---:|---:|---:|---|"
    curves = []
    for published in (*STUDY.rows, *BESIDE):
        figures = [one.printed for one in published.figures if one.task == task and one.of in (_ALL, "clustered split")]
        for row, found in rows.items():
            head, space = row.split()
            if head != published.head:
                continue
            # `kmer` is no language model, which the printed figure is of.
            told_figure = f" {', '.join(figures) if space != 'kmer' else ''} |" if told else ""
            cost = f"{found['fit_cpu_seconds']:.1f} | {found['predict_cpu_seconds']:.1f}"
            yield (
                f"| {published.name} | {space} | {_percent(found['metrics']['error_rate'])} |{told_figure} {cost} | "
                f"{found['peak_bytes'] / _MIB:,.0f} | {_settings(found)} |"
            )
            curves += [f"{published.name}: {_curve(one)}" for one in _trainings(found["settings"])]
    if curves:
        yield ""
        yield "Learning curves, log-loss on validation rows after each epoch:"
        yield ""
        yield from (f"- {curve}" for curve in curves)


def _percent(error: Mapping[str, float]) -> str:
    return f"{100 * error['value']:.2f} [{100 * error['low']:.2f}, {100 * error['high']:.2f}]"


def _settings(found: Mapping[str, Any]) -> str:
    """What is not the head's default, what aligned the families, and how many epochs there were."""
    settings = found["settings"]
    told = [f"{name}={value}" for name, value in settings.get("params", {}).items() if name != "epochs"]
    if "aligner" in settings:
        told.append(f"aligned by {settings['aligner']}")
    trainings = _trainings(settings)
    return ", ".join([*told, *([f"{len(trainings[0])} epochs"] if trainings else [])])


def _trainings(settings: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The learning curve of a network, or of each member of several."""
    members = settings.get("members", [])
    curves = [settings.get("curve"), *(one.get("curve") for one in members if isinstance(one, Mapping))]
    return [curve for curve in curves if curve]


def _curve(points: list[Mapping[str, Any]]) -> str:
    return ", ".join("–" if point["valid_loss"] is None else f"{point['valid_loss']:.2f}" for point in points)
