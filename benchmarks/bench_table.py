"""Every head on every set, those on vectors with `mini` and `kmer`: one table with intervals, made by one command.

    python -m benchmarks.bench_table DATA [--only pfam scop2 ...] [--heads linear ...] [--spaces mini] [--store STORE]

Sets that the store lacks are added from DATA and embedded first. Whatever head the catalog has that reads vectors and
can predict such a target takes part, and those on sequences that ``--heads`` names; test rows are predicted once, by
heads whose settings were chosen on validation rows. Results go into ``results/heads_table.json`` and
``results/heads_table.md`` head by head, so that a later run of some heads replaces those alone; the rows of the Pfam
study and of DeepProtein, in their order, also into ``results/study_table.md`` and ``results/deepprotein_table.md``.

Two sets are not as others. `pfam_hard` has no validation rows: each head sets some of the training rows aside or
cross-fits, and these are nearer to the rest than test rows are. `secondary_structure` is trained on 2,000 of its 9,712
proteins (`RESIDUE_PROTEINS`), chosen by a hash of the id, and on `mini` alone: `kmer` has no vector a residue. Networks
are narrower and trained shorter than published (`SETTINGS`), which the study's table says in each row.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import embedstore
import heads
from benchmarks.harness import RESULTS, machine, write_result
from benchmarks.published_tables import published_tables
from benchmarks.train_mini.data import order
from embedstore.errors import EmbedstoreError
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from embedstore.store.spaces import ResidueSpace
from heads.catalog import HEADS
from heads.features.sources import SEQUENCES
from heads.tasks import TaskSelection
from heads.tasks.catalog import TASKS

MODELS = ("mini", "kmer")
PACKAGES = ("embedstore", "numpy", "scipy", "scikit-learn", "torch", "lightgbm")
RESIDUE_PROTEINS = 2000
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "protcnn": {"width": 64, "epochs": 6, "warmup_steps": 500},
    "protenn": {"width": 64, "epochs": 6, "warmup_steps": 500, "members": 3},
    "rnn": {"hidden": 64, "epochs": 10, "learning_rate": 1e-3},
    "deepprotein_cnn": {"epochs": 8, "learning_rate": 1e-3},
    "deepprotein_cnn_rnn": {"epochs": 4, "learning_rate": 1e-3},
    "deepprotein_gru": {"epochs": 5, "learning_rate": 1e-3},
    "deepprotein_lstm": {"epochs": 5, "learning_rate": 1e-3},
    "deepprotein_transformer": {"epochs": 40, "learning_rate": 1e-3},
    "gcn": {"graph": "atoms", "epochs": 2, "learning_rate": 1e-3},
    "gat": {"graph": "residues", "epochs": 3, "learning_rate": 1e-3},
    **{
        head: {"graph": "residues", "epochs": 10, "learning_rate": 1e-3}
        for head in ("mpnn", "neural_fp", "attentive_fp", "graph_transformer")
    },
}
"""What two cores can train within minutes; the atoms of a protein are eight times as many as its residues."""

WITH_MMSEQS = {"hybrid": {"members": ["linear", "knn", "mmseqs"]}}
"""Where BLASTp would take an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A set: where it lies in DATA, what it is called in the store, and what is predicted.

    Attributes
    ----------
    folder
        In DATA.
    dataset
        In the store.
    task
        Of the catalog; None for a plain data set of classes.
    note
        What is not as published.
    params
        Settings of heads.
    """

    folder: str
    dataset: str
    task: str | None = None
    models: tuple[str, ...] = MODELS
    note: str = ""
    also: tuple[str, ...] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def selection(self) -> dict[str, Any]:
        """For `heads.compare`."""
        return {"dataset": self.dataset, "label_column": "label"} if self.task is None else {"task": self.task}


SECTIONS: Mapping[str, Section] = {
    "pfam": Section(
        folder="pfam",
        dataset="pfam",
        task="pfam",
        note="hybrid with MMseqs2",
        also=("macro_f1", "ece"),
        params=WITH_MMSEQS,
    ),
    "pfam_hard": Section(
        folder="pfam",
        dataset="pfam_hard",
        note="clusters at 40% identity apart (hard_valid); no validation rows: heads set training rows aside; "
        "hybrid with top-pick HMM",
        also=("macro_f1", "ece"),
        params={"hybrid": {"members": ["linear", "knn", "hmm_top_pick"]}, "protenn": {"epochs": 4}},
    ),
    "scop2": Section(
        folder="scop2",
        dataset="scop2",
        task="scop2",
        also=("macro_f1", "ece"),
        # 547 families, and two thirds of the proteins hit none of them.
        params={"hmm_top_pick": {"second_pass": "loose"}},
    ),
    "scl": Section(
        folder="scl",
        dataset="scl",
        task="scl",
        note="hybrid with MMseqs2",
        also=("macro_f1", "mcc"),
        params=WITH_MMSEQS,
    ),
    "deeploc2": Section(
        folder="deeploc2",
        dataset="deeploc2",
        task="deeploc2",
        note="hybrid with MMseqs2",
        also=("micro_f1", "jaccard"),
        params=WITH_MMSEQS,
    ),
    "stability": Section(folder="tape_stability", dataset="stability", task="stability", also=("rmse",)),
    "fluorescence": Section(folder="tape_fluorescence", dataset="fluorescence", task="fluorescence", also=("rmse",)),
    "secondary_structure": Section(
        folder="flip_secondary_structure",
        dataset="secondary_structure",
        task="secondary_structure",
        models=("mini",),
        note=f"trained on {RESIDUE_PROTEINS:,} of 9,712 proteins",
        also=("accuracy_per_protein", "macro_f1"),
    ),
    "ppi_affinity": Section(folder="peer_ppi_affinity", dataset="ppi_affinity", task="ppi_affinity", also=("pearson",)),
    "beta_lactamase": Section(
        folder="peer_beta_lactamase",
        dataset="beta_lactamase",
        task="beta_lactamase",
        note="hybrid with position means",
        also=("rmse",),
    ),
}


def main() -> None:
    """Run the sections and write the table."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    path = RESULTS / "heads_table.json"
    for name in given.only or SECTIONS:
        section = SECTIONS[name]
        store = _prepared(given.store, section, given.data, given.work)
        wanted = given.heads or [row.name for row in HEADS.values() if row.reads != SEQUENCES]
        able = [head for head in _able(section) if head in wanted]
        for model in (*(given.spaces or section.models), SEQUENCES):
            for head in able:
                if (HEADS[head].reads == SEQUENCES) != (model == SEQUENCES):
                    continue
                started = time.monotonic()
                found = _judged(store, section, head, model, given)
                # Read again each time: another run may fill other rows meanwhile.
                kept = dict(json.loads(path.read_text(encoding="utf-8"))["sections"]) if path.exists() else {}
                kept.setdefault(name, {"rows": {}})["note"] = section.note
                kept[name]["rows"][f"{head} {model}"] = found
                write_result("heads_table", {"sections": kept}, packages=PACKAGES)
                (RESULTS / "heads_table.md").write_text(table_of(kept), encoding="utf-8")
                for file, text in published_tables(kept).items():
                    (RESULTS / file).write_text(text, encoding="utf-8")
                print(f"[{name}, {head}, {model}: {time.monotonic() - started:.0f} s] {_told(found)}", flush=True)


