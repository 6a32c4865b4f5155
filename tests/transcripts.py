"""Commands with their output, as a page shows them, held against what they really print."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.forking import forking_python

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?")
# How far a number may be from the page's: other processors round otherwise.
RELATIVE, ABSOLUTE = 0.02, 0.011
SECONDS = 3600
SHELL = 'memscan() {{ "{python}" -m jobs.cli "$@"; }}; set -eo pipefail; '


def transcript(page: Path) -> list[tuple[str, list[str]]]:
    """Each line of a fenced block that begins with "$ ", and the lines that follow it there."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


def printed(command: str, folder: Path) -> str:
    """What a command prints in a folder; it has to end well."""
    done = subprocess.run(
        ["bash", "-c", SHELL.format(python=forking_python()) + command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def assert_shown(shown: list[str], real: str) -> None:
    """Every line of a page stands in the real output, in this order and one after the other but
    where the page has a line "…"; numbers about the same, "…" within a line is anything."""
    lines = real.splitlines()
    place, gap = 0, False
    for line in shown:
        if line.strip() == "…":
            gap = True
            continue
        end = len(lines) if gap else place + 1
        places = [k for k in range(place, min(end, len(lines))) if _alike(line, lines[k])]
        assert places, f"the page shows\n{line}\nand of the real output comes next\n" + "\n".join(
            lines[place : place + 5]
        )
        place, gap = places[0] + 1, False
    assert gap or place == len(lines), "more is printed:\n" + "\n".join(lines[place:][:5])


def _alike(shown: str, real: str) -> bool:
    pattern, expected, end = "", [], 0
    for found in NUMBER.finditer(shown):
        pattern += _text(shown[end : found.start()]) + f"({NUMBER.pattern})"
        expected.append(_value(found.group()))
        end = found.end()
    match = re.fullmatch(pattern + _text(shown[end:]), real.rstrip())
    return match is not None and all(
        _value(value) == pytest.approx(wanted, rel=RELATIVE, abs=ABSOLUTE)
        for value, wanted in zip(match.groups(), expected, strict=True)
    )


def _text(words: str) -> str:
    """A pattern for words: any space for a space (columns move with the width of numbers)."""
    parts = [
        # One pattern for a run of spaces: many would be tried in every combination.
        r"\s*".join(map(re.escape, re.split(" +", part)))
        for part in words.rstrip("\n").split("…")
    ]
    # A table's rule is as wide as its numbers.
    return re.sub("━+", "━+", ".*".join(parts))


def _value(number: str) -> float:
    return float(number.replace(",", ""))
