"""Sub-words of proteins: pairs of letters that stand together often, merged again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from heads.training.tokens import Tokens, encode_residues, letters_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_SUBWORDS = 2**16 - 2


def learn_subwords(residues: Sequence[str], *, n_subwords: int, n_rows: int, seed: int) -> str:
    """Learn byte-pair sub-words (Gage 1994; Sennrich et al. 2016) from some proteins; returns them as JSON.

    Parameters
    ----------
    residues
        Training proteins.
    n_subwords
        Most sub-words, the 26 letters among them.
    n_rows
        Most proteins to learn from, drawn from `seed`.
    """
    if len(residues) > n_rows:
        sample = np.sort(np.random.default_rng(seed).choice(len(residues), size=n_rows, replace=False))
        residues = [residues[row] for row in sample.tolist()]
    tokenizer = Tokenizer(BPE())
    trainer = BpeTrainer(vocab_size=n_subwords, initial_alphabet=list(LETTERS), show_progress=False)
    tokenizer.train_from_iterator((text.upper().replace("*", "X") for text in residues), trainer)
    return str(tokenizer.to_str())


def encode_subwords(
    learned: str, residues: Sequence[str], *, max_length: int | None = None, first_row: int = 0
) -> Tokens:
    """Some proteins as numbers of sub-words, from 1 on.

    Raises
    ------
    InputError
        As `heads.training.tokens.encode_residues`.
    """
    letters = encode_residues(residues, max_length=max_length, first_row=first_row)
    tokenizer = Tokenizer.from_str(learned)
    starts, ends = letters.offsets[:-1].tolist(), letters.offsets[1:].tolist()
    texts = [letters_of(letters.codes[start:end]) for start, end in zip(starts, ends, strict=True)]
    encoded = [np.array(item.ids, np.uint16) + np.uint16(1) for item in tokenizer.encode_batch(texts)]
    lengths = np.fromiter((len(item) for item in encoded), np.int64, count=len(encoded))
    codes = np.concatenate([np.zeros(0, np.uint16), *encoded])
    return Tokens(codes, np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]))


def count_subwords(learned: str) -> int:
    """How many sub-words there are."""
    return int(Tokenizer.from_str(learned).get_vocab_size())
