"""Metrics for every target type, each with a 95% bootstrap interval."""

from heads.evaluation.metrics.bootstrap import (
    N_RESAMPLES,
    BootstrapEstimate,
    Interval,
    average,
    measure,
    wilson_interval,
)
from heads.evaluation.metrics.classification import ClassOutcomes, classification_metrics
from heads.evaluation.metrics.multilabel import LabelOutcomes
from heads.evaluation.metrics.paired import Paired, compare_paired, mcnemar
from heads.evaluation.metrics.regression import NumberOutcomes
from heads.evaluation.metrics.reliability import Bin, reliability

Outcomes = ClassOutcomes | LabelOutcomes | NumberOutcomes
"""Predictions of examples with their true targets, of one target type."""

__all__ = [
    "N_RESAMPLES",
    "Bin",
    "BootstrapEstimate",
    "ClassOutcomes",
    "Interval",
    "LabelOutcomes",
    "NumberOutcomes",
    "Outcomes",
    "Paired",
    "average",
    "classification_metrics",
    "compare_paired",
    "mcnemar",
    "measure",
    "reliability",
    "wilson_interval",
]
