"""Tune the number of captions per forward by timing the batches of the scan itself."""

GAIN = 1.02
MOST = 512
FIRST = 8
TRIALS = 2
RETRY_AFTER = 32


class BatchSize:
    """The size of the next batch: doubled while that makes scoring at least 2 % faster.

    Tuning runs no extra batches: it times the batches that are scored anyway, and takes the better
    of two times per size. ``fixed``: disables tuning. The size is halved when memory runs out. The
    larger size is retried once after RETRY_AFTER full batches, since another process may have
    freed its memory. ``most``: captions per batch that tuning tries at most, MOST by default.
    ``batches_at_size``: full batches since the size was chosen.
    """

    def __init__(self, fixed: int | None = None, most: int | None = None) -> None:
        self._most = most or MOST
        self.size = fixed or min(FIRST, self._most)
        self.is_settled = fixed is not None
        self._best, self._best_rate = self.size, 0.0
        self._seconds: list[float] = []
        self._failures: dict[int, int] = {}
        self.batches_at_size = 0

    @property
    def is_final(self) -> bool:
        """Whether the size is settled and no retry is due or unproven."""
        is_proven = self.size not in self._failures or self.batches_at_size > 0
        return self.is_settled and is_proven and self._to_retry is None

    @property
    def _to_retry(self) -> int | None:
        """The next larger size, if it failed exactly once."""
        larger = next((size for size in self._failures if size // 2 == self.size), None)
        return larger if larger is not None and self._failures[larger] == 1 else None

    @property
    def halvings(self) -> int:
        """How often memory has run out."""
        return sum(self._failures.values())

    def record_batch(self, captions: int, seconds: float) -> None:
        """Record the time of a batch; ignore batches that are not full."""
        if captions != self.size:
            return
        if self.is_settled:
            self.batches_at_size += 1
            self._revise()
            return
        self._seconds.append(seconds)
        if len(self._seconds) < TRIALS:
            return
        rate = self.size / min(self._seconds)
        self._seconds = []
        is_better = rate > GAIN * self._best_rate
        if is_better:
            self._best, self._best_rate = self.size, rate
        if is_better and 2 * self.size <= self._most:
            self.size *= 2
        else:
            self.size, self.is_settled = max(self._best, 1), True

    def halve(self) -> bool:
        """Halve the size after running out of memory; return False if it is already 1."""
        if self.size == 1:
            return False
        self._failures[self.size] = self._failures.get(self.size, 0) + 1
        self.size, self.is_settled, self.batches_at_size = self.size // 2, True, 0
        return True

    def _revise(self) -> None:
        """Retry the size that failed once, after enough batches that fit."""
        if self.batches_at_size < RETRY_AFTER:
            return
        larger = self._to_retry
        if larger is not None:
            self.size, self.batches_at_size = larger, 0
