"""Make `v2`: a store, indexes, heads and models as commit d2ee53a wrote them, and the answers that it gave.

Run with that commit on the path, in an environment made by its constraints::

    git worktree add /tmp/before d2ee53a
    PYTHONPATH=/tmp/before OMP_NUM_THREADS=1 python tests/formats/make_v2.py tests/formats/v2

with blastp (2.12.0), mmseqs (14) and diamond (2.1.3) on the path.

What was written goes into ``files.tar.xz``: it is hundreds of small files, most of them padding. The answers lie
beside it as JSON, in which a float is written so that it reads back bit for bit. The script calls that commit by the
names that its functions had, so it does not run with a later one and is not type-checked. It stands here to say how
the fixture came about, and as a pattern for the next one. Do not make `v2` again: what matters is
that files of that commit open.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import embedstore
import heads
from embedstore.errors import InputError
from embedstore.exchange import import_vectors
from embedstore.models import load_model
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.testing.evolution import Evolution
from embedstore.testing.families import simulate_family
from heads.catalog import NETWORKS

FAMILIES = ("PF00001.1", "PF00002.20", "PF00096.4", "PF13456.9")
TRAIN, VALID, TEST, NEW = 12, 8, 4, 1
"""Members of each family in each split, and those that are not in the store."""

MODELS: dict[str, dict[str, Any]] = {
    "kmer": {"name_or_path": "kmer"},
    "mini": {"name_or_path": "mini", "device": "cpu", "precision": "float32"},
    "tiny_esm": {
        "name_or_path": "checkpoints/tiny_esm",
        "family": "esm",
        "device": "cpu",
        "precision": "float32",
    },
    "finetune-class-lora": {
        "name_or_path": "heads/finetune-class-lora",
        "weights": "checkpoints/tiny_esm",
        "device": "cpu",
        "precision": "float32",
    },
}
"""How the model of each space is loaded, from the folder of the fixture."""

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")
N_PEPTIDES, N_LATE = 1100, 40
PEPTIDE_DIM = 16


def write_json(path: str, content: Any) -> None:
    """A line an entry of the outermost level: short, and a difference is seen."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    else:
        text = "[\n" + ",\n".join(json.dumps(value, ensure_ascii=False) for value in content) + "\n]\n"
    Path(path).write_text(text, encoding="utf-8")


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_fasta(path: str, records: list[tuple[str, str]]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(f">{name}\n{text}\n" for name, text in records), encoding="utf-8")


# Proteins and their labels.


def proteins() -> Iterator[tuple[str, str, str, str]]:
    """Id, sequence, family and split; split ``new`` for those that are asked about and not stored."""
    evolution = Evolution(median_length=42, length_spread=0.2, min_length=30, max_length=60, clan_share=0)
    splits = ["train"] * TRAIN + ["valid"] * VALID + ["test"] * TEST + ["new"] * NEW
    for number, family in enumerate(FAMILIES, start=1):
        members = simulate_family(number, len(splits), seed=5, evolution=evolution)
        for place, (record, split) in enumerate(zip(members, splits, strict=True)):
            # One label in nine is wrong, so that heads have something to doubt.
            label = FAMILIES[number % len(FAMILIES)] if (place + number) % 9 == 0 and split != "new" else family
            yield f"{family.partition('.')[0]}_{place:02}", record.residues.decode(), label, split


def labels_of(text: str) -> dict[str, str]:
    """Labels of every kind that can be learned from a sequence."""
    oily = sum(text.count(letter) for letter in "AILMFVW") / len(text)
    charged = sum(text.count(letter) for letter in "DEKR") / len(text)
    terms = [name for name, has in (("oily", oily > 0.35), ("charged", charged > 0.2), ("long", len(text) > 40)) if has]
    return {
        "stability": f"{5 * oily - 3 * charged + len(text) / 50:.3f}",
        "level": str(1 + sum(oily > edge for edge in (0.3, 0.36, 0.42))),
        "terms": "|".join(terms),
        "structure": "".join("H" if a in "AELMQKRH" else "E" if a in "VIYCWFT" else "C" for a in text),
        "mask": "0" + "1" * (len(text) - 1),
    }


