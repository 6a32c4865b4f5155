"""The report: one page about a run that a curator reads."""

from scanner.report.content import Content, gather
from scanner.report.page import page

__all__ = ["Content", "gather", "page"]
