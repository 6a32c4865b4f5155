"""Read lines of text in bounded memory, however long they are in the file."""

import tempfile
from collections.abc import Iterator
from typing import IO, TextIO

from scanner.captions.limits import LINE_CHARACTERS

_SPOOLED = 1 << 20


class LongLine(str):
    """Placeholder for a line over the limit; ``file``, if kept, contains the line in UTF-8."""

    file: IO[bytes] | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the line. Raises ValueError if it was not kept."""
        if self.file is None:
            raise ValueError("the text of the long line was not kept")
        self.file.seek(0)
        while data := self.file.read(_SPOOLED):
            yield data


def bounded_lines(text: TextIO, ends: str = "\r\n", keep: bool = False) -> Iterator[str]:
    """Yield the lines of a text; those longer than LINE_CHARACTERS as a LongLine.

    ``ends``: characters that end a line. The rest of a long line is skipped without being held in
    memory, or written to disk with ``keep``.
    """
    while line := text.readline(LINE_CHARACTERS + 1):
        if len(line) <= LINE_CHARACTERS or line[-1] in ends:
            yield line
        else:
            yield _long(text, line, ends, keep)


def _long(text: TextIO, line: str, ends: str, keep: bool) -> LongLine:
    """Read to the end of a line that begins with ``line``."""
    long = LongLine(f"a line of more than {LINE_CHARACTERS} characters")
    if keep:
        long.file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the line)
    part = line
    while part:
        if long.file:
            long.file.write(part.encode("utf-8", "surrogateescape"))
        if part[-1] in ends:
            break
        part = text.readline(_SPOOLED)
    return long
