"""The model catalog: one row a checkpoint; listing it imports no torch."""

from __future__ import annotations

from typing import Any

from embedstore.catalog import Catalog
from embedstore.models.base import ModelSpec

_PROTTRANS = "Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112, doi:10.1109/TPAMI.2021.3095381"
_PROSTT5 = "Heinzinger et al. 2024, NAR Genomics and Bioinformatics 6:lqae150, doi:10.1093/nargab/lqae150"
_ANKH = "Elnaggar et al. 2023, Ankh, arXiv:2301.06568"
_ESM1B = "Rives et al. 2021, PNAS 118:e2016239118, doi:10.1073/pnas.2016239118"
_ESM1V = "Meier et al. 2021, NeurIPS 34:29287, doi:10.1101/2021.07.09.450648"
_ESM2 = "Lin et al. 2023, Science 379:1123, doi:10.1126/science.ade2574"
_ESMC = "ESM Team 2024, ESM Cambrian, https://evolutionaryscale.ai/blog/esm-cambrian"

_ABSOLUTE = 39_998  # ProtTrans's tables hold 40,000 positions, two of them for special tokens
_WINDOW = 4_096

FAMILIES = {
    "mini": "embedstore.models.mini:MiniModel",
    "t5": "embedstore.models.t5:T5Model",
    "prost_t5": "embedstore.models.t5:ProstT5Model",
    "ankh": "embedstore.models.t5:AnkhModel",
    "bert": "embedstore.models.bert:BertModel",
    "electra": "embedstore.models.bert:ElectraModel",
    "albert": "embedstore.models.bert:AlbertModel",
    "xlnet": "embedstore.models.xlnet:XLNetModel",
    "esm": "embedstore.models.esm:EsmModel",
    "esmc": "embedstore.models.esmc:EsmcModel",
}
"""Families that a checkpoint from elsewhere can be loaded as, and the class that does it."""


def _row(family: str, **fields: Any) -> ModelSpec:
    """A row of a family that reads checkpoints."""
    return ModelSpec(**{"family": family, "target": FAMILIES[family], "revision": "main", **fields})


def _prottrans(family: str, **fields: Any) -> ModelSpec:
    """A row of ProtTrans: their cards replace rare residues, and give the same licence."""
    shared = {"licence": "AFL-3.0", "citation": _PROTTRANS, "window_residues": _WINDOW, "unknown_to_x": b"UZOB"}
    return _row(family, **{**shared, **fields})


def _esm1v(number: int) -> ModelSpec:
    """One of the five ESM-1v, which differ in the seed they were trained with."""
    return _row(
        "esm",
        name=f"esm1v_{number}",
        checkpoint=f"facebook/esm1v_t33_650M_UR90S_{number}",
        licence="MIT",
        dim=1280,
        n_layers=33,
        n_parameters=650_713_600,
        max_residues=1_022,
        window_residues=1_022,
        half_precision="float16",
        summary=f"ESM-1v, number {number} of five, for variant effects, on UniRef90",
        citation=_ESM1V,
    )


def _esm2(size: str, *, dim: int, n_layers: int, n_parameters: int, half_precision: str = "float16") -> ModelSpec:
    """An ESM-2 row: they differ in size alone."""
    return _row(
        "esm",
        name=f"esm2_{size.lower()}",
        checkpoint=f"facebook/esm2_t{n_layers}_{size}_UR50D",
        licence="MIT",
        dim=dim,
        n_layers=n_layers,
        n_parameters=n_parameters,
        window_residues=_WINDOW,
        half_precision=half_precision,
        summary=f"ESM-2, {size} parameters, masked language model on UniRef50/D",
        citation=_ESM2,
    )


def _ankh(size: str, *, dim: int, n_parameters: int) -> ModelSpec:
    """An Ankh row."""
    return _row(
        "ankh",
        name=f"ankh_{size}",
        checkpoint=f"ElnaggarLab/ankh-{size}",
        licence="CC-BY-NC-SA-4.0",
        dim=dim,
        n_layers=48,
        n_parameters=n_parameters,
        window_residues=_WINDOW,
        half_precision="bfloat16",
        summary=f"Ankh {size}, the encoder alone, T5 on UniRef50",
        citation=_ANKH,
    )


def _esmc(size: str, *, dim: int, n_layers: int, n_parameters: int) -> ModelSpec:
    """An ESM C row."""
    return _row(
        "esmc",
        name=f"esmc_{size.lower()}",
        checkpoint=f"biohub/ESMC-{size}",
        licence="MIT",
        dim=dim,
        n_layers=n_layers,
        n_parameters=n_parameters,
        max_residues=2_048,
        window_residues=2_048,
        half_precision="bfloat16",
        summary=f"ESM Cambrian, {size} parameters, masked language model on UniRef, MGnify and JGI",
        citation=_ESMC,
    )


