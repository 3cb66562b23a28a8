"""What a head was trained on: a fingerprint of the rows, and the sequences whose labels contradict each other."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from embedstore.types import DIGEST_BYTES, Digests
from heads.tasks.targets import Codes


def training_sha256(digests: Digests, labels: NDArray[np.str_]) -> str:
    """SHA-256 over the distinct (key, label) pairs, sorted by key and then by label.

    Neither the order of the rows nor their number of times counts. Each pair goes in as the 24 bytes of the key, the
    length of the label in UTF-8 as four bytes, little-endian, and the label.

    Parameters
    ----------
    digests
        (N, 24) uint8.
    labels
        (N,) text.

    Examples
    --------
    >>> keys, labels = np.eye(2, 24, dtype=np.uint8), np.array(["a", "b"])
    >>> training_sha256(keys[[1, 0, 1]], labels[[1, 0, 1]]) == training_sha256(keys, labels)
    True
    >>> training_sha256(keys, labels[::-1]) == training_sha256(keys, labels)
    False
    """
    keys, names, codes = _pairs(digests, labels)
    texts = [name.encode("utf-8", "surrogateescape") for name in names.tolist()]
    entries = [len(text).to_bytes(4, "little") + text for text in texts]
    total = hashlib.sha256()
    for key, code in zip(keys, codes.tolist(), strict=True):
        total.update(key.tobytes())
        total.update(entries[code])
    return total.hexdigest()


def n_contradictory(digests: Digests, labels: NDArray[np.str_]) -> int:
    """Number of distinct keys, of (N, 24) uint8, that have more than one label.

    >>> n_contradictory(np.zeros((3, 24), np.uint8), np.array(["a", "b", "a"]))
    1
    """
    keys, _, _ = _pairs(digests, labels)
    return int((np.unique(_flat(keys), return_counts=True)[1] > 1).sum())


def _pairs(digests: Digests, labels: NDArray[np.str_]) -> tuple[Digests, NDArray[np.str_], Codes]:
    """Distinct pairs, sorted: keys (M, 24), the names of the labels, sorted, and the codes (M,) into them."""
    names, codes = np.unique(labels, return_inverse=True)
    order = np.lexsort((codes, _flat(digests)))
    keys, codes = digests[order], codes[order].astype(np.int64)
    new = np.ones(len(keys), np.bool_)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1) | (codes[1:] != codes[:-1])
    return keys[new], names, codes[new]


def _flat(digests: Digests) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").ravel()
