"""Forward passes over units: through the encoder, or from states that a frozen encoder gave once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from embedstore.sequences.batching import plan_batches
from heads.features.base import Rows
from heads.finetuning.examples import Examples
from heads.finetuning.network import Network

_MOST_KEPT_BYTES = 2 << 30
"""States of a frozen encoder are kept up to so many bytes, and computed in each epoch beyond."""


class Passes:
    """Outputs of a network for units of examples.

    Parameters
    ----------
    network
        The network.
    dtype
        Of products; float32 for no mixed precision.
    keep
        Whether the encoder never changes, so that each protein's states are computed once.
    budget
        Padded residues in a batch of states to keep.
    """

    def __init__(self, network: Network, dtype: torch.dtype, *, keep: bool, budget: int) -> None:
        self._network, self._dtype, self._keep, self._budget = network, dtype, keep, budget
        self._device = next(network.parameters()).device
        self._kept: dict[int, list[torch.Tensor]] = {}

    def outputs(self, module: nn.Module, examples: Examples, units: Rows) -> torch.Tensor:
        """Outputs of some units, with gradients where they are on; ``module`` is the network, perhaps wrapped."""
        needed, places = self._gathered(examples, units)
        if (joined := self._joined(examples, needed)) is not None:
            return self._network.outputs(joined, *places)
        with self._autocast():
            outputs: torch.Tensor = module(*self._tokens(examples, needed), *places)
        return outputs

    def inputs(self, examples: Examples, units: Rows, *, budget: int) -> Iterator[tuple[Rows, torch.Tensor]]:
        """Yield units in batches, and what the head reads of them, without gradients."""
        for batch in plan_batches(examples.lengths[units], budget=budget):
            needed, places = self._gathered(examples, units[batch])
            with torch.no_grad(), self._autocast():
                states = self._joined(examples, needed)
                if states is None:
                    states = self._network.states(*self._tokens(examples, needed))
                yield units[batch], self._network.inputs(states, *places)

    def _gathered(self, examples: Examples, units: Rows) -> tuple[Rows, list[torch.Tensor | None]]:
        needed, first, second = examples.gathered(units)
        return needed, [
            None if places_ is None else torch.from_numpy(places_).to(self._device) for places_ in (first, second)
        ]

    def _tokens(self, examples: Examples, needed: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        return self._network.encoder.tokens([examples.proteins[protein] for protein in needed.tolist()])

    def _joined(self, examples: Examples, needed: Rows) -> torch.Tensor | None:
        """The states of some proteins, where they are kept."""
        states = self._states(examples)
        if states is None:
            return None
        inputs = [states[protein] for protein in needed.tolist()]
        return torch.cat(inputs) if examples.input == "residue" else torch.stack(inputs)

    def evaluated(self, examples: Examples, units: Rows, *, budget: int) -> Iterator[tuple[Rows, torch.Tensor]]:
        """Yield units in batches, and their outputs without gradients."""
        for batch in plan_batches(examples.lengths[units], budget=budget):
            with torch.no_grad():
                yield units[batch], self.outputs(self._network, examples, units[batch])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)

    def _states(self, examples: Examples) -> list[torch.Tensor] | None:
        """States of every protein, computed once; None where they change, or would take too much memory."""
        if not self._keep:
            return None
        if id(examples) not in self._kept:
            lengths = np.array([len(residues) for residues in examples.proteins], np.int64)
            n_rows = int(lengths.sum()) if examples.input == "residue" else len(lengths)
            if n_rows * self._network.encoder.dim * 4 > _MOST_KEPT_BYTES:
                return None
            self._kept[id(examples)] = self._computed(examples, lengths)
        return self._kept[id(examples)]

    def _computed(self, examples: Examples, lengths: Rows) -> list[torch.Tensor]:
        by_protein: list[torch.Tensor] = [torch.empty(0)] * len(lengths)
        for batch in plan_batches(lengths, budget=self._budget):
            with torch.no_grad(), self._autocast():
                states = self._network.states(*self._tokens(examples, batch))
            sizes = lengths[batch].tolist()
            parts = torch.split(states, sizes) if examples.input == "residue" else states.unbind()
            for place, part in zip(batch.tolist(), parts, strict=True):
                by_protein[place] = part
        return by_protein
