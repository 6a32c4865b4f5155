"""Which captions a page lists: filters and an order, as the query of a URL states them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from functools import reduce
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from scanner.errors import UserError
from scanner.query import RunTables, caption_words
from scanner.query.hashes import hashes
from scanner.review.book import DecisionBook, is_disputed
from scanner.review.index import Positions, ReviewIndex, phrase, words_of
from scanner.review.near import near_duplicates
from scanner.review.sampling import Sample, stratified_sample

ORDERS = ("ranking", "uncertain", "sample")
DECIDED = ("any", "no", "yes", "disputed", "memorized", "none", "unsure", "keep", "cap", "drop")
SAMPLE = 200
LARGEST_SAMPLE = 100_000
# Matches of a search beyond these, counted from the top of the ranking, are not listed.
MOST_FOUND = 100_000
LONGEST = 2000
# Of selections that are kept.
CACHED = 500
CACHED_BYTES = 1 << 29
_TEXT = ("q", "template", "cluster", "source", "verdict", "where")


@dataclass(frozen=True)
class Filters:
    """The filters of a page.

    ``order``: ranking, uncertain (probability nearest to 0.5) or sample (``n`` captions drawn from
    the whole ranking; filters only hide some of them). ``q``: words; ``template``: words with * for
    what varies; ``cluster``: near-duplicates of this caption id; ``source``: input file;
    ``verdict``; ``where``: predicate over ranked; ``decided``: by what reviewers state; ``low``,
    ``high``: of the probability, or of the ranking signal; ``samples``: least number of samples.
    """

    order: str = "ranking"
    n: int = SAMPLE
    q: str = ""
    template: str = ""
    cluster: str = ""
    source: str = ""
    verdict: str = ""
    where: str = ""
    decided: str = "any"
    low: float | None = None
    high: float | None = None
    samples: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Filters":
        """Parse the query of a URL. Raises UserError for values that are not valid."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = given.get(item.name, "").strip()
            if not text:
                continue
            if len(text) > LONGEST:
                raise UserError(f"{item.name}: longer than {LONGEST:,} characters")
            values[item.name] = (
                text
                if item.name in (*_TEXT, "order", "decided")
                else _number(item.name, text, int if item.name in ("n", "samples") else float)
            )
        filters = cls(**values)
        if filters.order not in ORDERS:
            raise UserError(f"order {filters.order!r}: must be one of {', '.join(ORDERS)}")
        if filters.decided not in DECIDED:
            raise UserError(f"decided {filters.decided!r}: must be one of {', '.join(DECIDED)}")
        if not 1 <= filters.n <= LARGEST_SAMPLE:
            raise UserError(f"n {filters.n}: must be from 1 to {LARGEST_SAMPLE:,}")
        return filters

    def query(self, **changes: Any) -> str:
        """Return the URL's query of these filters, with some changed."""
        values = {**asdict(self), **changes}
        plain = {item.name: item.default for item in fields(self)}
        return urlencode({k: v for k, v in values.items() if v not in (None, "", plain.get(k))})

    @property
    def is_filtered(self) -> bool:
        return any(
            getattr(self, item.name) != item.default
            for item in fields(self)
            if item.name not in ("order", "n")
        )


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        number = kind(text)
    except ValueError:
        raise UserError(f"{name} {text[:40]!r}: must be a number") from None
    if number != number or abs(number) > 1e15:
        raise UserError(f"{name} {text[:40]!r}: must be a finite number")
    return number


