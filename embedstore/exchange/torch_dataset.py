"""A space as a map-style PyTorch data set, read row by row by any number of workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError
from embedstore.exchange.selection import Selection, select
from embedstore.store import ResidueSpace, Space, Store
from embedstore.store.files import locate
from embedstore.store.spaces import open_space

IGNORED = -100
"""The label of padding: what PyTorch's cross entropy ignores."""

LABEL_TYPES = ("class", "number", "residues")
"""How labels are read: as names of classes, as numbers, or as a letter a residue."""


@suggest_arguments
def to_torch(
    store: Store,
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    residues: bool = False,
    label: str | None = None,
    label_type: str = "class",
    classes: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> SpaceDataset:
    """A map-style data set of a space; see `select` for what it chooses.

    Parameters
    ----------
    residues
        Matrices (L, D) instead of vectors (D,); batch them with `collate_residues`.
    label
        Column of the data set that holds the labels; None for items without.
    label_type
        ``class``: the label is one of the classes, given as its number. ``number``: a number, given as float32.
        ``residues``: a letter a residue (``HHHEEC``), given as (L,) numbers of classes.
    classes
        Names of the classes in the order of their numbers: those of the training split, for another split. None:
        those that are there, in alphabetical order.
    dtype
        Of the items; what is stored may be narrower.

    Raises
    ------
    InputError
        If a label is missing, is none of the classes, or is no number; it is named.
    UnknownNameError
        If there is no such column.

    Examples
    --------
    Batches of 256, read by four processes::

        train = to_torch(store, space="prot_t5", dataset="pfam", split="train", label="family")
        loader = DataLoader(train, batch_size=256, shuffle=True, num_workers=4)
        for vectors, labels in loader: ...
    """
    if label_type not in LABEL_TYPES:
        raise InputError(f"Unknown label_type {label_type!r}. Known: {', '.join(LABEL_TYPES)}.")
    selection = select(store, space=space, dataset=dataset, split=split, limit=limit, residues=residues)
    if label_type == "residues" and not residues:
        raise InputError("Labels a residue belong to matrices: pass residues=True.")
    labels = None
    if label is not None:
        # The data set's own error lists its columns.
        texts = selection.columns.get(label) or store.dataset(selection.dataset).column(label)
        if label_type == "residues":
            _check_lengths(selection, texts, store.sequences.lengths(selection.digests))
        labels = _Labels(selection, texts, label_type, classes)
    return SpaceDataset(selection, labels, dtype)


class _Labels:
    """Labels of the rows, as numbers."""

    def __init__(self, selection: Selection, texts: list[str], label_type: str, classes: Sequence[str] | None) -> None:
        self.label_type = label_type
        self.classes = list(classes) if classes is not None else []
        empty = next((id_ for id_, text in zip(selection.ids, texts, strict=True) if not text), None)
        if empty is not None:
            raise InputError(
                f"Protein {empty!r} of data set {selection.dataset!r} has no label. Choose another column."
            )
        if label_type == "number":
            self.values: Any = np.array(
                [_parse_number(*pair) for pair in zip(selection.ids, texts, strict=True)], np.float32
            )
            return
        if classes is None:
            self.classes = sorted(set(texts) if label_type == "class" else set().union(*texts))
        number = {name: index for index, name in enumerate(self.classes)}
        try:
            if label_type == "class":
                self.values = np.array([number[text] for text in texts], np.int64)
            else:
                self.values = [np.array([number[letter] for letter in text], np.int16) for text in texts]
        except KeyError as error:
            listed = ", ".join(self.classes[:10])
            raise InputError(
                f"Label {error.args[0]!r} is none of the {len(self.classes):,} classes ({listed})."
            ) from None

    def at(self, row: int) -> Any:
        """The label of a row, as a tensor."""
        return torch.as_tensor(self.values[row], dtype=torch.float32 if self.label_type == "number" else torch.int64)


def _parse_number(id_: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"The label of protein {id_!r} is {text!r}, not a number. Pass label_type='class'.") from None


def _check_lengths(selection: Selection, texts: list[str], lengths: NDArray[np.int64]) -> None:
    for id_, text, length in zip(selection.ids, texts, lengths.tolist(), strict=True):
        if len(text) != length:
            raise InputError(
                f"Protein {id_!r} has {length:,} residues and {len(text):,} labels; expected a letter a residue. "
                "Choose another column, or label_type='class'."
            )


class SpaceDataset(Dataset[Any]):
    """Items ``vector``, or ``(vector, label)`` where a label column was named; matrices of a space of residues.

    A worker opens the store for itself on its first read, whether it was forked or spawned: nothing open is shared.

    Attributes
    ----------
    ids
        Id of each item.
    classes
        Names of the classes, by number; empty where labels are numbers or not there.
    dim
        D, the length of a vector.
    """

    def __init__(self, selection: Selection, labels: _Labels | None, dtype: torch.dtype) -> None:
        self.ids = selection.ids
        self.classes = labels.classes if labels else []
        self.dim = selection.space.dim
        self.dtype = dtype
        self._path = str(selection.space.path)
        self._digests = selection.digests
        self._labels = labels
        self._opened: tuple[int, Space | ResidueSpace] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Any:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Any]:
        """The items of a batch in one read; a `DataLoader` calls this."""
        indices = np.asarray(rows, np.int64)
        arrays = self._space.take(self._digests[indices])
        # What is read is a copy of the map, in this machine's byte order on all that PyTorch runs on.
        items = [self._tensor(array) for array in arrays]
        if self._labels is None:
            return items
        return [(item, self._labels.at(int(row))) for item, row in zip(items, indices, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def _space(self) -> Space | ResidueSpace:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_space(locate(self._path)))
        return self._opened[1]

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return torch.from_numpy(native).to(self.dtype)


class ResidueBatch(NamedTuple):
    """Matrices padded to the longest.

    ``values`` (B, L, D), zero where padded; ``mask`` (B, L) bool, true for residues; ``labels`` (B,), or (B, L) with
    `IGNORED` where padded, or None where items have none.
    """

    values: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor | None


def collate_residues(items: Sequence[Any]) -> ResidueBatch:
    """Batch matrices of different lengths: the ``collate_fn`` of a `DataLoader` over a space of residues."""
    has_labels = isinstance(items[0], tuple)
    matrices = [item[0] if has_labels else item for item in items]
    values = pad_sequence(matrices, batch_first=True)
    lengths = torch.tensor([len(matrix) for matrix in matrices])
    mask = torch.arange(values.shape[1])[None, :] < lengths[:, None]
    if not has_labels:
        return ResidueBatch(values, mask, None)
    labels = [item[1] for item in items]
    if labels[0].ndim:
        return ResidueBatch(values, mask, pad_sequence(labels, batch_first=True, padding_value=IGNORED))
    return ResidueBatch(values, mask, torch.stack(labels))
