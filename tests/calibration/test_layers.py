import numpy as np
import pytest

from scanner.calibration.layers import select_layer


@pytest.mark.slow
def test_a_layer_is_selected_and_reported_on_different_halves() -> None:
    """The best of forty noise layers is no better than chance on the other half; a layer that
    separates in the reverse direction is selected and still separates there."""
    random = np.random.default_rng(0)
    labels, clusters = np.arange(400) < 80, np.arange(400)
    noise = random.normal(size=(400, 40))
    assert abs(select_layer(noise, labels, clusters).separation.auc - 0.5) < 0.15
    noise[:, 7] -= 2.0 * labels
    selected = select_layer(noise, labels, clusters)
    assert (selected.layer, selected.direction) == (7, -1)
    assert selected.separation.auc > 0.85


def test_captions_of_one_cluster_stay_in_one_half() -> None:
    """Values that identify the cluster would separate perfectly if clusters were split."""
    clusters = np.repeat(np.arange(40), 10)
    labels = clusters % 2 == 0
    values = np.random.default_rng(1).normal(size=40)[clusters][:, None]
    aucs = [select_layer(values, labels, clusters, seed).separation.auc for seed in range(20)]
    assert abs(np.mean(aucs) - 0.5) < 0.15
