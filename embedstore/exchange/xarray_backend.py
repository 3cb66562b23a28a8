"""Rows of a selection as an array that xarray reads when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from embedstore.exchange.selection import Selection


class _Rows(BackendArray):
    """(N, D): a key of slices and integers is answered by reading those rows and no others."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.shape = (len(selection), selection.space.dim)
        self.dtype = selection.space.dtype.newbyteorder("=")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        rows, features = key
        numbers = np.arange(len(self._selection))[rows]
        space, digests = self._selection.space, self._selection.digests
        vectors = np.asarray(space.take(digests[np.atleast_1d(numbers)]))
        block = vectors.astype(self.dtype, copy=False)[:, features]
        return block[0] if np.ndim(numbers) == 0 else block


def lazy_rows(selection: Selection) -> Any:
    """The vectors of a selection, (N, D), for an `xarray.Variable`."""
    return indexing.LazilyIndexedArray(_Rows(selection))
