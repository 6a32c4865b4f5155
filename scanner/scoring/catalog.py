"""The catalog of signals: column, required forwards and computation of each.

To add a signal, write its equation in :mod:`scanner.signals`, an entry here, and a test.
"""

import pyarrow as pa

from scanner.run.schema import column
from scanner.scoring.observation import Signal, required
from scanner.scoring.schedule import Needs
from scanner.signals.attention import (
    bos_mass,
    entropy_d,
    prompt_mass,
    summary_mass,
)
from scanner.signals.noise import anisotropy, bright_ending, noise_norm_mean

FLOATS = pa.list_(pa.float32())
VERSION = 1
ATTENTION = Needs(attention=True)

_REN = "Ren et al. 2024 (ECCV)"
_ASTHANA = "Asthana et al. 2026 (ICLR)"


_ALL = (
    Signal(
        column(
            "entropy_e",
            pa.float32(),
            "entropy of the mean cross-attention at step 0 in layer 3",
            "nats",
            f"{_REN}, metric E",
        ),
        ATTENTION,
        lambda observation: observation.entropies[observation.entropy_layer],
        memorized=1,
        seeds_column="entropy_e_seeds",
    ),
    Signal(
        column("entropy_layers", FLOATS, "the same, each layer in run order", "nats", _REN),
        ATTENTION,
        lambda observation: observation.entropies.T,
        memorized=1,
    ),
    Signal(
        column(
            "bos_mass",
            pa.float32(),
            "attention on the beginning token at step 0, early layers",
            "share",
            f"{_REN}, finding 1",
        ),
        ATTENTION,
        lambda observation: bos_mass(observation.early),
        memorized=-1,
    ),
    Signal(
        column(
            "prompt_mass",
            pa.float32(),
            "attention on the caption's words at step 0, early layers",
            "share",
            f"{_REN}, finding 1",
        ),
        ATTENTION,
        lambda observation: prompt_mass(observation.early, observation.n_B),
        memorized=1,
    ),
    Signal(
        column(
            "summary_mass",
            pa.float32(),
            "attention on the end token and the padding at step 0, early layers; higher by the "
            "publication, lower for what the testbed model has memorized",
            "share",
            f"{_REN}, finding 2",
        ),
        ATTENTION,
        lambda observation: summary_mass(observation.early, observation.n_B),
        memorized=1,
    ),
    Signal(
        column("bos_mass_layers", FLOATS, "bos_mass of each layer in run order", "share", _REN),
        ATTENTION,
        lambda observation: bos_mass(observation.attention).T,
        memorized=-1,
    ),
    Signal(
        column(
            "summary_mass_layers", FLOATS, "summary_mass of each layer in run order", "share", _REN
        ),
        ATTENTION,
        lambda observation: summary_mass(observation.attention, observation.n_B).T,
        memorized=1,
    ),
    Signal(
        column(
            "token_mass",
            FLOATS,
            "attention on each token at step 0, early layers, from the beginning token to the end",
            "share",
        ),
        ATTENTION,
        lambda observation: observation.early,
        memorized=0,
        by_token=True,
    ),
    Signal(
        column(
            "noise_norm_first",
            pa.float32(),
            "L2 norm of the text-conditional noise at step 0 over the whole latent",
            "latent units",
            "Wen et al. 2024 (ICLR), one step",
        ),
        Needs(noise=True),
        lambda observation: observation.noise_norm,
        memorized=1,
        seeds_column="noise_norm_first_seeds",
    ),
    Signal(
        column(
            "cosine_low_noise",
            pa.float32(),
            "cosine of the text-conditional and the unconditional score at the low-noise step, on "
            "pure noise, mean over the pixels",
            source=_ASTHANA,
        ),
        Needs(low_noise=True),
        lambda observation: observation.cosine,
        memorized=1,
    ),
    Signal(
        column(
            "anisotropy",
            pa.float32(),
            "weighted sum of the score's norm at step 0 and cosine_low_noise",
            source=_ASTHANA,
        ),
        Needs(noise=True, low_noise=True),
        lambda observation: anisotropy(
            observation.noise_norm,
            observation.cosine,
            observation.alpha,
            observation.anisotropy_weights,
        ),
        memorized=1,
    ),
    Signal(
        column(
            "entropy_d",
            pa.float32(),
            "mean attention entropy of the last fifth of the steps over all layers, plus what the "
            "summary tokens' part gained since step 0",
            "nats",
            f"{_REN}, metric D, as their code computes it",
        ),
        Needs(trajectory=True),
        lambda observation: entropy_d(
            required(observation.trajectory).late_KBL,
            observation.attention.mean(0),
            observation.n_B,
        ),
        memorized=1,
    ),
    Signal(
        column(
            "noise_norm_mean",
            pa.float32(),
            "noise norm, mean over the steps of the guided trajectory",
            "latent units",
            "Wen et al. 2024 (ICLR)",
        ),
        Needs(trajectory=True),
        lambda observation: noise_norm_mean(required(observation.trajectory).differences_SBCHW),
        memorized=1,
    ),
    Signal(
        column(
            "bright_ending",
            pa.float32(),
            "noise norm under the end token's last attention map, mean over the trajectory",
            "latent units",
            "Chen et al. 2025 (ICLR)",
        ),
        Needs(trajectory=True),
        lambda observation: bright_ending(
            required(observation.trajectory).differences_SBCHW,
            required(observation.trajectory).ending_BHW,
        ),
        memorized=1,
    ),
    Signal(
        column(
            "token_gradient",
            FLOATS,
            "L2 norm of the gradient of noise_norm_first by each token's text hidden state",
            source="Wen et al. 2024 (ICLR)",
        ),
        Needs(gradient=True),
        lambda observation: required(observation.gradient_BL),
        memorized=0,
        by_token=True,
    ),
)

SIGNALS = {signal.name: signal for signal in _ALL}
