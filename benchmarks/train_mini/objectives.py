"""What `mini` is trained for: hidden residues, alignment columns, families, homologous pairs, secondary structure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from benchmarks.train_mini.sampling import CURATED, TrainingBatch, TrainingSet
from embedstore.models.mini_encoder import MiniEncoder
from embedstore.models.mini_tokens import N_STANDARD

QUEUE = 4_096
"""Proteins of earlier batches that serve as negatives (cross-batch memory: Wang et al. 2020, arXiv:1912.06798)."""

QUEUED = ("cluster", "scop2_superfamily", "scope_superfamily")
"""Label sets whose classes make pairs."""

PAIR_TEMPERATURE = 0.07
CLASS_SCALE = 16.0
VIEW_SIZE = 64
VIEW_TEMPERATURE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each objective counts; 0: it is left out.

    Attributes
    ----------
    residues
        Cross-entropy of hidden residues.
    profile
        Cross-entropy with the residue distribution of the alignment column, at every aligned residue (Sturmfels et al.
        2020, arXiv:2012.00195).
    aligned
        InfoNCE of residues in one column, against the other residues of the batch.
    classes
        Cosine softmax over curated classes.
    pairs
        InfoNCE of proteins of one cluster of whole proteins.
    superfamilies
        The same for SCOP superfamilies, against proteins known to be of others.
    secondary
        Cross-entropy of the secondary structure.

    With weights of 1 the gradient of the pairs is 200 times that of the hidden residues in the first block, and noise
    drowns the rest: nothing was learned of residues in 450 steps.
    """

    residues: float = 8.0
    profile: float = 4.0
    aligned: float = 0.5
    classes: float = 1.0
    pairs: float = 0.2
    superfamilies: float = 0.2
    secondary: float = 4.0


