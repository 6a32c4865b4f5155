"""Load one part of a model, and refuse it unless every weight is in its file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from transformers import PreTrainedModel

from scanner.models.opening import AGAIN, model_error, opening

# Of a whole CLIP model, when it serves as a text encoder: nothing reads them here.
UNUSED = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
WRAPPERS = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
}
ADAPTED = (".base_layer.", "base_model.", "lora_")
SHOWN = 3
ATTENTION = "sdpa"
"""How text encoders compute attention, whatever their configuration says."""


def load_part(name: str, folder: Path, kind: type[Any], dtype: torch.dtype) -> Any:
    """Load a part of a model from safetensors.

    ``folder``: the part's own. Raises UserError where the weights are missing, misnamed or of
    other shapes than the configuration beside them.
    """
    place = f"{folder.name}/"
    with opening(name, place), quiet():
        part, report = kind.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=dtype,
            local_files_only=True,
            **_own_code(kind),
            output_loading_info=True,
            # They are reported then, and refused below.
            ignore_mismatched_sizes=True,
        )
    shapes = sorted(report["mismatched_keys"])
    if shapes:
        key, stored, configured = shapes[0]
        raise model_error(
            name,
            f"{place}: {_some(len(shapes), 'weight')} of other shapes than config.json says "
            f"({key}: {tuple(stored)} in the file, {tuple(configured)} by the configuration); put "
            "the configuration and the weights of one model together",
        )
    missing = {*report["missing_keys"], *missing_weights(part)}
    refuse_incomplete(name, place, missing, report["unexpected_keys"])
    return part


def _own_code(kind: type[Any]) -> dict[str, Any]:
    """Return options that keep a part to its library's own code.

    The configuration of a text encoder could name another attention, one of the hub too. Parts of
    diffusers have no such options, and load no code.
    """
    if not issubclass(kind, PreTrainedModel):
        return {}
    return {"attn_implementation": ATTENTION, "trust_remote_code": False}


def refuse_incomplete(
    name: str, place: str, missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Raise UserError where weights are missing from a file, or it has others."""
    lacking = sorted(missing)
    others = sorted(key for key in unexpected if lacking or not key.startswith(UNUSED))
    if not lacking and not others:
        return
    problems = [
        f"{_some(len(keys), 'weight')} {what} ({', '.join(keys[:SHOWN])}"
        f"{', …' if len(keys) > SHOWN else ''})"
        for keys, what in ((lacking, "missing"), (others, "in the file that it has no place for"))
        if keys
    ]
    raise model_error(name, f"{place}: {' and '.join(problems)}: {_likely(lacking, others)}")


def _likely(missing: list[str], unexpected: list[str]) -> str:
    """Why keys differ, as far as they tell, and the remedy."""
    if any(mark in key for key in unexpected for mark in ADAPTED):
        return "saved with a LoRA that is not merged; merge it, or save it apart and give --lora"
    prefix = _common_prefix(missing, unexpected)
    if prefix:
        wrapper = next((who for mark, who in WRAPPERS.items() if mark in prefix), "")
        by = f"saved by {wrapper}" if wrapper else "saved as a part of another module"
        return f"all begin with {prefix}, {by}; strip the prefix, or save the module within it"
    if not unexpected:
        return f"the file is partial; {AGAIN}"
    return (
        "the weights and config.json are of two architectures; put those of one model together, "
        "or save it again"
    )


def _common_prefix(missing: list[str], unexpected: list[str]) -> str:
    """What every unexpected key begins with, where one ends in the name of a missing weight."""
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
    """Return the names of weights that nothing was loaded into."""
    named = (*part.named_parameters(), *part.named_buffers())
    return [name for name, value in named if value.is_meta]


def _some(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back the libraries' warnings of what is refused here in one line."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
