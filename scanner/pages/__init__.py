"""Shared parts of HTML pages: a self-contained shell, colors, and charts."""

from scanner.pages.chart_style import Chart, finish, png
from scanner.pages.colors import PAPER, THEMED, Colors
from scanner.pages.served import render_served, stylesheet
from scanner.pages.shell import VIEWER, render

__all__ = [
    "PAPER",
    "THEMED",
    "VIEWER",
    "Chart",
    "Colors",
    "finish",
    "png",
    "render",
    "render_served",
    "stylesheet",
]