class Selections:
    """The captions that filters select, in order; the last few are kept. Safe for threads."""

    def __init__(self, tables: RunTables, index: ReviewIndex, book: DecisionBook) -> None:
        self.tables, self.index, self.book = tables, index, book
        self._kept: OrderedDict[Any, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def positions(self, filters: Filters) -> Positions:
        """Return the positions that filters select, in their order. Raises UserError."""
        version = self.book.version if filters.decided != "any" else 0
        return self.keep((filters, version), lambda: self._select(filters))

    def sample(self, size: int) -> Sample:
        """Return the stratified sample of this size."""
        return self.keep(("sample", size), lambda: stratified_sample(self.index.hash, size))

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return the cached value for a key, or else that of ``make()``; concurrent callers wait
        for the first."""
        with self._lock:
            is_first = key not in self._kept
            future = self._kept.setdefault(key, Future())
            self._kept.move_to_end(key)
        if is_first:
            try:
                future.set_result(make())
                self._evict()
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)
        return future.result()

    def _evict(self) -> None:
        with self._lock:
            done = [future.result() for future in self._kept.values() if future.done()]
            size = sum(getattr(value, "nbytes", 0) for value in done)
            while len(self._kept) > CACHED or (size > CACHED_BYTES and len(self._kept) > 1):
                _, oldest = self._kept.popitem(last=False)
                size -= getattr(oldest.result(), "nbytes", 0) if oldest.done() else 0

    def _select(self, filters: Filters) -> Positions:
        if filters.order == "uncertain" and not self.index.calibrated:
            raise UserError("order uncertain needs probabilities; start review with --calibration")
        chosen = [
            find(filters)
            for find in (
                self._by_numbers,
                self._by_words,
                self._by_cluster,
                self._by_source,
                self._by_verdict,
                self._by_predicate,
                self._by_decisions,
            )
        ]
        sets = [some for some in chosen if some is not None]
        if filters.order == "sample":
            drawn = self.sample(filters.n).positions
            for some in sets:
                drawn = drawn[np.isin(drawn, some)]
            return drawn
        if sets:
            found = reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), sets)
        else:
            found = np.arange(len(self.index), dtype=np.int32)
        if filters.order == "uncertain":
            distance = np.abs(self.index.probability[found] - 0.5)
            found = found[np.argsort(distance, kind="stable")]
        return found

    def _by_numbers(self, filters: Filters) -> Positions | None:
        tests = []
        if filters.low is not None:
            tests.append(self.index.measure >= np.float32(filters.low))
        if filters.high is not None:
            tests.append(self.index.measure <= np.float32(filters.high))
        if filters.samples:
            tests.append(self.index.n_samples >= filters.samples)
        return np.flatnonzero(np.logical_and.reduce(tests)).astype(np.int32) if tests else None

    def _by_words(self, filters: Filters) -> Positions | None:
        phrases = [phrase([word]) for word in words_of(filters.q)]
        parts = filters.template.replace("…", "*").split("*")
        phrases += [phrase(words) for words in caption_words(parts) if words]
        if not phrases:
            return np.empty(0, np.int32) if filters.q or filters.template else None
        return self.index.search(" AND ".join(phrases), MOST_FOUND)

    def _by_cluster(self, filters: Filters) -> Positions | None:
        if not filters.cluster:
            return None
        caption = self.index.find(filters.cluster)
        if caption is None:
            raise UserError(f"cluster {filters.cluster[:40]!r}: no ranked caption has this id")
        near = near_duplicates(self.index, caption)
        return np.unique(np.array([caption.position, *(one.position for one, _ in near)], np.int32))

    def _by_source(self, filters: Filters) -> Positions | None:
        sql = "SELECT DISTINCT hash(caption_id) AS hash FROM samples WHERE source = $value"
        return self._hashed(sql, filters.source)

    def _by_verdict(self, filters: Filters) -> Positions | None:
        sql = "SELECT hash(caption_id) AS hash FROM verdicts WHERE verdict = $value"
        return self._hashed(sql, filters.verdict)

    def _hashed(self, sql: str, value: str) -> Positions | None:
        if not value:
            return None
        return self.index.at(_hashes(self.tables.query(sql, {"value": value})))

    def _by_predicate(self, filters: Filters) -> Positions | None:
        if not filters.where:
            return None
        self.tables.parse_predicate(filters.where, "where")
        self.tables.bind_predicate(filters.where, "FROM ranked", "where")
        sql = f"SELECT hash(caption_id) AS hash FROM ranked WHERE ({filters.where}\n)"
        return self.index.at(_hashes(self.tables.query(sql)))

    def _by_decisions(self, filters: Filters) -> Positions | None:
        if filters.decided == "any":
            return None
        stated = self.book.all()
        found = [name for name, some in stated.items() if _is(filters.decided, some)]
        positions = self.index.at(hashes(found))
        if filters.decided == "no":
            everything = np.arange(len(self.index), dtype=np.int32)
            return np.setdiff1d(everything, positions, assume_unique=True)
        return positions


def _hashes(table: pa.Table) -> Any:
    return table["hash"].to_numpy().astype(np.uint64)


def _is(wanted: str, statements: Mapping[str, Any]) -> bool:
    """Return whether a caption's statements are as a filter wants; ``no`` finds those to leave
    out."""
    if wanted in ("yes", "no"):
        return bool(statements)
    if wanted == "disputed":
        return is_disputed(statements.values())
    labels = {one.label for one in statements.values()}
    if wanted == "memorized":
        return bool(labels & {"verbatim", "template"})
    return wanted in labels | {one.decision for one in statements.values()}