MODELS: Catalog[ModelSpec] = Catalog(
    "model",
    (
        _row(
            "mini",
            name="mini",
            checkpoint=None,
            revision="2",
            licence="Apache-2.0",
            dim=1024,
            n_layers=7,
            n_parameters=3_603_500,
            window_residues=40_960,
            summary="Small encoder of our own, 3.6M parameters, weights in the package: needs no hub, fast on a CPU",
            citation="embedstore, embedstore/models/weights/mini/CARD.md",
        ),
        _prottrans(
            "t5",
            name="prot_t5",
            checkpoint="Rostlab/prot_t5_xl_half_uniref50-enc",
            dim=1024,
            n_layers=24,
            n_parameters=1_208_141_824,
            half_precision="float16",
            summary="ProtT5-XL-U50, the encoder alone, float16 weights",
        ),
        _prottrans(
            "t5",
            name="prot_t5_bfd",
            checkpoint="Rostlab/prot_t5_xl_bfd",
            dim=1024,
            n_layers=24,
            n_parameters=1_208_141_824,
            half_precision="float16",
            summary="ProtT5-XL-BFD, the encoder of it, trained on BFD alone",
        ),
        _prottrans(
            "prost_t5",
            name="prost_t5",
            checkpoint="Rostlab/ProstT5_fp16",
            licence="MIT",
            dim=1024,
            n_layers=24,
            n_parameters=1_208_164_352,
            half_precision="float16",
            summary="ProstT5, the encoder alone: ProtT5 taught to read and write structure states",
            citation=_PROSTT5,
        ),
        _ankh("base", dim=768, n_parameters=453_170_304),
        _ankh("large", dim=1536, n_parameters=1_151_707_136),
        _prottrans(
            "bert",
            name="prot_bert",
            checkpoint="Rostlab/prot_bert",
            dim=1024,
            n_layers=30,
            n_parameters=418_881_536,
            max_residues=_ABSOLUTE,
            half_precision="float16",
            summary="ProtBert, masked language model on UniRef100",
        ),
        _prottrans(
            "bert",
            name="prot_bert_bfd",
            checkpoint="Rostlab/prot_bert_bfd",
            dim=1024,
            n_layers=30,
            n_parameters=418_881_536,
            max_residues=_ABSOLUTE,
            half_precision="float16",
            summary="ProtBert-BFD, masked language model on BFD",
        ),
        _prottrans(
            "electra",
            name="prot_electra",
            checkpoint="Rostlab/prot_electra_discriminator_bfd",
            dim=1024,
            n_layers=30,
            n_parameters=418_881_536,
            max_residues=_ABSOLUTE,
            half_precision="float16",
            summary="ProtElectra-BFD, the discriminator: which residues were replaced",
        ),
        _prottrans(
            "albert",
            name="prot_albert",
            checkpoint="Rostlab/prot_albert",
            dim=4096,
            n_layers=12,
            n_parameters=207_033_088,
            max_residues=_ABSOLUTE,
            half_precision="bfloat16",
            summary="ProtAlbert, masked language model on UniRef100, one layer's weights used twelve times",
        ),
        _prottrans(
            "xlnet",
            name="prot_xlnet",
            checkpoint="Rostlab/prot_xlnet",
            dim=1024,
            n_layers=30,
            n_parameters=409_413_632,
            half_precision="bfloat16",
            unknown_to_x=b"",
            summary="ProtXLNet, permutation language model on UniRef100",
        ),
        _row(
            "esm",
            name="esm1b",
            checkpoint="facebook/esm1b_t33_650M_UR50S",
            licence="MIT",
            dim=1280,
            n_layers=33,
            n_parameters=650_716_160,
            max_residues=1_022,
            window_residues=1_022,
            half_precision="float16",
            summary="ESM-1b, masked language model on UniRef50/S, 1,022 residues at most",
            citation=_ESM1B,
        ),
        *(_esm1v(number) for number in range(1, 6)),
        _esm2("8M", dim=320, n_layers=6, n_parameters=7_408_960),
        _esm2("35M", dim=480, n_layers=12, n_parameters=33_269_280),
        _esm2("150M", dim=640, n_layers=30, n_parameters=147_728_000),
        _esm2("650M", dim=1280, n_layers=33, n_parameters=649_400_320),
        _esm2("3B", dim=2560, n_layers=36, n_parameters=2_832_442_880),
        # Nobody has shown float16 to hold at this size.
        _esm2("15B", dim=5120, n_layers=48, n_parameters=15_102_868_480, half_precision="bfloat16"),
        _esmc("300M", dim=960, n_layers=30, n_parameters=332_011_200),
        _esmc("600M", dim=1152, n_layers=36, n_parameters=573_632_640),
        ModelSpec(
            name="kmer",
            target="embedstore.models.kmer:KmerModel",
            family="kmer",
            checkpoint=None,
            revision=None,
            licence="Apache-2.0",
            dim=1024,
            n_layers=0,
            n_parameters=0,
            summary="Hashed k-mer and composition spectrum with a fixed random projection; needs no weights",
            citation="Weinberger et al. 2009, Feature hashing for large scale multitask learning, ICML",
        ),
    ),
    group="embedstore.models",
)
"""Every model by name."""