def table_of(sections: Mapping[str, Any]) -> str:
    """The table as Markdown: a section a set, a row a head and space, the best of the main metric in bold."""
    lines = [
        "# Every head on every set",
        "",
        "Made by `python -m benchmarks.bench_table DATA`. Test rows; 95% bootstrap intervals over proteins (residues: "
        "over whole proteins). Settings were chosen on validation rows. Processor seconds of one fit and of predicting "
        "the test rows, vectors given, on a machine that `heads_table.json` names for each row; other work ran on it.",
        "",
    ]
    for name, section in sections.items():
        rows = {row: found for row, found in section["rows"].items() if "failure" not in found}
        if not rows:
            continue
        first = next(iter(rows.values()))
        main, also = first["main_metric"], SECTIONS[name].also
        sign = 1 if main in ("rmse", "error_rate") else -1
        ranked = sorted(rows, key=lambda row: sign * rows[row]["metrics"][main]["value"])
        lines += [f"## {name}", ""]
        told = f"{first['n_train']:,} training and {first['n_test']:,} test rows"
        lines += [f"{told}; {section['note']}." if section["note"] else f"{told}.", ""]
        lines += [f"| head | space | {main} | {' | '.join(also)} | fit CPU s | predict CPU s |"]
        lines += ["|---|---|---|" + "---|" * len(also) + "---:|---:|"]
        for place, row in enumerate(ranked):
            found = rows[row]
            head, model = row.split()
            figure = _figure(found["metrics"][main])
            others = " | ".join(_figure(found["metrics"].get(one)) for one in also)
            cost = f"{found['fit_cpu_seconds']:.1f} | {found['predict_cpu_seconds']:.1f}"
            lines.append(f"| {head} | {model} | {f'**{figure}**' if not place else figure} | {others} | {cost} |")
        for row, found in section["rows"].items():
            if "failure" in found:
                lines.append(f"\n{row} failed: {found['failure']}")
        lines.append("")
    return "\n".join(lines)


