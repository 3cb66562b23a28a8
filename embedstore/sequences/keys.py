"""Keys: what identifies a sequence, whatever it is called in a file."""

from __future__ import annotations

import base64
import hashlib
import re

from embedstore.errors import InputError
from embedstore.types import DIGEST_BYTES

_PREFIX = "SQ."
_KEY = re.compile(r"SQ\.[A-Za-z0-9_-]{32}")


def digest(residues: bytes) -> bytes:
    """Digest normalised residues: the GA4GH ``sha512t24u``, before its text encoding.

    Parameters
    ----------
    residues
        As :func:`~embedstore.sequences.normalise` gives them.

    Returns
    -------
    bytes
        The first 24 bytes of SHA-512.

    References
    ----------
    Hart and Prlić (2020), PLoS ONE 15(12): e0239883; GA4GH refget v2.

    Examples
    --------
    >>> digest(b"ACGT").hex()
    '68a178f7c740c5c240aa67ba41843b119d3bf9f8b0f0ac36'
    """
    return hashlib.sha512(residues).digest()[:DIGEST_BYTES]


def key_text(digest: bytes) -> str:
    """Write a digest of 24 bytes as a GA4GH identifier: ``SQ.`` and 32 characters of base64url.

    Raises
    ------
    InputError
        If ``digest`` is not 24 bytes long.

    Examples
    --------
    >>> from embedstore import sequences
    >>> key_text(sequences.digest(b"ACGT"))
    'SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2'
    """
    if len(digest) != DIGEST_BYTES:
        raise InputError(f"A digest of {len(digest)} bytes; a key has {DIGEST_BYTES}. Pass what digest() returned.")
    return _PREFIX + base64.urlsafe_b64encode(digest).decode("ascii")


def parse_key(text: str) -> bytes:
    """Read the text of a key back into its 24 bytes.

    Raises
    ------
    InputError
        If ``text`` is not ``SQ.`` and 32 characters of base64url.

    Examples
    --------
    >>> parse_key("SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2") == digest(b"ACGT")
    True
    """
    if not _KEY.fullmatch(text):
        raise InputError(
            f"{text!r} is not a key; expected 'SQ.' and 32 letters, digits, '-' or '_'. "
            "Pass the text that key_text() wrote."
        )
    return base64.urlsafe_b64decode(text.removeprefix(_PREFIX))
