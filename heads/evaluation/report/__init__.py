"""A comparison as one page that opens offline."""

from heads.evaluation.report.page import render

__all__ = ["render"]