class Centre(nn.Module):
    """Subtracts the mean of the batch; in evaluation, its running mean.

    Without it all proteins begin at one place, and class losses do not fall for hundreds of steps.
    """

    def __init__(self, dim: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(dim))
        self.mean: torch.Tensor

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, D) to the same."""
        if not self.training:
            return vectors - self.mean
        mean = vectors.mean(dim=0)
        with torch.no_grad():
            self.mean.lerp_(mean.detach(), self.momentum)
        return vectors - mean


class Objectives(nn.Module):
    """The encoder with all that is needed for training alone: class vectors, queue, heads of the residues."""

    def __init__(self, encoder: MiniEncoder, data: TrainingSet, weights: Weights, *, bf16: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights = weights
        self.bf16 = bf16
        wide, dim = encoder.config.wide_size, encoder.config.output_size
        self.classes = nn.ParameterDict({
            kind: nn.Parameter(torch.randn(data.n_classes(kind), dim) * 0.05) for kind in CURATED
        })  # fmt: skip
        self.secondary = nn.Linear(wide, 4)
        self.profile = nn.Linear(wide, N_STANDARD)
        self.view = nn.Linear(wide, VIEW_SIZE)
        self.centre = Centre(dim)
        self.register_buffer("queue", functional.normalize(torch.randn(QUEUE, dim), dim=1))
        self.register_buffer("queue_labels", torch.full((len(QUEUED), QUEUE), -2, dtype=torch.int64))
        self.register_buffer("profiles", torch.from_numpy(data.profiles), persistent=False)
        self.queue: torch.Tensor
        self.queue_labels: torch.Tensor
        self.profiles: torch.Tensor

    def forward(self, batch: TrainingBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted loss, and its parts by name."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            wide = self.encoder(batch.tokens, batch.mask)[-1]
            parts = self._of_residues(batch, wide)
        weights = self.weights
        if weights.classes or weights.pairs or weights.superfamilies:
            vectors = functional.normalize(self.centre(self.encoder.proteins(batch.tokens, batch.mask, wide)), dim=1)
            if weights.classes:
                parts["classes"] = self._classes(vectors, batch)
            if weights.pairs or weights.superfamilies:
                parts |= self._pairs(vectors, torch.stack([batch.labels[kind] for kind in QUEUED]))
        total = sum((getattr(weights, name) * part for name, part in parts.items()), torch.zeros(()))
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def _of_residues(self, batch: TrainingBatch, wide: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of single residues from their wide states; those without any residue are left out."""
        parts: dict[str, torch.Tensor] = {}
        if self.weights.residues:
            hidden = batch.targets >= 0
            if bool(hidden.any()):
                scores = self.encoder.letters(wide[hidden]).float()
                parts["residues"] = functional.cross_entropy(scores, batch.targets[hidden])
        if self.weights.secondary:
            known = batch.secondary > 0
            if bool(known.any()):
                scores = self.secondary(wide[known]).float()
                parts["secondary"] = functional.cross_entropy(scores, batch.secondary[known])
        if self.weights.profile:
            known = batch.columns >= 0
            if bool(known.any()):
                shares = self.profiles[batch.columns[known]].float()
                scores = self.profile(wide[known]).float()
                parts["profile"] = functional.cross_entropy(scores, shares / shares.sum(dim=1, keepdim=True))
        if self.weights.aligned and len(batch.aligned) > 1:
            parts["aligned"] = self._aligned(batch, wide)
        return parts

    def _aligned(self, batch: TrainingBatch, wide: torch.Tensor) -> torch.Tensor:
        """InfoNCE of residue pairs, from both sides; residues of the same column are no negatives."""
        views = functional.normalize(self.view(wide.flatten(0, 1)[batch.aligned]).float(), dim=2)
        scores = views[:, 0] @ views[:, 1].T / VIEW_TEMPERATURE
        columns = batch.columns.flatten()[batch.aligned[:, 0]]
        same = (columns[:, None] == columns[None]) & ~torch.eye(len(columns), dtype=torch.bool)
        scores = scores.masked_fill(same, -torch.inf)
        truth = torch.arange(len(scores))
        return (functional.cross_entropy(scores, truth) + functional.cross_entropy(scores.T, truth)) / 2

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

    def _pairs(self, vectors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """InfoNCE between members of a class of each of `QUEUED`, against the batch and the queue.

        What has no cluster is taken for no relative of what has one. Proteins without a superfamily are left out there:
        most have one that nobody noted.
        """
        scores = vectors @ torch.cat((vectors, self.queue)).T / PAIR_TEMPERATURE
        losses: dict[str, list[torch.Tensor]] = {"pairs": [], "superfamilies": []}
        for number, kind in enumerate(QUEUED):
            own, others = labels[number], torch.cat((labels[number], self.queue_labels[number]))
            known = own >= 0
            same = own[known, None] == others[None]
            is_self = functional.one_hot(torch.nonzero(known).flatten(), len(others)).bool()
            passed_over = same if kind == "cluster" else same | (others < 0)[None]
            negatives = scores[known].masked_fill(passed_over, -torch.inf).logsumexp(dim=1, keepdim=True)
            positive = same & ~is_self
            counts = positive.sum(dim=1, keepdim=True).clamp(min=1)
            each = (functional.softplus(negatives - scores[known]) / counts).masked_fill(~positive, 0.0)
            name = "pairs" if kind == "cluster" else "superfamilies"
            losses[name].append(each.sum() / max(1, int(known.sum())))
        with torch.no_grad():
            n = min(len(vectors), QUEUE)
            self.queue.copy_(torch.cat((vectors[:n].detach(), self.queue[:-n])))
            self.queue_labels.copy_(torch.cat((labels[:, :n], self.queue_labels[:, :-n]), dim=1))
        return {name: sum(held, torch.zeros(())) for name, held in losses.items()}

    @torch.no_grad()
    def begin_classes(self, vectors: torch.Tensor, labels: dict[str, torch.Tensor]) -> None:
        """Set the mean of all vectors, and each class vector to the mean of its members', centred; (n, D) and (n,)."""
        self.centre.mean.copy_(vectors.mean(dim=0))
        centred = functional.normalize(vectors - self.centre.mean, dim=1)
        for kind, table in self.classes.items():
            held = labels[kind] >= 0
            sums = torch.zeros_like(table).index_add_(0, labels[kind][held], centred[held])
            found = sums.norm(dim=1) > 0
            table[found] = functional.normalize(sums[found], dim=1)
