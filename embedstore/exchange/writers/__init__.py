"""The export formats."""

from __future__ import annotations

from dataclasses import dataclass

from embedstore.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """An entry of the catalog.

    ``target`` is ``"module:callable"``, called as ``callable(selection, path, progress)``: writes ``path`` and returns
    sentences for a person. ``suffixes`` are what files of it end in, the usual one first; ``residues`` says whether it
    takes matrices; ``beside`` is the suffix of a second file, which is handed over as ``path.with_suffix(beside)``.
    """

    name: str
    target: str
    suffixes: tuple[str, ...]
    summary: str
    residues: bool = False
    beside: str | None = None


EXPORT_FORMATS: Catalog[ExportFormat] = Catalog(
    "export format",
    (
        ExportFormat(
            name="h5",
            target="embedstore.exchange.writers.h5:write_h5",
            suffixes=(".h5", ".hdf5"),
            summary="HDF5 with a data set per id, as UniProt's per-protein.h5 and per-residue.h5",
            residues=True,
        ),
        ExportFormat(
            name="npy",
            target="embedstore.exchange.writers.arrays:write_npy",
            suffixes=(".npy",),
            summary="NumPy .npy, with a .tsv of ids, keys and columns beside it",
            beside=".tsv",
        ),
        ExportFormat(
            name="npz",
            target="embedstore.exchange.writers.arrays:write_npz",
            suffixes=(".npz",),
            summary="NumPy .npz with ids, keys and vectors",
        ),
        ExportFormat(
            name="parquet",
            target="embedstore.exchange.writers.parquet:write_parquet",
            suffixes=(".parquet", ".pq"),
            summary="Parquet with id, key, columns and a list of fixed size",
        ),
        ExportFormat(
            name="anndata",
            target="embedstore.exchange.writers.anndata:write_anndata",
            suffixes=(".h5ad",),
            summary="AnnData: X, obs by id, uns with where the vectors come from",
        ),
    ),
    group="embedstore.export_formats",
)