def write_tables(folder: Path) -> None:
    """The files that are added, and those that are asked about."""
    folder.mkdir()
    rows = list(proteins())
    stored, new = [row for row in rows if row[3] != "new"], [row for row in rows if row[3] == "new"]
    labels = labels_of(stored[0][1])
    table = [[name, text, family, split, *labels_of(text).values()] for name, text, family, split in stored]
    # An id of any characters, a sequence that stands there already, one that is no protein, and one without labels.
    table.append(["sp|P1/é ø", stored[0][1].lower(), FAMILIES[0], "train", *labels.values()])
    table.append(["bad", "MK1LL", FAMILIES[0], "train", *[""] * len(labels)])
    table.append(["unlabelled", "".join(LETTERS) * 2, "", "train", *[""] * len(labels)])
    write_csv(folder / "families.csv", ["id", "sequence", "label", "split", *labels], table)
    # Two are partners if they are of one family.
    pairs = []
    for place, (name, text, family, split) in enumerate(stored):
        same = [row for row in stored if row[2] == family and row[3] == split and row[0] != name]
        other = [row for row in stored if row[2] != family and row[3] == split]
        partner = (same if place % 2 else other)[place % len(same)]
        pairs.append([f"{name}-{partner[0]}", text, partner[1], str(int(partner[2] == family)), split])
    write_csv(folder / "pairs.csv", ["id", "sequence", "sequence_2", "label", "split"], pairs)
    rng = np.random.default_rng(1)
    write_variants(folder / "variants.csv", rng)
    drawn = ["".join(rng.choice(LETTERS, rng.integers(8, 13))) for _ in range(2 * N_PEPTIDES)]
    peptides = list(dict.fromkeys(drawn))[: N_PEPTIDES + N_LATE]
    write_csv(
        folder / "peptides.csv",
        ["id", "sequence", "half"],
        [[f"pep{number}", text, "ab"[number % 2]] for number, text in enumerate(peptides)],
    )
    asked = [(row[0], row[1]) for row in stored if row[3] == "test"][::4] + [(row[0], row[1]) for row in new]
    asked += [("random/1", "".join(rng.choice(LETTERS, 45))), ("with X", "MKXU" + new[0][1][4:])]
    write_fasta("queries/proteins.fasta", asked)
    write_fasta("queries/long.fasta", [("two families", new[0][1] + "GSGSGSGSGS" + new[2][1])])
    asked_pairs = [[row[0], row[1], row[2]] for row in pairs if row[4] == "test"][::3]
    asked_pairs.append(["new", new[0][1], new[1][1]])
    write_csv(Path("queries/pairs.csv"), ["id", "sequence", "sequence_2"], asked_pairs)


def write_variants(path: Path, rng: np.random.Generator) -> None:
    """Variants of one protein, whose effects add up; the last six are asked about."""
    wild, effects = rng.choice(LETTERS, 30), rng.normal(size=(30, 20))
    rows, asked = [], []
    for number in range(66):
        places = rng.choice(30, rng.integers(1, 4), replace=False)
        variant = wild.copy()
        variant[places] = rng.choice(LETTERS, len(places))
        effect = sum(effects[place, LETTERS.index(variant[place])] for place in places)
        split = "test" if number >= 54 else "valid" if number >= 40 else "train"
        if number < 60:
            rows.append([f"v{number}", "".join(variant), f"{effect:.3f}", split])
        else:
            asked.append((f"v{number}", "".join(variant)))
    write_csv(path, ["id", "sequence", "target", "split"], rows)
    write_fasta("queries/variants.fasta", asked)


# The store.


def load(name: str) -> Any:
    return load_model(**MODELS[name])


def space_of(store: Store, model: str, *, residues: bool = False) -> str:
    """Id of a model's space."""
    spaces = [store.any_space(name) for name in store.spaces()]
    return next(str(one.id) for one in spaces if one.model == model and (one.pooling == "residues") == residues)


