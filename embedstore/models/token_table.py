"""Token tables: a checkpoint's own tokenizer as 256 numbers, so that batches are assembled by numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.models.base import RESIDUE_LETTERS, STANDARD_RESIDUES

Encoder = Callable[[Sequence[str]], list[int]]
"""A tokenizer's own encoding of residues, in the spelling that it was made for; special tokens included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """What a tokenizer does to single residues.

    Attributes
    ----------
    ids
        (256,) int64: the token of each byte, after the residue policy; -1 for bytes that are no residue letter.
    prefix, suffix
        Special tokens before and after the residues.
    pad_id, unk_id
        The padding token, and the one for what the tokenizer does not know.
    unknown_letters
        Letters without a token of their own: replaced by X, or read as ``unk_id``.
    policy
        The same in words, for provenance.
    """

    ids: NDArray[np.int64]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int
    unk_id: int
    unknown_letters: bytes
    policy: str

    @property
    def sha256(self) -> str:
        """Hash of all that decides the tokens of a sequence, hexadecimal."""
        specials = [len(self.prefix), *self.prefix, len(self.suffix), *self.suffix, self.pad_id, self.unk_id]
        return hashlib.sha256(self.ids.astype("<i8").tobytes() + np.array(specials, dtype="<i8").tobytes()).hexdigest()

    def batch(self, sequences: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Padded tokens of a batch and their mask, each (n, T) int64; T = prefix + longest + suffix.

        Raises
        ------
        InputError
            If a row does not have exactly one residue token for each of its residues.
        """
        start = len(self.prefix)
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        shape = (len(sequences), start + int(lengths.max()) + len(self.suffix))
        tokens = np.full(shape, self.pad_id, dtype=np.int64)
        tokens[:, :start] = self.prefix
        for row, sequence in enumerate(sequences):
            end = start + len(sequence)
            tokens[row, start:end] = self.ids[np.frombuffer(sequence, dtype=np.uint8)]
            tokens[row, end : end + len(self.suffix)] = self.suffix
        specials = [token for token in {*self.prefix, *self.suffix, self.pad_id, -1} if token != self.unk_id]
        n_residues = (~np.isin(tokens, specials)).sum(axis=1)
        if not np.array_equal(n_residues, lengths):
            row = int(np.argmax(n_residues != lengths))
            raise InputError(
                f"Sequence {row} of the batch became {int(n_residues[row])} residue tokens; expected one for each of "
                f"its {int(lengths[row])} residues. Report this with the sequence and the checkpoint."
            )
        mask = np.arange(shape[1]) < (start + lengths + len(self.suffix))[:, None]
        return tokens, mask.astype(np.int64)


def read_token_table(
    encode: Encoder, *, pad_id: int, unk_id: int, unknown_to_x: bytes, n_prefix: int | None = None, source: str
) -> TokenTable:
    """Read a tokenizer's table off its own output, and check it against the tokenizer.

    Parameters
    ----------
    encode
        Residues to token ids, special tokens included.
    pad_id, unk_id
        The tokenizer's own.
    unknown_to_x
        Letters that are replaced by X first.
    n_prefix
        How many special tokens stand before the residues in this family; None: as many as there are.
    source
        What to call the checkpoint in messages.

    Raises
    ------
    InputError
        If one of the twenty residues is unknown, or the table does not give what the tokenizer gives.
    """
    prefix, suffix = _specials(encode, source)
    if unk_id in (*prefix, *suffix) or n_prefix not in (None, len(prefix)):
        raise InputError(
            f"The tokenizer of {source} begins with the tokens {list(prefix)} and ends with {list(suffix)}, where "
            f"{unk_id} is 'unknown'; it does not know the special tokens of its family. It is the tokenizer of "
            "another model."
        )
    ids = np.full(256, -1, dtype=np.int64)
    for letter in RESIDUE_LETTERS:
        read_as = ord("X") if letter in unknown_to_x else letter
        letter_tokens = encode([chr(read_as)])[len(prefix) :]
        letter_tokens = letter_tokens[: len(letter_tokens) - len(suffix)]
        # More than one piece for one letter is a letter that the vocabulary does not hold.
        ids[letter] = letter_tokens[0] if len(letter_tokens) == 1 else unk_id
    lost = [chr(letter) for letter in STANDARD_RESIDUES if ids[letter] == unk_id]
    if lost:
        raise InputError(
            f"The tokenizer of {source} does not know the residues {', '.join(lost)}; expected a token for each of the "
            "twenty. It is the tokenizer of another model, or lower-cases its input."
        )
    to_unk = bytes(letter for letter in RESIDUE_LETTERS if ids[letter] == unk_id)
    replaced = f"{unknown_to_x.decode()} read as X; " if unknown_to_x else ""
    table = TokenTable(
        ids=ids,
        prefix=prefix,
        suffix=suffix,
        pad_id=pad_id,
        unk_id=unk_id,
        unknown_letters=bytes(sorted({*to_unk, *unknown_to_x})),
        policy=f"{replaced}{to_unk.decode() or 'none'} read as unknown",
    )
    _check(table, encode, unknown_to_x, source)
    return table


def _specials(encode: Encoder, source: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prefix and suffix: what stays when the residues between change."""
    first, second = encode("AAA"), encode("LLL")
    differing = [place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
    if len(first) != len(second) or len(differing) != 3 or differing[2] - differing[0] != 2:
        raise InputError(
            f"The tokenizer of {source} does not give one token a residue: 'AAA' became {first}, 'LLL' {second}. "
            "It is the tokenizer of another model."
        )
    return tuple(first[: differing[0]]), tuple(first[differing[2] + 1 :])


def _check(table: TokenTable, encode: Encoder, unknown_to_x: bytes, source: str) -> None:
    """Compare the table with the tokenizer on whole texts: all letters that it knows, each beside others."""
    known = bytes(letter for letter in RESIDUE_LETTERS if table.ids[letter] != table.unk_id)
    for text in (STANDARD_RESIDUES, STANDARD_RESIDUES[::-1], known, known[::-1], b"M", known * 3 + b"MMMM"):
        expected = encode(["X" if letter in unknown_to_x else chr(letter) for letter in text])
        tokens, _ = table.batch([text])
        if tokens[0].tolist() != expected:
            raise InputError(
                f"The token table read from {source} gives {tokens[0].tolist()} for {text.decode()!r}; the tokenizer "
                f"itself gives {expected}. This checkpoint cannot be used: report it."
            )
