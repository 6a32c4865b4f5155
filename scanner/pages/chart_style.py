"""Style charts for pages, and render them as PNG."""

import io
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert
from PIL import Image

from scanner.pages.colors import PAPER, Colors

FONT = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
PIXELS_PER_UNIT = 2
# The version that altair writes and the renderer must support.
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
PALETTE = 128


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart with its alternative text."""

    spec: dict[str, Any]
    alt: str


def finish(chart: alt.TopLevelMixin, colors: Colors, description: str) -> Chart:
    """Apply the page's colors and font; ``description`` becomes the alternative text."""
    axis = {
        "labelColor": colors.faint,
        "titleColor": colors.faint,
        "domainColor": colors.line,
        "tickColor": colors.line,
        "gridColor": colors.line,
        "titleFontWeight": "normal",
        "minExtent": 26,
    }
    config = {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "legend": {"labelColor": colors.faint, "titleColor": colors.faint},
        "title": {"color": colors.ink, "subtitleColor": colors.faint, "anchor": "start"},
        "header": {"labelColor": colors.ink, "titleColor": colors.faint},
        "text": {"color": colors.ink},
    }
    spec = {**chart.to_dict(), "description": description, "config": config}
    return Chart(spec, description)


def png(chart: Chart) -> bytes:
    """Render the chart as PNG on white, at two pixels per unit, with a small palette."""
    spec = {**chart.spec, "config": {**chart.spec["config"], "background": PAPER.paper}}
    drawn = vl_convert.vegalite_to_png(spec, VEGA_LITE, scale=PIXELS_PER_UNIT, allowed_base_urls=[])
    with Image.open(io.BytesIO(drawn)) as image, io.BytesIO() as file:
        image.convert("RGB").quantize(PALETTE).save(file, "PNG", optimize=True)
        return file.getvalue()
