import os

# Two files are tested at a time on two cores: a thread each, also for what they start. Read when
# torch is imported, so before that.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
