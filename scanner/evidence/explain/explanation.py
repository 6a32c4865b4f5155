"""Explain one caption: trace it next to held-out captions, and score it without each word."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.evidence.explain.curves import Curve, bos_band, make_curves
from scanner.evidence.explain.scores import RESCORED, Score, count_evidence, make_scores
from scanner.evidence.explain.trace import trace, trace_all
from scanner.evidence.explain.word_evidence import (
    WordEvidence,
    ablate_word,
    attribute_to_words,
    split_words,
)
from scanner.models import Decode, DiffusionModel, Tokens
from scanner.scoring import ScoreError, Scorer, ScoringSpec

log = logging.getLogger("memscan.explain")

PUBLISHED = "the signals' publications"


@dataclass(frozen=True)
class Explanation:
    """Scores, traces and images that explain one caption.

    ``truncated``: the model tokenizes only the first ``read_to`` characters. ``tokens``: text of
    the n tokens, including BOS and EOS, and one entry for all padding; T in total. Attention on
    these: ``steps_ST`` of the early layers per step, ``layers_NT`` per layer at step 0,
    ``layers_mean_NT`` the mean over steps, ``heat_THW`` over the image, summed over layers and
    steps. ``directions``: source of the signals' directions. ``bos_SN``: the BOS token's share per
    step and layer; ``bos_band_2SN``: its 5th and 95th percentile over held-out captions, None
    without any. ``picture``: (3, H, W) in [0, 1].
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
    bos_SN: Tensor
    bos_band_2SN: Tensor | None
    heat_THW: Tensor
    picture: Tensor

    @property
    def evidence(self) -> str | None:
        """Describe how many signals suggest memorization; None without held-out captions."""
        return count_evidence(self.scores) if self.held_out else None

    def record(self) -> dict[str, Any]:
        """Return everything except images as JSON values."""
        others = ("heat_THW", "picture", "seed", "scoring")
        record = {}
        for name, value in vars(self).items():
            if name not in others:
                plain = value.tolist() if isinstance(value, Tensor) else value
                record[name.rpartition("_")[0] if name[-1].isupper() else name] = plain
        for name in ("curves", "words"):
            record[name] = [asdict(entry) for entry in record[name]]
        for word in record["words"]:
            word["without"] = word.pop("ablated_scores")
        record["scores"] = [
            asdict(score) | {"side": score.side, "points": score.points, "evidence": score.evidence}
            for score in self.scores
        ]
        spec = self.scoring
        options = {
            "seed": self.seed,
            "steps": spec.steps,
            "guidance": spec.guidance,
            "height": spec.height,
            "width": spec.width,
        }
        return {**record, "options": options, "evidence": self.evidence}


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

    ``held_out``: captions that the model was not trained on, to compare with; tracing costs two
    forwards per step for each. ``directions``: per signal, +1 if higher means memorized, −1 if
    lower, 0 if unknown; ``directions_from``: their source. Raises UserError if an output of the
    model is not finite.
    """
    spec = scoring or ScoringSpec()
    tokens = model.tokenize([caption])
    words = split_words(tokens)
    scorer = _scorer(model, spec, RESCORED)
    log.info(
        f"scoring the caption, {len(words)} variants without a word, and {len(held_out)} held-out "
        "captions"
    )
    try:
        table = scorer.score([caption, *(ablate_word(caption, word) for word in words), *held_out])
        gradients = _scorer(model, spec, ("token_gradient",)).score([caption])
    except ScoreError as error:
        raise UserError(f"the model's scores are not finite: {error}") from error
    log.info(f"tracing the caption over {spec.steps} steps")
    own_trace = trace(scorer.forwards, tokens, seed, heat=True)
    others = trace_all(scorer.forwards, held_out, seed, scorer.batch_size)
    row, gradient = table.slice(0, 1).to_pylist()[0], gradients["token_gradient"][0].as_py()
    n = int(tokens.n_B[0])
    abar_SNL = own_trace.abar_SNBL[:, :, 0]
    return Explanation(
        caption=caption,
        model={"family": model.family, "weights": model.weights, "layers": len(model.layers)},
        seed=seed,
        scoring=spec,
        truncated=tokens.truncated[0],
        read_to=max((word.end for word in words), default=0),
        tokens=_texts(caption, tokens),
        scores=make_scores(row, table.slice(1 + len(words)), directions),
        directions=directions_from,
        curves=make_curves(model, own_trace, others),
        words=attribute_to_words(caption, words, row, gradient, table.slice(1, len(words))),
        held_out=list(held_out),
        steps_ST=_merge_padding(abar_SNL[:, list(model.early_layers)].mean(1), n),
        layers_NT=_merge_padding(abar_SNL[0], n),
        layers_mean_NT=_merge_padding(abar_SNL.mean(0), n),
        bos_SN=abar_SNL[..., 0],
        bos_band_2SN=None if others is None else bos_band(others),
        heat_THW=_merge_padding(_required(own_trace.heat_LHW).movedim(0, -1), n).movedim(-1, 0),
        picture=decode(own_trace.x_BCHW)[0].cpu(),
    )


def _scorer(model: DiffusionModel, spec: ScoringSpec, signals: Sequence[str]) -> Scorer:
    return Scorer.from_spec(model, replace(spec, signals=tuple(signals)))


def _texts(caption: str, tokens: Tokens) -> list[str]:
    spans = tokens.spans[0][1 : int(tokens.n_B[0]) - 1]
    texts = [caption[start:end] for start, end in spans]
    return ["(BOS)", *texts, "(EOS)", "(padding)"]


def _merge_padding(values_XL: Tensor, n: int) -> Tensor:
    """Keep the first n positions of the last dimension, and sum the padding after them into one."""
    return torch.cat([values_XL[..., :n], values_XL[..., n:].sum(-1, keepdim=True)], -1)


def _required(value: Tensor | None) -> Tensor:
    assert value is not None, "heat was requested"
    return value