def make_store(tables: Path) -> Store:
    """Data sets; built spaces of vectors and of matrices, one of them compacted; an imported space with two indexes."""
    make_checkpoint("checkpoints/tiny_esm", "esm", dim=16, n_heads=2)
    # Its table of triplets has 12,167 rows, so it is narrower.
    make_checkpoint("checkpoints/tiny_mini", "mini", dim=4, n_heads=2)
    store = embedstore.open("store", mode="a")
    store.add("families", tables / "families.csv", skip_invalid=True)
    add_pairs(store, "pairs", tables / "pairs.csv", partner_column="sequence_2")
    store.add("variants", tables / "variants.csv")
    store.add("peptides", tables / "peptides.csv")
    embedstore.build(store, load("kmer"), ["families"])
    embedstore.build(store, load("mini"), ["families"])
    tiny = load("tiny_esm")
    embedstore.build(store, tiny, ["pairs"], dtype="float32")
    embedstore.build(store, tiny, ["families", "pairs.partner"], dtype="float32")
    # Without gc: the parts that were merged stay beside the one that replaces them.
    embedstore.compact(store)
    embedstore.build(store, tiny, ["families"], pooling=(), residues=True, dtype="float16")
    make_imported(store)
    return store


def make_imported(store: Store) -> None:
    """Vectors from elsewhere, in two files; the indexes know those of the first."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(40, PEPTIDE_DIM))
    vectors = centres[rng.integers(0, 40, N_PEPTIDES + N_LATE)] + 0.5 * rng.normal(size=(N_PEPTIDES + N_LATE, 16))
    ids = np.array(store.dataset("peptides").ids())
    asked = centres[:6] + 0.5 * rng.normal(size=(6, PEPTIDE_DIM))
    np.save("queries/vectors.npy", asked.astype(np.float32))
    for name, part in (("first", slice(0, N_PEPTIDES)), ("second", slice(N_PEPTIDES, None))):
        np.savez(f"{name}.npz", ids=ids[part], vectors=vectors[part].astype(np.float16))
    import_vectors(store, "first.npz", dataset="peptides", model="simulated", pooling="mean")
    space = space_of(store, "simulated")
    for kind in ("ivf_pq", "hnsw"):
        embedstore.build_index(store, space=space, kind=kind, recall=0.8)
    import_vectors(store, "second.npz", dataset="peptides", into=space)
    for name in ("first", "second"):
        Path(f"{name}.npz").unlink()
    store.refresh()


def sha256(*arrays: Any) -> str:
    told = hashlib.sha256()
    for array in arrays:
        told.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return told.hexdigest()


def record_store(store: Store) -> None:
    """What the store holds, vectors in the order of their keys."""
    facts: dict[str, Any] = {}
    for name in store.datasets():
        dataset = store.dataset(name)
        facts[f"dataset {name}"] = {
            "ids": dataset.ids()[:200],
            "columns": {column: dataset.column(column)[:200] for column in dataset.columns},
            "rejected": [list(pair) for pair in dataset.rejected],
            "sequences": sha256(np.array(store.sequences.take(dataset.digests))),
            "describe": {key: value for key, value in dataset.describe().items() if key != "sources"},
        }
    for name in store.spaces():
        space = store.any_space(name)
        keys = np.unique(space.digests, axis=0)
        vectors = space.take(keys)
        facts[f"space {name}"] = {
            "describe": space.describe(),
            "keys": sha256(keys),
            "vectors": sha256(*(vectors if isinstance(vectors, list) else [vectors])),
        }
        if space.model in MODELS:
            facts[f"space {name}"] |= {"model": space.model, **built_again(store, space)}
    write_json("expected/store.json", facts)
    write_json("expected/models.json", MODELS)


def built_again(store: Store, space: Any) -> dict[str, Any]:
    """What a build into a copy of the store without this space makes, of which data sets."""
    options = {"pooling": (), "residues": True} if space.pooling == "residues" else {"pooling": space.pooling}
    datasets = sorted({name for build in space.builds for name in build["covers"]})
    with tempfile.TemporaryDirectory() as folder:
        copied = embedstore.open(shutil.copytree("store", Path(folder, "store")), mode="a")
        copied.remove(space.id, kind="space")
        embedstore.build(copied, load(space.model), datasets, dtype=str(space.dtype), **options)
        again = embedstore.open(Path(folder, "store")).any_space(space.id)
        vectors = again.take(np.unique(space.digests, axis=0))
    return {"datasets": datasets, "built_again": sha256(*(vectors if isinstance(vectors, list) else [vectors]))}


# Searches and lookups.

SEARCHES: list[dict[str, Any]] = [
    *({"space": "simulated", "index": index, "k": 10} for index in ("flat", "ivf_pq", "hnsw", "auto")),
    {"space": "simulated", "index": "ivf_pq", "k": 5, "where": {"dataset": "peptides", "half": "a"}},
    *({"space": space, "index": "auto", "k": 5} for space in ("kmer", "mini", "tiny_esm")),
]


def record_searches(store: Store) -> None:
    """Neighbours of vectors from elsewhere, and of stored ones without themselves."""
    found = []
    for asked in SEARCHES:
        space = store.space(space_of(store, asked["space"]))
        options = {**asked, "space": space.id}
        keys = np.unique(space.digests, axis=0)[:5]
        if asked["space"] == "simulated":
            got = embedstore.search(store, np.load("queries/vectors.npy"), **options)
        else:
            got = embedstore.search(store, space.take(keys), exclude=keys, **options)
        names = [[digest.tobytes().hex() for digest in row] for row in got.digests]
        queries = "vectors.npy" if asked["space"] == "simulated" else None
        found.append({"asked": options, "queries": queries, "keys": names, "scores": got.scores.tolist()})
    write_json("expected/searches.json", found)


LOOKUPS: list[dict[str, Any]] = [
    {"space": "kmer"},
    {"space": "mini", "max_error": 0.35, "k": 5},
    {"space": "kmer", "reference": "all", "exclude_self": True},
    {"space": "kmer", "label_column": "terms", "label_separator": "|", "k": 5},
    {"space": "kmer", "align": True, "k": 3},
    {"space": "mini", "queries": "long.fasta", "window": 40, "k": 3},
]


def record_lookups(store: Store) -> None:
    """Hits with their probabilities."""
    found = []
    for asked in LOOKUPS:
        options = {**asked}
        queries = options.pop("queries", "proteins.fasta")
        model = load(asked["space"])
        hits = heads.lookup(f"queries/{queries}", store=store, dataset="families", model=model, **options)
        found.append({"asked": options, "queries": queries, "answers": hits_of(hits)})
    write_json("expected/lookups.json", found)


def hits_of(hits: Any) -> dict[str, Any]:
    arrays = ("probabilities", "scores", "votes", "answered", "labels", "candidates", "evidence_ids", "evidence_labels")
    found = {name: getattr(hits, name).tolist() for name in arrays}
    found |= {"ids": hits.ids, "neighbour_ids": hits.neighbour_ids}
    if hits.starts is not None:
        found |= {"starts": hits.starts.tolist(), "stops": hits.stops.tolist()}
    if hits.alignments is not None:
        found["alignments"] = [[one.identity, one.coverage] for one in hits.alignments]
    if hits.promise is not None:
        found["threshold"] = hits.promise.threshold
    return found


# Heads.

COLUMNS: dict[str, dict[str, Any]] = {
    "class": {"label_column": "label"},
    "multilabel": {"label_column": "terms", "label_separator": "|"},
    "regression": {"label_column": "stability", "kind": "regression"},
    "ordinal": {"label_column": "level", "kind": "ordinal"},
    "residue": {"label_column": "structure", "mask_column": "mask", "input": "residue"},
    "pair": {"dataset": "pairs", "label_column": "label", "partner_column": "sequence_2"},
    "variant": {"dataset": "variants", "label_column": "target", "kind": "regression"},
}
"""What is learned, by a word for the name of the head."""

KINDS = ("class", "multilabel", "regression", "ordinal")
FEW: dict[str, Any] = {"members": ["linear", "knn"], "params": {"knn": {"k": 5, "sharpness": 20.0, "whiten": False}}}
CPU: dict[str, Any] = {"device": "cpu", "precision": "float32"}

RERANKED: dict[str, Any] = {"direct_classes": 2, "max_rounds": 20, "min_leaf": 2, "learning_rate": 0.3}
ONE_THREAD: dict[str, Any] = {"threads": 1}

SIZES: dict[str, Any] = {
    "width": 8, "hidden": 8, "filters": [4, 4, 4], "embedding": 8, "predictor": [8], "size": 8, "inner": 16, "heads": 2,
    "n_subwords": 40, "members": 2, "epochs": 3, "learning_rate": 1e-2, "warmup_steps": 0, **CPU,
}  # fmt: skip
"""Of networks: as small as they can be."""

Fit = tuple[str, str, dict[str, Any]]
"""Head, what it learns (and whatever else is to be in its name), and its parameters."""

ON_VECTORS: list[Fit] = [
    *(("linear", kind, {}) for kind in (*KINDS, "residue", "pair")),
    ("linear", "class refined", {"refine": True, "class_weight": "balanced"}),
    *(("knn", kind, {}) for kind in (*KINDS, "residue", "pair")),
    ("knn", "class whitened", {"whiten": True}),
    *(("centroid", kind, {}) for kind in ("class", "multilabel")),
    *(("mlp", kind, {"hidden": [8], "max_epochs": 5, **CPU}) for kind in (*KINDS, "pair")),
    *(("gbm", kind, {"max_rounds": 5, "min_leaf": 3}) for kind in KINDS),
    ("gbm", "class reranked", RERANKED),
    *(("ensemble", kind, FEW) for kind in KINDS),
    ("ensemble", "class stacked", {**FEW, "method": "stack"}),
    *(("auto", kind, FEW) for kind in KINDS),
    *(("hybrid", kind, {"members": ["linear", "length" if kind == "class" else "composition"]}) for kind in KINDS[:3]),
    ("cnn", "residue", {"channels": 4, "max_epochs": 2}),
]
BASELINES: list[Fit] = [
    *(("kmer", kind, {"k": 2}) for kind in KINDS[:3]),
    *(("composition", kind, {}) for kind in KINDS[:3]),
    *(("length", kind, {}) for kind in KINDS[:2]),
    ("one_hot_ridge", "variant", {}),
    ("position_means", "variant", {"n_trees": 5}),
]
ALIGNERS: list[Fit] = [
    *((name, kind, ONE_THREAD) for name in ("blastp", "diamond", "mmseqs") for kind in KINDS[:2]),
    *((name, kind, ONE_THREAD) for name in ("smith_waterman", "phmmer") for kind in KINDS[:2]),
    ("hmm_top_pick", "class", {"aligner": "hmmer", **ONE_THREAD}),
]
FROM_SCRATCH: list[Fit] = [
    *((row.name, "class", {}) for row in NETWORKS),
    *((name, kind, {}) for name in ("protcnn", "deepprotein_gru") for kind in KINDS[1:]),
    ("gcn", "class of atoms", {"graph": "atoms"}),
]
FITS = [*ON_VECTORS, *BASELINES, *ALIGNERS, *FROM_SCRATCH]


def fit_heads(store: Store) -> dict[str, Any]:
    """Fit, save, and record what is predicted."""
    found = {}
    for name, title, params in FITS:
        what = title.partition(" ")[0]
        reads = heads.HEADS[name].reads
        space = None if reads == "sequences" else space_of(store, "tiny_esm", residues=what == "residue")
        out = f"heads/{name}-{title.replace(' ', '-')}"
        if name in {row.name for row in NETWORKS}:
            params = sized(name, params)
        columns = {"dataset": "families", **COLUMNS[what]}
        fitted = heads.fit(store, head=name, params=params, space=space, out=out, **columns)
        found[out] = record_head(store, out, fitted, what)
    return found


def sized(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a small network."""
    graph = {"graph": "residues"}
    known = heads.HEADS.load(name)().get_params()
    return {key: value for key, value in {**graph, **SIZES, **params}.items() if key in known}


