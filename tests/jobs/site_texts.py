"""The texts and links of an HTML page, to compare pages that different programs render."""

from collections import Counter
from html.parser import HTMLParser

KINDS = {"td": "cell", "th": "cell", "pre": "code", "li": "item", "p": "paragraph"}
KINDS |= {f"h{level}": "heading" for level in range(1, 7)}
EMPTY = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
}
# Attributes by which a page makes a browser load something.
LOADING = {
    **dict.fromkeys(("script", "img", "iframe", "source", "audio", "video", "embed"), "src"),
    **{"link": "href", "object": "data"},
}


class Texts(HTMLParser):
    """Counts the texts of a page's blocks, and collects its ids, links and what it loads.

    Texts are without white space, which pages differ in. ``within``: read only inside elements of
    this tag. Links to headings and buttons are left out.
    """

    def __init__(self, within: str = "") -> None:
        super().__init__()
        self.within = within
        self.texts: Counter[tuple[str, str]] = Counter()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._open: list[tuple[str, list[str], bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag in LOADING and attributes.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(attributes.get(LOADING[tag], ""))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag not in EMPTY:
            hidden = tag in ("button", "nav") or attributes.get("class") == "headerlink"
            self._open.append((tag, [], hidden))

    def handle_endtag(self, tag: str) -> None:
        if tag in EMPTY or tag not in [name for name, _, _ in self._open]:
            return
        while True:
            name, words, hidden = self._open.pop()
            text = "".join("".join(words).split())
            if name in KINDS and not hidden and self._is_counted(name):
                self.texts[KINDS[name], text] += 1
            if self._open and not hidden:
                self._open[-1][1].extend(words)
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append(data)

    def _is_counted(self, name: str) -> bool:
        around = [tag for tag, _, _ in self._open]
        # A list's items are paragraphs or not, which looks the same.
        in_item = name == "p" and "li" in around
        return not in_item and (not self.within or self.within in around)


def texts_of(html: str, within: str = "") -> Texts:
    """Return the texts of a page."""
    texts = Texts(within)
    texts.feed(html)
    return texts
