"""ProtCNN, the dilated residual network of the Pfam comparison, and ProtENN, a vote of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedstore.errors import InputError
from heads.base import LabelledExamples
from heads.features.base import Features, Float32
from heads.networks.head import NetworkHead
from heads.networks.layers import MaskedBatchNorm, MaskedConvolution, Readout
from heads.training.batches import TokenBatch
from heads.training.checks import require_whole
from heads.training.loop import Epoch
from heads.training.objectives import Objective
from heads.training.tokens import STANDARD, standard_shares

KERNEL = 9
DILATIONS = (1, 1, 3, 9, 27)


class _Block(nn.Module):
    """Normalise, ReLU, a wide dilated convolution to half the width, the same with a convolution of one residue."""

    def __init__(self, width: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList((MaskedBatchNorm(width), MaskedBatchNorm(bottleneck)))
        self.convolutions = nn.ModuleList(
            (
                MaskedConvolution(width, bottleneck, KERNEL, dilation=dilation),
                MaskedConvolution(bottleneck, width, 1),
            )
        )

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        residual = states
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            residual = norm(residual, mask).relu()
            residual = convolution(residual * mask[:, :, None].to(residual.dtype), mask)
        return states + residual


class ProtCNN(nn.Module):
    """The network of Bileschi et al. 2022, "Using deep learning to annotate the protein universe".

    Parameters
    ----------
    n_outputs
        Families.
    width
        Filters; 1,100 as published. The bottleneck has half of them.
    """

    def __init__(self, n_outputs: int, *, width: int = 1100) -> None:
        super().__init__()
        self.shares: torch.Tensor
        self.register_buffer("shares", torch.from_numpy(standard_shares()), persistent=False)
        self.first = MaskedConvolution(len(STANDARD), width, KERNEL)
        self.blocks = nn.ModuleList(_Block(width, width // 2, dilation) for dilation in DILATIONS)
        self.pool = Readout("max")
        self.dense = nn.Linear(width, n_outputs)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.first(self.shares[batch.codes], batch.mask)
        for block in self.blocks:
            states = block(states, batch.mask)
        logits: torch.Tensor = self.dense(self.pool(states, batch.mask))
        return logits


@dataclass(kw_only=True, eq=False)
class ProtCNNHead(NetworkHead):
    """ProtCNN with the published architecture and rates.

    Two things differ from the published code: the greatest value is taken over residues alone (there, zeros of the
    padding take part, so that a protein depends on its batch), and so are mean and variance of the normalisation,
    which run with a momentum of 0.9 in place of 0.99, so that short trainings end with true ones. It trained for
    500,000 steps of 32 proteins; here `epochs` and `patience` say how long.

    Parameters
    ----------
    width
        Filters, an even number; 1,100 as published.
    """

    # Relatives are of one length: batches from a pool of 64 hold few families, whose statistics batch norm takes for
    # those of all. Width 32 on 6,000 domains of Pfam had after four epochs an accuracy of 0.35 with 64, 0.44 with 8,
    # 0.53 with 2 and 0.55 with 1, which takes 1.3 times as long as 2.
    pool_batches: ClassVar[int] = 2

    width: int = 1100
    learning_rate: float = 1e-3
    schedule: str = "exponential"
    warmup_steps: int = 3000
    decay_rate: float = 0.9997
    clip: float | str | None = "adaptive"

    def _build(self, n_outputs: int) -> nn.Module:
        require_whole(width=self.width)
        if self.width % 2:
            raise InputError(f"width is {self.width}; expected an even number, for half of it is the bottleneck.")
        return ProtCNN(n_outputs, width=self.width)


VOTES = ("majority", "mean")


@dataclass(kw_only=True, eq=False)
class ProtENNHead(ProtCNNHead):
    """Several ProtCNNs of different seeds that vote.

    Parameters
    ----------
    members
        How many; seeds count up from `seed`.
    vote
        ``"majority"``: the class that most members give, as published; ties go to the higher mean probability.
        ``"mean"``: the class of the highest mean probability. Numbers, levels and sets of labels always get the mean.
        Probabilities are the mean of the members'; where that leads to another class than the vote, the voted one is
        lifted to its height.

    Attributes
    ----------
    members_
        The fitted members.
    """

    members: int = 5
    vote: str = "majority"

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._check()
        self.members_ = []
        for number in range(self.members):
            member = self._member(number)
            member.classes_, member.n_features_in_ = self.classes_, self.n_features_in_
            member._fit(train, valid)
            self.members_.append(member)
        self._summarise()

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for each in zip(*(member._outputs(X) for member in self.members_), strict=True):
            yield self._joined(np.stack(each))

    def _joined(self, each: NDArray[np.float32]) -> Float32:
        """One output of those of the members, (members, n, C)."""
        mean: Float32 = each.mean(axis=0)
        if self.vote == "mean" or self.target_type != "class":
            return mean
        votes = np.zeros(mean.shape)
        for member in each:
            votes[np.arange(len(mean)), member.argmax(axis=1)] += 1
        # One vote weighs as much as the whole mean: it breaks ties and nothing else.
        voted = (votes + mean).argmax(axis=1)
        behind = np.flatnonzero(mean.argmax(axis=1) != voted)
        rows, theirs = mean[behind], (np.arange(len(behind)), voted[behind])
        rows[theirs] = rows.max(axis=1)
        rows /= rows.sum(axis=1, keepdims=True)
        rows[theirs] = np.nextafter(rows.max(axis=1), np.float32(2))
        mean[behind] = rows
        return mean

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"{number}.{name}": array
            for number, member in enumerate(self.members_)
            for name, array in member._arrays().items()
        }

    def settings(self) -> dict[str, Any]:
        """Settings of each member."""
        return {"members": [member.settings() for member in self.members_]}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.members_ = []
        for number, own in enumerate(settings["members"]):
            member = self._member(number)
            prefix = f"{number}."
            of_it = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            member.classes_ = self.classes_
            member._restore(of_it, own, texts)
            self.members_.append(member)
        self._summarise()

    def _member(self, number: int) -> ProtCNNHead:
        params = {field.name: getattr(self, field.name) for field in fields(ProtCNNHead)}
        place = None if self.checkpoint is None else str(Path(self.checkpoint) / str(number))
        return ProtCNNHead(**{**params, "seed": self.seed + number, "checkpoint": place})

    def _summarise(self) -> None:
        self.n_parameters_ = sum(member.n_parameters_ for member in self.members_)
        self.objective_: Objective = self.members_[0].objective_
        self.curve_: list[Epoch] = [point for member in self.members_ for point in member.curve_]

    def _check(self) -> None:
        require_whole(members=self.members)
        if self.vote not in VOTES:
            raise InputError(f"vote is {self.vote!r}; expected one of {', '.join(VOTES)}.")
