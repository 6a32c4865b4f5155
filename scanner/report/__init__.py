"""Report a run as one HTML page for a curator."""

from scanner.report.content import gather
from scanner.report.page import render_report

__all__ = ["gather", "render_report"]
