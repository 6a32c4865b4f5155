"""Render self-contained pages: one file, no network, light and dark, only our own scripts."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import vl_convert
from markupsafe import Markup

from scanner.pages.chart_style import VEGA_LITE
from scanner.pages.colors import DARK, PAPER, variables
from scanner.pages.templates import find_template

HERE = Path(__file__).parent
# Enlarges images that a template marks, with the dialog of viewer.html.j2.
VIEWER = HERE / "viewer.js"


def render(template: Path, scripts: Sequence[Path] = (), **values: object) -> str:
    """Render a Jinja template that extends ``shell.html.j2``; every value is escaped.

    ``scripts``: files that run after those of the shell. Captions are untrusted: in addition to
    escaping, the page's content security policy allows only these scripts, by hash, and no network
    requests.
    """
    parts = (HERE / "charts.js", HERE / "tables.js", *scripts)
    texts = [_library(), *(path.read_text(encoding="utf-8") for path in parts)]
    return find_template(template).render(
        **values,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        light=Markup(variables(PAPER)),
        dark=Markup(variables(DARK)),
        scripts=[Markup(script) for script in texts],
        script_hashes=[_hash(script) for script in texts],
    )


@cache
def _library() -> str:
    """Return Vega, Vega-Lite and vega-embed, which draw altair's charts, as one script."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return script.replace("</script", "<\\/script")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    return f"'sha256-{digest.decode()}'"
