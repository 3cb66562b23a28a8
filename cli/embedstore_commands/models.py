"""``embedstore models``: the model catalog."""

from __future__ import annotations

from cli.options import Json, Tsv


def models(json: Json = False, tsv: Tsv = False) -> None:
    """List the models by name.

    embedstore models

    embedstore models --json
    """
    from cli.render.output import print_rows
    from embedstore.models.catalog import MODELS

    rows = [
        {
            "name": spec.name,
            "dim": spec.dim,
            "parameters": spec.n_parameters,
            "layers": spec.n_layers,
            "longest": spec.max_residues,
            "window": spec.window_residues,
            "half": spec.half_precision,
            "licence": spec.licence,
            "summary": spec.summary,
            "checkpoint": spec.checkpoint,
        }
        for spec in MODELS.values()
    ]
    print_rows(rows, json_=json, tsv=tsv, spare=["checkpoint", "half", "window", "layers"])
