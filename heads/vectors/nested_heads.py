"""Heads inside of a head: made by name, and kept as its arrays, settings and texts under their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head
from heads.catalog import HEADS


def make_member(
    name: str, *, target_type: str, seed: int, params: Mapping[str, Any] | None = None, sequences: bool = False
) -> Head:
    """An unfitted head of the catalog.

    Parameters
    ----------
    name, target_type, seed, params
        Which, and what its constructor is given.
    sequences
        Whether the rows have sequences beside their vectors.

    Raises
    ------
    UnknownNameError
        For a head that is not in the catalog.
    InputError
        If it cannot predict that kind, or has no such parameter.
    """
    if target_type not in HEADS[name].target_types:
        raise InputError(
            f"Member {name!r} predicts {' or '.join(HEADS[name].target_types)}, and target_type is "
            f"{target_type!r}. Leave it out (members=)."
        )
    kept_apart = HEADS.load(name).write_files is not Head.write_files
    if HEADS[name].reads not in ("vectors", "sequences") or HEADS.load(name).whole_proteins or kept_apart:
        raise InputError(f"Member {name!r} cannot be a part of another head. Leave it out (members=).")
    if HEADS[name].reads == "sequences" and not sequences:
        raise InputError(
            f"Member {name!r} reads sequences, and the members of this head share rows of vectors. Leave it out "
            "(members=), or use the head 'hybrid'."
        )
    head: Head = HEADS.load(name)(target_type=target_type)
    if "seed" in head.get_params():
        head.set_params(seed=seed)
    return head.set_params(**(params or {}))


def member_arrays(members: Sequence[Head]) -> dict[str, NDArray[Any]]:
    """Arrays of all members: ``0.coef`` is the first one's ``coef``."""
    return {f"{n}.{name}": array for n, head in enumerate(members) for name, array in head.arrays().items()}


def member_texts(members: Sequence[Head]) -> dict[str, str]:
    """Texts of all members, named as their arrays."""
    return {f"{n}.{name}": text for n, head in enumerate(members) for name, text in head.texts().items()}


def member_records(names: Sequence[str], members: Sequence[Head]) -> list[dict[str, Any]]:
    """Name, parameters and settings of each, for JSON."""
    pairs = zip(names, members, strict=True)
    return [{"head": name, "params": _plain(head.get_params()), "settings": head.settings()} for name, head in pairs]


def restore_members(
    classes: NDArray[Any],
    records: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, NDArray[Any]],
    texts: Mapping[str, str],
) -> list[Head]:
    """The members again, fitted."""
    members = []
    for number, record in enumerate(records):
        head: Head = HEADS.load(record["head"])(**record["params"])
        own = f"{number}."
        own_arrays = {name.removeprefix(own): array for name, array in arrays.items() if name.startswith(own)}
        own_texts = {name.removeprefix(own): text for name, text in texts.items() if name.startswith(own)}
        members.append(head.restore(classes, own_arrays, record["settings"], own_texts))
    return members


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
