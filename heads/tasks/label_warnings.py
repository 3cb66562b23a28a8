"""Labels that look like something else than what they are taken for."""

from __future__ import annotations

import logging

import numpy as np

from heads.tasks.data import TaskData, is_number
from heads.tasks.selection import TaskSelection

_FEW = 20
"""More numbers than this are hardly names of classes."""

_LOOKED_AT = 100
"""Rows whose labels are held against their sequences."""

_logger = logging.getLogger(__name__)


def warn_about_labels(data: TaskData, selection: TaskSelection) -> None:
    """Warn where labels that nobody called classes are taken for them, and look like numbers or letters of residues."""
    if (
        selection.task is not None
        or selection.target_type is not None
        or (data.target_type, data.input) != ("class", "protein")
    ):
        return
    rows = data.rows("all")
    texts = data.labels[rows].tolist()
    names = np.unique(texts).tolist()
    if len(names) > _FEW and 2 * len(names) > len(texts) and all(map(is_number, names)):
        _logger.warning(
            "%s: column %r holds %s different numbers, each of which is taken for a class. To predict the number: "
            "target_type='regression' (--target-type regression).",
            data.source,
            data.label_column,
            f"{len(names):,}",
        )
    lengths = [len(residues) for residues in data.residues(rows[:_LOOKED_AT])]
    if lengths == [len(text) for text in texts[:_LOOKED_AT]] and len(set(lengths)) > 1:
        _logger.warning(
            "%s: column %r has as many letters as each sequence has residues, and each text is taken for a class. To "
            "predict a letter for each residue: input='residue' (--input residue).",
            data.source,
            data.label_column,
        )
