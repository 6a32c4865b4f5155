"""TF32 is off on CUDA. The settings are global, so each test runs a subprocess."""

import subprocess
import sys

SCRIPT = """
import torch
from scanner.scoring.precision import fix_precision
fix_precision(torch.device("{device}"))
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
print(matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_fp16_reduced_precision_reduction)
"""


def _settings(device: str) -> str:
    command = [sys.executable, "-c", SCRIPT.format(device=device)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_tf32_and_half_precision_sums_are_off_on_cuda() -> None:
    assert _settings("cuda") == "False False False"


def test_a_cpu_does_not_change_the_settings_of_torch() -> None:
    assert _settings("cpu") == "False True True"
