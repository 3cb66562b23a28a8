"""Published tables: their methods with our heads and parameters, their figures, their errata."""

from __future__ import annotations

from dataclasses import dataclass

from embedstore.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """An entry of the catalog of published tables.

    Attributes
    ----------
    name
        Its name on the command line.
    target
        ``"module:attribute"`` of a `heads.published.table.PublishedTable`.
    summary
        One line for a list.
    """

    name: str
    target: str
    summary: str


TABLES: Catalog[TableSpec] = Catalog(
    "published table",
    (
        TableSpec(
            name="study",
            target="heads.published.pfam_study:STUDY",
            summary="Table 3 of the Pfam study: from Top-pick HMM to a frozen language model with a linear layer",
        ),
        TableSpec(
            name="deepprotein",
            target="heads.published.deepprotein:DEEPPROTEIN",
            summary="the architectures of DeepProtein on its tasks",
        ),
    ),
    group="embedstore.tables",
)
"""Every published table by name."""

__all__ = ["TABLES", "TableSpec"]
