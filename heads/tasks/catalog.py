"""The task catalog: one row a task; listing it reads no data."""

from __future__ import annotations

from embedstore.registry import Catalog
from heads.tasks.base import Task

TASKS: Catalog[Task] = Catalog(
    "task",
    (
        Task(
            name="pfam",
            target="heads.tasks.readers:read_dataset",
            dataset="pfam",
            # The published layout first, then what tables and the simulator call it.
            label_columns=("family_accession", "label", "family"),
            licence="CC0-1.0",
            citation="Bileschi et al. 2022, Using deep learning to annotate the protein universe, "
            "Nature Biotechnology 40:932, doi:10.1038/s41587-021-01179-w",
            source_url="https://console.cloud.google.com/storage/browser/brain-genomics-public/research/proteins/pfam/",
            summary="family of a protein domain; the random split of the seed alignments of Pfam 32",
        ),
    ),
    group="embedstore.tasks",
)
"""Every task by name."""
