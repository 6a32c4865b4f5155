import numpy as np

from scanner.calibration.layers import pick_layer


def test_a_layer_is_picked_on_one_half_and_reported_on_the_other() -> None:
    """Of forty layers of noise the best looks good where it is picked, and like chance elsewhere;
    a layer that truly separates, the wrong way round, is found and holds."""
    random = np.random.default_rng(0)
    labels, clusters = np.arange(400) < 80, np.arange(400)
    noise = random.normal(size=(400, 40))
    assert abs(pick_layer(noise, labels, clusters).separation.auc - 0.5) < 0.15
    noise[:, 7] -= 2.0 * labels
    found = pick_layer(noise, labels, clusters)
    assert (found.layer, found.way) == (7, -1)
    assert found.separation.auc > 0.85


def test_captions_of_one_cluster_stay_in_one_half() -> None:
    """Values that name the cluster would separate perfectly if clusters were split."""
    clusters = np.repeat(np.arange(40), 10)
    labels = clusters % 2 == 0
    values = np.random.default_rng(1).normal(size=40)[clusters][:, None]
    aucs = [pick_layer(values, labels, clusters, seed).separation.auc for seed in range(20)]
    assert abs(np.mean(aucs) - 0.5) < 0.15
