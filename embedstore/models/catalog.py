"""The model catalog: one row a checkpoint; listing it imports no torch."""

from __future__ import annotations

from embedstore.models.base import ModelSpec
from embedstore.registry import Catalog

_PROTTRANS = "Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112, doi:10.1109/TPAMI.2021.3095381"
_ESM2 = "Lin et al. 2023, Science 379:1123, doi:10.1126/science.ade2574"

FAMILIES = {
    "t5": "embedstore.models.t5:T5Model",
    "bert": "embedstore.models.bert:BertModel",
    "esm": "embedstore.models.esm:EsmModel",
}
"""Families that a local directory can be loaded as, and the class that does it."""


def _esm2(size: str, *, dim: int, n_layers: int, n_parameters: int) -> ModelSpec:
    """An ESM-2 row: they differ in size alone."""
    return ModelSpec(
        name=f"esm2_{size.lower()}",
        target=FAMILIES["esm"],
        family="esm",
        checkpoint=f"facebook/esm2_t{n_layers}_{size}_UR50D",
        revision="main",
        licence="MIT",
        dim=dim,
        n_layers=n_layers,
        n_parameters=n_parameters,
        summary=f"ESM-2, {size} parameters, masked language model on UniRef50/D",
        citation=_ESM2,
    )


MODELS: Catalog[ModelSpec] = Catalog(
    "model",
    (
        ModelSpec(
            name="prot_t5",
            target=FAMILIES["t5"],
            family="t5",
            checkpoint="Rostlab/prot_t5_xl_half_uniref50-enc",
            revision="main",
            licence="AFL-3.0",
            dim=1024,
            n_layers=24,
            n_parameters=1_208_141_824,
            unknown_to_x=b"UZOB",
            summary="ProtT5-XL-U50, the encoder alone, float16 weights",
            citation=_PROTTRANS,
        ),
        ModelSpec(
            name="prot_bert",
            target=FAMILIES["bert"],
            family="bert",
            checkpoint="Rostlab/prot_bert",
            revision="main",
            licence="AFL-3.0",
            dim=1024,
            n_layers=30,
            n_parameters=419_933_184,
            max_residues=39_998,
            unknown_to_x=b"UZOB",
            summary="ProtBert, masked language model on UniRef100",
            citation=_PROTTRANS,
        ),
        _esm2("8M", dim=320, n_layers=6, n_parameters=7_840_000),
        _esm2("35M", dim=480, n_layers=12, n_parameters=33_500_000),
        _esm2("150M", dim=640, n_layers=30, n_parameters=148_000_000),
        _esm2("650M", dim=1280, n_layers=33, n_parameters=651_000_000),
        _esm2("3B", dim=2560, n_layers=36, n_parameters=2_839_000_000),
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
