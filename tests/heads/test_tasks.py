"""The task catalog, and own data as tasks: splits by column, at random and by clusters; labels in headers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
import heads
from embedstore.catalog import load_target
from embedstore.errors import InputError
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from heads.tasks import TASKS, TaskSelection
from heads.tasks.clusters import cluster_sequences, kmer_clusters
from heads.tasks.data import INPUTS
from heads.tasks.pairing import parse_pairing
from heads.tasks.readers import read_task
from heads.tasks.splitting import split_by_clusters
from heads.tasks.targets import KINDS

FOLDERS = {
    "amp": "amp", "beta_lactamase": "peer_beta_lactamase", "bind": "flip_bind",
    "binary_localization": "peer_binary_localization", "conservation": "flip_conservation", "deeploc2": "deeploc2",
    "ec": "ec_clean", "fluorescence": "tape_fluorescence", "gb1_two_vs_rest": "flip_gb1", "pfam": "pfam/random_split",
    "ppi_affinity": "peer_ppi_affinity", "remote_homology": "tape_remote_homology", "scl": "scl", "scop2": "scop2",
    "scope": "scope", "secondary_structure": "flip_secondary_structure", "signal_peptide": "signalp_binary",
    "solubility": "peer_solubility", "stability": "tape_stability", "thermophile": "thermophile",
}  # fmt: skip
"""Where the folder of real proteins has a task's data."""

LAYOUTS = {
    "pfam_clustered": ("family_id,sequence_name,family_accession,aligned_sequence,sequence,split\n"
                       "A,p1,PF1.1,MK-V,MKV,train\nB,p2,PF2.1,GGH,GGH,test\n"),
    "secondary_structure_q8": "id,sequence,q8,split\np1,MKV,GHT,train\np2,GGH,--E,test\n",
    "go_mf": "id\tsequence\tlabel\tsplit\np1\tMKV\tGO:1|GO:2\ttrain\np2\tGGH\tGO:2\ttest\n",
    "go_bp": "id\tsequence\tlabel\tsplit\np1\tMKV\tGO:1|GO:2\ttrain\np2\tGGH\tGO:2\ttest\n",
    "go_cc": "id\tsequence\tlabel\tsplit\np1\tMKV\tGO:1|GO:2\ttrain\np2\tGGH\tGO:2\ttest\n",
    "aav": ",sequence,target,set,validation\n0,MKV,1.5,train,False\n1,MKI,2.5,train,True\n2,GGH,-1,test,False\n",
    "crispr_leenay": "GuideSeq_ID\tGuideSeq\tFraction_Insertions\ng1\tACGTACGTACGT\t0.25\n",
    "yeast_ppi": "id,sequence,sequence_2,label,split\na,MKV,GGH,1,train\nb,GGH,MKV,0,test\n",
    "human_ppi": "id,sequence,sequence_2,interaction,split\na,MKV,GGH,1,train\nb,GGH,MKV,0,test\n",
    "tap": "id,sequence,sequence_2,CDR_Length,split\na,MKV,GGH,46,train\nb,GGH,MKV,48,test\n",
    "sabdab_chen": "id,sequence,sequence_2,Y,split\na,MKV,GGH,1,train\nb,GGH,MKV,0,test\n",
}  # fmt: skip
"""Small files in the published layout, of the tasks whose data is not at hand."""


def _family(name: str) -> str:
    return name.split("_")[0] if name.startswith(("aav_", "meltome_", "gb1_")) else name


def test_every_task_states_what_a_user_must_know() -> None:
    for task in TASKS.values():
        assert task.target_type in KINDS, task.name
        assert task.input in INPUTS, task.name
        assert all((task.summary, task.licence, task.citation, task.layout)), task.name
        assert task.source_url.startswith("https://"), task.name
        assert (task.partner_column is not None) == (task.input == "pair") == (task.pairing is not None), task.name
        assert (task.label_separator is not None) == (task.target_type == "multilabel"), task.name
        if task.pairing:
            parse_pairing(task.pairing)
        if task.tidy:
            assert callable(load_target(task.tidy))


