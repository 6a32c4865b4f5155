"""The threads that torch computes on, where nobody has chosen them."""

import contextlib
import os

import torch

from scanner.cores import usable_cores


def limit_threads() -> None:
    """Have torch compute on no more threads than this process has cores, one operation at a time.

    More threads than cores wait for one another. OMP_NUM_THREADS and a smaller number that was set
    before stay.
    """
    if not os.environ.get("OMP_NUM_THREADS") and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())
    if torch.get_num_interop_threads() > 1:
        with contextlib.suppress(RuntimeError):  # too late: some were started before
            torch.set_num_interop_threads(1)
