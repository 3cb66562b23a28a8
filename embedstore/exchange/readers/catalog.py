"""The import formats."""

from __future__ import annotations

from dataclasses import dataclass

from embedstore.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFormat:
    """``target`` is ``"module:callable"``, called as ``callable(path, format, options)``; gives a `Source`."""

    name: str
    target: str
    summary: str


IMPORT_FORMATS: Catalog[ImportFormat] = Catalog(
    "import format",
    (
        ImportFormat(
            name="uniprot-h5",
            target="embedstore.exchange.readers.h5:open_h5",
            summary="UniProt's per-protein.h5 and per-residue.h5: an HDF5 data set per accession",
        ),
        ImportFormat(
            name="bio-embeddings-h5",
            target="embedstore.exchange.readers.h5:open_h5",
            summary="bio_embeddings: numbered HDF5 data sets with the attribute original_id",
        ),
        ImportFormat(
            name="biotrainer-h5",
            target="embedstore.exchange.readers.h5:open_h5",
            summary="biotrainer: HDF5 data sets named by hash, number or id, with the attribute original_id",
        ),
        ImportFormat(
            name="esm-pt",
            target="embedstore.exchange.readers.esm_pt:open_esm",
            summary="fair-esm's extract.py: a folder of .pt files",
        ),
        ImportFormat(
            name="npz",
            target="embedstore.exchange.readers.arrays:open_npz",
            summary="NumPy .npz with ids and vectors (or embeddings)",
        ),
        ImportFormat(
            name="npy",
            target="embedstore.exchange.readers.arrays:open_npy",
            summary="NumPy .npy (N, D), with a .tsv or .txt of ids beside it",
        ),
    ),
    group="embedstore.import_formats",
)
