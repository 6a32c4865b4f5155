"""Render pages that a local server sends, with scripts and styles as separate files."""

from pathlib import Path

from scanner.pages.colors import DARK, PAPER, variables
from scanner.pages.templates import find_template

HERE = Path(__file__).parent


def render_served(template: Path, **values: object) -> str:
    """Render a Jinja template that extends ``served.html.j2``; every value is escaped."""
    return find_template(template).render(**values)


def stylesheet(*files: Path) -> str:
    """Return the style that all pages share, in light and dark, and then that of ``files``."""
    texts = [path.read_text(encoding="utf-8") for path in (HERE / "style.css", *files)]
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}"
    return "\n".join([f":root {{ {variables(PAPER)} }}", dark, *texts])
