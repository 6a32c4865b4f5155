"""Reduce the loss weight of samples that look memorized in a training step.

Ren et al. (ECCV 2024) exclude captions with unusual attention from the loss, reading the attention
of the training forward itself. The guard records that forward, and returns a loss weight per
sample. It works the same in plain PyTorch and with accelerate:

    with Guard(unet, signal="bos_mass") as guard:
        for batch in loader:
            pred = unet(noisy, timesteps, text).sample
            loss_per_sample = (pred - target).square().flatten(1).mean(1)
            weights = guard.loss_weights(timesteps, batch["key"], batch["caption"])
            loss = (loss_per_sample * weights).mean()
            ...
    guard.removal_list("excluded.parquet")

Shapes: B samples of a step.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scanner.errors import UsageError, UserError
from scanner.mitigation.exclusion_log import ExclusionLog
from scanner.mitigation.guard_signals import (
    ATTENTION,
    DIRECTIONS,
    OF_WORDS,
    Direction,
    Signal,
    Tokenize,
    attention_signal,
    check_signal,
    difference_with,
    to_normal,
)
from scanner.mitigation.moving_null import MovingNull
from scanner.mitigation.threshold import RunningQuantile, Threshold
from scanner.models.layers import attention_layers
from scanner.probe import AttentionRecord, watch_attention
from scanner.probe.joint_kinds import is_joint


class Guard:
    """Context manager that records training forwards without changing their outputs.

    ``unet``: the U-Net or transformer that is trained, of any family that is scanned; what it does
    not give is refused. Ignores forwards without gradients, such as validation between steps.

    ``signal``: of the attention ("entropy", "bos_mass", "prompt_mass", "summary_mass"; with joint
    attention also "text_share"), averaged over ``layers`` (in execution order); the sample's own
    "loss", given to ``loss_weights``; or "noise_norm", which costs one extra forward per step,
    without gradients, with the empty caption. Joint attention counts as divided by the text's
    share, a distribution over the text. ``direction``: of memorized captions' signal; by default
    the published one. ``tokenize``: of the model, for the masses: which positions hold words.
    ``empty``: the denoiser's inputs for the extra forward by argument name, for one row
    (``{"encoder_hidden_states": (1, L, C)}``; for SDXL also the entries of ``added_cond_kwargs``,
    for Stable Diffusion 3 ``pooled_projections``).

    Weights come from one of: ``threshold``, the value of the signal beyond which a sample counts as
    memorized, by default a running quantile; ``softness`` 0 gives weights 0 and 1, otherwise the
    weight falls smoothly, to 0.5 at the threshold, over about this fraction of it. Or ``null``:
    weights are 1 − P(memorized) against the run's own samples. ``known``: P(memorized) by caption
    from elsewhere, such as a calibrated scan of the model before training, which count as well.

    >>> import torch
    >>> from scanner import Guard, load_model
    >>> model = load_model("testbed", device="cpu")
    >>> captions = ["a red fox on a hill", "an old boat near the river"]
    >>> text = model.encode(model.tokenize(captions)).hidden_BLC
    >>> noise, timesteps = torch.randn(2, *model.latent_shape()), torch.tensor([500, 500])
    >>> with Guard(model.unet, signal="bos_mass", threshold=0.5) as guard:
    ...     pred = model.unet(noise, timesteps, text).sample
    ...     loss_per_sample = (pred - noise).square().flatten(1).mean(1)
    ...     weights = guard.loss_weights(timesteps, ["0", "1"], captions)
    ...     loss = (loss_per_sample * weights).mean()
    >>> loss.shape
    torch.Size([])
    """

    def __init__(
        self,
        unet: nn.Module,
        signal: Signal = "entropy",
        layers: Sequence[int] = (3,),
        threshold: Threshold | float | None = None,
        softness: float = 0.0,
        empty: dict[str, Tensor] | None = None,
        tokenize: Tokenize | None = None,
        direction: Direction | None = None,
        null: MovingNull | None = None,
        known: Mapping[str, float] | None = None,
    ) -> None:
        if softness < 0:
            raise UsageError(f"guard: softness {softness}: must not be negative")
        if null is not None and (threshold is not None or softness):
            raise UsageError("guard: a null gives the weights; drop threshold= and softness=")
        if signal in OF_WORDS and tokenize is None:
            raise UsageError(
                f"guard: {signal} needs to know where the words are; pass tokenize=, such as "
                "load_model(…).tokenize"
            )
        self.unet, self.signal, self.empty, self.softness = unet, signal, empty, softness
        self.tokenize, self.null, self.known = tokenize, null, dict(known or {})
        self.sign = 1.0 if (direction or DIRECTIONS[signal]) == "higher" else -1.0
        self._choose_layers(layers)
        check_signal(unet, signal, self.layers, self.has_joint_attention)
        self._check_empty()
        if threshold is None:
            threshold = RunningQuantile()
        self.threshold: Threshold = (
            threshold if isinstance(threshold, Threshold) else Threshold((float(threshold),))
        )
        self.exclusions = ExclusionLog()
        self.extra_forwards = 0
        self._stack = ExitStack()
        self._abar_NBL: Tensor | None = None
        self._norm_B: Tensor | None = None

    def _choose_layers(self, layers: Sequence[int]) -> None:
        names = attention_layers(self.unet) if self.signal in ATTENTION else []
        if names and not (layers and all(0 <= number < len(names) for number in layers)):
            raise UsageError(f"guard: layers {layers}: this model has layers 0 to {len(names) - 1}")
        self.layers = [names[number] for number in sorted(set(layers))] if names else []
        self.has_joint_attention = bool(names) and is_joint(self.unet.get_submodule(names[0]))
        # Blocks of one stream take the length of their text from one of two streams.
        has_single = any(name.startswith("single_") for name in self.layers)
        self._watched = list(dict.fromkeys([*names[:1][: int(has_single)], *self.layers]))

    def _check_empty(self) -> None:
        if self.signal != "noise_norm":
            return
        if self.empty is None:
            raise UsageError(
                "guard: noise_norm compares with the empty caption; pass empty="
                '{"encoder_hidden_states": …}, the text encoder\'s output for ""'
            )
        is_sd3 = type(self.unet).__name__ == "SD3Transformer2DModel"
        if is_sd3 and "pooled_projections" not in self.empty:
            raise UsageError(
                "guard: the empty caption of this transformer has pooled text too; add "
                "pooled_projections to empty="
            )

    def __enter__(self) -> "Guard":
        with ExitStack() as stack:
            if self.signal == "noise_norm":
                hook = self.unet.register_forward_hook(self._compare_with_empty, with_kwargs=True)
                stack.callback(hook.remove)
            elif self.signal in ATTENTION:
                record = stack.enter_context(watch_attention(self.unet, self._watched))

                def keep(*_: object) -> None:
                    if torch.is_grad_enabled():
                        self._abar_NBL = self._chosen(record)

                stack.callback(self.unet.register_forward_hook(keep).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def loss_weights(
        self,
        timesteps: Tensor,
        keys: Sequence[str],
        captions: Sequence[str],
        losses: Tensor | None = None,
    ) -> Tensor:
        """Return the loss weight of each sample (B,), on the device of ``timesteps``. Call it after
        the forward.

        ``timesteps``: from 0 to 1000, also of denoisers that take them divided by 1000. ``losses``:
        each sample's loss (B,), for that signal. Samples with an empty caption (from caption
        dropout) get weight 1 and are not logged. Raises UserError unless a forward with these
        samples has run since the last call.
        """
        counts = len(timesteps), len(keys), len(captions)
        statistic_B = self._statistic(counts, captions, losses).float().cpu()
        captioned_B = torch.tensor([bool(caption.strip()) for caption in captions])
        times_B = timesteps.flatten().cpu()
        probability_B = None
        if self.null is None:
            weight_B = self._by_threshold(times_B, statistic_B)
            self.threshold.update(times_B[captioned_B], statistic_B[captioned_B], self.sign)
        else:
            probability_B = self._probabilities(times_B, statistic_B, captions, captioned_B)
            weight_B = self.null.weights(probability_B)
        if self.known:
            known_B = torch.tensor([self.known.get(caption, 0.0) for caption in captions])
            weight_B = weight_B * (1 - known_B)
            others_B = torch.zeros_like(known_B) if probability_B is None else probability_B
            probability_B = 1 - (1 - others_B) * (1 - known_B)
        weight_B = torch.where(captioned_B, weight_B, 1.0)
        self.exclusions.add(keys, captions, weight_B, statistic_B, captioned_B, probability_B)
        return weight_B.to(timesteps.device)

    def removal_list(self, path: str | Path) -> int:
        """Write the excluded samples as Parquet, most often excluded first; return the number of
        rows."""
        return self.exclusions.write(path, self.signal)

    def _statistic(
        self, counts: tuple[int, ...], captions: Sequence[str], losses: Tensor | None
    ) -> Tensor:
        """Return the signal of the last forward's samples (B,), and forget that forward.

        ``counts``: of the timesteps, keys and captions that were given for them.
        """
        if self.signal == "loss":
            if losses is None:
                raise UsageError("guard: the signal is the loss; give loss_weights() losses=")
            _check_rows(len(losses), counts)
            return losses.detach()
        abar_NBL, norm_B = self._abar_NBL, self._norm_B
        self._abar_NBL = self._norm_B = None
        if norm_B is not None:
            _check_rows(len(norm_B), counts)
            return norm_B
        if abar_NBL is None:
            raise UserError(
                "guard: no forward has run since the last loss_weights(); call it after each "
                "training forward"
            )
        _check_rows(abar_NBL.shape[1], counts)
        joint = self.has_joint_attention
        return attention_signal(self.signal, abar_NBL, joint, captions, self.tokenize)

    def _by_threshold(self, times_B: Tensor, statistic_B: Tensor) -> Tensor:
        risk_B, threshold_B = self.sign * statistic_B, self.sign * self.threshold.at(times_B)
        if self.softness:
            width_B = (self.softness * threshold_B.abs()).clamp(min=1e-12)
            weight_B = torch.sigmoid(4 * (threshold_B - risk_B) / width_B)
        else:
            weight_B = (risk_B <= threshold_B).float()
        return torch.where(threshold_B.isnan(), 1.0, weight_B)

    def _probabilities(
        self, times_B: Tensor, statistic_B: Tensor, captions: Sequence[str], captioned_B: Tensor
    ) -> Tensor:
        assert self.null is not None
        risk_B = self.sign * to_normal(self.signal, statistic_B)
        named = [caption for caption in captions if caption.strip()]
        probability_B = torch.zeros(len(captions))
        probability_B[captioned_B] = self.null.probabilities(
            times_B[captioned_B], risk_B[captioned_B], named
        )
        return probability_B

    def _chosen(self, record: AttentionRecord) -> Tensor:
        """Return ā of the chosen layers, without the one that is only watched along."""
        return record.abar_NBL[len(self._watched) - len(self.layers) :]

    def _compare_with_empty(self, unet: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        assert self.empty is not None
        if not torch.is_grad_enabled():
            return
        self.extra_forwards += 1
        self._norm_B = difference_with(unet, self.empty, args, kwargs, output)


def _check_rows(rows: int, counts: tuple[int, ...]) -> None:
    """Raise UserError unless each of the rows of a forward has a timestep, a key and a caption."""
    if set(counts) != {rows}:
        timesteps, keys, captions = counts
        raise UserError(
            f"guard: the forward had {rows} rows, but loss_weights() was given {timesteps} "
            f"timesteps, {keys} keys and {captions} captions; pass one of each per row"
        )