def test_every_task_is_tested_on_data() -> None:
    layouts = {*LAYOUTS, "meltome", "gb1"}
    assert {name for name in TASKS if name not in FOLDERS and _family(name) not in layouts} == set()


@pytest.mark.parametrize("name", list(FOLDERS))
def test_a_task_reads_the_published_set(name: str, tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / FOLDERS[name]
    if not source.exists():
        pytest.skip(f"{data_dir} has no {FOLDERS[name]}")
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    task = TASKS[name]
    if task.partner_column:
        add_pairs(store, task.dataset, source, partner_column=task.partner_column)
    else:
        store.add(task.dataset, source, skip_invalid=True)
    data = read_task(TaskSelection(task=name), store)
    assert (data.target_type, data.input) == (task.target_type, task.input)
    assert len(data.splits["train"]) > 100
    assert data.split_rule.startswith("column split")
    rows = data.splits["train"][:50]
    targets = data.targets(rows)
    assert len(targets) == (sum(map(len, data.labels[rows])) if task.input == "residue" else 50)
    if task.mask_column and "mask" in store.dataset(task.dataset).columns:
        assert (targets == "").any()
    if task.target_type == "regression":
        assert np.isfinite(targets).all()


@pytest.mark.parametrize("name", [name for name in TASKS if name not in FOLDERS])
def test_a_task_reads_a_file_in_the_published_layout(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    text = LAYOUTS["aav" if _family(name) in ("meltome", "gb1") else _family(name)]
    path = tmp_path / ("a.tsv" if "\t" in text else "a.csv")
    path.write_text(text)
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    if task.partner_column:
        add_pairs(store, task.dataset, path, partner_column=task.partner_column)
    else:
        columns = {key: task.add_options.get(key) for key in ("id_column", "sequence_column")}
        store.add(task.dataset, path, **columns)
    data = read_task(TaskSelection(task=name), store)
    assert (data.target_type, data.input) == (task.target_type, task.input)
    if task.split_column in store.dataset(task.dataset).columns:
        assert [len(data.splits[part]) for part in ("train", "test")] == [1, 1]
    if task.target_type == "regression" and "target" in text:
        assert [data.splits[part].tolist() for part in ("train", "valid", "test")] == [[0], [1], [2]]
        assert data.targets(np.arange(3)).tolist() == [1.5, 2.5, -1.0]


def test_labels_and_splits_stand_in_fasta_headers(store: Store, tmp_path: Path, simulated: Any) -> None:
    flip = tmp_path / "flip.fasta"
    flip.write_text(
        ">a SET=train VALIDATION=False TARGET=1.5\nMKV\n>b SET=train VALIDATION=True TARGET=2\nMKI\n"
        ">c SET=test VALIDATION=False TARGET=3\nGGH\n"
    )
    data = read_task(TaskSelection(labels=str(flip), target_type="regression"), store)
    assert {part: rows.tolist() for part, rows in data.splits.items()} == {"train": [0], "valid": [1], "test": [2]}
    assert data.targets(np.arange(3)).tolist() == [1.5, 2.0, 3.0]
    own = tmp_path / "own.fasta"
    own.write_text(">a Lysozyme label=Cell membrane split=train\nMKV\n>b label=Nucleus split=test\nMKI\n")
    data = read_task(TaskSelection(labels=str(own)), store)
    assert data.labels.tolist() == ["Cell membrane", "Nucleus"]
    assert data.splits["test"].tolist() == [1]
    other = embedstore.open(tmp_path / "s.zarr", mode="a")
    other.add("flip", flip)
    again = read_task(TaskSelection(dataset="flip", target_type="regression"), other)
    assert again.splits["valid"].tolist() == [1]
    with pytest.raises(InputError, match="there is no column 'label' or .* among its columns"):
        (tmp_path / "none.fasta").write_text(">a Lysozyme OS=Homo sapiens\nMKV\n")
        read_task(TaskSelection(labels=str(tmp_path / "none.fasta")), store)


def test_columns_are_found_whatever_their_case_and_headers_without_fields_are_no_labels(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ID,Sequence,Label,Split\na,MKV,x,train\nb,MKA,y,train\nc,MKL,x,test\n")
    data = read_task(TaskSelection(labels=str(path)), store)
    assert (data.label_column, data.split_rule) == ("Label", "column Split, without validation rows")
    assert read_task(TaskSelection(labels=str(path), label_column="label"), store).labels.tolist() == ["x", "y", "x"]
    path.write_text("id,sequence,Target,Set,Validation\na,MKV,x,train,True\nb,MKA,y,train,\nc,MKL,x,test,\n")
    assert read_task(TaskSelection(labels=str(path)), store).splits["valid"].tolist() == [0]
    path.write_text("id,sequence,label,Mask,split\na,MKV,HHC,011,train\n")
    for name in (None, "mask"):
        masked = read_task(TaskSelection(labels=str(path), input="residue", mask_column=name), store)
        assert masked.labels[0][1:] == "HC"
        assert masked.labels[0][0] != "H"
    path.write_text("id,sequence,Label,LABEL\na,MKV,x,y\n")
    with pytest.raises(InputError, match="no column 'label'"):
        read_task(TaskSelection(labels=str(path), label_column="label"), store)
    fasta = tmp_path / "a.fasta"
    fasta.write_text(">sp|P1|A_HUMAN Some protein OS=one\nMKV\n>b\nMKA\n>c plain words\nMKL\n>d OS=two\nMKI\n")
    data = read_task(TaskSelection(labels=str(fasta), label_column="OS"), store)
    assert (data.labels.tolist(), data.n_unlabelled) == (["one", "", "", "two"], 2)


def test_only_the_most_frequent_labels_of_the_training_rows_are_kept(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    labels = ["b", "b", "c", "c", "a", "a", "a", "d"]
    rows = [f"p{n},MKV{'A' * n},{label},train" for n, label in enumerate(labels)]
    path.write_text("id,sequence,label,split\n" + "\n".join(rows) + "\nq,GG,d,test\nr,GGG,c,test\ns,GGGG,b,test\n")
    data = read_task(TaskSelection(labels=str(path), top=2), store)
    assert set(data.labels[data.splits["train"]]) == {"a", "b"}
    assert data.splits["test"].tolist() == [10]
    assert data.split_rule == "column split; the 2 labels with most training rows, without validation rows"
    with pytest.raises(InputError, match="top is 9, but the training rows have 4 labels"):
        read_task(TaskSelection(labels=str(path), top=9), store)
    with pytest.raises(InputError, match="for tasks with one class a row"):
        read_task(TaskSelection(labels=str(path), top=2, target_type="regression", label_column="label"), store)


def _relatives(simulated: Any) -> tuple[list[bytes], list[str]]:
    proteins = simulated.proteins(120, seed=1)
    return [row[1].encode() for row in proteins], [row[2] for row in proteins]


def test_kmer_clusters_keep_relatives_together_whatever_their_order(simulated: Any) -> None:
    sequences, families = _relatives(simulated)
    found = kmer_clusters(sequences, identity=0.4)
    assert len(set(zip(found.tolist(), families, strict=True))) == len(set(families)) == found.max() + 1
    order = np.random.default_rng(0).permutation(len(sequences))
    shuffled = kmer_clusters([sequences[row] for row in order], identity=0.4)
    same = found[:, None] == found[None]
    assert ((shuffled[:, None] == shuffled[None]) == same[np.ix_(order, order)]).all()
    assert kmer_clusters([b"MK", b"MK" * 40, b"A" * 50, b"A" * 60], identity=0.9).tolist() == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="MMseqs2 is not installed")
def test_mmseqs_clusters_are_those_of_the_families(simulated: Any) -> None:
    sequences, families = _relatives(simulated)
    digests = np.random.default_rng(0).integers(0, 256, (len(sequences), 24)).astype(np.uint8)
    digests[7] = digests[1]
    sequences[7] = sequences[1]
    found = cluster_sequences(digests, lambda: sequences, identity=0.4, method="mmseqs")
    assert found.rule.startswith("clusters of MMseqs2 ")
    families[7] = families[1]
    assert len(set(zip(found.codes.tolist(), families, strict=True))) == len(set(families))
    assert found.codes[7] == found.codes[1]


def test_a_cluster_is_never_torn_and_the_parts_have_their_share() -> None:
    rng = np.random.default_rng(0)
    clusters = np.sort(rng.integers(0, 200, 2000))
    digests = rng.integers(0, 256, (2000, 24)).astype(np.uint8)
    parts = split_by_clusters(clusters, digests, seed=1)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(2000))
    homes = [set(clusters[rows].tolist()) for rows in parts.values()]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])
    assert abs(len(parts["test"]) - 200) < 20
    assert abs(len(parts["valid"]) - 200) < 20
    again = split_by_clusters(clusters[::-1], digests[::-1], seed=1)
    assert sorted(1999 - again["test"]) == parts["test"].tolist()
    assert split_by_clusters(clusters, digests, seed=2)["test"].tolist() != parts["test"].tolist()


