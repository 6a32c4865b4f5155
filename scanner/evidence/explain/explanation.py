"""Explain one caption: follow it beside held-out captions, and score it without each word."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.evidence.explain.curves import Curve, beginning_band, curves
from scanner.evidence.explain.scores import RESCORED, Score, count_evidence, scores_of
from scanner.evidence.explain.trace import trace, trace_all
from scanner.evidence.explain.words import (
    WordEvidence,
    evidence,
    left_out,
    words_of,
)
from scanner.models import Decode, DiffusionModel, Tokens
from scanner.scoring import ScoreError, Scorer, ScoringSpec

log = logging.getLogger("memscan.explain")

PUBLISHED = "the signals' publications"


@dataclass(frozen=True)
class Explanation:
    """What is known of one caption.

    truncated: the model reads no further than ``read_to`` characters. tokens: the text of each
    of the n positions that are read, the beginning and the end token among them, and the padding
    as one more. Of those T: ``steps_ST`` the early layers' attention at every step, ``layers_NT``
    each layer's at step 0, ``layers_mean_NT`` its mean over the steps, and ``heat_THW`` where in
    the picture they are looked at, summed over layers and steps. directions: whose directions of
    the signals hold. beginning_SN: the beginning token's share at every step and layer;
    beginning_band_2SN: its 5th and 95th percentile among the held-out captions, None where there
    are none. picture: (3, H, W) in [0, 1].
    """

    caption: str
    model: dict[str, Any]
    seed: int
    scoring: ScoringSpec
    truncated: bool
    read_to: int
    tokens: list[str]
    scores: list[Score]
    directions: str
    curves: list[Curve]
    words: list[WordEvidence]
    held_out: list[str]
    steps_ST: Tensor
    layers_NT: Tensor
    layers_mean_NT: Tensor
    beginning_SN: Tensor
    beginning_band_2SN: Tensor | None
    heat_THW: Tensor
    picture: Tensor

    @property
    def evidence(self) -> str | None:
        """How many signals point which way; None without held-out captions."""
        return count_evidence(self.scores) if self.held_out else None

    def record(self) -> dict[str, Any]:
        """All but the pictures, as JSON can say it."""
        others = ("heat_THW", "picture", "seed", "scoring")
        found = {}
        for name, value in vars(self).items():
            if name not in others:
                plain = value.tolist() if isinstance(value, Tensor) else value
                found[name.rpartition("_")[0] if name[-1].isupper() else name] = plain
        for name in ("curves", "words"):
            found[name] = [asdict(one) for one in found[name]]
        found["scores"] = [
            asdict(one) | {"side": one.side, "points": one.points, "evidence": one.evidence}
            for one in self.scores
        ]
        spec = self.scoring
        setting = {
            "seed": self.seed,
            "steps": spec.steps,
            "guidance": spec.guidance,
            "height": spec.height,
            "width": spec.width,
        }
        return {**found, "setting": setting, "evidence": self.evidence}


def explain(
    model: DiffusionModel,
    decode: Decode,
    caption: str,
    held_out: Sequence[str] = (),
    scoring: ScoringSpec | None = None,
    seed: int = 0,
    directions: Mapping[str, int] | None = None,
    directions_from: str = PUBLISHED,
) -> Explanation:
    """Explain what a model does with a caption.

    ``held_out``: captions that the model was not trained on, to compare with; they are traced as
    the caption is, which is 2 forwards a step each. ``directions``: of signals, +1 where memorized
    captions have more, -1 where less, 0 where that is not known; ``directions_from`` says whose
    they are. Raises UserError where the model gives something that is not finite.
    """
    spec = scoring or ScoringSpec()
    tokens = model.tokenize([caption])
    words = words_of(tokens)
    scorer = _scorer(model, spec, RESCORED)
    log.info(
        f"scoring: the caption, {len(words)} times with a word left out, {len(held_out)} held out"
    )
    try:
        table = scorer.score([caption, *(left_out(caption, word) for word in words), *held_out])
        slopes = _scorer(model, spec, ("token_gradient",)).score([caption])
    except ScoreError as error:
        raise UserError(f"the model gives no finite score: {error}") from error
    log.info(f"following the caption over {spec.steps} steps")
    one = trace(scorer.forwards, tokens, seed, heat=True)
    others = trace_all(scorer.forwards, held_out, seed, scorer.batch_size)
    row, gradient = table.slice(0, 1).to_pylist()[0], slopes["token_gradient"][0].as_py()
    n = int(tokens.n_B[0])
    abar_SNL = one.abar_SNBL[:, :, 0]
    return Explanation(
        caption=caption,
        model={"family": model.family, "weights": model.weights, "layers": len(model.layers)},
        seed=seed,
        scoring=spec,
        truncated=tokens.truncated[0],
        read_to=max((word.end for word in words), default=0),
        tokens=_texts(caption, tokens),
        scores=scores_of(row, table.slice(1 + len(words)), directions),
        directions=directions_from,
        curves=curves(model, one, others),
        words=evidence(caption, words, row, gradient, table.slice(1, len(words))),
        held_out=list(held_out),
        steps_ST=_cut(abar_SNL[:, list(model.early_layers)].mean(1), n),
        layers_NT=_cut(abar_SNL[0], n),
        layers_mean_NT=_cut(abar_SNL.mean(0), n),
        beginning_SN=abar_SNL[..., 0],
        beginning_band_2SN=None if others is None else beginning_band(others),
        heat_THW=_cut(_there(one.heat_LHW).movedim(0, -1), n).movedim(-1, 0),
        picture=decode(one.x_BCHW)[0].cpu(),
    )


def _scorer(model: DiffusionModel, spec: ScoringSpec, signals: Sequence[str]) -> Scorer:
    return Scorer.from_spec(model, replace(spec, signals=tuple(signals)))


def _texts(caption: str, tokens: Tokens) -> list[str]:
    spans = tokens.spans[0][1 : int(tokens.n_B[0]) - 1]
    texts = [caption[start:end] for start, end in spans]
    return ["(beginning)", *texts, "(end)", "(padding)"]


def _cut(values_XL: Tensor, n: int) -> Tensor:
    """The last dimension's first n positions, and the padding after them as one: their sum."""
    return torch.cat([values_XL[..., :n], values_XL[..., n:].sum(-1, keepdim=True)], -1)


def _there(value: Tensor | None) -> Tensor:
    assert value is not None, "heat was asked for"
    return value
