from jobs.study_mitigation.speed import CAPTIONS, added_operations


def test_mitigation_adds_under_a_thousandth_of_the_operations() -> None:
    """Counted for Stable Diffusion: padding is masked for captions of different lengths, and cut
    off otherwise."""
    assert added_operations(CAPTIONS) <= 0.001
    assert added_operations(CAPTIONS[:1]) < 0, "cutting off text saves its attention"
