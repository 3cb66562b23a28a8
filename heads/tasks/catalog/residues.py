"""Tasks on each residue of a protein."""

from __future__ import annotations

from heads.tasks.catalog.sources import FLIP, FLIP_URL, flip
from heads.tasks.spec import Task

_NETSURF = "Klausen et al. 2019, NetSurfP-2.0, Proteins 87:520"
_LAYOUT = (
    "sequences.fasta, sampled.fasta (a letter a residue; SET=, VALIDATION=), mask.fasta; "
    "or CSV with id, sequence, label, mask"
)

TASKS = (
    Task(
        name="secondary_structure",
        target="heads.tasks.readers:read_dataset",
        dataset="secondary_structure",
        label_columns=("label", "q3"),
        input="residue",
        mask_column="mask",
        licence="AFL-3.0",
        citation=f"{_NETSURF}; Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112; {FLIP}",
        source_url=f"{FLIP_URL}/tree/main/splits/secondary_structure",
        layout=_LAYOUT,
        files=flip(
            "secondary_structure",
            "2e9bbbfd18a055bcac7edd4e059a6bf4bb35ca3ad8f8fa4fc3106422652a4726",
            "sequences.fasta",
            "sampled.fasta",
            "mask.fasta",
        ),
        tidy="heads.tasks.convert:flip_residues",
        field="residues",
        summary="helix, strand or other of each residue (Q3)",
    ),
    Task(
        name="secondary_structure_q8",
        target="heads.tasks.readers:read_dataset",
        dataset="secondary_structure_q8",
        label_columns=("label", "q8"),
        input="residue",
        mask_column="mask",
        citation=_NETSURF,
        source_url="https://services.healthtech.dtu.dk/services/NetSurfP-2.0/",
        layout="CSV with columns id, sequence, label (a letter of DSSP's eight a residue), mask",
        field="residues",
        summary="one of DSSP's eight states of each residue (Q8)",
    ),
    Task(
        name="conservation",
        target="heads.tasks.readers:read_dataset",
        dataset="conservation",
        label_columns=("label",),
        input="residue",
        mask_column="mask",
        licence="AFL-3.0",
        citation="Marquet et al. 2022, Embeddings from protein language models predict conservation and variant "
        f"effects, Human Genetics 141:1629; {FLIP}",
        source_url=f"{FLIP_URL}/tree/main/splits/conservation",
        layout=_LAYOUT,
        files=flip(
            "conservation",
            "9b364ba2a378a7abd9b8cf992d38c61b33dff17854fe37997760c8972ce921c5",
            "sequences.fasta",
            "sampled.fasta",
        ),
        tidy="heads.tasks.convert:flip_residues",
        field="residues",
        summary="conservation of each residue, 1 (variable) to 9",
    ),
    Task(
        name="bind",
        target="heads.tasks.readers:read_dataset",
        dataset="bind",
        label_columns=("label",),
        input="residue",
        main_metric="macro_f1",
        licence="AFL-3.0",
        citation=f"Littmann et al. 2021, bindEmbed21, Scientific Reports 11:23916; {FLIP}",
        source_url=f"{FLIP_URL}/tree/main/splits/bind",
        layout=_LAYOUT.replace("sampled", "from_publication"),
        files=flip(
            "bind",
            "f742c8b3e4521d7e771ca03096484451287026fe433b34463cbfcf767e0a7417",
            "sequences.fasta",
            "from_publication.fasta",
        ),
        tidy="heads.tasks.convert:flip_residues",
        field="residues",
        summary="what each residue binds: metal, nucleic acid, small molecule, and their combinations",
    ),
)
