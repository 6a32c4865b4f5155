"""How fast a scan is going to be, tried on warm batches of the size that it would come to."""

import time
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from scanner.scoring import Scorer
from scanner.scoring.cost import cost

TRIAL_SECONDS = 10.0
BATCHES = 4
# How much slower and faster than the trial's own batches a scan may be: its actors share memory and
# cores with one another, with Ray and with what else runs on the machine.
SLOWER, FASTER = 0.5, 1.3
GUESS = 2.0


@dataclass(frozen=True)
class Trial:
    """Captions per second of one actor, and between which bounds they are likely to be.

    ``guessed``: from another profile's speed, since a batch of this one takes too long to try.
    """

    rate: float
    low: float
    high: float
    batch_size: int
    guessed: bool


def try_speed(scorer: Scorer, gflop: float, captions: list[str], most: int) -> Trial:
    """Score captions for some seconds; a batch is at most ``most`` captions, those of a slice.

    ``gflop``: per caption, all of the scorer's. What costs more than the trial's time is
    guessed from the counted GFLOP of a cheap profile.
    """
    cheap = Scorer(scorer.model, "standard", seeds=1, batch_size=scorer.batch_size)
    counted = cost(cheap)
    share = gflop / (counted.per_caption + counted.text_encoder)
    _seconds(cheap, captions[:1])
    some = max(1, min(scorer.batch_size, int(TRIAL_SECONDS / 4 / _seconds(cheap, captions[:1]))))
    tried = list(islice(cycle(captions), some))
    each = min(_seconds(cheap, tried) for _ in range(2)) / some
    guessed = each * share * scorer.batch_size * 2 > TRIAL_SECONDS
    if guessed:
        fixed = scorer.batch_size if scorer.batch.found else None
        trial = Scorer(scorer.model, "standard", seeds=1, batch_size=fixed)
    else:
        trial, share = scorer, 1.0
    size, rates = _warm_rates(trial, captions, most)
    rates = [rate / share for rate in rates]
    wider = GUESS if guessed else 1.0
    return Trial(
        rate=median(rates),
        low=min(rates) * SLOWER / wider,
        high=max(rates) * FASTER * wider,
        batch_size=size,
        guessed=guessed,
    )


def _warm_rates(scorer: Scorer, captions: list[str], most: int) -> tuple[int, list[float]]:
    """The size of a batch, and the captions per second of each but the first of that size.

    The sizes are searched as an actor does it, for as long as there is time.
    """
    began = time.monotonic()
    size, is_warm = 0, False
    rates: list[float] = []
    while len(rates) < BATCHES or not (scorer.batch.found or size == most):
        wanted = min(scorer.batch_size, most)
        if wanted != size:
            size, rates, is_warm = wanted, [], False
        seconds = _seconds(scorer, list(islice(cycle(captions), size)))
        if is_warm:
            rates.append(size / seconds)
        is_warm = True
        if rates and time.monotonic() - began > TRIAL_SECONDS:
            break
    return size, rates


def _seconds(scorer: Scorer, captions: list[str]) -> float:
    start = time.perf_counter()
    scorer.score_finite(captions)
    return time.perf_counter() - start
