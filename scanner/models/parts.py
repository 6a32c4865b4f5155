"""Load one part of a model, and refuse it unless all its weights are in the file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from transformers import PreTrainedModel

from scanner.models.opening import AGAIN, model_error, opening
from scanner.models.weights import VARIANT, is_variant

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
            f"{place}: {_some(len(shapes), 'weight')} with other shapes than in config.json "
            f"({key}: {tuple(stored)} in the file, {tuple(configured)} in the configuration); use "
            "configuration and weights of the same model",
        )
    missing = {*report["missing_keys"], *missing_weights(part)}
    refuse_incomplete(name, place, missing, report["unexpected_keys"])
    return part


def _own_code(kind: type[Any]) -> dict[str, Any]:
    """Return options that restrict a part to its library's own code.

    A text encoder's configuration could name another attention implementation, even from the hub.
    Parts of diffusers have no such options and load no code.
    """
    if not issubclass(kind, PreTrainedModel):
        return {}
    # Gemma's attention limits its logits, which only the eager implementation does.
    attention = ATTENTION if kind._supports_sdpa else "eager"
    return {"attn_implementation": attention, "trust_remote_code": False}


def refuse_incomplete(
    name: str, place: str, missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Raise UserError if weights are missing from a file, or it has unknown ones."""
    lacking = sorted(missing)
    others = sorted(key for key in unexpected if lacking or not key.startswith(UNUSED))
    if not lacking and not others:
        return
    problems = [
        f"{_some(len(keys), 'weight')} {what} ({', '.join(keys[:SHOWN])}"
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


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


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
