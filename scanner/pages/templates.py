"""Find the templates of pages, each compiled once."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, Undefined

HERE = Path(__file__).parent


class _Environment(Environment):
    """Jinja environment that keeps the errors of dictionaries that define ``__missing__``."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = super().getattr(obj, attribute)
        if isinstance(found, Undefined) and hasattr(obj, "__missing__"):
            return obj[attribute]
        return found


def find_template(file: Path) -> Template:
    """Return a template, which can extend those beside it and in this package."""
    return _environment(file.parent).get_template(file.name)


@cache
def _environment(folder: Path) -> Environment:
    return _Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
