"""Exclude samples that look memorized from a training step's loss.

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

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scanner.errors import UsageError, UserError
from scanner.mitigation.exclusion_log import ExclusionLog
from scanner.mitigation.threshold import RunningQuantile, Threshold
from scanner.models.layers import attention_layers, refuse_only_scanned
from scanner.probe import AttentionRecord, watch_attention
from scanner.probe.watching import is_joint
from scanner.signals.attention import attention_entropy, bos_mass, of_text
from scanner.signals.noise import noise_norm

Signal = Literal["entropy", "bos_mass", "noise_norm"]


class Guard:
    """Context manager that records training forwards without changing their outputs.

    ``unet``: a U-Net of Stable Diffusion 1, 2 or XL, or the transformer of Stable Diffusion 3.

    Ignores forwards without gradients, such as validation between steps.

    ``signal``: "entropy" or "bos_mass" of the attention, averaged over ``layers`` (in execution
    order), or "noise_norm", which costs one extra forward per step, without gradients, with the
    empty caption. Joint attention counts as divided by the text's share, a distribution over the
    text. ``empty``: the denoiser's inputs for the extra forward by argument name, for one row
    (``{"encoder_hidden_states": (1, L, C)}``; for SDXL also the entries of ``added_cond_kwargs``,
    for Stable Diffusion 3 ``pooled_projections``).
    ``threshold``: value of the signal above which (for bos_mass: below which) a sample counts as
    memorized; by default a running quantile. ``softness``: 0 gives weights 0 and 1; otherwise the
    weight falls smoothly, to 0.5 at the threshold, over about this fraction of it.

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
    ) -> None:
        if signal == "noise_norm" and empty is None:
            raise UsageError(
                "guard: noise_norm compares with the empty caption; pass empty="
                '{"encoder_hidden_states": …}, the text encoder\'s output for ""'
            )
        if softness < 0:
            raise UsageError(f"guard: softness {softness}: must not be negative")
        self.unet, self.signal, self.empty, self.softness = unet, signal, empty, softness
        self.sign = -1.0 if signal == "bos_mass" else 1.0
        refuse_only_scanned(type(unet), "guard")
        names = attention_layers(unet)
        if not all(0 <= number < len(names) for number in layers) or not layers:
            raise UsageError(f"guard: layers {layers}: this model has layers 0 to {len(names) - 1}")
        self.layers = [names[number] for number in sorted(set(layers))]
        self.has_joint_attention = is_joint(unet.get_submodule(self.layers[0]))
        if self.has_joint_attention and empty is not None and "pooled_projections" not in empty:
            raise UsageError(
                "guard: the empty caption of this transformer has pooled text too; add "
                "pooled_projections to empty="
            )
        if threshold is None:
            threshold = RunningQuantile()
        self.threshold: Threshold = (
            threshold if isinstance(threshold, Threshold) else Threshold((float(threshold),))
        )
        self.exclusions = ExclusionLog()
        self.extra_forwards = 0
        self._stack = ExitStack()
        self._record: AttentionRecord | None = None
        self._statistic_B: Tensor | None = None

    def __enter__(self) -> "Guard":
        with ExitStack() as stack:
            if self.signal == "noise_norm":
                hook = self.unet.register_forward_hook(self._compare_with_empty, with_kwargs=True)
                stack.callback(hook.remove)
            else:
                self._record = stack.enter_context(watch_attention(self.unet, self.layers))
                stack.callback(self.unet.register_forward_hook(self._read_record).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def loss_weights(
        self, timesteps: Tensor, keys: Sequence[str], captions: Sequence[str]
    ) -> Tensor:
        """Return the loss weight of each sample (B,), on the device of ``timesteps``. Call it after
        the forward.

        Samples with an empty caption (from caption dropout) get weight 1 and are not logged. Raises
        UserError unless a forward with these samples has run since the last call.
        """
        statistic_B, self._statistic_B = self._statistic_B, None
        if statistic_B is None:
            raise UserError(
                "guard: no forward has run since the last loss_weights(); call it after each "
                "training forward"
            )
        if not len(statistic_B) == len(timesteps) == len(keys) == len(captions):
            raise UserError(
                f"guard: the forward had {len(statistic_B)} rows, but loss_weights() was "
                f"given {len(timesteps)} timesteps, {len(keys)} keys and {len(captions)} captions; "
                "pass one of each per row"
            )
        captioned_B = torch.tensor([bool(caption.strip()) for caption in captions])
        statistic_B = statistic_B.float().cpu()
        risk_B, times_B = self.sign * statistic_B, timesteps.flatten().cpu()
        threshold_B = self.sign * self.threshold.at(times_B)
        if self.softness:
            width_B = (self.softness * threshold_B.abs()).clamp(min=1e-12)
            weight_B = torch.sigmoid(4 * (threshold_B - risk_B) / width_B)
        else:
            weight_B = (risk_B <= threshold_B).float()
        weight_B = torch.where(captioned_B & ~threshold_B.isnan(), weight_B, 1.0)
        self.threshold.update(times_B[captioned_B], statistic_B[captioned_B], self.sign)
        self.exclusions.add(keys, captions, weight_B, statistic_B, captioned_B)
        return weight_B.to(timesteps.device)

    def removal_list(self, path: str | Path) -> int:
        """Write the excluded samples as Parquet, most often excluded first; return the number of
        rows."""
        return self.exclusions.write(path, self.signal)

    def _read_record(self, *_: object) -> None:
        assert self._record is not None
        if not torch.is_grad_enabled():
            return
        statistic = attention_entropy if self.signal == "entropy" else bos_mass
        abar_NBL = self._record.abar_NBL
        if self.has_joint_attention:
            abar_NBL = of_text(abar_NBL)
        self._statistic_B = statistic(abar_NBL).mean(0)

    def _compare_with_empty(self, unet: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Compute ‖ε_c − ε_∅‖ (or of velocities) by a second forward with the empty caption."""
        assert self.empty is not None
        if not torch.is_grad_enabled():
            return
        pred = output[0].detach()
        empty = {name: one.expand(len(pred), *one.shape[1:]) for name, one in self.empty.items()}
        args, kwargs = _with_inputs(args, kwargs, empty)
        self.extra_forwards += 1
        with torch.no_grad():
            self._statistic_B = noise_norm(pred, unet.forward(*args, **kwargs)[0])


def _with_inputs(args: Any, kwargs: Any, inputs: dict[str, Tensor]) -> tuple[Any, Any]:
    """Return the arguments of a forward with other text inputs."""
    if "pooled_projections" in inputs:
        # Stable Diffusion 3's order: latents, hidden states, pooled text, timestep.
        timestep = {"timestep": args[3]} if len(args) > 3 else {}
        return args[:1], {**kwargs, **timestep, **inputs}
    inputs = dict(inputs)
    hidden = inputs.pop("encoder_hidden_states")
    added = {**(kwargs.get("added_cond_kwargs") or {}), **inputs}
    kwargs = {**kwargs, "encoder_hidden_states": hidden}
    if added:
        kwargs["added_cond_kwargs"] = added
    return args[:2], kwargs
