"""Tasks on families, folds and superfamilies."""

from __future__ import annotations

from heads.tasks.catalog.sources import TAPE, benchmark
from heads.tasks.spec import RemoteFile, Task

_PFAM = "https://console.cloud.google.com/storage/browser/brain-genomics-public/research/proteins/pfam/"
_FILES = "https://storage.googleapis.com/brain-genomics-public/research/proteins/pfam/random_split"
_BILESCHI = (
    "Bileschi et al. 2022, Using deep learning to annotate the protein universe, Nature Biotechnology 40:932, "
    "doi:10.1038/s41587-021-01179-w"
)
_SHARDS = (
    "folders train, dev, test of CSV shards: family_id, sequence_name, family_accession, aligned_sequence, sequence"
)
# The published layout first, then what tables and the simulator call it.
_FAMILY = ("family_accession", "label", "family")
_COUNTS = {"train": 80, "dev": 10, "test": 10}

TASKS = (
    Task(
        name="pfam",
        target="heads.tasks.readers:read_dataset",
        dataset="pfam",
        label_columns=_FAMILY,
        licence="CC0-1.0",
        citation=_BILESCHI,
        source_url=_PFAM,
        layout=_SHARDS,
        files=tuple(
            RemoteFile(url=f"{_FILES}/{split}/{name}", name=f"{split}/{name}")
            for split, count in _COUNTS.items()
            for name in (f"data-{shard:05}-of-{count:05}" for shard in range(count))
        ),
        field="families",
        summary="family of a protein domain; the random split of the seed alignments of Pfam 32",
    ),
    Task(
        name="pfam_clustered",
        target="heads.tasks.readers:read_dataset",
        dataset="pfam_clustered",
        label_columns=_FAMILY,
        licence="CC0-1.0",
        citation=_BILESCHI,
        source_url=f"{_PFAM}clustered_split",
        layout=_SHARDS,
        field="families",
        summary="the same, split so that test domains have at most 25% identity to training domains",
    ),
    Task(
        name="remote_homology",
        target="heads.tasks.readers:read_dataset",
        dataset="remote_homology",
        label_columns=("label", "fold_label"),
        licence="BSD-3-Clause (TAPE), MIT (ProteinBERT's copy)",
        citation=f"{TAPE}; Hou et al. 2018, DeepSF, Bioinformatics 34:1295",
        source_url="https://github.com/songlab-cal/tape",
        layout="CSV a split with columns seq, label (ids are row numbers); test is the fold-level holdout",
        files=benchmark(
            "remote_homology",
            train="f39e9a7a2848c4b4efca891a1c8b6904fcae68a7d31b84648ef9e3c351380b0d",
            valid="11d088bdb6fd4a5ee9b5e3d1f41d958b47e478b6c3daa62d928811c413ed2935",
            test="ecf3e618355a87ddd76c54f502059d228b0d58bdd3a3b24f8abc80f1fe4145ce",
        ),
        add_options={"id_column": "#"},
        field="families",
        summary="fold of a protein domain, 1,195 of SCOP 1.75; TAPE's remote homology, PEER's fold",
    ),
    Task(
        name="scope",
        target="heads.tasks.readers:read_dataset",
        dataset="scope",
        label_columns=("label", "superfamily"),
        group_column="family",
        licence="free to use with citation",
        citation="Fox et al. 2014, SCOPe, Nucleic Acids Research 42:D304; Chandonia et al. 2022, NAR 50:D553",
        source_url="https://scop.berkeley.edu/astral",
        layout="CSV with columns id, sequence, label (superfamily a.1.1), fold, family; ASTRAL's FASTA has no splits",
        field="families",
        summary="superfamily of a protein domain in SCOPe",
    ),
    Task(
        name="scop2",
        target="heads.tasks.readers:read_dataset",
        dataset="scop2",
        label_columns=("label", "superfamily"),
        group_column="family",
        licence="free to use with citation",
        citation="Andreeva et al. 2020, The SCOP database in 2020, Nucleic Acids Research 48:D376",
        source_url="https://www.ebi.ac.uk/pdbe/scop/",
        layout="CSV with columns id, sequence, label (superfamily number), fold, family",
        field="families",
        summary="superfamily of a protein domain in SCOP 2",
    ),
)
