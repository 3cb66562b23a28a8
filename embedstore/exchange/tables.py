"""Vectors of a store as NumPy, pandas and xarray objects, with their ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from embedstore.catalog import require_package, suggest_arguments
from embedstore.exchange.selection import select
from embedstore.store import Store
from embedstore.types import Vectors

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@suggest_arguments
def to_numpy(
    store: Store,
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> tuple[list[str], Vectors]:
    """Ids and vectors of a data set, in its order; see `select` for the arguments.

    Returns
    -------
    ids
        N ids.
    vectors
        (N, D) in the stored dtype. Proteins without a vector are left out, so that N can be less than the data set
        has rows; `select` names them.
    """
    selection = select(store, space=space, dataset=dataset, split=split, limit=limit)
    return selection.ids, selection.vectors()


@suggest_arguments
def to_frame(
    store: Store,
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """A pandas frame with a row a protein: index ``id``; ``key``, the data set's columns, and ``v0`` … ``v<D-1>``.

    See `select` for the arguments. The numbers stand in one block of the stored dtype.
    """
    import pandas as pd

    selection = select(store, space=space, dataset=dataset, split=split, limit=limit)
    index = pd.Index(selection.ids, name="id", dtype=object)
    texts = pd.DataFrame({"key": selection.keys, **selection.columns}, index=index)
    native = selection.space.dtype.newbyteorder("=")
    names = [f"v{number}" for number in range(selection.space.dim)]
    numbers = pd.DataFrame(selection.vectors().astype(native, copy=False), index=index, columns=names)
    return pd.concat([texts, numbers], axis=1)


@suggest_arguments
def to_xarray(
    store: Store,
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> xr.DataArray:
    """An xarray array (protein, feature), read when it is used, and of it only what is.

    Coordinates along ``protein`` are ``id``, ``key`` and the data set's columns; the attributes say where the vectors
    come from. See `select` for the arguments.

    Raises
    ------
    MissingPackageError
        If xarray is not installed.
    """
    require_package("xarray", purpose="to_xarray", extra="exchange")
    import xarray as xr

    from embedstore.exchange.xarray_backend import lazy_rows

    selection = select(store, space=space, dataset=dataset, split=split, limit=limit)
    reserved = {"id", "key", "protein", "feature"}
    texts = {"id": selection.ids, "key": selection.keys}
    texts |= {f"column_{name}" if name in reserved else name: values for name, values in selection.columns.items()}
    coords: dict[str, Any] = {name: ("protein", np.array(values, object)) for name, values in texts.items()}
    provenance = selection.provenance
    attributes = {**provenance, "identity": json.dumps(provenance["identity"], sort_keys=True)}
    return xr.DataArray(
        xr.Variable(("protein", "feature"), lazy_rows(selection)), coords=coords, name="vectors", attrs=attributes
    )
