"""How many captions go into a forward: found by trial, on the work itself."""

STEP = 1.1
MOST = 512
FIRST = 8
TRIALS = 2


class BatchSize:
    """The size of the next batch: doubled while that makes scoring at least 10 % faster.

    Nothing is computed for the trial alone: the batches that are scored anyway are timed, each
    size by its best of two. ``fixed``: no trial. Out of memory, the size is halved for good.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.size = fixed or FIRST
        self.found = fixed is not None
        self._best, self._best_rate = self.size, 0.0
        self._seconds: list[float] = []

    def took(self, captions: int, seconds: float) -> None:
        """A batch of ``captions`` took this long; smaller ones than asked for tell nothing."""
        if self.found or captions != self.size:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < TRIALS:
            return
        rate = self.size / min(self._seconds)
        self._seconds = []
        if rate > STEP * self._best_rate and self.size < MOST:
            self._best, self._best_rate = self.size, rate
            self.size *= 2
        else:
            self.size, self.found = max(self._best, 1), True

    def halve(self) -> bool:
        """Out of memory: False where there is nothing left to halve."""
        if self.size == 1:
            return False
        self.size, self.found = self.size // 2, True
        return True
