"""Rows to stop on, taken from the training rows where no others are given."""

from __future__ import annotations

import numpy as np

from embedstore.sequences import digest
from embedstore.types import DIGEST_BYTES
from heads.base import LabelledExamples
from heads.features.base import sequences_of
from heads.networks.checks import require_share
from heads.tasks.splitting import split_by_key


def hold_out(train: LabelledExamples, *, share: float, seed: int) -> tuple[LabelledExamples, LabelledExamples | None]:
    """Part training rows by a hash of their keys: those to learn from and those to stop on, or None of the second.

    Equal sequences are on one side, and a class of which nothing else would be left stays in training.

    Parameters
    ----------
    train
        Rows of sequences.
    share
        Of the rows to hold out, from 0 to less than 1.
    seed
        Another seed, other rows.

    Raises
    ------
    InputError
        For another share.
    """
    require_share(valid_share=share)
    if not share:
        return train, None
    digests = train.features.digests
    if digests is None:
        joined = b"".join(digest(text.encode()) for text in sequences_of(train.features).residues)
        digests = np.frombuffer(joined, np.uint8).reshape(-1, DIGEST_BYTES)
    held = np.zeros(len(train), np.bool_)
    held[split_by_key(digests, seed=seed, fractions=(1 - share, share, 0.0))["valid"]] = True
    codes = train.targets.codes
    if codes is not None:
        left = np.bincount(codes[~held], minlength=train.targets.n_outputs)
        held &= left[codes] > 0
    if not held.any() or held.all():
        return train, None
    return train.select(np.flatnonzero(~held)), train.select(np.flatnonzero(held))
