"""``heads list``: the head catalog."""

from __future__ import annotations

from cli.options import Json, Tsv


def list_heads(json: Json = False, tsv: Tsv = False) -> None:
    """List the heads by name.

    heads list
    """
    from cli.render.output import print_rows
    from heads.catalog import HEADS

    rows = [
        {
            "name": spec.name,
            "predicts": ", ".join(spec.target_types),
            "of": ", ".join(spec.inputs),
            "reads": spec.reads,
            "summary": spec.summary,
        }
        for spec in HEADS.values()
    ]
    print_rows(rows, json_=json, tsv=tsv)
