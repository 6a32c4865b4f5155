"""How many captions go into a forward: found by trial, on the work itself."""

import torch

GAIN = 1.02
MOST = 512
FIRST = 8
TRIALS = 2
RETRY_AFTER = 32
MARKS = ("out of memory", "alloc_failed", "can't allocate memory", "cannot allocate memory")


class BatchSize:
    """The size of the next batch: doubled while that makes scoring at least 2 % faster.

    Nothing is computed for the trial alone: the batches that are scored anyway are timed, each
    size by its best of two. ``fixed``: no trial. Out of memory, the size is halved; after some
    batches that fit, the larger size is tried once more, since what else held the memory may be
    gone; if it fails again, that is final. ``settled``: full batches since the size was chosen.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.size = fixed or FIRST
        self.found = fixed is not None
        self._best, self._best_rate = self.size, 0.0
        self._seconds: list[float] = []
        self._failures: dict[int, int] = {}
        self.settled = 0

    def took(self, captions: int, seconds: float) -> None:
        """A batch of ``captions`` took this long; smaller ones than asked for tell nothing."""
        if captions != self.size:
            return
        if self.found:
            self.settled += 1
            self._revise()
            return
        self._seconds.append(seconds)
        if len(self._seconds) < TRIALS:
            return
        rate = self.size / min(self._seconds)
        self._seconds = []
        if rate > GAIN * self._best_rate and self.size < MOST:
            self._best, self._best_rate = self.size, rate
            self.size *= 2
        else:
            self.size, self.found = max(self._best, 1), True

    def halve(self) -> bool:
        """Out of memory: False where there is nothing left to halve."""
        if self.size == 1:
            return False
        self._failures[self.size] = self._failures.get(self.size, 0) + 1
        self.size, self.found, self.settled = self.size // 2, True, 0
        return True

    def _revise(self) -> None:
        """Return to the size that failed once, after enough batches that fit."""
        if self.settled < RETRY_AFTER:
            return
        larger = next((size for size in self._failures if size // 2 == self.size), None)
        if larger is not None and self._failures[larger] == 1:
            self.size, self.settled = larger, 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the host has no memory left.

    cuBLAS and cuDNN say so in errors of their own, torch on a CPU in a plain RuntimeError.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error).lower() for mark in MARKS)
