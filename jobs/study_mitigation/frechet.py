"""The Fréchet distance between two sets of pictures, in features of the testbed's own VAE."""

import functools

import numpy as np
import torch

from jobs.study_mitigation.setting import setting
from scanner.testbed import files


def frechet_distance(one_RF: np.ndarray, other_RF: np.ndarray) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) of two normal distributions' estimates (Heusel et al.,
    NeurIPS 2017). Biased upwards for few rows, alike for equally many."""
    apart = ((one_RF.mean(0) - other_RF.mean(0)) ** 2).sum()
    first, second = np.cov(one_RF, rowvar=False), np.cov(other_RF, rowvar=False)
    # The eigenvalues of a product of two covariances are real and not negative, up to rounding.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return float(apart + np.trace(first) + np.trace(second) - 2 * roots.sum())


@functools.cache
def heldout_features() -> np.ndarray:
    """(N, F): of the held-out pictures, as the VAE gives them back."""
    import pyarrow.parquet as pq

    here = setting()
    captions = pq.read_table(files.HELDOUT, columns=["caption"])["caption"].to_pylist()
    own = [min(here.own[caption]) for caption in captions]
    images = here.bank_NF[own].view(-1, *here.bank_NCHW.shape[1:])
    return torch.cat([here.features(part) for part in images.split(128)]).numpy()
