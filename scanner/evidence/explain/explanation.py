"""Explain one caption: trace it next to held-out captions, and score it without each word."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scanner.errors import UserError
from scanner.evidence.explain.curves import Curve, bos_band, effect_of, make_curves
from scanner.evidence.explain.scores import Score, count_evidence, make_scores, score_names
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
    the n tokens, including BOS and EOS, and one entry for all padding; T in total. Words that T5
    reads are one entry before EOS. Attention on these, each time a distribution over the text:
    ``steps_ST`` of the early layers per step, ``layers_NT`` per layer at step 0,
    ``layers_mean_NT`` the mean over steps, ``heat_THW`` over the image, summed over layers and
    steps. ``directions``: source of the signals' directions. ``bos_SN``: the BOS token's share per
    step and layer; ``bos_band_2SN``: its 5th and 95th percentile over held-out captions, None
    without any. ``picture``: (3, H, W) in [0, 1]. ``early``: numbers of the early layers.
    ``effect``: what the model predicts, noise or velocity. ``joint``: whether its attention is
    joint.
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
    early: tuple[int, ...] = (0, 1, 2, 3)
    effect: str = "noise"
    joint: bool = False

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
    scorer = _scorer(model, spec, (*score_names(model.traits), "token_mass"))
    variants = f"{len(words)} variants without a word"
    log.info(f"scoring the caption, {variants}, and {len(held_out)} held-out captions")
    try:
        table = scorer.score([caption, *(ablate_word(caption, word) for word in words), *held_out])
        gradients = _scorer(model, spec, ("token_gradient",)).score([caption])
    except ScoreError as error:
        raise UserError(f"the model's scores are not finite: {error}") from error
    log.info(f"tracing the caption over {spec.steps} steps")
    own_trace = trace(scorer.forwards, tokens, seed, heat=True)
    others = trace_all(scorer.forwards, held_out, seed, scorer.batch_size)
    ablated = table.slice(1, len(words)).select(score_names(model.traits))
    row, gradient = table.slice(0, 1).to_pylist()[0], gradients["token_gradient"][0].as_py()
    merge = _Merging(tokens, own_trace.is_prompt_BL[0])
    abar_SNL = own_trace.abar_SNBL[:, :, 0]
    return Explanation(
        caption=caption,
        model={"family": model.family, "weights": model.weights, "layers": len(model.layers)},
        seed=seed,
        scoring=spec,
        truncated=tokens.truncated[0],
        read_to=max((word.end for word in words), default=0),
        tokens=merge.texts(caption),
        scores=make_scores(row, table.slice(1 + len(words)), directions),
        directions=directions_from,
        curves=make_curves(model, own_trace, others),
        words=attribute_to_words(caption, words, row, gradient, ablated),
        held_out=list(held_out),
        steps_ST=merge(abar_SNL[:, list(model.early_layers)].mean(1)),
        layers_NT=merge(abar_SNL[0]),
        layers_mean_NT=merge(abar_SNL.mean(0)),
        bos_SN=abar_SNL[..., 0],
        bos_band_2SN=None if others is None else bos_band(others),
        heat_THW=merge(_required(own_trace.heat_LHW).movedim(0, -1)).movedim(-1, 0),
        picture=decode(own_trace.x_BCHW)[0].cpu(),
        early=model.early_layers,
        effect=effect_of(model),
        joint=model.has_joint_attention,
    )


def _scorer(model: DiffusionModel, spec: ScoringSpec, signals: Sequence[str]) -> Scorer:
    return Scorer.from_spec(model, replace(spec, signals=tuple(signals)))


class _Merging:
    """Keeps the n tokens of a caption, and merges the positions after them.

    ``is_prompt_L``: which positions hold words. Those after the first tokenizer's are T5's.
    """

    def __init__(self, tokens: Tokens, is_prompt_L: Tensor) -> None:
        self.n = int(tokens.n_B[0])
        self.spans = tokens.spans[0][1 : self.n - 1]
        self.later_L = is_prompt_L[self.n :].cpu()

    def texts(self, caption: str) -> list[str]:
        texts = [caption[start:end] for start, end in self.spans]
        later = ["(words of T5)"] if self.later_L.any() else []
        return ["(BOS)", *texts, *later, "(EOS)", "(padding)"]

    def __call__(self, values_XL: Tensor) -> Tensor:
        """Return the last dimension merged: the words, T5's words if any, EOS, all padding."""
        first, after = values_XL[..., : self.n], values_XL[..., self.n :]
        parts = [first[..., :-1]]
        if self.later_L.any():
            parts.append(after[..., self.later_L].sum(-1, keepdim=True))
        parts += [first[..., -1:], after[..., ~self.later_L].sum(-1, keepdim=True)]
        return torch.cat(parts, -1)


def _required(value: Tensor | None) -> Tensor:
    assert value is not None, "heat was requested"
    return value
