"""The identity of a space of imported vectors: what is known of how they were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from embedstore.errors import FileFormatError, InputError, SpaceMismatchError
from embedstore.exchange.readers import Source, source_sha256
from embedstore.store import Store
from embedstore.store.layout import check_name
from embedstore.store.manifest import space_identity
from embedstore.store.spaces import IMPORTED
from embedstore.types import RESIDUES

UNKNOWN = "unknown"

_SOURCE_NAME = "source_name"
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayLayout:
    """What the arrays of a source have in common: ``dim`` numbers of ``dtype`` a row; a row a residue, or one alone."""

    dim: int
    dtype: str
    is_matrix: bool

    def problem(self, array: NDArray[Any]) -> str:
        """Why an array does not belong among the others; empty if it does."""
        if array.ndim != 1 + self.is_matrix:
            return f"its array has the shape {array.shape}; the others are {'(L, D)' if self.is_matrix else '(D,)'}"
        if array.shape[-1] != self.dim:
            return f"it has {array.shape[-1]:,} dimensions; the others have {self.dim:,}"
        if array.dtype.name != self.dtype:
            return f"it is stored as {array.dtype.name}; the others are {self.dtype}"
        return ""


def common_layout(arrays: Iterable[NDArray[Any]], source: Source) -> ArrayLayout:
    """The layout that most of the first arrays have.

    Raises
    ------
    FileFormatError
        If they are neither vectors nor matrices of floating numbers.
    """
    counts: dict[tuple[int, int, str], int] = {}
    for array in arrays:
        shape_ = (array.ndim, array.shape[-1] if array.ndim else 0, array.dtype.name)
        counts[shape_] = counts.get(shape_, 0) + 1
    n_axes, dim, dtype = max(counts, key=lambda shape_: counts[shape_])
    if n_axes not in (1, 2) or dtype not in _FLOATS or not dim:
        raise FileFormatError(
            f"{source.root} holds arrays with {n_axes} axes of {dtype}, {dim} numbers in the last; expected (D,) or "
            f"(L, D) of {', '.join(_FLOATS)}."
        )
    return ArrayLayout(dim=dim, dtype=dtype, is_matrix=n_axes == 2)


def stated_pooling(layout: ArrayLayout, source: Source, pooling: str | None) -> str:
    """What the identity says of the pooling: what the user or the format states, else ``unknown``.

    Raises
    ------
    InputError
        If the file holds matrices and a pooling is stated, or the reverse.
    """
    if layout.is_matrix:
        if pooling not in (None, RESIDUES):
            raise InputError(
                f"{source.root} holds a matrix a protein, which is not pooled; pooling {pooling!r} was stated. "
                f"Leave it out, or say {RESIDUES!r}."
            )
        return RESIDUES
    if pooling == RESIDUES:
        raise InputError(f"{source.root} holds one vector a protein; pooling {RESIDUES!r} was stated. Leave it out.")
    return check_name("pooling", pooling or source.pooling or UNKNOWN)


def import_identity(
    store: Store, source: Source, layout: ArrayLayout, *, model: str | None, pooling: str | None, layer: int | None
) -> dict[str, Any]:
    """The identity of the space that a source goes into: what is not known stands as None or ``unknown``.

    The same bytes under another file name are the same source: the space that has them keeps its name for it.
    """
    recorded = {
        "model": check_name("model", model or UNKNOWN),
        **dict.fromkeys(("family", "checkpoint", "revision", "weights_sha256", "tokens_sha256", "adapter_sha256")),
        "layer": source.layer if layer is None else layer,
        "precision": None,
        "residue_policy": None,
        "origin": IMPORTED,
        _SOURCE_NAME: source.root.resolve().name,
        "source_sha256": source_sha256(source),
        "source_format": source.format,
    }
    identity = space_identity(
        recorded,
        dim=layout.dim,
        pooling=stated_pooling(layout, source, pooling),
        dtype=layout.dtype,
        long_policy=UNKNOWN,
    )
    for name in store.spaces():
        identity_ = store.any_space(name).identity
        if {**identity_, _SOURCE_NAME: ""} == {**identity, _SOURCE_NAME: ""}:
            return identity_
    return identity


def identity_into(store: Store, into: str, source: Source, layout: ArrayLayout) -> dict[str, Any]:
    """The identity of a space that the user says a source belongs to.

    Raises
    ------
    SpaceMismatchError
        If it was built here, where an identity is verified and not stated, or holds other arrays.
    """
    space = store.any_space(into)
    if not space.is_imported:
        raise SpaceMismatchError(
            f"Space {space.id} was built from weights that are known; what {source.root} was made with is not. "
            "Only an imported space takes more files: leave into= (--into) out."
        )
    recorded = (space.dim, space.dtype.name, space.identity["pooling"] == RESIDUES)
    if recorded != (layout.dim, layout.dtype, layout.is_matrix):
        raise SpaceMismatchError(
            f"Space {space.id} holds {_describe(*recorded)}; {source.root} holds "
            f"{_describe(layout.dim, layout.dtype, layout.is_matrix)}. Leave into= (--into) out."
        )
    return space.identity


def _describe(dim: int, dtype: str, is_matrix: bool) -> str:
    return f"{'matrices' if is_matrix else 'vectors'} of {dim:,} x {dtype}"
