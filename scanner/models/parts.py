"""Load one part of a model, and refuse it unless all its weights are in the file."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from scanner.models.files.names import model_error
from scanner.models.files.opening import AGAIN, opening
from scanner.models.files.weights import VARIANT, is_variant
from scanner.plurals import pluralize

# Weights of a whole CLIP model that serves as a text encoder; not used here.
UNUSED = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
WRAPPERS = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
}
ADAPTED = (".base_layer.", "base_model.", "lora_")
SHOWN = 3
ATTENTION = "sdpa"
"""Attention implementation of text encoders, whatever their configuration says."""


def load_part(name: str, folder: Path, kind: type[Any], dtype: torch.dtype) -> Any:
    """Load a part of a model from the safetensors in its folder that its hash is of.

    Loading is lazy, also from shards: both libraries map the files, and convert one tensor at a
    time if the dtype differs. For PixArt's transformer in 7 shards of float16, anonymous memory did
    not grow in float16 (the weights are the mapped pages, which processes of a node share), and in
    float32 peaked 28 MiB above the 2.3 GiB of weights; for a T5 in 9 shards, 4 MiB above 3.1 GiB.

    Raises UserError if weights are missing, misnamed or of other shapes than in its configuration.
    """
    place = f"{folder.name}/"
    with opening(name, place), quiet():
        part, report = kind.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=dtype,
            local_files_only=True,
            variant=VARIANT if is_variant(folder, kind) else None,
            **_own_code(kind),
            output_loading_info=True,
            # Reported instead of raised; refused below.
            ignore_mismatched_sizes=True,
        )
    shapes = sorted(report["mismatched_keys"])
    if shapes:
        key, stored, configured = shapes[0]
        raise model_error(
            name,
            f"{place}: {pluralize(len(shapes), 'weight')} with other shapes than in config.json "
            f"({key}: {tuple(stored)} in the file, {tuple(configured)} in the configuration); use "
            "configuration and weights of the same model",
        )
    missing = {*report["missing_keys"], *missing_weights(part)}
    refuse_incomplete(name, place, missing, report["unexpected_keys"])
    return part


def load_on_meta(name: str, folder: Path, kind: type[Any], dtype: torch.dtype) -> Any:
    """Build a part on the meta device from its configuration; reads no weights.

    Raises UserError for a configuration that its library does not accept.
    """
    with opening(name, f"{folder.name}/"), quiet():
        if issubclass(kind, PreTrainedModel):
            config = kind.config_class.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        else:
            config = kind.load_config(folder, local_files_only=True)
        return build_on_meta(kind, config, dtype)


def build_on_meta(kind: type[Any], config: Any, dtype: torch.dtype) -> Any:
    """Build a part on the meta device, with each tensor in the dtype in which it is loaded."""
    is_encoder = issubclass(kind, PreTrainedModel)
    with torch.device("meta"):
        if is_encoder:
            part = kind._from_config(config, attn_implementation=_attention_of(kind), dtype=dtype)
        else:
            part = kind.from_config(config)
    part.to("meta")  # some buffers are on the CPU whatever the default device
    kept = _float32_modules(kind, dtype) if is_encoder else set()
    for name, tensor in part.state_dict(keep_vars=True).items():  # what is not stored is not cast
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept & {*name.split(".")} else dtype)
    if is_encoder:
        part.forward = _SomePadding()(part.forward)
    return part.eval()


class _SomePadding(TorchFunctionMode):
    """Lets transformers' text encoders run on the meta device with a padding mask: they ask whether
    it masks nothing."""

    def __call__(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a forward that runs in this mode."""

        @wraps(forward)
        def run(*args: Any, **options: Any) -> Any:
            with self:
                return forward(*args, **options)

        return run

    def __torch_function__(
        self, call: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return False if call is torch.Tensor.__bool__ else call(*args, **(kwargs or {}))


def _float32_modules(kind: type[PreTrainedModel], dtype: torch.dtype) -> set[str]:
    """Return the names of modules that transformers keeps in float32, such as T5's ``wo``."""
    kept = set(kind._keep_in_fp32_modules_strict or ()) if dtype != torch.float32 else set()
    return kept | set((kind._keep_in_fp32_modules or ()) if dtype == torch.float16 else ())


def _own_code(kind: type[Any]) -> dict[str, Any]:
    """Return options that restrict a part to its library's own code.

    A text encoder's configuration could name another attention implementation, even from the hub.
    Parts of diffusers have no such options and load no code.
    """
    if not issubclass(kind, PreTrainedModel):
        return {}
    return {"attn_implementation": _attention_of(kind), "trust_remote_code": False}


def _attention_of(kind: type[Any]) -> str:
    """Return the attention implementation of a text encoder: Gemma's limits its logits, which only
    the eager one does."""
    return ATTENTION if kind._supports_sdpa else "eager"


def refuse_incomplete(
    name: str, place: str, missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Raise UserError if weights are missing from a file, or it has unknown ones."""
    lacking = sorted(missing)
    others = sorted(key for key in unexpected if lacking or not key.startswith(UNUSED))
    if not lacking and not others:
        return
    problems = [
        f"{pluralize(len(keys), 'weight')} {what} ({', '.join(keys[:SHOWN])}"
        f"{', …' if len(keys) > SHOWN else ''})"
        for keys, what in (
            (lacking, "missing"),
            (others, "in the file that the architecture lacks"),
        )
        if keys
    ]
    raise model_error(name, f"{place}: {' and '.join(problems)}: {_likely(lacking, others)}")


def _likely(missing: list[str], unexpected: list[str]) -> str:
    """Return the likely reason why keys differ, and the remedy."""
    if any(mark in key for key in unexpected for mark in ADAPTED):
        return "saved with an unmerged LoRA; merge it, or save it separately and pass --lora"
    prefix = _common_prefix(missing, unexpected)
    if prefix:
        wrapper = next((who for mark, who in WRAPPERS.items() if mark in prefix), "")
        by = f"saved by {wrapper}" if wrapper else "saved as part of another module"
        return f"all begin with {prefix}, {by}; strip the prefix, or save the inner module"
    if not unexpected:
        return f"the file is incomplete; {AGAIN}"
    return (
        "the weights and config.json belong to different architectures; use those of the same "
        "model, or save it again"
    )


def _common_prefix(missing: list[str], unexpected: list[str]) -> str:
    """Return the prefix of all unexpected keys, if one ends with a missing weight's name."""
    for mark in WRAPPERS:
        if unexpected and all(key.startswith(mark) for key in unexpected):
            return mark
    for key in unexpected:
        for wanted in missing:
            if key.endswith(f".{wanted}"):
                prefix = key.removesuffix(wanted)
                return prefix if all(other.startswith(prefix) for other in unexpected) else ""
    return ""


def missing_weights(part: torch.nn.Module) -> list[str]:
    """Return the names of weights that were not loaded."""
    named = (*part.named_parameters(), *part.named_buffers())
    return [name for name, value in named if value.is_meta]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress library warnings about problems that are refused here with one line."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
