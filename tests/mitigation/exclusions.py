"""What a guard has recorded of a sample, excluded or not."""

from scanner.mitigation import Guard


def mean_statistic(guard: Guard, key: str) -> float:
    """Return the mean of a sample's signal over its steps."""
    sample = guard.exclusions._samples[key]
    return sample.statistic / sample.seen
