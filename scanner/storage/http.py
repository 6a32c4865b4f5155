"""HTTP filesystem whose directory listings contain only entries below the listed URL."""

from collections import defaultdict
from typing import Any

from fsspec.implementations.http import HTTPFileSystem

from scanner.storage.names import name_below


class ContainedHttp(HTTPFileSystem):
    """Omit links that lead elsewhere (``../../x``, other hosts) from listings.

    ``refused``: the omitted links, by the URL of the page.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.refused: defaultdict[str, set[str]] = defaultdict(set)

    async def _ls_real(self, url: str, detail: bool = True, **options: Any) -> Any:
        found = await super()._ls_real(url, detail, **options)
        kept = []
        for entry in found:
            name = entry["name"] if detail else entry
            if name_below(url, name) is None:
                self.refused[url.rstrip("/")].add(name)
            else:
                kept.append(entry)
        return kept
