"""What every test's processes see of the machine: read before any library is imported."""

import os
import sys

# Two files are tested at a time on two cores: a thread each, also for what they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "100",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
# Not in the actors that tests start, whose environment is their own.
if "pytest" in sys.modules:
    for name in (
        *("FORCE_COLOR", "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "RAY_AUTH_MODE"),
        *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"),
    ):
        os.environ.pop(name, None)
