"""Shared parts of HTML pages: a self-contained shell, colours, and charts."""

from scanner.pages.chart_style import Chart, finish, png
from scanner.pages.colours import PAPER, THEMED, Colours
from scanner.pages.shell import render

__all__ = ["PAPER", "THEMED", "Chart", "Colours", "finish", "png", "render"]
