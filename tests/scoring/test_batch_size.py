import pytest
import torch

from scanner.scoring.batch_size import FIRST, RETRY_AFTER, BatchSize, is_out_of_memory


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


def test_a_gain_of_three_percent_is_taken_and_one_of_one_percent_is_not() -> None:
    batch = BatchSize()
    _try(batch, {FIRST: 1.0, 2 * FIRST: 2 / 1.03, 4 * FIRST: 4 / 1.03 / 1.01})
    assert batch.size == 2 * FIRST


def test_a_size_that_failed_once_is_tried_again_and_one_that_failed_twice_is_not() -> None:
    batch = BatchSize(32)
    batch.halve()
    for _ in range(RETRY_AFTER):
        assert batch.size == 16
        batch.took(16, 1.0)
    assert batch.size == 32
    batch.halve()
    for _ in range(3 * RETRY_AFTER):
        batch.took(16, 1.0)
    assert batch.size == 16


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
)
def test_every_form_of_out_of_memory_is_recognized(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_errors_are_not_taken_for_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(ValueError("out of memory"))
