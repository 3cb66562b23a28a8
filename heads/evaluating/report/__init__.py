"""A comparison as one page that opens offline."""

from heads.evaluating.report.page import render

__all__ = ["render"]