SMALL: dict[str, Any] = {
    "model": "checkpoints/tiny_esm", "family": "esm", "start": "random", "rank": 2, "epochs": 2, "batch_size": 16,
    "encoder_rate": 1e-2, "head_rate": 1e-2, **CPU,
}  # fmt: skip
TINY_MINI: dict[str, Any] = {"model": "checkpoints/tiny_mini", "family": "mini"}

FINETUNED: list[Fit] = [
    ("class", "lora", {}),
    ("class", "dora", {"dora": True}),
    ("class", "merged", {"merge": True}),
    ("class", "full", TINY_MINI),
    ("class", "mini-lora", {"model": "mini", "family": None, "epochs": 1}),
    ("class", "linear-start", {"start": "linear"}),
    ("multilabel", "full", {"hidden": [4], "start": "random"}),
    ("regression", "last_n", {}),
    ("ordinal", "frozen", {}),
    ("residue", "full", {"epochs": 1}),
    ("pair", "lora", {"epochs": 1}),
]
"""What is learned, the method (or what is special of it), and settings."""

METHODS = {"dora": "lora", "merged": "lora", "mini-lora": "lora", "linear-start": "lora"}


def finetune_models(store: Store) -> dict[str, Any]:
    """Fine-tune, save, and record what is predicted; the first of them makes a space of its own."""
    found = {}
    for what, method, settings in FINETUNED:
        out = f"heads/finetune-{what}-{method}"
        options = {**SMALL, "method": METHODS.get(method, method), **settings}
        fitted = heads.finetune(store, out=out, **options, **{"dataset": "families", **COLUMNS[what]})
        shutil.rmtree(f"{out}.training")
        base = options["model"] if options["method"] in ("lora", "frozen") and options["model"] != "mini" else None
        found[out] = record_head(store, out, fitted, what, base=base)
    embedstore.build(store, load("finetune-class-lora"), ["families"])
    store.refresh()
    out = "heads/linear-class-on-finetuned"
    labels = {"dataset": "families", **COLUMNS["class"]}
    fitted = heads.fit(store, space="finetune-class-lora", out=out, **labels)
    found[out] = record_head(store, out, fitted, "class", model="finetune-class-lora")
    return found


