"""The ProstT5 family: ProtT5 taught to translate between residues and structure states."""

from __future__ import annotations

from embedstore.models.t5 import PROST_T5_PREFIX, T5Model


class ProstT5Model(T5Model):
    """ProstT5's layout: ProtT5's with ``<AA2fold>`` before the residues, which says that they are amino acids.

    Residues are upper case; lower-case letters are structure states (3Di). U, Z, O and B are read as X (model card of
    Rostlab/ProstT5). Pooling ``"first"`` takes the state of ``<AA2fold>``.
    """

    family = "prost_t5"
    text_prefix = f"{PROST_T5_PREFIX} "
    n_prefix = 1
