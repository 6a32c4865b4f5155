from scanner.scoring.batch_size import FIRST, RETRY_AFTER, BatchSize


def _try(batch: BatchSize, seconds_of: dict[int, float]) -> None:
    while not batch.is_settled:
        batch.record_batch(batch.size, seconds_of[batch.size])


def test_size_doubles_while_scoring_gets_faster() -> None:
    batch = BatchSize()
    _try(batch, {FIRST: 1.0, 2 * FIRST: 1.2, 4 * FIRST: 2.39})
    assert batch.size == 2 * FIRST


def test_the_better_of_two_times_counts() -> None:
    batch = BatchSize()
    batch.record_batch(FIRST, 100.0)
    assert (batch.size, batch.is_settled) == (FIRST, False)
    batch.record_batch(FIRST, 1.0)
    assert batch.size == 2 * FIRST


def test_a_partial_batch_is_ignored() -> None:
    batch = BatchSize()
    for _ in range(5):
        batch.record_batch(FIRST - 1, 1.0)
    assert batch.size == FIRST


def test_out_of_memory_halves_the_size_and_ends_tuning() -> None:
    batch = BatchSize()
    assert batch.halve()
    assert (batch.size, batch.is_settled) == (FIRST // 2, True)
    assert not BatchSize(1).halve()


def test_a_fixed_size_is_not_tuned() -> None:
    batch = BatchSize(32)
    batch.record_batch(32, 1.0)
    batch.record_batch(32, 1.0)
    assert (batch.size, batch.is_settled) == (32, True)


def test_size_doubles_for_a_3_percent_gain_but_not_1_percent() -> None:
    batch = BatchSize()
    _try(batch, {FIRST: 1.0, 2 * FIRST: 2 / 1.03, 4 * FIRST: 4 / 1.03 / 1.01})
    assert batch.size == 2 * FIRST


def test_a_size_is_retried_after_one_failure_but_not_two() -> None:
    batch = BatchSize(32)
    batch.halve()
    for _ in range(RETRY_AFTER):
        assert batch.size == 16
        batch.record_batch(16, 1.0)
    assert batch.size == 32
    batch.halve()
    for _ in range(3 * RETRY_AFTER):
        batch.record_batch(16, 1.0)
    assert batch.size == 16


def test_a_size_is_final_once_its_retry_is_decided() -> None:
    batch = BatchSize()
    assert not batch.is_final
    batch.size, batch.is_settled = 32, True
    assert batch.is_final
    batch.halve()
    for _ in range(RETRY_AFTER):
        assert not batch.is_final
        batch.record_batch(16, 1.0)
    assert (batch.size, batch.is_final) == (32, False)
    batch.record_batch(32, 1.0)
    assert batch.is_final
    batch.halve()
    assert (batch.size, batch.is_final) == (16, True), "32 has failed twice"


def test_no_size_is_tried_that_does_not_fit() -> None:
    assert BatchSize(most=3).size == 3
    batch = BatchSize(most=4 * FIRST - 1)
    _try(batch, {FIRST: 1.0, 2 * FIRST: 1.0})
    assert batch.size == 2 * FIRST, "the last one tried was the fastest"
