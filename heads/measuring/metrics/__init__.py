"""Metrics of every kind of target, each with a 95% bootstrap interval over proteins."""

from heads.measuring.metrics.classes import ClassOutcomes, classification_metrics
from heads.measuring.metrics.intervals import N_RESAMPLES, Measured, Metric, measure, wilson_interval
from heads.measuring.metrics.labels import LabelOutcomes
from heads.measuring.metrics.numbers import NumberOutcomes
from heads.measuring.metrics.paired import Paired, compare_paired, mcnemar
from heads.measuring.metrics.reliability import Bin, reliability

Outcomes = ClassOutcomes | LabelOutcomes | NumberOutcomes
"""What a head made of rows of one kind."""

__all__ = [
    "N_RESAMPLES",
    "Bin",
    "ClassOutcomes",
    "LabelOutcomes",
    "Measured",
    "Metric",
    "NumberOutcomes",
    "Outcomes",
    "Paired",
    "classification_metrics",
    "compare_paired",
    "mcnemar",
    "measure",
    "reliability",
    "wilson_interval",
]