def test_a_split_by_clusters_is_recorded_and_found_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    fitted = heads.fit(
        store, task=TaskSelection(dataset="pfam", split_by="clusters", identity=0.4), out=tmp_path / "head"
    )
    assert fitted.split_rule.startswith("80/10/10 by clusters of shared 5-mers as at 40% identity, seed 0")
    assert fitted.task["split_by"] == "clusters"
    data = read_task(TaskSelection(**fitted.task), store)
    assert len(data.splits["train"]) == fitted.n_rows["train"]
    families = [set(data.labels[rows].tolist()) for rows in data.splits.values()]
    assert not families[0] & families[1] | families[0] & families[2]


def test_nonsense_is_one_clear_line(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def fit(text: str) -> Any:
        path.write_text(text)
        return heads.fit(store, labels=path)

    a, b, c = (sequence.decode() for sequence in store.sequences.take(store.dataset("pfam").digests[:3]))
    table = f"id,sequence,label,split\na,{a},{{}},train\nb,{b},{{}},train\nc,{c},{{}},test\n"
    with pytest.raises(InputError, match=r"1 class \('x'\); expected two or more"):
        fit(table.format("x", "x", "y"))
    number = TaskSelection(labels=str(path), target_type="regression")
    path.write_text(table.format("1.5", "fast", "2"))
    data = read_task(number, store)
    with pytest.raises(
        InputError, match=r"Column 'label' of .* says 'fast' for 'b'; target_type 'regression' predicts numbers"
    ):
        data.targets(data.rows("train"))
    path.write_text(table.format("1.5", "nan", "2"))
    data = read_task(number, store)
    with pytest.raises(InputError, match=r"says 'nan' for 'b'; .* Leave such rows empty"):
        data.targets(data.rows("train"))
    fitted = fit(table.format("x", "y", "z"))
    assert fitted.n_rows["unseen"] == 1
    fitted = fit(table.replace("test", "train").format("x", "y", "x"))
    assert fitted.split_rule == "column split, without validation rows, without test rows"
    with pytest.raises(InputError, match=r"no labelled row in split 'test'"):
        heads.evaluate(store, fitted)
    for options, told in (
        ({"split_by": "family"}, "split_by is 'family'; expected one of column, random, clusters"),
        ({"identity": 40}, "identity is 40; expected more than 0 and at most 1"),
        ({"top": 1}, "top is 1; expected 2 or more"),
        ({"split_by": "random", "split_column": "split"}, "A split column was named .* by random"),
        ({"input": "atom"}, "input is 'atom'; expected one of protein, residue, pair"),
    ):
        with pytest.raises(InputError, match=told):
            heads.fit(store, task=TaskSelection(task="pfam", **options))
