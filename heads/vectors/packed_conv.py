"""Convolutions over proteins that are packed into one matrix, so that no product is spent on padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from heads.features.base import Float32


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Proteins one behind the other with zeros between them.

    Attributes
    ----------
    values
        (M, D) float32: each protein has `gap` rows of zeros before it, and the last one as many behind it.
    places
        (n,) int64: where the residues are.
    """

    values: Tensor
    places: Tensor


def pack(vectors: Float32, starts: NDArray[np.int64], gap: int) -> Packed:
    """Pack the residues of proteins.

    Parameters
    ----------
    vectors
        (n, D) float32: the residues of one protein behind those of the other.
    starts
        (P,) int64: first row of each protein, ascending from 0.
    gap
        Rows of zeros between two proteins: half the width of a convolution, so that none sees its neighbour.
    """
    before = np.zeros(len(vectors), np.int64)
    before[starts] = gap
    places = torch.from_numpy(np.arange(len(vectors)) + np.cumsum(before))
    values = torch.zeros(len(vectors) + gap * (len(starts) + 1), vectors.shape[1])
    values[places] = torch.from_numpy(np.ascontiguousarray(vectors))
    return Packed(values, places)


def convolve(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve packed rows along the proteins by one matrix product, (M, D) to (M, C).

    Row i of the result is ``sum_j values[i + j - width // 2] @ weight[j] + bias``, with zeros beyond both ends, as in
    ``torch.nn.Conv1d`` with padding. The product is with all `width` taps at once; what it gives is then added up
    shifted. That reads the input once, and costs no copy of it a tap.

    Parameters
    ----------
    values
        (M, D).
    weight
        (width, D, C), of odd width.
    bias
        (C,).
    """
    width, n_in, n_out = weight.shape
    taps = (values @ weight.permute(1, 0, 2).reshape(n_in, width * n_out)).view(-1, width, n_out)
    half, length = width // 2, len(values)
    taps = functional.pad(taps, (0, 0, 0, 0, half, half))
    total = bias + taps[:length, 0]
    for tap in range(1, width):
        total = total + taps[tap : tap + length, tap]
    return total


def only_residues(values: Tensor, places: Tensor) -> Tensor:
    """The rows that are residues, the others set to zero: else the gaps would carry a layer's bias on."""
    inside = torch.zeros(len(values), 1)
    inside[places] = 1
    return values * inside


__all__ = ["Packed", "convolve", "only_residues", "pack"]
