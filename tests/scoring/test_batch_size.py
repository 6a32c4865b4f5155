from scanner.scoring.batch_size import FIRST, BatchSize


def _try(batch: BatchSize, seconds_of: dict[int, float]) -> None:
    while not batch.found:
        batch.took(batch.size, seconds_of[batch.size])


def test_the_size_is_doubled_while_that_is_faster_and_the_fastest_is_kept() -> None:
    batch = BatchSize()
    _try(batch, {FIRST: 1.0, 2 * FIRST: 1.2, 4 * FIRST: 2.39})
    assert batch.size == 2 * FIRST


def test_the_best_of_two_counts_since_the_first_batch_is_a_warm_up() -> None:
    batch = BatchSize()
    batch.took(FIRST, 100.0)
    assert (batch.size, batch.found) == (FIRST, False)
    batch.took(FIRST, 1.0)
    assert batch.size == 2 * FIRST


def test_a_batch_that_is_not_full_tells_nothing() -> None:
    batch = BatchSize()
    for _ in range(5):
        batch.took(FIRST - 1, 1.0)
    assert batch.size == FIRST


def test_out_of_memory_halves_and_ends_the_trial() -> None:
    batch = BatchSize()
    assert batch.halve()
    assert (batch.size, batch.found) == (FIRST // 2, True)
    assert not BatchSize(1).halve()


def test_a_given_size_is_not_tried() -> None:
    batch = BatchSize(32)
    batch.took(32, 1.0)
    batch.took(32, 1.0)
    assert (batch.size, batch.found) == (32, True)
