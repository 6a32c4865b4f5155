"""Gather the pages and build the site with MkDocs."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.development.site.arrangement import ROOT, Navigation, arranged
from jobs.development.site.dialect import for_python_markdown
from jobs.development.site.links import Links
from jobs.development.site.navigation import PARTS
from jobs.development.site.sections import SitePage
from scanner.errors import UserError

_SETTINGS = Path(__file__).parent / "mkdocs.yml"
_STYLE = Path(__file__).parent / "site.css"


def build_site(out: Path) -> int:
    """Write the site, and return its number of pages.

    Raises UserError if a page is not in the navigation, a link leads nowhere, or ``out`` holds
    something else than a site.
    """
    is_ours = (out / "search/search_index.json").exists()
    if out.exists() and not is_ours and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: holds something else than a site; name an empty directory")
    pages, navigation = arranged()
    with tempfile.TemporaryDirectory(prefix="memscan-site-") as folder:
        _write(Path(folder), pages, navigation)
        _mkdocs(Path(folder), out.absolute(), navigation)
    return len(pages)


def _write(folder: Path, pages: list[SitePage], navigation: Navigation) -> None:
    """Write the pages and the files that they link to; add directories to the navigation."""
    links = Links(ROOT, pages)
    for page in pages:
        _save(folder / page.path, for_python_markdown(links.rewritten(page)))
    listings = []
    for name in sorted(links.files):
        if (ROOT / name).is_dir():
            listings.append({f"{name}/": f"{name}/files.md"})
            _save(folder / name / "files.md", _listing(name))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    _save(folder / _STYLE.name, _STYLE.read_text(encoding="utf-8"))
    navigation[list(PARTS).index("Reference") + 1]["Reference"].append({"Files": listings})


def _listing(name: str) -> str:
    """Return a page with the files of a directory."""
    files = sorted(path for path in (ROOT / name).iterdir() if path.is_file())
    blocks = [
        f"## {path.name}\n\n```{path.suffix.removeprefix('.')}\n"
        f"{path.read_text(encoding='utf-8').rstrip()}\n```"
        for path in files
    ]
    return "\n\n".join([f"# {name}/", *blocks, ""])


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _mkdocs(folder: Path, out: Path, navigation: Navigation) -> None:
    """Build the pages of a folder. Raises UserError for each problem that MkDocs warns of."""
    try:
        from mkdocs.commands.build import build
        from mkdocs.config import load_config
        from mkdocs.exceptions import Abort
    except ImportError as error:
        raise UserError("MkDocs is not installed; run pip install -e '.[docs]'") from error
    with _warnings() as warnings:
        try:
            settings = load_config(
                str(_SETTINGS), docs_dir=str(folder), site_dir=str(out), nav=navigation
            )
            build(settings)
        except Abort as error:
            raise UserError("\n".join(["the site has problems:", *warnings])) from error


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what MkDocs warns of."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("mkdocs")
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
