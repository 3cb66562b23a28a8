"""Tasks on two chains: interaction, affinity, antibodies of a heavy and a light chain."""

from __future__ import annotations

from heads.tasks.catalog.sources import PAIR_LAYOUT, PEER, PEER_URL, TDC, TDC_URL
from heads.tasks.pairing import ORDERED, SYMMETRIC
from heads.tasks.spec import Task

_ANTIBODY = (
    "CSV with columns id, sequence (heavy chain), sequence_2 (light chain), label; TDC gives both chains as one list"
)

TASKS = (
    Task(
        name="ppi_affinity",
        target="heads.tasks.readers:read_dataset",
        dataset="ppi_affinity",
        label_columns=("label", "interaction"),
        target_type="regression",
        input="pair",
        partner_column="sequence_2",
        pairing=SYMMETRIC,
        main_metric="rmse",
        citation=f"Moal & Fernández-Recio 2012, SKEMPI, Bioinformatics 28:2600; {PEER}",
        source_url=PEER_URL,
        layout=PAIR_LAYOUT,
        note="Every test pair is a variant of a complex with other variants in the training rows; 317 of 326 have one "
        "of their two chains there residue for residue, the other 9 both. So figures say how far substitutions add up, "
        "which needs no language model (nearest training variant: Pearson's r 0.60; ridge on counts of 1 to 3 "
        "residues: 0.75), and nothing of complexes that were never seen.",
        field="interaction",
        summary="affinity of two chains (logarithm of the dissociation constant)",
    ),
    Task(
        name="yeast_ppi",
        target="heads.tasks.readers:read_dataset",
        dataset="yeast_ppi",
        label_columns=("label", "interaction"),
        input="pair",
        partner_column="sequence_2",
        pairing=SYMMETRIC,
        citation="Guo et al. 2008, Using support vector machine combined with auto covariance to predict "
        f"protein-protein interactions, Nucleic Acids Research 36:3025; {PEER}",
        source_url=PEER_URL,
        layout=PAIR_LAYOUT,
        field="interaction",
        summary="whether two proteins of yeast interact",
    ),
    Task(
        name="human_ppi",
        target="heads.tasks.readers:read_dataset",
        dataset="human_ppi",
        label_columns=("label", "interaction"),
        input="pair",
        partner_column="sequence_2",
        pairing=SYMMETRIC,
        citation="Pan et al. 2010, Large-scale prediction of human protein-protein interactions, Journal of Proteome "
        f"Research 9:4992; {PEER}",
        source_url=PEER_URL,
        layout=PAIR_LAYOUT,
        field="interaction",
        summary="whether two human proteins interact",
    ),
    Task(
        name="tap",
        target="heads.tasks.readers:read_dataset",
        dataset="tap",
        label_columns=("label", "CDR_Length", "Y"),
        target_type="regression",
        input="pair",
        partner_column="sequence_2",
        pairing=ORDERED,
        main_metric="spearman",
        citation="Raybould et al. 2019, Five computational developability guidelines for therapeutic antibody "
        f"profiling, PNAS 116:4025; {TDC}",
        source_url=f"{TDC_URL}/single_pred_tasks/develop",
        layout=f"{_ANTIBODY}; its five numbers are columns, chosen with --label-column",
        field="interaction",
        summary="developability of an antibody: the guidelines of the Therapeutic Antibody Profiler",
    ),
    Task(
        name="sabdab_chen",
        target="heads.tasks.readers:read_dataset",
        dataset="sabdab_chen",
        label_columns=("label", "Y"),
        input="pair",
        partner_column="sequence_2",
        pairing=ORDERED,
        main_metric="auprc",
        citation="Chen et al. 2020, Predicting antibody developability from sequence using machine learning, bioRxiv "
        f"2020.06.18.159798; Dunbar et al. 2014, SAbDab, Nucleic Acids Research 42:D1140; {TDC}",
        source_url=f"{TDC_URL}/single_pred_tasks/develop",
        layout=_ANTIBODY,
        field="interaction",
        summary="developability of an antibody of SAbDab: good (1) or not (0)",
    ),
)
