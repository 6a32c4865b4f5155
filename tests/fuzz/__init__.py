"""Properties of everything that reads what others wrote, on generated and damaged inputs.

Each property runs twice: ``short`` in every run, on a few examples that are always the same, and
``long`` on FUZZ_EXAMPLES random ones (default 2,000), by ``pytest -n 0 -m fuzz tests/fuzz``.
"""
