from jobs.study_mitigation.speed import CAPTIONS, added_operations


def test_mitigation_adds_less_than_a_thousandth_of_a_forward_of_stable_diffusion() -> None:
    """Where captions differ in length and padding can only be masked, and where it is cut off."""
    assert added_operations(CAPTIONS) <= 0.001
    assert added_operations(CAPTIONS[:1]) < 0, "text that is cut off saves its attention"
