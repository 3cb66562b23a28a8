"""How the vectors of two proteins become the vector of a pair, by name."""

from __future__ import annotations

from embedstore.errors import InputError

PAIRINGS = ("concatenation", "sum", "product", "difference")
"""Parts of a pair's vector; all but the first are the same whichever protein comes first."""

ORDERED = "concatenation+product+difference"
"""How pairs are combined where the first protein has another part than the second."""

SYMMETRIC = "sum+product+difference"
"""How pairs are combined where the order of the two proteins means nothing."""


def parse_pairing(text: str) -> tuple[str, ...]:
    """The parts of a combination: names of `PAIRINGS` with ``+`` between them.

    Raises
    ------
    InputError
        If a name is unknown or repeated.

    Examples
    --------
    >>> parse_pairing("product+difference")
    ('product', 'difference')
    """
    parts = tuple(text.split("+"))
    if len(set(parts)) < len(parts) or not set(parts) <= set(PAIRINGS):
        raise InputError(
            f"pairing is {text!r}; expected some of {', '.join(PAIRINGS)}, each once, with '+' between them "
            "(pairing=, --pairing)."
        )
    return parts
