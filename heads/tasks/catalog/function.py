"""Tasks on what a protein does or is like: enzymes, Gene Ontology, solubility and other properties."""

from __future__ import annotations

from heads.tasks.catalog.sources import PEER, PEER_LAYOUT, PEER_URL, github
from heads.tasks.spec import Task

_DEEPFRI = "Gligorijević et al. 2021, Structure-based protein function prediction using graph convolutional networks, "
_GO_LAYOUT = (
    "CSV or TSV with columns id, sequence, label (GO terms joined by |); DeepFRI's annot.tsv and FASTA joined by id"
)
_AMPLIFY = ("bcgsc/AMPlify", "f02a1c9169ca1ba623fe463413845111ce28317d")
_PROFET = ("ddofer/ProFET", "0b7a7a12510713b2810c8e2e2af384f5217f7939")

TASKS = (
    Task(
        name="ec",
        target="heads.tasks.readers:read_dataset",
        dataset="ec",
        label_columns=("label", "EC number"),
        target_type="multilabel",
        label_separator="|",
        main_metric="fmax",
        licence="CC BY 4.0 (Swiss-Prot); CLEAN's software has a research licence",
        citation="Yu et al. 2023, Enzyme function prediction using contrastive learning (CLEAN), Science 379:1358; "
        f"{_DEEPFRI}Nature Communications 12:3168",
        source_url="https://github.com/tttianhao/CLEAN",
        layout="CSV with columns id, sequence, label (EC numbers joined by |); CLEAN's TSV has Entry, EC number "
        "(joined by ;), Sequence: give --label-separator ';'",
        field="function",
        summary="EC numbers of an enzyme",
    ),
    *(
        Task(
            name=f"go_{code}",
            target="heads.tasks.readers:read_dataset",
            dataset=f"go_{code}",
            label_columns=("label", code),
            target_type="multilabel",
            label_separator="|",
            main_metric="fmax",
            licence="CC BY 4.0 (Gene Ontology)",
            citation=f"{_DEEPFRI}Nature Communications 12:3168; Gene Ontology Consortium 2023, Genetics 224:iyad031",
            source_url="https://github.com/flatironinstitute/DeepFRI",
            layout=_GO_LAYOUT,
            field="function",
            summary=f"terms of the Gene Ontology: {ontology}",
        )
        for code, ontology in (("mf", "molecular function"), ("bp", "biological process"), ("cc", "cellular component"))
    ),
    Task(
        name="solubility",
        target="heads.tasks.readers:read_dataset",
        dataset="solubility",
        label_columns=("label", "solubility"),
        citation=f"Khurana et al. 2018, DeepSol, Bioinformatics 34:2605; {PEER}",
        source_url=PEER_URL,
        layout=PEER_LAYOUT,
        field="function",
        summary="soluble when expressed in E. coli (1) or not (0)",
    ),
    Task(
        name="amp",
        target="heads.tasks.readers:read_dataset",
        dataset="amp",
        label_columns=("label",),
        licence="GPL-3.0",
        citation="Li et al. 2022, AMPlify, BMC Genomics 23:77",
        source_url="https://github.com/bcgsc/AMPlify",
        layout="a FASTA file a split and a class; or CSV with id, sequence, label",
        files=(
            github(
                *_AMPLIFY,
                "data/AMPlify_AMP_train_common.fa",
                "train.1.fa",
                "a04e28f8d29d1bb4f445a6162e210e0999289c31bf93f2f13c8d2268c8dd9cdc",
            ),
            github(
                *_AMPLIFY,
                "data/AMPlify_non_AMP_train_balanced.fa",
                "train.0.fa",
                "02161c5d18ff8c5c8c712527fb84a9c51606a46b11ad987cd91c60306acd25a3",
            ),
            github(
                *_AMPLIFY,
                "data/AMPlify_AMP_test_common.fa",
                "test.1.fa",
                "5c6b6dc7f664035e6485454d3e1c119cc2cdc4e01655837eca47faa9b587782c",
            ),
            github(
                *_AMPLIFY,
                "data/AMPlify_non_AMP_test_balanced.fa",
                "test.0.fa",
                "370edd07c0da533273c2da6a725c0b6579ac4c7aa09569e1b4ae40c6e80587b4",
            ),
        ),
        tidy="heads.tasks.convert:fasta_classes",
        field="function",
        summary="antimicrobial peptide (1) or not (0)",
    ),
    Task(
        name="thermophile",
        target="heads.tasks.readers:read_dataset",
        dataset="thermophile",
        label_columns=("label",),
        licence="GPL-3.0",
        citation="Ofer & Linial 2015, ProFET, Bioinformatics 31:3429",
        source_url="https://github.com/ddofer/ProFET",
        layout="a FASTA file a class, without splits; or CSV with id, sequence, label",
        files=(
            github(
                *_PROFET,
                "fastas/Benchmarks/Thermophiles/Therm.fasta",
                "all.1.fa",
                "159c7c40a1c784ed0290591b0a5fc5c2fbca1e2db4fa9d75a98bd8c6b4586e1f",
            ),
            github(
                *_PROFET,
                "fastas/Benchmarks/Thermophiles/-.fasta",
                "all.0.fa",
                "77f8023cd4204e8c98a57a37c85072012807974dc1e7e94cf90d104cd6ba2db1",
            ),
        ),
        tidy="heads.tasks.convert:fasta_classes",
        field="function",
        summary="protein of a thermophile (1) or not (0)",
    ),
)
