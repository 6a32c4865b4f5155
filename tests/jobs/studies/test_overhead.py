import pytest

from jobs.studies.mitigation.overhead import CAPTIONS, added_operations


@pytest.mark.slow
def test_mitigation_adds_under_a_thousandth_of_a_forward() -> None:
    """Both if captions differ in length, so padding can only be masked, and if it is cut off."""
    assert added_operations(CAPTIONS) <= 0.001
    assert added_operations(CAPTIONS[:1]) < 0, "cutting off the padding saves its attention"
