"""Draw the import graph of the rooms of scanner/ into scanner/README.md.

Example: python -m jobs.development.architecture
"""

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.console.terminal import command

ROOT = Path(__file__).parents[2]
BEGIN, END = "```mermaid\n", "```\n"
# Every room may import these, so arrows to them would say nothing.
EVERYWHERE = {"credentials", "errors", "cores", "memory", "plurals", "storage"}


@dataclass(frozen=True)
class ArchitectureConfig:
    """The page to update."""

    page: Path = ROOT / "scanner/README.md"
    """Markdown page whose mermaid block is replaced."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(
        ArchitectureConfig, "jobs.development.architecture", __doc__, _architecture, arguments
    )


def _architecture(config: ArchitectureConfig) -> int:
    page = config.page.read_text(encoding="utf-8")
    config.page.write_text(redraw(page), encoding="utf-8")
    return 0


def redraw(page: str) -> str:
    """Return the page with its mermaid block drawn from the current code."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + graph(room_imports()) + END + after


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, including in functions and only for types."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def modules() -> list[tuple[str, Path]]:
    """Return every file of scanner/ with its room."""
    files = sorted((ROOT / "scanner").rglob("*.py"))
    named = [
        (path.relative_to(ROOT / "scanner").parts[0].removesuffix(".py"), path) for path in files
    ]
    return [(room, path) for room, path in named if room != "__init__"]


def room_imports() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    imports: dict[str, set[str]] = {}
    for room, path in modules():
        names = {name.split(".")[1] for name in imports_of(path) if name.startswith("scanner.")}
        imports[room] = imports.get(room, set()) | (names - {room})
    return imports


def graph(rooms: dict[str, set[str]]) -> str:
    """Return a mermaid graph of the rooms, without arrows that a longer path implies."""
    rooms = {room: uses - EVERYWHERE for room, uses in rooms.items() if room not in EVERYWHERE}
    reachable = {room: _reachable(room, rooms) for room in rooms}
    lines = ["graph TD", *(f"    {room}" for room in sorted(rooms))]
    for room, uses in sorted(rooms.items()):
        implied = set().union(*(reachable[used] for used in uses))
        lines += [f"    {room} --> {used}" for used in sorted(uses - implied)]
    return "\n".join(lines) + "\n"


def _reachable(room: str, rooms: dict[str, set[str]]) -> set[str]:
    rooms_below: set[str] = set()
    for used in rooms[room]:
        rooms_below |= {used} | _reachable(used, rooms)
    return rooms_below


if __name__ == "__main__":
    sys.exit(main())
