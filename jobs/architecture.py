"""Draw the rooms of scanner/ and who imports whom into scanner/README.md, from the code itself.

Example: python -m jobs.architecture
"""

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.terminal import command

ROOT = Path(__file__).parents[1]
BEGIN, END = "```mermaid\n", "```\n"
# Every room may use these, so arrows to them tell nothing.
EVERYWHERE = {"credentials", "errors", "cores", "storage"}


@dataclass(frozen=True)
class ArchitectureConfig:
    """Where the picture goes."""

    page: Path = ROOT / "scanner/README.md"
    """The Markdown page whose mermaid block is replaced."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(ArchitectureConfig, "architecture", __doc__, _architecture, arguments)


def _architecture(config: ArchitectureConfig) -> int:
    page = config.page.read_text(encoding="utf-8")
    config.page.write_text(redrawn(page), encoding="utf-8")
    return 0


def redrawn(page: str) -> str:
    """The page with the picture of today's code in its mermaid block."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + picture(room_imports()) + END + after


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, also within functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def modules() -> list[tuple[str, Path]]:
    """Every file of scanner/ with its room."""
    files = sorted((ROOT / "scanner").rglob("*.py"))
    named = [
        (path.relative_to(ROOT / "scanner").parts[0].removesuffix(".py"), path) for path in files
    ]
    return [(room, path) for room, path in named if room != "__init__"]


def room_imports() -> dict[str, set[str]]:
    """Each room with the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for room, path in modules():
        names = {name.split(".")[1] for name in imports_of(path) if name.startswith("scanner.")}
        found[room] = found.get(room, set()) | (names - {room})
    return found


def picture(rooms: dict[str, set[str]]) -> str:
    """The rooms as a mermaid chart; an arrow that a longer way says already is left out."""
    rooms = {room: uses - EVERYWHERE for room, uses in rooms.items() if room not in EVERYWHERE}
    below = {room: _below(room, rooms) for room in rooms}
    lines = ["graph TD", *(f"    {room}" for room in sorted(rooms))]
    for room, uses in sorted(rooms.items()):
        implied = set().union(*(below[used] for used in uses))
        lines += [f"    {room} --> {used}" for used in sorted(uses - implied)]
    return "\n".join(lines) + "\n"


def _below(room: str, rooms: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    for used in rooms[room]:
        found |= {used} | _below(used, rooms)
    return found


if __name__ == "__main__":
    sys.exit(main())
