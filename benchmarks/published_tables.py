"""The published tables from the rows of `benchmarks.bench_table`: their order, their figures, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heads.published.deepprotein import DEEPPROTEIN
from heads.published.pfam_study import STUDY
from heads.published.table import PublishedRow, PublishedTable

_ALL = "17,929 families"
_MIB = 2**20
_CAUTION = (
    "The printed figures were measured on other rows: they say what the methods reached there, not what ours should "
    "reach here. 95% bootstrap intervals. Processor seconds, one thread, other work beside."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is shown of a published table.

    Attributes
    ----------
    of
        The published table.
    about
        What stands above it.
    sets
        By section: which task's published figures stand beside it, and what they were measured on; empty: none.
    metric
        In what figures are shown; empty: the section's main one.
    beside
        Rows that the table has not.
    """

    of: PublishedTable
    about: str
    sets: Mapping[str, tuple[str, str]]
    metric: str
    beside: tuple[PublishedRow, ...]


TABLES: Mapping[str, Measured] = {
    "study_table.md": Measured(
        of=STUDY,
        about="# The Pfam study's table, measured here\n\n"
        "Made by `python -m benchmarks.bench_table DATA --only pfam pfam_hard scop2 --heads …`; the same rows by one "
        "command: `heads compare --task pfam --rows study`. Error in % of test rows, no hit counted as an error. "
        + _CAUTION,
        sets={
            "pfam": ("pfam", "all of Pfam 32, random split"),
            "pfam_hard": ("pfam_clustered", "all of Pfam 32, clustered split under 25% identity"),
            "scop2": ("", ""),
        },
        metric="error_rate",
        beside=(
            PublishedRow(name="MMseqs2 -s 7.5", head="mmseqs"),
            PublishedRow(name="DIAMOND ultra-sensitive", head="diamond"),
            PublishedRow(name="Smith-Waterman", head="smith_waterman"),
            PublishedRow(name="length alone", head="length", baseline=True),
            PublishedRow(name="embedding, nearest neighbours", head="knn"),
            PublishedRow(name="embedding, best or blend", head="auto"),
            PublishedRow(name="embedding and alignment", head="hybrid"),
        ),
    ),
    "deepprotein_table.md": Measured(
        of=DEEPPROTEIN,
        about="# DeepProtein's architectures, measured here\n\n"
        "Made by `python -m benchmarks.bench_table DATA --only beta_lactamase --heads …`; the same rows by one "
        "command: `heads compare --task beta_lactamase --rows deepprotein`. Networks were trained far shorter than "
        "published (up to 100 epochs at 1e-4, graphs 1e-5): each row says how. " + _CAUTION,
        sets={"beta_lactamase": ("beta_lactamase", "DeepProtein's own test rows")},
        metric="",
        beside=(
            PublishedRow(name="GRU alone", head="deepprotein_gru"),
            PublishedRow(name="LSTM alone", head="deepprotein_lstm"),
            PublishedRow(name="frozen embedding + linear", head="linear"),
            PublishedRow(name="embedding, nearest neighbours", head="knn"),
            PublishedRow(name="embedding, boosted trees", head="gbm"),
            PublishedRow(name="embedding, best or blend", head="auto"),
            PublishedRow(name="embedding and position means", head="hybrid"),
            PublishedRow(name="length alone", head="length", baseline=True),
        ),
    ),
}


def published_tables(sections: Mapping[str, Any]) -> dict[str, str]:
    """The tables as Markdown by file name: a part a set, with the learning curves of what was trained from scratch."""
    return {name: _table(measured, sections) for name, measured in TABLES.items()}


def _table(measured: Measured, sections: Mapping[str, Any]) -> str:
    tasks = {task for task, _ in measured.sets.values()}
    errata = [one.text for one in measured.of.errata if not one.tasks or tasks & set(one.tasks)]
    lines = [measured.about, "", *(f"- Erratum: {text}" for text in errata), *([""] if errata else [])]
    for name, (task, told) in measured.sets.items():
        if name in sections:
            lines += [*_section(measured, name, sections[name], task, told), ""]
    return "\n".join(lines)


def _section(measured: Measured, name: str, section: Mapping[str, Any], task: str, told: str) -> Iterator[str]:
    rows = {row: found for row, found in section["rows"].items() if "failure" not in found}
    if not rows:
        return
    first = next(iter(rows.values()))
    metric = measured.metric or first["main_metric"]
    note = f"; {section['note']}" if section["note"] else ""
    yield f"## {name}"
    yield ""
    yield f"{first['n_train']:,} training and {first['n_test']:,} test rows{note}."
    yield ""
    printed = f" printed ({told}) |" if told else ""
    shown = metric.replace("error_rate", "error %")
    yield f"| method | space | {shown} |{printed} fit CPU s | predict CPU s | memory MiB | settings |"
    yield f"|---|---|---|{'---|' if told else ''}---:|---:|---:|---|"
    curves = []
    for published, row, found in _in_order((*measured.of.rows, *measured.beside), rows):
        space = row.split()[1]
        figures = [
            one.printed for one in published.figures if one.task == task and one.of in ("", _ALL, "clustered split")
        ]
        # `kmer` is no language model, which the printed figure is of.
        told_figure = f" {', '.join(figures) if space != 'kmer' else ''} |" if told else ""
        cost = f"{found['fit_cpu_seconds']:.1f} | {found['predict_cpu_seconds']:.1f}"
        figure = _figure(found["metrics"][metric], percent=metric == "error_rate")
        yield (
            f"| {published.name} | {space} | {figure} |{told_figure} {cost} | {found['peak_bytes'] / _MIB:,.0f} | "
            f"{_settings(found)} |"
        )
        curves += [f"{published.name}: {_curve(one)}" for one in _trainings(found["settings"])]
    if curves:
        yield ""
        yield "Learning curves, loss on validation rows after each epoch:"
        yield ""
        yield from (f"- {curve}" for curve in curves)


def _in_order(
    published: Sequence[PublishedRow], rows: Mapping[str, Any]
) -> Iterator[tuple[PublishedRow, str, Mapping[str, Any]]]:
    """Measured rows in the published order; a head that stands for two published rows is shown at the first."""
    heads = list(dict.fromkeys(one.head for one in published))
    for head in heads:
        row_of_it = next(one for one in published if one.head == head)
        yield from ((row_of_it, row, found) for row, found in rows.items() if row.split()[0] == head)


def _figure(found: Mapping[str, float], *, percent: bool) -> str:
    if percent:
        return f"{100 * found['value']:.2f} [{100 * found['low']:.2f}, {100 * found['high']:.2f}]"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


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
