"""The alphabet of `mini`: a token for each of the twenty residues, one for everything else."""

from __future__ import annotations

import numpy as np

from embedstore.models.base import RESIDUE_LETTERS, STANDARD_RESIDUES
from embedstore.models.token_table import TokenTable

PAD_ID, MASK_ID, X_ID = 0, 1, 2
N_STANDARD = len(STANDARD_RESIDUES)
N_TOKENS = X_ID + 1 + N_STANDARD

TOKEN_OF = np.full(256, -1, dtype=np.int64)
"""(256,): the token of each byte; -1 for what is no residue letter."""
TOKEN_OF[np.frombuffer(RESIDUE_LETTERS, dtype=np.uint8)] = X_ID
TOKEN_OF[np.frombuffer(STANDARD_RESIDUES, dtype=np.uint8)] = np.arange(X_ID + 1, N_TOKENS)


def mini_tokens() -> TokenTable:
    """The table that turns proteins into batches: no special tokens around the residues."""
    rare = bytes(letter for letter in RESIDUE_LETTERS if letter not in STANDARD_RESIDUES)
    return TokenTable(
        ids=TOKEN_OF.copy(),
        prefix=(),
        suffix=(),
        pad_id=PAD_ID,
        unk_id=X_ID,
        unknown_letters=rare,
        policy=f"{rare.decode()} read as unknown",
    )
