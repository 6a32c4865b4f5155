"""The speed that a dry run reports: of warm batches, with a scan's final batch size."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from scanner.scan import dry_run
from scanner.scan.dry_run import try_speed
from scanner.scoring.batch_size import BatchSize

COLD = 1.0
COSTS = SimpleNamespace(per_caption=0.9, text_encoder=0.1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


class Simulated:
    """Scores by the clock: a batch takes ``seconds`` of its size, the first of a size more."""

    def __init__(self, clock: Clock, seconds: Callable[[int], float], fixed: int | None) -> None:
        self.model, self.batch, self.fingerprint = None, BatchSize(fixed), object()
        self._clock, self._seconds = clock, seconds
        self._warm: set[int] = set()

    @property
    def batch_size(self) -> int:
        return self.batch.size

    def score_finite(self, captions: list[str]) -> None:
        size = len(captions)
        seconds = self._seconds(size) + (0 if size in self._warm else COLD)
        self._warm.add(size)
        self._clock.now += seconds
        self.batch.record_batch(size, seconds)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Simulated]:
    """A scorer; the cheap one that the trial makes costs 1 GFLOP and 10 ms per caption."""
    clock = Clock()
    monkeypatch.setattr(
        dry_run, "time", SimpleNamespace(monotonic=clock.read, perf_counter=clock.read)
    )
    monkeypatch.setattr(
        dry_run, "cost", lambda _: SimpleNamespace(per_caption=0.9, text_encoder=0.1)
    )
    monkeypatch.setattr(
        dry_run,
        "Scorer",
        lambda *_, seeds, batch_size: Simulated(clock, lambda size: 0.01 * size, batch_size),
    )
    return lambda seconds, fixed=None: Simulated(clock, seconds, fixed)


def test_times_warm_batches_of_the_final_size(
    make: Callable[..., Simulated],
) -> None:
    # Up to 32 captions take no longer than 8.
    scorer = make(lambda size: 0.01 * max(8, size / 4))
    tried = try_speed(scorer, 1.0, ["a"] * 100, 100)
    assert tried.batch_size == 32
    assert tried.rate == pytest.approx(400)
    assert tried.low < tried.rate < tried.high < 2 * tried.rate
    assert not tried.guessed


def test_a_batch_is_no_larger_than_a_slice(make: Callable[..., Simulated]) -> None:
    tried = try_speed(make(lambda size: 0.01 * size), 1.0, ["a"] * 3, 3)
    assert (tried.batch_size, tried.rate) == (3, pytest.approx(100))


def test_slow_profiles_are_extrapolated_with_wider_bounds(
    make: Callable[..., Simulated],
) -> None:
    tried = try_speed(make(lambda size: pytest.fail("tried")), 1000.0, ["a"] * 100, 100)
    assert tried.guessed
    assert tried.rate == pytest.approx(0.1)
    assert tried.high > 8 * tried.low
