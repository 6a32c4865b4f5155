"""The report: one page about a run that a curator reads."""

from scanner.report.content import gather
from scanner.report.page import page

__all__ = ["gather", "page"]
