"""Put an edit of the attention into a pipeline, and take it out again."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from scanner.errors import UserError
from scanner.mitigation.edit import AttentionEdit, ForwardEdit, change_keys, prepare
from scanner.mitigation.limit import Limit, first_noise_norm
from scanner.mitigation.listening import Rows, listen
from scanner.models.diffusion_model import cross_attention_layers

Build = Callable[[Rows], AttentionEdit]


class Intervention:
    """What is done to the generation that runs, and a record of it.

    flagged_N: of the last generation, which rows are edited (None: all); noise_norm_N: what they
    were chosen by. extra_forwards: first steps that ran twice, since the context was entered.
    """

    def __init__(
        self,
        build: Build | None,
        limit: Limit | None = None,
        steps: Collection[int] | None = None,
    ) -> None:
        self.limit = limit
        self.flagged_N: Tensor | None = None
        self.noise_norm_N: Tensor | None = None
        self.extra_forwards = 0
        self._build = build
        self._steps = None if steps is None else set(steps)
        self._rows: Rows | None = None
        self._edit: AttentionEdit | None = None
        self._ready: ForwardEdit | None = None
        self._next_step = 0

    def begin(self, rows: Rows) -> None:
        """A new generation, told by the pipeline's encode_prompt."""
        assert self._build is not None
        self._rows, self._edit, self._ready = rows, self._build(rows), None
        self.flagged_N, self.noise_norm_N = None, None
        self._next_step = 0

    @property
    def active(self) -> bool:
        """Whether the forward that runs is edited."""
        now = self._next_step - 1
        if self._steps is not None and now not in self._steps:
            return False
        return self.limit is None or (self.flagged_N is not None and bool(self.flagged_N.any()))

    def ready(self, hidden_RLC: object) -> ForwardEdit:
        """The edit for the rows of this forward. Raises UserError if they are not the captions'."""
        if not isinstance(hidden_RLC, Tensor):
            raise UserError("mitigation: image prompts (IP-Adapter) are not supported; unload them")
        if self._edit is None:
            raise UserError(
                "mitigation: the U-Net runs, but no text was encoded within the context; call the "
                "pipeline inside `with mitigate(pipe):`"
            )
        if len(hidden_RLC) not in (self._edit.rows, 2 * self._edit.rows):
            raise UserError(
                f"mitigation: the U-Net runs {len(hidden_RLC)} rows for {self._edit.rows} "
                "captions; only plain guidance (two rows a caption) and none (one) are supported"
            )
        if self._ready is None:
            guided = len(hidden_RLC) == 2 * self._edit.rows
            self._ready = prepare(self._edit, guided, self.flagged_N, hidden_RLC)
        return self._ready

    def step(self, *_: object) -> None:
        """Before every forward of the U-Net."""
        self._next_step += 1

    def look(self, unet: nn.Module, output: Any, args: Any, kwargs: Any, scheduler: Any) -> Any:
        """After the first forward: choose rows by it, and run it again with these edited."""
        assert self._rows is not None
        assert self.limit is not None
        sample = output[0]
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        self.limit.check(round(float(timestep)), sample.shape[1:], scheduler)
        self.noise_norm_N = first_noise_norm(self._rows, sample, timestep, scheduler).cpu()
        self.flagged_N, self._ready = self.noise_norm_N >= self.limit.value, None
        if not self.active:
            return output
        self.extra_forwards += 1
        again = unet.forward(*args, **kwargs)
        flagged = self.flagged_N.repeat(2).to(sample.device)[:, None, None, None]
        chosen = torch.where(flagged, again[0], sample)
        return (chosen, *output[1:]) if isinstance(output, tuple) else type(output)(sample=chosen)

    @property
    def looks(self) -> bool:
        """Whether the forward that ran is one to choose rows by."""
        return self.limit is not None and self._next_step == 1


@contextmanager
def intervene(
    pipe: Any,
    build: Build,
    *,
    steps: Collection[int] | None = None,
    layers: Collection[int] | None = None,
    limit: Limit | None = None,
) -> Iterator[Intervention]:
    """Within this context the pipeline's cross-attentions are edited as ``build`` says.

    ``steps``, ``layers``: as for mitigate; ``limit``: which captions (None: all). On leaving, also
    by an exception, the pipeline is as it was.
    """
    running = Intervention(build, limit, steps)

    def look(unet: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        return running.look(unet, output, args, kwargs, pipe.scheduler) if running.looks else None

    with ExitStack() as stack:
        stack.enter_context(listen(pipe, running.begin))
        for name in _chosen(pipe.unet, layers):
            attn = pipe.unet.get_submodule(name)
            _check(name, attn)
            for hook in _edit_attention(attn, running):
                stack.callback(hook.remove)
        stack.callback(pipe.unet.register_forward_pre_hook(running.step).remove)
        if limit is not None:
            stack.callback(pipe.unet.register_forward_hook(look, with_kwargs=True).remove)
        yield running


def _edit_attention(attn: nn.Module, running: Intervention) -> list[Any]:
    """Hooks: fewer text positions and a mask go in, and the keys come out changed."""

    def hide(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if not running.active:
            return None
        hidden_RLC = kwargs["encoder_hidden_states"]
        ready = running.ready(hidden_RLC)
        if ready.length is None:
            return None
        mask = kwargs.get("attention_mask")
        mask = None if mask is None else mask[..., : ready.length]
        if ready.mask_R1L is not None:
            mask = ready.mask_R1L if mask is None else mask + ready.mask_R1L
        changed = {"encoder_hidden_states": hidden_RLC[:, : ready.length], "attention_mask": mask}
        return args, {**kwargs, **changed}

    def rekey(_: nn.Module, args: Any, key_RLD: Tensor) -> Tensor | None:
        if not running.active:
            return None
        ready = running.ready(args[0])
        return change_keys(ready, key_RLD) if ready.key else None

    return [
        attn.register_forward_pre_hook(hide, with_kwargs=True),
        attn.to_k.register_forward_hook(rekey),
    ]


def _chosen(unet: nn.Module, layers: Collection[int] | None) -> list[str]:
    names = cross_attention_layers(unet)
    if not names:
        raise UserError(
            f"mitigation: {type(unet).__name__} has no cross-attention layers; Stable Diffusion 1 "
            "and 2, and SDXL are supported"
        )
    wrong = [number for number in layers or () if not 0 <= number < len(names)]
    if wrong:
        raise UserError(f"mitigation: no layer {wrong[0]}; this U-Net has 0 to {len(names) - 1}")
    return names if layers is None else [names[number] for number in sorted(set(layers))]


def _check(name: str, attn: nn.Module) -> None:
    if getattr(attn, "fused_projections", False):
        raise UserError(
            f"mitigation: {name} has fused projections; call pipe.unfuse_qkv_projections() first"
        )
    if getattr(attn, "norm_k", None) is not None:
        raise UserError(f"mitigation: {name} norms its keys, which undoes a factor; not supported")