# Trainings that were stopped.

TRAININGS: dict[str, dict[str, Any]] = {
    "training/protcnn": {"head": "protcnn", "params": {**sized("protcnn", {}), "epochs": 3}},
    "training/lora": {**SMALL, "method": "lora", "checkpoint_steps": 2},
    "training/full": {**SMALL, "method": "full", "checkpoint_steps": 2},
}
"""Options of `fit` or, without a head, of `finetune`."""

STOPPED_AT = 5
"""Step of a fine-tuning, four of which are an epoch: one after a checkpoint, in the second of two."""


def stop_trainings(store: Store) -> dict[str, Any]:
    """Trainings as they were when they were stopped, and how they ended when they went on."""
    found = {}
    for folder, options in TRAININGS.items():
        asked = {"dataset": "families", **COLUMNS["class"], **options}
        if "head" in options:
            params = {**options["params"], "checkpoint": folder}
            heads.fit(store, **{**asked, "params": {**params, "epochs": 1}})
            stopped = shutil.copytree(folder, "stopped")
            fitted = heads.fit(store, **{**asked, "params": params})
            whole = heads.fit(store, **{**asked, "params": options["params"]})
            history = [[point.train_loss, point.valid_loss] for point in fitted.head.curve_]
            # Of the time before it was stopped: no training that begins anew has taken just as long.
            proof: Any = fitted.head.curve_[0].seconds
        else:
            steps: list[int] = []
            with suppress(KeyboardInterrupt):
                heads.finetune(store, out=folder, progress=stop, **asked)
            for path in Path(f"{folder}.training").glob("events*"):
                path.unlink()
            stopped = shutil.copytree(f"{folder}.training", "stopped")
            fitted = heads.finetune(store, out=folder, progress=lambda step, to=steps: to.append(step.done), **asked)
            whole = heads.finetune(store, **asked)
            history = [list(epoch.to_dict().values()) for epoch in fitted.head.history_]
            proof = steps
            shutil.rmtree(folder)
        shutil.rmtree(f"{folder}.training" if "head" not in options else folder)
        shutil.move(stopped, folder)
        answers, uninterrupted = (
            answers_of(heads.predict(one, "queries/proteins.fasta", store=store, top=4)) for one in (fitted, whole)
        )
        if answers != uninterrupted:
            print(f"{folder}: it is not what it would have been without the stop", file=sys.stderr)  # noqa: T201
        found[folder] = {
            "options": options, "queries": "proteins.fasta", "history": history, "proof": proof, "answers": answers,
        }  # fmt: skip
    return found


