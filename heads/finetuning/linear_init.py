"""Where a fine-tuned head begins: a linear head on the vectors that the encoder gives before it learns."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from heads.base import LabelledExamples
from heads.features.base import ArrayFeatures, Float32
from heads.finetuning.examples import Examples
from heads.finetuning.forward import Passes
from heads.finetuning.network import Network
from heads.tasks.targets import Targets
from heads.vectors.linear import LinearHead

LINEAR_KINDS = ("class", "multilabel", "regression")
"""What a linear head's map is taken over for."""

_MOST_ROWS = 2**17


def linear_init(
    network: Network,
    passes: Passes,
    train: tuple[Examples, Targets],
    valid: tuple[Examples, Targets] | None,
    *,
    balanced: bool,
    budget: int,
    seed: int,
    centre: float,
    scale: float,
) -> None:
    """Set the last layer of a network's head to what a linear head finds on its inputs as they are now.

    A head that begins at random distorts the encoder's vectors before it knows anything; one that knows what they tell
    already does not (Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
    out-of-distribution").

    Parameters
    ----------
    network
        Its head has one linear layer, which is changed in place.
    passes
        What runs it.
    train, valid
        Units and the targets of their rows. Of more than 131,072 rows some are drawn.
    balanced
        Whether all classes count the same.
    budget
        Padded residues in one pass.
    seed
        Of the draw.
    centre, scale
        What numbers are learned as multiples of.
    """
    target_type = train[1].target_type
    weighs = "balanced" if balanced and target_type != "regression" else None
    head = LinearHead(target_type=target_type, class_weight=weighs, normalize=False, refine=False, seed=seed)
    sides = [None if side is None else _inputs(network, passes, *side, budget, seed) for side in (train, valid)]
    assert sides[0] is not None  # noqa: S101 - for mypy
    head.fit_labelled(sides[0], sides[1])
    coef, intercept = head.coef_.astype(np.float64), head.intercept_.astype(np.float64)
    bias = intercept - coef @ head.mean_
    if target_type == "regression":
        coef, bias = coef / scale, (bias - centre) / scale
    elif target_type == "class":
        coef, bias = coef / head.temperature_, bias / head.temperature_
    network.head.set_last(coef.astype(np.float32), bias.astype(np.float32))


def _inputs(
    network: Network, passes: Passes, examples: Examples, targets: Targets, budget: int, seed: int
) -> LabelledExamples | None:
    """What the last layer reads of some units, and their targets; None without a row whose target is known."""
    units = np.arange(len(examples))
    mean_rows = max(1.0, float(examples.n_rows.mean()))
    most = max(1, int(_MOST_ROWS / mean_rows))
    if len(units) > most:
        units = np.sort(np.random.default_rng(seed).permutation(units)[:most])
    rows: list[NDArray[np.int64]] = []
    blocks: list[Float32] = []
    for batch, inputs in passes.inputs(examples, units, budget=budget):
        rows.append(examples.rows(batch))
        with torch.no_grad():
            blocks.append(network.head.before_last(inputs).cpu().numpy())
    numbers, vectors = np.concatenate(rows), np.concatenate(blocks)
    known = targets.known[numbers]
    if not known.any():
        return None
    # In the order of the rows, whatever the batches were.
    order = np.flatnonzero(known)[np.argsort(numbers[known], kind="stable")]
    return LabelledExamples(features=ArrayFeatures(vectors[order]), targets=targets.subset(numbers[order]))
