"""Tasks on where a protein is: compartments, membranes, secretion."""

from __future__ import annotations

from heads.tasks.catalog.sources import FLIP, FLIP_URL, PEER, PEER_LAYOUT, PEER_URL, benchmark
from heads.tasks.spec import Task

_DEEPLOC = "Almagro Armenteros et al. 2017, DeepLoc, Bioinformatics 33:3387"

TASKS = (
    Task(
        name="scl",
        target="heads.tasks.readers:read_dataset",
        dataset="scl",
        label_columns=("label", "target"),
        citation=f"{_DEEPLOC}; {FLIP}",
        licence="AFL-3.0 (FLIP's splits)",
        source_url=f"{FLIP_URL}/tree/main/splits/scl",
        layout="FASTA headers with SET=, VALIDATION=, TARGET=<location>-<membrane>; or CSV with id, sequence, label",
        field="location",
        summary="subcellular localisation, ten classes: DeepLoc 1, FLIP's scl, PEER's subcellular localization",
    ),
    Task(
        name="deeploc2",
        target="heads.tasks.readers:read_dataset",
        dataset="deeploc2",
        label_columns=("label",),
        target_type="multilabel",
        label_separator="|",
        main_metric="macro_f1",
        citation="Thumuluri et al. 2022, DeepLoc 2.0, Nucleic Acids Research 50:W228",
        source_url="https://services.healthtech.dtu.dk/services/DeepLoc-2.0/",
        layout="CSV with columns id, sequence, label (locations joined by |); homology partitions as splits",
        field="location",
        summary="subcellular localisation, any of ten places (DeepLoc 2)",
    ),
    Task(
        name="binary_localization",
        target="heads.tasks.readers:read_dataset",
        dataset="binary_localization",
        label_columns=("label", "localization"),
        citation=f"{_DEEPLOC}; {PEER}",
        source_url=PEER_URL,
        layout=PEER_LAYOUT,
        field="location",
        summary="membrane-bound (0) or soluble (1)",
    ),
    Task(
        name="signal_peptide",
        target="heads.tasks.readers:read_dataset",
        dataset="signal_peptide",
        label_columns=("label",),
        main_metric="mcc",
        licence="not stated; MIT (ProteinBERT's copy)",
        citation="Almagro Armenteros et al. 2019, SignalP 5.0, Nature Biotechnology 37:420",
        source_url="https://services.healthtech.dtu.dk/services/SignalP-5.0/",
        layout="CSV a split with columns seq, label (ids are row numbers)",
        files=benchmark(
            "signalP_binary",
            train="c2f92e8507e96d315451aefab5fe92372852f481104c2adb2933671f437249ff",
            test="849ff0591e4bb60841047680c69be8c5d74cff5ddfd3d6f7a839b8b33688f718",
        ),
        add_options={"id_column": "#"},
        field="location",
        summary="signal peptide in the first 70 residues (1) or none (0)",
    ),
)
