"""Fréchet distance between two sets of images in the feature space of the testbed's VAE."""

import functools

import numpy as np
import torch

from jobs.studies.mitigation.evaluator import shared_evaluator
from scanner.testbed import files


def frechet_distance(one_RF: np.ndarray, other_RF: np.ndarray) -> float:
    """Return ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) between normal fits of the rows.

    Biased upwards for few rows; compare only sets of equal size. Source: Heusel et al., NeurIPS
    2017, eq. 6.
    """
    means = ((one_RF.mean(0) - other_RF.mean(0)) ** 2).sum()
    first, second = np.cov(one_RF, rowvar=False), np.cov(other_RF, rowvar=False)
    # The eigenvalues of a product of two covariances are real and non-negative up to rounding.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return float(means + np.trace(first) + np.trace(second) - 2 * roots.sum())


@functools.cache
def heldout_features() -> np.ndarray:
    """Return the features (N, F) of the VAE's reconstructions of the held-out images."""
    import pyarrow.parquet as pq

    evaluator = shared_evaluator()
    captions = pq.read_table(files.HELDOUT, columns=["caption"])["caption"].to_pylist()
    own = [min(evaluator.own[caption]) for caption in captions]
    images = evaluator.bank_NF[own].view(-1, *evaluator.bank_NCHW.shape[1:])
    return torch.cat([evaluator.features(part) for part in images.split(128)]).numpy()
