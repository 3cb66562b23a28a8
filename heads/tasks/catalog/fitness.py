"""Tasks on numbers measured of variants: brightness, stability, fitness, melting."""

from __future__ import annotations

from heads.tasks.catalog.sources import (
    FLIP,
    FLIP_LAYOUT,
    FLIP_URL,
    PEER,
    PEER_LAYOUT,
    PEER_URL,
    TAPE,
    TDC,
    TDC_URL,
    benchmark,
    flip,
)
from heads.tasks.spec import Task

_WU = "Wu et al. 2016, Adaptation in protein fitness landscapes is facilitated by indirect paths, eLife 5:e16965"
_BRYANT = (
    "Bryant et al. 2021, Deep diversification of an AAV capsid protein by machine learning, Nature Biotechnology 39:691"
)
_JARZAB = "Jarzab et al. 2020, Meltome atlas, Nature Methods 17:495"
_GB1 = "00a3c3d5be56ce35adfbec838db8ff549be369525e151a6978133da34b9fd86f"


def _landscape(name: str, split: str, citation: str, summary: str, sha256: str | None) -> Task:
    return Task(
        name=f"{name}_{split}",
        target="heads.tasks.readers:read_dataset",
        dataset=f"{name}_{split}",
        label_columns=("label", "target"),
        target_type="regression",
        split_column="split",
        main_metric="spearman",
        licence="AFL-3.0",
        citation=f"{citation}; {FLIP}",
        source_url=f"{FLIP_URL}/tree/main/splits/{name}",
        layout=FLIP_LAYOUT,
        files=flip(name, sha256, f"{split}.csv"),
        add_options={"id_column": "#"},
        field="fitness",
        summary=summary,
    )


TASKS = (
    Task(
        name="fluorescence",
        target="heads.tasks.readers:read_dataset",
        dataset="fluorescence",
        label_columns=("label", "log_fluorescence"),
        target_type="regression",
        main_metric="spearman",
        licence="CC BY 4.0",
        citation=f"Sarkisyan et al. 2016, Local fitness landscape of GFP, Nature 533:397; {TAPE}",
        source_url="https://github.com/songlab-cal/tape",
        layout="JSON lines or LMDB (not read here): convert to CSV with columns id, sequence, label",
        field="fitness",
        summary="log brightness of variants of green fluorescent protein",
    ),
    Task(
        name="stability",
        target="heads.tasks.readers:read_dataset",
        dataset="stability",
        label_columns=("label", "stability_score"),
        target_type="regression",
        main_metric="spearman",
        licence="BSD-3-Clause (TAPE), MIT (ProteinBERT's copy)",
        citation=f"Rocklin et al. 2017, Global analysis of protein folding, Science 357:168; {TAPE}",
        source_url="https://github.com/songlab-cal/tape",
        layout="CSV a split with columns seq, label (ids are row numbers)",
        files=benchmark(
            "stability",
            train="62cdebd9d680a0114326b4fba709e9753fdf2fb2238c8ec61ae388a55c3d1052",
            valid="b569b6f997aedf167b99a4900e3ac30754d0c6d80ff7f803d6f3e1398261e450",
            test="b79e72cdb00e524f7804d6437b80eb3be573aee3733a8e7d0b4c72917701f65b",
        ),
        add_options={"id_column": "#"},
        field="fitness",
        summary="protease stability of designed miniproteins",
    ),
    Task(
        name="beta_lactamase",
        target="heads.tasks.readers:read_dataset",
        dataset="beta_lactamase",
        label_columns=("label", "scaled_effect1"),
        target_type="regression",
        main_metric="spearman",
        citation=f"Gray et al. 2018, Envision, Cell Systems 6:116; {PEER}",
        source_url=PEER_URL,
        layout=PEER_LAYOUT,
        field="fitness",
        summary="effect of single mutations on TEM-1 beta-lactamase",
    ),
    *(
        _landscape("gb1", split, _WU, f"fitness of GB1 at four sites; split {split}", _GB1)
        for split in ("one_vs_rest", "two_vs_rest", "three_vs_rest", "low_vs_high", "sampled")
    ),
    *(
        _landscape("aav", split, _BRYANT, f"fitness of AAV capsids; split {split}", None)
        for split in ("des_mut", "mut_des", "one_vs_many", "two_vs_many", "seven_vs_many", "low_vs_high", "sampled")
    ),
    *(
        _landscape("meltome", split, _JARZAB, f"melting temperature; split {split}", None)
        for split in ("mixed_split", "human", "human_cell")
    ),
    Task(
        name="crispr_leenay",
        target="heads.tasks.readers:read_dataset",
        dataset="crispr_leenay",
        label_columns=("label", "Y", "Fraction_Insertions"),
        target_type="regression",
        main_metric="spearman",
        citation="Leenay et al. 2019, Large dataset enables prediction of repair after CRISPR-Cas9 editing in primary "
        f"T cells, Nature Biotechnology 37:1034; {TDC}",
        source_url=f"{TDC_URL}/single_pred_tasks/CRISPROutcome",
        layout="TSV with columns GuideSeq_ID, GuideSeq, and one an outcome: add with --id-column and "
        "--sequence-column; the sequences are DNA, read as the amino acids A, C, G, T",
        add_options={"id_column": "GuideSeq_ID", "sequence_column": "GuideSeq"},
        field="fitness",
        summary="repair outcome of CRISPR-Cas9 cuts, from the guide's DNA",
    ),
)
