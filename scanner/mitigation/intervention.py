"""Install an attention edit in a pipeline for the duration of a context."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from scanner.errors import UserError
from scanner.mitigation.edit import AttentionEdit, ForwardEdit, edit_keys, prepare_edit
from scanner.mitigation.generation import MitigationRecord
from scanner.mitigation.joint_attention import install
from scanner.mitigation.noise_norm_threshold import NoiseNormThreshold, measure_noise_norm
from scanner.mitigation.prompt_hook import PromptRows, hook_prompts
from scanner.models.layers import attention_layers, refuse_only_scanned
from scanner.models.pipeline import denoiser_of
from scanner.probe.joint_kinds import is_joint

Build = Callable[[PromptRows], AttentionEdit]
STOCK = "JointAttnProcessor2_0"
"""diffusers' processor of joint attention, which the edit replaces."""


class Intervention(MitigationRecord):
    """State of the running generation, and a record of what was edited."""

    def __init__(
        self,
        build: Build | None,
        threshold: NoiseNormThreshold | None = None,
        steps: Collection[int] | None = None,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self._build = build
        self._steps = None if steps is None else set(steps)
        self._rows: PromptRows | None = None
        self._edit: AttentionEdit | None = None
        self._prepared: ForwardEdit | None = None
        self._next_step = 0

    def begin(self, rows: PromptRows) -> None:
        """Reset for a new generation, when the pipeline encodes its prompt."""
        assert self._build is not None
        self._rows, self._edit, self._prepared = rows, self._build(rows), None
        self.flagged_N, self.noise_norm_N = None, None
        self._next_step = 0

    @property
    def active(self) -> bool:
        """Return whether the current forward is edited."""
        step = self._next_step - 1
        if self._steps is not None and step not in self._steps:
            return False
        return self.threshold is None or (self.flagged_N is not None and bool(self.flagged_N.any()))

    def forward_edit(self, hidden_RLC: object) -> ForwardEdit:
        """Return the edit for this forward. Raises UserError if its rows do not match the captions'
        rows."""
        if not isinstance(hidden_RLC, Tensor):
            raise UserError("mitigation: image prompts (IP-Adapter) are not supported; unload them")
        if self._edit is None:
            raise UserError(
                "mitigation: the denoiser ran, but no prompt was encoded within the context; call "
                "the pipeline inside `with mitigate(pipe):`"
            )
        if len(hidden_RLC) not in (self._edit.rows, 2 * self._edit.rows):
            raise UserError(
                f"mitigation: the denoiser ran {len(hidden_RLC)} rows for {self._edit.rows} "
                "captions; only classifier-free guidance (two rows per caption) or none (one row) "
                "is supported"
            )
        if self._prepared is None:
            guided = len(hidden_RLC) == 2 * self._edit.rows
            self._prepared = prepare_edit(self._edit, guided, self.flagged_N, hidden_RLC)
        return self._prepared

    def count_step(self, _: nn.Module, __: Any, kwargs: dict[str, Any]) -> None:
        """Count a forward of the denoiser before it runs."""
        if kwargs.get("skip_layers"):
            raise UserError(
                "mitigation: skip-layer guidance is not supported, since its forwards have no rows "
                "without a caption; omit skip_guidance_layers"
            )
        self._next_step += 1

    def flag_rows(
        self, denoiser: nn.Module, output: Any, args: Any, kwargs: Any, scheduler: Any
    ) -> Any:
        """Flag rows by the first forward's output, and repeat the forward with these edited."""
        assert self._rows is not None
        assert self.threshold is not None
        sample = output[0]
        given = kwargs["timestep"] if "timestep" in kwargs else args[1]

        def at(timestep: float) -> Tensor:
            self.extra_forwards += 1
            return _at_timestep(denoiser, timestep, args, kwargs)

        self.noise_norm_N = measure_noise_norm(
            self.threshold, self._rows, sample, given, scheduler, at
        )
        self.flagged_N, self._prepared = self.noise_norm_N >= self.threshold.value, None
        if not self.active:
            return output
        self.extra_forwards += 1
        edited = denoiser.forward(*args, **kwargs)
        flagged = self.flagged_N.repeat(2).to(sample.device)[:, None, None, None]
        mixed = torch.where(flagged, edited[0], sample)
        return (mixed, *output[1:]) if isinstance(output, tuple) else type(output)(sample=mixed)

    @property
    def flags_now(self) -> bool:
        """Return whether rows are to be flagged by the forward that just ran."""
        return self.threshold is not None and self._next_step == 1


def _at_timestep(denoiser: nn.Module, timestep: float, args: Any, kwargs: Any) -> Tensor:
    """Run the forward with these arguments at another timestep, without hooks on the denoiser."""
    if "timestep" in kwargs:
        now = kwargs["timestep"]
        by_row = isinstance(now, Tensor) and now.ndim > 0
        kwargs = {**kwargs, "timestep": torch.full_like(now, timestep) if by_row else timestep}
    else:
        args = (args[0], timestep, *args[2:])
    output: Tensor = denoiser.forward(*args, **kwargs)[0]
    return output


@contextmanager
def intervene(
    pipe: Any,
    build: Build,
    *,
    steps: Collection[int] | None = None,
    layers: Collection[int] | None = None,
    threshold: NoiseNormThreshold | None = None,
) -> Iterator[Intervention]:
    """Edit how the pipeline's images attend to the text within this context, as ``build`` says.

    ``steps``, ``layers``: as for mitigate; ``threshold``: which captions to edit (None: all).
    Restores the pipeline on exit.
    """
    running = Intervention(build, threshold, steps)

    denoiser = denoiser_of(pipe)

    def after_forward(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if not running.flags_now:
            return None
        return running.flag_rows(denoiser, output, args, kwargs, pipe.scheduler)

    with ExitStack() as stack:
        stack.enter_context(hook_prompts(pipe, running.begin))
        for name in _layer_names(denoiser, layers):
            attn = denoiser.get_submodule(name)
            _check(name, attn)
            if is_joint(attn):
                stack.callback(attn.set_processor, attn.processor)
                install(attn, running)
                continue
            for hook in _hook_attention(attn, running):
                stack.callback(hook.remove)
        counting = denoiser.register_forward_pre_hook(running.count_step, with_kwargs=True)
        stack.callback(counting.remove)
        if threshold is not None:
            hook = denoiser.register_forward_hook(after_forward, with_kwargs=True)
            stack.callback(hook.remove)
        yield running


def _hook_attention(attn: nn.Module, running: Intervention) -> list[Any]:
    """Install hooks that shorten and mask an attention's text input, and edit its keys."""

    def mask_text(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if not running.active:
            return None
        hidden_RLC = kwargs["encoder_hidden_states"]
        edit = running.forward_edit(hidden_RLC)
        if edit.length is None:
            return None
        mask = kwargs.get("attention_mask")
        mask = None if mask is None else mask[..., : edit.length]
        if edit.mask_R1L is not None:
            mask = edit.mask_R1L if mask is None else mask + edit.mask_R1L
        edited = {"encoder_hidden_states": hidden_RLC[:, : edit.length], "attention_mask": mask}
        return args, {**kwargs, **edited}

    def replace_keys(_: nn.Module, args: Any, key_RLD: Tensor) -> Tensor | None:
        if not running.active:
            return None
        edit = running.forward_edit(args[0])
        return edit_keys(edit, key_RLD) if edit.key else None

    return [
        attn.register_forward_pre_hook(mask_text, with_kwargs=True),
        attn.to_k.register_forward_hook(replace_keys),
    ]


def _layer_names(denoiser: nn.Module, layers: Collection[int] | None) -> list[str]:
    refuse_only_scanned(type(denoiser), "mitigation")
    names = attention_layers(denoiser)
    wrong = [number for number in layers or () if not 0 <= number < len(names)]
    if wrong:
        raise UserError(
            f"mitigation: no layer {wrong[0]}; this model has layers 0 to {len(names) - 1}"
        )
    return names if layers is None else [names[number] for number in sorted(set(layers))]


def _check(name: str, attn: nn.Module) -> None:
    if getattr(attn, "fused_projections", False):
        raise UserError(
            f"mitigation: {name} has fused projections; call pipe.unfuse_qkv_projections() first"
        )
    if is_joint(attn):
        if type(attn.processor).__name__ != STOCK:
            raise UserError(
                f"mitigation: {name} has a {type(attn.processor).__name__}, whose attention cannot "
                "be edited; unload it, or leave the context that installed it"
            )
    elif getattr(attn, "norm_k", None) is not None:
        raise UserError(
            f"mitigation: {name} normalizes its keys, so scaling them has no effect; not supported"
        )