def stop(step: Any) -> None:
    if step.done == STOPPED_AT:
        raise KeyboardInterrupt


def fit_special(store: Store) -> dict[str, Any]:
    """Heads of other spaces, with tuned parameters, without validation rows; and heads that were joined."""
    labels = {"dataset": "families", **COLUMNS["class"]}
    made = {
        "heads/linear-class-on-kmer": {"head": "linear", "space": "kmer"},
        "heads/knn-class-on-mini": {"head": "knn", "space": "mini", "params": {"whiten": False}},
        "heads/linear-class-tuned": {"head": "linear", "space": "tiny_esm", "search": 3},
        "heads/knn-class-by-cluster": {"head": "knn", "space": "tiny_esm", "split_by": "clusters"},
    }
    found = {}
    for out, options in made.items():
        fitted = heads.fit(store, out=out, **options, **labels)
        found[out] = record_head(store, out, fitted, "class", model=options["space"])
    for out, members in (
        ("heads/joined-ensemble-class", ["linear", "knn", "gbm"]),
        ("heads/joined-hybrid-class", ["linear", "kmer"]),
    ):
        fitted = heads.ensemble_of([f"heads/{member}-class" for member in members], store, out=out)
        found[out] = record_head(store, out, fitted, "class")
    return found


QUERIES = {"pair": "pairs.csv", "variant": "variants.fasta"}


