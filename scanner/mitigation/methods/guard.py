"""Guidance toward an attenuated prediction and away from the plain one (GUARD: Zhao et al., ICML
2026).

Shapes: N rows with a caption, H heads, P image and L text positions, D channels per head.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from scanner.errors import UserError
from scanner.mitigation.forward import Forward
from scanner.mitigation.generation import Generation
from scanner.mitigation.joint_attention import attend_with, finish_joint
from scanner.mitigation.methods.method import Method, not_negative
from scanner.models.layers import attention_layers
from scanner.models.pipeline import denoiser_of
from scanner.probe.joint_kinds import is_joint


@dataclass
class AttractiveRepulsive(Method):
    """Guide by ε_∅ + g (ε_att − ε_∅) − r (ε_c − ε_∅), where ε_att is predicted with less attention
    on the tokens that stand out, and g is the pipeline's guidance.

    Per head, a token's largest logit over the image is compared with those of the other tokens but
    BOS: tokens whose z-score is above ``threshold`` have their logits multiplied by
    ``attenuation``. This is done in the down and mid blocks of a U-Net, as in the released code
    (https://github.com/kairanzhao/GUARD), and in the first half of a transformer's blocks, which is
    a choice of ours. ``repulsion``: r. Costs one more forward of the caption's rows per step.
    """

    attenuation: float = 0.3
    threshold: float = 0.1
    repulsion: float = 2.0

    changes_guidance = True

    active: bool = field(default=False, init=False, repr=False)
    """Whether the running forward is the attenuated one."""

    def check(self) -> None:
        not_negative("attenuation", self.attenuation)
        not_negative("repulsion", self.repulsion)

    @contextmanager
    def install(self, pipe: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for attn in early_attention(denoiser_of(pipe)):
                stack.callback(attn.set_processor, attn.processor)
                kind = _JointProcessor if is_joint(attn) else _CrossProcessor
                attn.set_processor(kind(self, attn.processor))
            yield

    def combine(self, forward: Forward, output_RCHW: Tensor, generation: Generation) -> Tensor:
        unconditional, conditional = output_RCHW.chunk(2)
        self.active = True
        try:
            attenuated = forward.conditional_half().output()
        finally:
            self.active = False
        away = self.repulsion / generation.guidance
        steered = attenuated - away * (conditional - unconditional)
        return torch.cat([unconditional, generation.mix(steered, conditional)])

    def attenuate(self, q_NHPD: Tensor, k_NHLD: Tensor) -> Tensor:
        """Scale the keys of tokens that stand out, and so exactly their logits."""
        stands_out = tokens_that_stand_out(q_NHPD, k_NHLD, self.threshold)
        return torch.where(stands_out[..., None], k_NHLD * self.attenuation, k_NHLD)


def tokens_that_stand_out(q_NHPD: Tensor, k_NHLD: Tensor, threshold: float) -> Tensor:
    """Return which tokens' largest logit over the image has a z-score above the threshold, by head:
    (N, H, L). Mean and deviation are over all tokens but BOS, which never stands out."""
    scale = q_NHPD.shape[-1] ** -0.5
    largest_NHL = (q_NHPD @ k_NHLD.mT).amax(2).float() * scale
    others = largest_NHL[..., 1:]
    deviation = others.std(-1, keepdim=True) + 1e-6
    z_NHL = (largest_NHL - others.mean(-1, keepdim=True)) / deviation
    result = z_NHL > threshold
    result[..., 0] = False
    return result


def early_attention(denoiser: nn.Module) -> list[Any]:
    """Return the attention on text of the down and mid blocks, or of a transformer's first half."""
    names = attention_layers(denoiser)
    early = [name for name in names if name.startswith(("down_blocks", "mid_block"))]
    modules = [denoiser.get_submodule(name) for name in early or names[: (len(names) + 1) // 2]]
    if any(getattr(attn, "fused_projections", False) for attn in modules):
        raise UserError(
            "mitigation: the denoiser has fused projections; call pipe.unfuse_qkv_projections() "
            "first"
        )
    return modules


class _CrossProcessor:
    """A diffusers processor of a U-Net's cross-attention; stock unless the method is active."""

    def __init__(self, method: AttractiveRepulsive, stock: Any) -> None:
        self.method, self.stock = method, stock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if not self.method.active:
            output: Tensor = self.stock(
                attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs
            )
            return output
        if not isinstance(encoder_hidden_states, Tensor):
            raise UserError("mitigation: image prompts (IP-Adapter) are not supported; unload them")
        q_NHPD = _heads(attn.to_q(hidden_states), attn.heads)
        k_NHLD = _heads(attn.to_k(encoder_hidden_states), attn.heads)
        v_NHLD = _heads(attn.to_v(encoder_hidden_states), attn.heads)
        out_NHPD = scaled_dot_product_attention(
            q_NHPD, self.method.attenuate(q_NHPD, k_NHLD), v_NHLD
        )
        result: Tensor = attn.to_out[0](out_NHPD.transpose(1, 2).flatten(2))
        return result


class _JointProcessor:
    """A diffusers processor of Stable Diffusion 3's joint attention; stock unless active."""

    def __init__(self, method: AttractiveRepulsive, stock: Any) -> None:
        self.method, self.stock = method, stock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if not self.method.active:
            output: tuple[Tensor, Tensor] = self.stock(
                attn, hidden_states, encoder_hidden_states, attention_mask
            )
            return output
        attended = attend_with(attn, hidden_states, encoder_hidden_states, self.method.attenuate)
        return finish_joint(attn, attended)


def _heads(x_NSC: Tensor, heads: int) -> Tensor:
    return x_NSC.unflatten(-1, (heads, -1)).transpose(1, 2)
