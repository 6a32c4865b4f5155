"""Build the documentation site from the pages of this repository.

Every Markdown page, the notebooks and the files that they link to, in four parts (tutorial, how-to,
reference, explanation), and reference pages written from the code: options of the commands,
columns, named queries, Python names. The site is static and loads nothing from other hosts. Needs
the extra docs: pip install -e '.[docs]'.

Example: python -m jobs.development.site --out site
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.console.terminal import command, show
from jobs.development.site.build import build_site


@dataclass(frozen=True)
class SiteConfig:
    """Where the site is written."""

    out: Path = Path("site")
    """Directory to write; one that is there already is replaced if it holds a site."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(SiteConfig, "jobs.development.site", __doc__, _site, arguments)


def _site(config: SiteConfig) -> int:
    pages = build_site(config.out)
    show(f"{config.out}/index.html: {pages} pages")
    return 0