def record_head(
    store: Store, out: str, fitted: Any, what: str, *, model: str = "tiny_esm", base: str | None = None
) -> dict[str, Any]:
    """What the head of a folder predicts, which is what it predicted before it was saved."""
    queries = QUERIES.get(what, "proteins.fasta")
    needs_model = heads.HEADS[fitted.head_name].reads != "sequences"
    asked = {"store": store, "model": load(model) if needs_model else None}
    loaded = heads.load(out)
    if base is not None:
        # The folder says where the base was when it was trained: it is a temporary one.
        loaded.head.set_params(weights=base)
    for max_error in (0.2, 0.3, 0.4, 0.5, None):
        options = {"top": 4, "max_error": max_error}
        try:
            predicted = heads.predict(loaded, f"queries/{queries}", **asked, **options)
        except InputError:  # Too few validation rows, or numbers.
            continue
        if max_error is None or predicted.promise.threshold < np.inf:
            break
    answers = answers_of(predicted)
    again = answers_of(heads.predict(fitted, f"queries/{queries}", **asked, **options))
    if answers != again:
        print(f"{out}: saved and loaded it differs from what was fitted", file=sys.stderr)  # noqa: T201
    warn_of_ties(out, answers)
    return {
        "queries": queries,
        "model": model if needs_model else None,
        "base": base,
        "programs": list(getattr(fitted.head, "programs", ())),
        "options": options,
        "facts": {
            "head": fitted.head_name,
            "predicts": fitted.head.kind,
            "classes": fitted.head.classes_.tolist(),
            "data_set": fitted.data_set,
            "space": fitted.space_id,
            "train_sha256": fitted.train_sha256,
            "n_rows": dict(fitted.n_rows),
        },
        "answers": answers,
    }


def answers_of(predicted: Any) -> dict[str, Any]:
    """Predictions as JSON keeps them bit for bit: each float32 is a float64 whose digits are written out."""
    found: dict[str, Any] = {"ids": predicted.ids}
    for name in ("labels", "probabilities", "values", "low", "high", "answered"):
        value = getattr(predicted, name)
        if value is not None:
            found[name] = value.tolist()
    if predicted.sets is not None:
        found["sets"] = [[list(pair) for pair in row] for row in predicted.sets]
    if predicted.letters is not None:
        found["letters"] = predicted.letters
        found["letter_probabilities"] = [shares.tolist() for shares in predicted.letter_probabilities]
    if predicted.promise is not None:
        found["threshold"] = predicted.promise.threshold
    return found


def warn_of_ties(out: str, answers: dict[str, Any]) -> None:
    """Say where another processor could give another label."""
    for row in answers.get("probabilities", []):
        if len(row) > 1 and 0 < row[0] - row[1] < 1e-4:
            print(f"{out}: {row} are nearly equal", file=sys.stderr)  # noqa: T201


def main(target: Path) -> None:
    """Make everything in a temporary folder, with paths relative to it: they get into what is written."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        tables = Path("tables")
        write_tables(tables)
        store = make_store(tables)
        write_json("expected/heads.json", fit_heads(store) | fit_special(store) | finetune_models(store))
        write_json("expected/trainings.json", stop_trainings(store))
        record_store(store)
        record_searches(store)
        record_lookups(store)
        shutil.rmtree(tables)
        # What was trained from it holds all its weights.
        shutil.rmtree("checkpoints/tiny_mini")
        shutil.move("expected", target / "expected")
        with tarfile.open(target / "files.tar.xz", "w:xz") as archive:
            for path in sorted(Path().iterdir()):
                archive.add(path, filter=without_owner)
        os.chdir(target)


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
