"""What `mini` is trained for: hidden residues, families of several kinds, homologous pairs, secondary structure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from benchmarks.train_mini.sampling import CURATED, TrainingBatch, TrainingSet
from embedstore.models.mini_encoder import MiniEncoder

QUEUE = 4_096
"""Proteins of earlier batches that serve as negatives (cross-batch memory: Wang et al. 2020, arXiv:1912.06798)."""

PAIR_TEMPERATURE = 0.07
CLASS_SCALE = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each objective counts; 0: it is left out.

    With weights of 1 the gradient of the pairs is 200 times that of the hidden residues in the first block, and noise
    drowns the rest: nothing was learned of residues in 450 steps.
    """

    residues: float = 8.0
    classes: float = 1.0
    pairs: float = 0.2
    secondary: float = 4.0


class Objectives(nn.Module):
    """The encoder with all that is needed for training alone: class vectors, queue, secondary structure."""

    def __init__(self, encoder: MiniEncoder, data: TrainingSet, weights: Weights) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = weights
        dim = encoder.config.output_size
        self.classes = nn.ParameterDict({
            kind: nn.Parameter(torch.randn(data.n_classes(kind), dim) * 0.05) for kind in CURATED
        })  # fmt: skip
        self.secondary = nn.Linear(dim, 4)
        # Without it all proteins begin at one place, and class losses do not fall for hundreds of steps.
        self.centre = nn.BatchNorm1d(dim, affine=False, momentum=0.02)
        self.register_buffer("queue", functional.normalize(torch.randn(QUEUE, dim), dim=1))
        self.register_buffer("queue_cluster", torch.full((QUEUE,), -2, dtype=torch.int64))
        self.queue: torch.Tensor
        self.queue_cluster: torch.Tensor

    def forward(self, batch: TrainingBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted loss, and its parts by name."""
        wide = self.encoder(batch.tokens, batch.mask)[-1]
        parts: dict[str, torch.Tensor] = {}
        if self.weights.residues:
            hidden = batch.targets >= 0
            if bool(hidden.any()):
                scores = self.encoder.letters(wide[hidden])
                parts["residues"] = functional.cross_entropy(scores, batch.targets[hidden])
        if self.weights.secondary:
            known = batch.secondary > 0
            if bool(known.any()):
                states = self.encoder.project(wide[known])
                parts["secondary"] = functional.cross_entropy(self.secondary(states), batch.secondary[known])
        if self.weights.classes or self.weights.pairs:
            vectors = functional.normalize(self.centre(self.encoder.proteins(batch.tokens, batch.mask, wide)), dim=1)
            if self.weights.classes:
                parts["classes"] = self._classes(vectors, batch)
            if self.weights.pairs:
                parts["pairs"] = self._pairs(vectors, batch.labels["cluster"])
        total = sum((getattr(self.weights, name) * part for name, part in parts.items()), torch.zeros(()))
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def _classes(self, vectors: torch.Tensor, batch: TrainingBatch) -> torch.Tensor:
        """Cosine softmax over the classes of each curated label set: the weighted mean over rows and sets."""
        losses, held_weight = vectors.new_zeros(()), 0.0
        for kind, weight in CURATED.items():
            labels = batch.labels[kind]
            held = labels >= 0
            if bool(held.any()):
                scores = CLASS_SCALE * vectors[held] @ functional.normalize(self.classes[kind], dim=1).T
                losses = losses + weight * functional.cross_entropy(scores, labels[held], reduction="sum")
                held_weight += weight * int(held.sum())
        return losses / max(held_weight, 1.0)

    def _pairs(self, vectors: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
        """InfoNCE between members of a cluster, against the batch and the queue."""
        known = clusters >= 0
        anchors = vectors[known]
        own = clusters[known]
        # What has no cluster is nobody's relative: numbers below zero never equal one.
        others = torch.cat((clusters, self.queue_cluster))
        candidates = torch.cat((vectors, self.queue))
        scores = anchors @ candidates.T / PAIR_TEMPERATURE
        same = own[:, None] == others[None]
        itself = torch.nonzero(known).flatten()
        is_self = torch.zeros_like(same)
        is_self[torch.arange(len(itself)), itself] = True
        negatives = scores.masked_fill(same, -torch.inf).logsumexp(dim=1, keepdim=True)
        positive = same & ~is_self
        losses = functional.softplus(negatives - scores)[positive]
        counts = positive.sum(dim=1, keepdim=True).expand_as(positive)[positive]
        with torch.no_grad():
            n = min(len(vectors), QUEUE)
            self.queue.copy_(torch.cat((vectors[:n].detach(), self.queue[:-n])))
            self.queue_cluster.copy_(torch.cat((clusters[:n], self.queue_cluster[:-n])))
        return (losses / counts).sum() / max(1, int(known.sum()))
