"""Read a unit of the input files into samples, rejects and spellings of captions."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from scanner.captions.batch import Batch, Values
from scanner.captions.formats import UnreadableFile, read
from scanner.cluster.work import Result
from scanner.run import Output
from scanner.scan.plan.chunk import COUNTS, Canonical, Chunk, unreadable_reject
from scanner.scan.plan.inputs import Segment, Unit
from scanner.scan.plan.sizes import DEFAULT_SIZES, PlanSizes
from scanner.scan.plan.spellings import SPELLING_ROWS
from scanner.storage import is_transient

REASON_CHARACTERS = 200


class ReadWork:
    """Reads units (of :mod:`scanner.scan.plan.inputs`) in bounded memory.

    Tables: ``samples``, ``rejects``, and ``FOLDER/spellings``, one row per spelling of a caption in
    a chunk of rows, sorted by caption_id. Notes: ``files``, the counts of each segment, whether it
    is ``unreadable`` (not read to its end), and ``notes`` on its data; ``staged``, as
    :func:`scanner.scan.plan.cuts.stage` describes the parts with spellings. ``make_canonical``
    makes the model's normalization.
    """

    def __init__(
        self,
        make_canonical: Callable[[], Canonical],
        keep: tuple[str, ...],
        folder: str,
        sizes: PlanSizes = DEFAULT_SIZES,
        names_column: bool = False,
    ) -> None:
        self.canonical = make_canonical()
        self.keep = keep
        self.staged = SPELLING_ROWS.kind(folder)
        self.sizes = sizes
        self.names_column = names_column

    def prepare(self, item: Unit) -> Unit:
        return item

    def compute(self, prepared: Unit) -> Unit:
        return prepared

    def finish(self, computed: Unit) -> Result:
        notes: dict[str, Any] = {"files": [], "staged": []}
        return Result(self._outputs(computed, **notes), notes)

    def _outputs(
        self, unit: Unit, files: list[dict[str, Any]], staged: list[dict[str, Any]]
    ) -> Iterator[Output]:
        chunk = Chunk(self.keep, self.sizes, self.names_column)
        for segment in unit.segments:
            counts = dict.fromkeys(COUNTS, 0)
            notes: Counter[str] = Counter()
            unfilled = set(segment.columns.carried) if segment.columns else set()
            problem = segment.problem
            try:
                for batch in self._batches(segment):
                    notes.update(batch.notes)
                    unfilled = {name for name in unfilled if batch.is_all_null(name)}
                    if batch.rows or batch.bad:
                        self._add(chunk, segment, batch, counts)
                    if chunk.is_full:
                        yield from chunk.outputs(self.staged, staged)
                        chunk = Chunk(self.keep, self.sizes, self.names_column)
            except UnreadableFile as error:
                problem = str(error)
            if counts["samples"] and segment.extent is None:
                # Possibly a mistyped column name.
                nulls = "rows, in all of which {} is null (or not a column)"
                notes.update({nulls.format(name): counts["rows"] for name in unfilled})
            if problem:
                chunk.rejects.append(unreadable_reject(segment.url, problem))
            record = {"url": segment.url, "is_reference": segment.is_reference, **counts}
            files.append({**record, "unreadable": bool(problem), "notes": dict(notes)})
        yield from chunk.outputs(self.staged, staged)

    def _batches(self, segment: Segment) -> Iterator[Batch]:
        """Yield the rows of a segment, none if its file is empty or has a problem."""
        if columns := segment.columns:
            size = self.sizes.batch_rows
            yield from read(segment.url, columns.names, segment.extent, columns.quoting, size)

    def _add(self, chunk: Chunk, segment: Segment, batch: Batch, counts: dict[str, int]) -> None:
        """Add a batch to a chunk; rows whose values cannot be converted become rejects."""
        try:
            chunk.add(segment, batch, counts, self.canonical)
        except Exception as error:
            if is_transient(error) or not batch.rows:
                raise
            if len(batch.rows) > 1:
                for half in batch.halves():
                    self._add(chunk, segment, half, counts)
                return
            reason = f"bad row: {type(error).__name__}: {str(error)[:REASON_CHARACTERS]}"
            bad = [*batch.bad, (batch.rows[0], reason)]
            nothing: dict[str, Values] = {name: [] for name in batch.columns}
            chunk.add(segment, Batch([], nothing, bad), counts, self.canonical)
