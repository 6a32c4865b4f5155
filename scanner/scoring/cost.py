"""Count the floating-point operations per caption."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from scanner.models import DiffusionModel
from scanner.models.random.meta import on_meta
from scanner.probe import record_prefix, recording_denoiser
from scanner.scoring.meta_results import MetaResults
from scanner.scoring.primitive_operations import PrimitiveOperations
from scanner.scoring.schedule import FORWARDS_OF, Schedule
from scanner.scoring.scorer import Scorer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """GFLOP of the denoiser and the text encoders.

    per_caption: over all seeds. shared: once for all captions. forward: one plain forward of the
    whole denoiser, for comparison. text_encoder: per caption, of all text encoders, not included in
    ``per_caption``.
    """

    per_caption: float
    shared: float
    forward: float
    text_encoder: float

    @property
    def text_share(self) -> float:
        """The text encoders' share of a caption's FLOPs."""
        return self.text_encoder / (self.per_caption + self.text_encoder)


class ForwardCosts:
    """GFLOP of forwards of one caption, counted on the meta device, where nothing is computed.

    (On a CPU the counter misses fused attention.) ``device``: the kind of device that is to run
    them, the model's by default. ``length``: of the text, where the model masks padding after it;
    the longest by default. whole: a plain forward of the whole denoiser. encoding: of the text
    encoders.
    """

    def __init__(
        self,
        model: DiffusionModel,
        latent_shape: tuple[int, ...],
        device: str | None = None,
        length: int | None = None,
    ) -> None:
        copy = on_meta(model)
        self._layers, self._run, self._denoiser = model.layers, model.run, copy.denoiser
        on_cpu = (device or model.device.type) == "cpu"
        self._equal_tail = model.equal_tail if on_cpu else 0
        # The attention of the image on the text is computed twice, see probe/joint_attention.py.
        self._records_more = model.has_joint_attention
        self._latents = torch.empty((1, *latent_shape), device="meta", dtype=copy.dtype)
        tokens = copy.tokenize([""])
        if length is not None:
            tokens = tokens.trimmed(length)
        self._counter = _FlopCounter()
        self._text, self.encoding = self._counter.count(lambda: copy.encode(tokens, latent_shape))
        with record_prefix(self._denoiser) as self._prefix:
            _, self.whole = self._counter.count(self._forward)
        self._own: dict[int | None, float] = {}

    def own(self, depth: int | None) -> float:
        """Return what one caption costs in a forward of ``depth`` layers that replays what all
        captions share."""
        if depth not in self._own:
            recording = recording_denoiser(
                self._denoiser, self._layers, self._run, depth, equal_tail=self._equal_tail
            )
            recording.load(self._latents, 0, self._prefix)
            text = self._text
            _, self._own[depth] = self._counter.count(
                lambda: recording(text.hidden_BLC, text.added)
            )
        return self._own[depth]

    @cached_property
    def prefix(self) -> float:
        """What all captions share in a forward."""
        whole = self.whole
        if self._records_more:
            recording = recording_denoiser(
                self._denoiser, self._layers, self._run, equal_tail=self._equal_tail
            )
            recording.load(self._latents, 0, {})
            text = self._text
            _, whole = self._counter.count(lambda: recording(text.hidden_BLC, text.added))
        return whole - self.own(None)

    def _forward(self) -> None:
        time = torch.zeros(1, device="meta")
        text = self._text
        self._run(self._denoiser, self._latents, time, text.hidden_BLC, text.added)


def cost(scorer: Scorer, forwards: ForwardCosts | None = None, device: str | None = None) -> Cost:
    """Count the schedule's forwards. A backward counts as two forwards, a Jacobian-vector product
    as two (its value and its derivative; see FORWARDS_OF).

    ``forwards``: those of the scorer's model and latent shape, to count them once for several
    scorers. ``device``: the kind of device that is to run them, the model's by default.
    """
    plan = scorer.schedule
    forwards = forwards or ForwardCosts(scorer.model, scorer.latent_shape, device)
    on_noise = sum(forwards.own(depth) for depth in plan.on_noise.values())
    return Cost(
        per_caption=scorer.seeds * (on_noise + plan.whole_forwards * forwards.whole),
        shared=scorer.seeds * _shared(plan, forwards.whole, forwards.prefix),
        forward=forwards.whole,
        text_encoder=forwards.encoding,
    )


def _shared(plan: Schedule, whole: float, prefix: float) -> float:
    """Return GFLOP of ε_∅ where the schedule needs a difference, else of the prefix only; and of
    ∇ₓ ½‖ε_∅‖²."""
    gradient = FORWARDS_OF["gradients"] * whole if "gradients" in plan.derivatives else 0.0
    pairs = plan.unconditional
    return gradient + sum(whole if time in pairs else prefix for time in plan.on_noise)


class _FlopCounter(PrimitiveOperations):
    """Counts as torch's FlopCounterMode does, but runs equal operations on the meta device once."""

    def __init__(self) -> None:
        super().__init__()
        self._formulas = FlopCounterMode(display=False).flop_registry
        self._results = MetaResults()
        self._flops: dict[Any, int] = {}
        self._total = 0

    def count(self, run: Callable[[], Result]) -> tuple[Result, float]:
        """Return what ``run`` returns, and its GFLOP."""
        self._total = 0
        with self:
            result = run()
        return result, self._total / 1e9

    def run(self, call: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        key = self._results.key(call, args, kwargs)
        result = self._results.repeat(key)
        if result is not None:
            self._total += self._flops[key]
            return result
        result = call(*args, **kwargs)
        formula = self._formulas.get(call._overloadpacket)
        flops = formula(*args, **kwargs, out_val=result) if formula else 0
        self._total += flops
        if key is not None:
            self._results.remember(key, args, kwargs, result)
            self._flops[key] = flops
        return result
