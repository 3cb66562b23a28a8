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
    chosen = select(store, space=space, dataset=dataset, split=split, limit=limit)
    return chosen.ids, chosen.vectors()


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

    chosen = select(store, space=space, dataset=dataset, split=split, limit=limit)
    index = pd.Index(chosen.ids, name="id", dtype=object)
    texts = pd.DataFrame({"key": chosen.keys, **chosen.columns}, index=index)
    native = chosen.space.dtype.newbyteorder("=")
    names = [f"v{number}" for number in range(chosen.space.dim)]
    numbers = pd.DataFrame(chosen.vectors().astype(native, copy=False), index=index, columns=names)
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

    chosen = select(store, space=space, dataset=dataset, split=split, limit=limit)
    taken = {"id", "key", "protein", "feature"}
    texts = {"id": chosen.ids, "key": chosen.keys}
    texts |= {f"column_{name}" if name in taken else name: values for name, values in chosen.columns.items()}
    coords: dict[str, Any] = {name: ("protein", np.array(values, object)) for name, values in texts.items()}
    told = chosen.provenance
    attributes = {**told, "identity": json.dumps(told["identity"], sort_keys=True)}
    return xr.DataArray(
        xr.Variable(("protein", "feature"), lazy_rows(chosen)), coords=coords, name="vectors", attrs=attributes
    )
