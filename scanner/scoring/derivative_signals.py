"""The signals computed from derivatives of the prediction at step 0."""

import pyarrow as pa
from torch import Tensor

from scanner.run.schema import column
from scanner.scoring.observation import Observation, Signal, required
from scanner.scoring.schedule import Needs
from scanner.signals.derivatives import condition_jacobian, curvature, gradient_gap
from scanner.signals.noise_level import FIRST

_VELOCITY = "; of flow-matching models, with velocities in place of {}"


def _curvature(observation: Observation) -> Tensor:
    return curvature(
        *required(observation.derivatives.along_difference), observation.at(FIRST).alpha
    )


def _condition_jacobian(observation: Observation) -> Tensor:
    return condition_jacobian(required(observation.derivatives.along_text))


def _gradient_gap(observation: Observation) -> Tensor:
    return gradient_gap(*required(observation.derivatives.gradients))


DERIVATIVES = (
    Signal(
        column(
            "curvature",
            pa.float32(),
            "L2 norm of the difference of the score's Jacobians with and without the caption, "
            "along the difference of the scores, at step 0" + _VELOCITY.format("scores"),
            source="Jeon et al. 2025 (ICML)",
        ),
        Needs(noise=frozenset({FIRST}), derivatives=frozenset({"along_difference"})),
        _curvature,
        memorized=1,
    ),
    Signal(
        column(
            "condition_jacobian",
            pa.float32(),
            "L2 norm of the derivative of the noise at step 0 by the caption's text embedding, "
            "along its difference from the empty caption's" + _VELOCITY.format("the noise"),
            "latent units",
            "openreview pY2P28M9Iv",
        ),
        Needs(derivatives=frozenset({"along_text"})),
        _condition_jacobian,
        memorized=1,
    ),
    Signal(
        column(
            "gradient_gap",
            pa.float32(),
            "squared L2 norm of the difference, with and without the caption, of the gradients of "
            "half the squared norm of the noise at step 0 by the latent"
            + _VELOCITY.format("the noise"),
            "squared latent units",
            "github.com/randomnameforicml/icml-2026 (unrefereed)",
        ),
        Needs(derivatives=frozenset({"gradients"})),
        _gradient_gap,
        memorized=1,
    ),
)