def _judged(store: Store, section: Section, head: str, model: str, given: argparse.Namespace) -> dict[str, Any]:
    """One head on one space."""
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": machine()["cpu"]}
    try:
        spaces = None if model == SEQUENCES else [model]
        params = {**SETTINGS.get(head, {}), **section.params.get(head, {})}
        found = heads.compare(
            store,
            heads=[head],
            spaces=spaces,
            params={head: params} if params else None,
            relatives="none",
            seeds=given.seeds,
            task=TaskSelection(**section.selection),
        )
    except EmbedstoreError as error:
        return about | {"failure": str(error)}
    row = found.to_dict()["results"][0]
    n_rows = found.about["n_rows"]
    costs = ("fit_seconds", "predict_seconds", "fit_cpu_seconds", "predict_cpu_seconds", "peak_bytes")
    kept = ("metrics", "by_seed", *costs, "settings", "n_without_vector")
    return (
        about
        | {"main_metric": found.main_metric, "n_train": n_rows["train"], "n_test": n_rows["test"]}
        | {name: row[name] for name in kept}
        | {"leaked": found.leakage.n_exact, "train_sha256": found.about["train_sha256"], "space": row["source"]}
    )


def _able(section: Section) -> list[str]:
    """Heads that can predict such a target from such rows."""
    task = None if section.task is None else TASKS[section.task]
    target_type, input_ = ("class", "protein") if task is None else (task.target_type, task.input)
    return [entry.name for entry in HEADS.values() if target_type in entry.target_types and input_ in entry.inputs]


def _prepared(path: Path, section: Section, data: Path, work: Path) -> Store:
    """The store with the set of a section in it, embedded."""
    store = embedstore.open(path, mode="a")
    residue = section.task is not None and TASKS[section.task].input == "residue"
    if section.dataset not in store.datasets():
        source = _source(section, data, work)
        partner = TASKS[section.task].partner_column if section.task else None
        if partner is None:
            store.add(section.dataset, source)
        else:
            add_pairs(store, section.dataset, source, partner_column=partner)
        store.refresh()
    named = [name for name in store.datasets() if name.split(".")[0] == section.dataset]
    for model in section.models:
        if not _is_embedded(store, model, named, residue):
            pooling: list[str] = [] if residue else ["mean"]
            embedstore.build(store, embedstore.load_model(model), datasets=named, residues=residue, pooling=pooling)
            store.refresh()
    return store


def _is_embedded(store: Store, model: str, datasets: Sequence[str], residue: bool) -> bool:
    spaces = [store.any_space(name) for name in store.spaces()]
    there = [space for space in spaces if space.model == model and isinstance(space, ResidueSpace) is residue]
    if not there:
        return False
    keys = np.concatenate([store.dataset(name).digests for name in datasets])
    missing = keys[there[0].find(keys) < 0]
    return all(key.tobytes() in there[0].skipped for key in missing)


def _source(section: Section, data: Path, work: Path) -> Path:
    """The folder of a set, or a table made of it where rows have to be chosen."""
    folder = data / section.folder
    if section.dataset == "pfam_hard":
        parts = {"train": folder / "hard_train.csv.gz", "test": folder / "hard_valid.csv.gz"}
        rows = [{**row, "split": split} for split, path in parts.items() for row in _rows(path)]
        return _table(work / "pfam_hard.csv", rows)
    if section.dataset == "secondary_structure":
        train = sorted(_rows(folder / "train.csv.gz"), key=lambda row: order(row["id"]))[:RESIDUE_PROTEINS]
        chosen = {"train": train, **{split: list(_rows(folder / f"{split}.csv.gz")) for split in ("valid", "test")}}
        return _table(
            work / "secondary_structure.csv",
            [{**row, "split": split} for split, rows in chosen.items() for row in rows],
        )
    return _links(folder, work / section.dataset)


def _links(folder: Path, target: Path) -> Path:
    """The three splits of a folder by themselves: some have further files beside them."""
    target.mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        link = target / f"{split}.csv.gz"
        if not link.exists():
            link.symlink_to(folder / f"{split}.csv.gz")
    return target


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def _table(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _told(found: Mapping[str, Any]) -> str:
    if "failure" in found:
        return str(found["failure"])
    return f"{found['main_metric']} {_figure(found['metrics'][found['main_metric']])}"


def _figure(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), help="[default: all that read vectors and fit]")
    parser.add_argument("--spaces", nargs="+", choices=MODELS, help="[default: all]")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bench_table")
    parser.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "bench_table.zarr")
    return parser.parse_args()


if __name__ == "__main__":
    main()
