"""What reviewers have stated so far: the log of decisions, kept in memory and up to date."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner.errors import UserError
from scanner.run.decision_log import DecisionLog
from scanner.run.decisions import Change, Entry, Statement
from scanner.run.directory import PURGE_JOURNAL
from scanner.storage import Store

# How long other writers' decisions may stay unseen.
STALE_SECONDS = 1.0
UNSET = Statement()


@dataclass(frozen=True)
class _Made:
    """An entry of a reviewer, to undo it: what it replaced, by caption."""

    number: int
    undoes: int | None
    before: dict[str, Statement]


@dataclass
class DecisionBook:
    """The decisions about a run. Safe for threads.

    ``version`` changes whenever decisions are added.
    """

    store: Store
    version: int = 0
    _log: DecisionLog = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _latest: dict[str, dict[str, Statement]] = field(default_factory=dict)
    _made: dict[str, list[_Made]] = field(default_factory=dict)
    # By caption and reviewer, the highest, as the view decisions has it.
    _probabilities: dict[str, dict[str, float]] = field(default_factory=dict)
    _read_at: float = float("-inf")

    def __post_init__(self) -> None:
        if self.store.exists(PURGE_JOURNAL):  # it will replace entries, which must not be merged
            raise UserError(f"{self.store.url}: memscan purge was interrupted; rerun it first")
        self._log = DecisionLog(self.store)
        self._log.compact()

    def refresh(self) -> None:
        """Take in what other writers have added, unless this was done a moment ago."""
        with self._lock:
            if time.monotonic() - self._read_at > STALE_SECONDS:
                self._read()

    def statements(self, caption_id: str) -> dict[str, Statement]:
        """Return the latest statement of each reviewer about a caption."""
        with self._lock:
            return dict(self._latest.get(caption_id, {}))

    def all(self) -> dict[str, dict[str, Statement]]:
        """Return the latest statements by caption id and reviewer."""
        with self._lock:
            return {caption_id: dict(some) for caption_id, some in self._latest.items()}

    def table(self) -> pa.Table:
        """Return the whole log."""
        with self._lock:
            return self._log.read()

    def sampling_probability(self, caption_id: str) -> float | None:
        """Return the highest probability with which a caption was drawn for a reviewer who still
        states something about it, as the view reviewed has it; None if it was not drawn."""
        with self._lock:
            by_reviewer = self._probabilities.get(caption_id, {})
            stating = self._latest.get(caption_id, {})
            return max((p for who, p in by_reviewer.items() if who in stating), default=None)

    def decide(
        self,
        reviewer: str,
        captions: Mapping[str, float | None],
        stated: Mapping[str, Any],
        queue: str,
    ) -> int:
        """Record what a reviewer states about captions; what is not stated stays as it is.

        ``captions``: by id, the probability with which each was drawn. Returns the entry's number.
        """
        with self._lock:
            self._read()
            by_statement: dict[Statement, dict[str, float | None]] = {}
            for caption_id, probability in captions.items():
                before = self._latest.get(caption_id, {}).get(reviewer, UNSET)
                by_statement.setdefault(replace(before, **stated), {})[caption_id] = probability
            changes = tuple(Change(one, some) for one, some in by_statement.items())
            return self._append(Entry(reviewer, changes, queue))

    def undo(self, reviewer: str) -> list[str]:
        """Take back the reviewer's last entry that is not taken back; return its captions.

        Raises UserError if there is none.
        """
        with self._lock:
            self._read()
            made = self._made.get(reviewer, [])
            undone = {one.undoes for one in made}
            last = next(
                (one for one in reversed(made) if one.undoes is None and one.number not in undone),
                None,
            )
            if last is None:
                raise UserError(f"{reviewer} has no decision to undo")
            by_statement: dict[Statement, dict[str, float | None]] = {}
            for caption_id, statement in last.before.items():
                by_statement.setdefault(statement, {})[caption_id] = None
            changes = tuple(Change(one, some) for one, some in by_statement.items())
            self._append(Entry(reviewer, changes, "undo", last.number))
            return list(last.before)

    def _append(self, entry: Entry) -> int:
        number = self._log.append(entry)
        self._read()
        return number

    def _read(self) -> None:
        rows = self._log.read()
        new = rows.filter(pc.greater(rows["entry"], self.version))
        self._read_at = time.monotonic()
        made: dict[int, _Made] = {}
        for row in new.to_pylist():
            number, reviewer, caption_id = row["entry"], row["reviewer"], row["caption_id"]
            if number not in made:
                made[number] = _Made(number, row["undoes"], {})
                self._made.setdefault(reviewer, []).append(made[number])
            latest = self._latest.setdefault(caption_id, {})
            made[number].before.setdefault(caption_id, latest.get(reviewer, UNSET))
            statement = Statement(row["label"], row["decision"], row["note"] or "")
            if statement:
                latest[reviewer] = statement
            else:
                latest.pop(reviewer, None)
            if (probability := row["sampling_probability"]) is not None:
                by_reviewer = self._probabilities.setdefault(caption_id, {})
                by_reviewer[reviewer] = max(probability, by_reviewer.get(reviewer, 0.0))
            self.version = max(self.version, number)


def is_disputed(statements: Iterable[Statement]) -> bool:
    """Return whether reviewers differ in their label, apart from unsure, or in their decision."""
    statements = list(statements)
    labels = {one.label for one in statements} - {None, "unsure"}
    return len(labels) > 1 or len({one.decision for one in statements} - {None}) > 1
