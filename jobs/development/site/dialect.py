"""Rewrite GitHub's Markdown as Python-Markdown reads it."""

import re

from jobs.development.site.sections import outside_code

_ITEM = re.compile(r"([-*]|\d{1,9}\.) +(?=\S)")
_INDENT = " " * 4


def for_python_markdown(text: str) -> str:
    """Return a page with blank lines before lists, tables and code, and items indented by four.

    Diagrams of Mermaid, which the site has no script for, become tables.
    """
    return "\n".join(_indented(_without_diagrams(text).splitlines()))


def _indented(lines: list[str]) -> list[str]:
    """Indent the content of list items by four; each item may contain lists."""
    written: list[str] = []
    kinds = [is_text for _, is_text in outside_code(lines)]
    position, is_loose = 0, False
    while position < len(lines):
        line, is_text = lines[position], kinds[position]
        item = _item(line, written) if is_text else None
        if item is None:
            begins_code = not is_text and position and kinds[position - 1]
            if begins_code or (is_text and _begins_table(lines, position)):
                written.append("")
            written.append(line)
            position += 1
            continue
        width = len(item[0])
        end = _end_of_item(lines, kinds, position + 1, width)
        content = [_dedented(each, width) for each in lines[position + 1 : end]]
        first, *others = _indented([line[width:], *content])
        if _ends_in_paragraph(written) or (is_loose and written and written[-1]):
            written.append("")
        is_loose = "" in content
        written.append(f"{item[1]:<4}{first}")
        written += [f"{_INDENT}{each}" if each else "" for each in others]
        position = end
    return written


def _item(line: str, written: list[str]) -> re.Match[str] | None:
    """Return the marker of a list item; within a paragraph, a number other than 1 begins none."""
    item = _ITEM.match(line)
    if item and item[1] not in ("-", "*", "1.") and _ends_in_paragraph(written):
        return None
    return item


def _end_of_item(lines: list[str], kinds: list[bool], start: int, width: int) -> int:
    """Return where an item ends: at the next item, or at text that is not indented and continues no
    paragraph."""
    for position in range(start, len(lines)):
        line, before = lines[position], lines[position - 1]
        if not line.strip() or line.startswith(" " * width):
            continue
        if _ITEM.match(line) or not before.strip() or not kinds[position]:
            return position
    return len(lines)


def _dedented(line: str, width: int) -> str:
    return line[width:] if line.startswith(" " * width) else line


def _ends_in_paragraph(written: list[str]) -> bool:
    """Return whether the last line is text outside of lists."""
    last = written[-1] if written else ""
    return bool(last.strip()) and not last.startswith(_INDENT) and not _ITEM.match(last)


def _begins_table(lines: list[str], position: int) -> bool:
    """Return whether a table begins directly below a paragraph."""
    line, before = lines[position], lines[position - 1] if position else ""
    return line.startswith("|") and bool(before.strip()) and not before.startswith("|")


def _without_diagrams(text: str) -> str:
    return re.sub(r"^```mermaid\n(.*?)^```", _arrows, text, flags=re.MULTILINE | re.DOTALL)


def _arrows(diagram: re.Match[str]) -> str:
    """Return a diagram's arrows as a table."""
    arrows: dict[str, list[str]] = {}
    for start, end in re.findall(r"(\w+) --> (\w+)", diagram[1]):
        arrows.setdefault(start, []).append(f"`{end}`")
    rows = [f"| `{start}` | {', '.join(ends)} |" for start, ends in arrows.items()]
    return "\n".join(["| from | arrows to |", "|---|---|", *rows])
