"""Default number of torch threads."""

import contextlib
import os

import torch

from scanner.cores import usable_cores


def limit_threads() -> None:
    """Limit torch to this process's cores, and to one operation at a time.

    More threads than cores wait for each other. Keeps OMP_NUM_THREADS and smaller numbers set
    before.
    """
    if not os.environ.get("OMP_NUM_THREADS") and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())
    if torch.get_num_interop_threads() > 1:
        with contextlib.suppress(RuntimeError):  # too late: some have started
            torch.set_num_interop_threads(1)
