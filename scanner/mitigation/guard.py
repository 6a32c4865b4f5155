"""Keep a training step from learning by heart what it is about to memorize.

Ren et al. (ECCV 2024) leave captions whose attention is conspicuous out of a step's loss, the
attention being that of the training forward itself. The guard watches that forward, and gives each
sample the weight of its loss. Plain PyTorch and accelerate use it alike:

    with Guard(unet, signal="bos_mass") as guard:
        for batch in loader:
            guess = unet(noisy, timesteps, text).sample
            loss_B = (guess - target).square().flatten(1).mean(1)
            loss = (loss_B * guard.weigh(timesteps, batch["key"], batch["caption"])).mean()
            ...
    guard.removal_list("left-out.parquet")

Shapes: B samples of a step.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scanner.errors import UsageError, UserError
from scanner.mitigation.left_out import LeftOut
from scanner.mitigation.threshold import RunningQuantile, Threshold
from scanner.models.diffusion_model import cross_attention_layers
from scanner.probe import AttentionRecord, watch_attention
from scanner.signals.attention import attention_entropy, beginning_mass
from scanner.signals.noise import noise_norm

Signal = Literal["entropy", "bos_mass", "noise_norm"]


class Guard:
    """A context in which the U-Net's forwards are watched; the U-Net's own outputs stay the same.

    Forwards without gradients (a validation between two steps) are passed over.

    ``signal``: entropy or bos_mass of the attention (the mean over ``layers``, numbers in the order
    in which they run), or noise_norm, which costs one more forward a step, without gradients, with
    the empty caption: ``empty`` holds what the U-Net is then told, by argument name, for one row
    (``{"encoder_hidden_states": (1, L, C)}``, for SDXL also ``added_cond_kwargs``' entries).
    ``threshold``: where a sample counts as memorized, as a signal's value (above it; for bos_mass
    below), or a running quantile. ``softness``: 0 gives weights of 0 and 1; else the weight falls
    smoothly, to a half at the threshold, and most of the way within this share of it.
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
                "guard: noise_norm compares with the empty caption; give empty="
                '{"encoder_hidden_states": …}, what the text encoder says of ""'
            )
        if softness < 0:
            raise UsageError(f"guard: softness {softness}: 0 or a positive number")
        self.unet, self.signal, self.empty, self.softness = unet, signal, empty, softness
        self.sign = -1.0 if signal == "bos_mass" else 1.0
        names = cross_attention_layers(unet)
        if not all(0 <= number < len(names) for number in layers) or not layers:
            raise UsageError(f"guard: layers {layers}: this U-Net has 0 to {len(names) - 1}")
        self.layers = [names[number] for number in sorted(set(layers))]
        if threshold is None:
            threshold = RunningQuantile()
        self.threshold: Threshold = (
            threshold if isinstance(threshold, Threshold) else Threshold((float(threshold),))
        )
        self.left_out = LeftOut()
        self.extra_forwards = 0
        self._stack = ExitStack()
        self._record: AttentionRecord | None = None
        self._statistic_B: Tensor | None = None

    def __enter__(self) -> "Guard":
        with ExitStack() as stack:
            if self.signal == "noise_norm":
                hook = self.unet.register_forward_hook(self._compare, with_kwargs=True)
                stack.callback(hook.remove)
            else:
                self._record = stack.enter_context(watch_attention(self.unet, self.layers))
                stack.callback(self.unet.register_forward_hook(self._read).remove)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def weigh(self, timesteps: Tensor, keys: Sequence[str], captions: Sequence[str]) -> Tensor:
        """The weight of each sample's loss (B,), on the U-Net's device; call it after the forward.

        Samples with an empty caption (as caption dropout makes them) weigh 1 and are not counted.
        """
        statistic_B, self._statistic_B = self._statistic_B, None
        if statistic_B is None:
            raise UserError("guard: no forward has run since the last weights; call it after one")
        if not len(statistic_B) == len(timesteps) == len(keys) == len(captions):
            raise UserError(
                f"guard: {len(statistic_B)} rows ran, and {len(timesteps)} timesteps, {len(keys)} "
                f"keys and {len(captions)} captions were given"
            )
        named_B = torch.tensor([bool(caption.strip()) for caption in captions])
        statistic_B = statistic_B.float().cpu()
        risk_B, times_B = self.sign * statistic_B, timesteps.flatten().cpu()
        limit_B = self.sign * self.threshold.at(times_B)
        if self.softness:
            width_B = (self.softness * limit_B.abs()).clamp(min=1e-12)
            weight_B = torch.sigmoid(4 * (limit_B - risk_B) / width_B)
        else:
            weight_B = (risk_B <= limit_B).float()
        weight_B = torch.where(named_B & ~limit_B.isnan(), weight_B, 1.0)
        self.threshold.see(times_B[named_B], statistic_B[named_B], self.sign)
        self.left_out.add(keys, captions, weight_B, statistic_B, named_B)
        return weight_B.to(timesteps.device)

    def removal_list(self, path: str | Path) -> int:
        """Write what was left out as Parquet, most often first; returns the number of rows."""
        return self.left_out.write(path, self.signal)

    def _read(self, *_: object) -> None:
        assert self._record is not None
        if not torch.is_grad_enabled():
            return
        of = attention_entropy if self.signal == "entropy" else beginning_mass
        self._statistic_B = torch.stack([of(abar_BL) for abar_BL in self._record.abar_NBL]).mean(0)

    def _compare(self, unet: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """‖ε_c − ε_∅‖, or the same of velocities: one more forward, with the empty caption."""
        assert self.empty is not None
        if not torch.is_grad_enabled():
            return
        guess = output[0].detach()
        told = {name: one.expand(len(guess), *one.shape[1:]) for name, one in self.empty.items()}
        hidden = told.pop("encoder_hidden_states")
        added = {**(kwargs.get("added_cond_kwargs") or {}), **told}
        again = {**kwargs, "encoder_hidden_states": hidden}
        if added:
            again["added_cond_kwargs"] = added
        self.extra_forwards += 1
        with torch.no_grad():
            self._statistic_B = noise_norm(guess, unet.forward(*args[:2], **again)[0])
