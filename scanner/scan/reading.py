"""Read input files, batch by batch, into samples, rejects and spellings of captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.captions.formats import UnreadableFile, read
from scanner.captions.identity import caption_id
from scanner.run.schema import CAPTIONS, REJECTS, column, samples_schema
from scanner.scan.inputs import Input
from scanner.storage import Store

FILE_ROWS = 1 << 20


@dataclass
class _Writer:
    """Parquet files of one table, rolled by size, made here and moved to the store when full."""

    schema: pa.Schema
    folder: Path
    prefix: str
    store: Store | None
    names: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    _open: pq.ParquetWriter | None = None
    _rows: int = 0

    def write(self, columns: dict[str, list]) -> None:
        batch = pa.RecordBatch.from_pydict(columns, schema=self.schema)
        if batch.num_rows == 0:
            return
        if self._open is None:
            self.files.append(
                self.folder / f"{self.prefix.replace('/', '-')}-{len(self.files):04d}"
            )
            self._open = pq.ParquetWriter(self.files[-1], self.schema, compression="zstd")
        self._open.write_batch(batch)
        self._rows += batch.num_rows
        if self._rows >= FILE_ROWS:
            self.close()

    def close(self) -> None:
        if self._open is None:
            return
        self._open.close()
        self._open, self._rows = None, 0
        if self.store is not None:
            self.names.append(f"{self.prefix}-{len(self.names):04d}.parquet")
            self.store.upload(self.files[-1], self.names[-1])
            self.files[-1].unlink()


class InputReader:
    """Reads input files batch by batch into samples, rejects and (staged) spellings."""

    def __init__(
        self,
        store: Store,
        name: str,
        folder: Path,
        canonical: Callable[[str], str],
        keep: tuple[str, ...],
        progress: Callable[[int], None],
    ) -> None:
        kept = [column(item, pa.string(), "kept from the input, as text") for item in keep]
        self.samples = _Writer(samples_schema(kept), folder, f"samples/{name}", store)
        self.rejects = _Writer(REJECTS, folder, f"rejects/plan-{name}", store)
        self.spellings = _Writer(CAPTIONS, folder, "spellings", None)
        self.canonical = canonical
        self.keep = keep
        self.progress = progress
        self.files: list[dict[str, Any]] = []
        self.counts = {"rows": 0, "samples": 0, "rejects": 0, "rejected_files": 0}
        self.first_reason = ""

    def read(self, item: Input) -> None:
        before = dict(self.counts)
        problem = item.problem
        try:
            for batch in read(item.url, item.columns.names) if item.columns else ():
                self._take(item, batch.rows, batch.columns)
                bad = [(row, None, reason) for row, reason in batch.bad]
                self._reject(item.url, bad)
                self.counts["rows"] += len(batch.rows) + len(batch.bad)
                self.progress(self.counts["rows"])
        except UnreadableFile as error:
            problem = str(error)
        if problem:
            self.counts["rejected_files"] += 1
            self._reject(item.url, [(None, None, f"unreadable file: {problem}")], counted=False)
        done = {key: self.counts[key] - before[key] for key in ("rows", "samples", "rejects")}
        self.files.append({"url": item.url, "is_reference": item.is_reference, **done})

    def close(self) -> None:
        for writer in (self.samples, self.rejects, self.spellings):
            writer.close()

    def _take(self, item: Input, rows: list[int], columns: dict[str, list]) -> None:
        chosen = item.columns
        assert chosen is not None
        captions = [_decoded(caption) for caption in columns[chosen.caption]]
        texts = [self._canonical_or_reason(caption) for caption in captions]
        good = [place for place, (text, _) in enumerate(texts) if text]
        canonical = [texts[place][0] for place in good]
        ids = [caption_id(text) for text in canonical]
        keys = _text(columns[chosen.key]) if chosen.key else [None] * len(rows)
        images = _text(columns[chosen.image_key]) if chosen.image_key else [None] * len(rows)
        # Files may spell a column's name differently; the first file's spelling holds.
        here = {name.lower(): name for name in chosen.keep}
        kept = {
            name: _text(columns[here[name.lower()]]) if name.lower() in here else [None] * len(rows)
            for name in self.keep
        }
        self.samples.write(
            {
                "caption_id": ids,
                "source": [item.url] * len(good),
                "row": [rows[place] for place in good],
                "key": [keys[place] for place in good],
                "image_key": [images[place] for place in good],
                **{name: [values[place] for place in good] for name, values in kept.items()},
                "is_reference": [item.is_reference] * len(good),
            }
        )
        self.spellings.write(
            {
                "caption_id": ids,
                "caption": [captions[place] for place in good],
                "canonical": canonical,
                "is_reference": [item.is_reference] * len(good),
            }
        )
        self.counts["samples"] += len(good)
        self._reject(
            item.url,
            [
                (rows[place], keys[place], reason)
                for place, (_, reason) in enumerate(texts)
                if reason
            ],
        )

    def _canonical_or_reason(self, caption: Any) -> tuple[str, str]:
        if caption is None:
            return "", "null caption"
        if not isinstance(caption, str):
            return "", f"caption is no text but {type(caption).__name__}"
        try:
            caption.encode()
        except UnicodeEncodeError:
            return "", "caption is not valid Unicode"
        text = self.canonical(caption)
        return text, "" if text else "empty caption"

    def _reject(
        self, url: str, rows: Sequence[tuple[int | None, str | None, str]], counted: bool = True
    ) -> None:
        self.rejects.write(
            {
                "source": [url] * len(rows),
                "row": [row for row, _, _ in rows],
                "key": [key for _, key, _ in rows],
                "caption_id": [None] * len(rows),
                "stage": ["plan"] * len(rows),
                "reason": [reason for _, _, reason in rows],
            }
        )
        if rows and not self.first_reason:
            self.first_reason = f"(the first: {rows[0][2]})"
        self.counts["rejects"] += len(rows) if counted else 0


def _decoded(value: Any) -> Any:
    """Bytes as the text they spell in UTF-8, where they do; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _text(values: list) -> list[str | None]:
    """Values as text: bytes that are no UTF-8 in hex, lone surrogates (no text) replaced."""

    def text(value: Any) -> str | None:
        value = _decoded(value)
        if value is None:
            return None
        if isinstance(value, bytes):
            return value.hex()
        return str(value).encode("utf-8", "replace").decode()

    return [text(value) for value in values]
