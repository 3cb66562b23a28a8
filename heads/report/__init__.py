"""A comparison as one page that opens offline."""

from heads.report.page import render

__all__ = ["render"]
