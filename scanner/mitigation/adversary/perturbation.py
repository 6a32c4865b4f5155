"""Generate from perturbed embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from scanner.models.pipeline import replaced


@contextmanager
def perturbed(pipe: Any, offset_NLC: Tensor) -> Iterator[None]:
    """Add offsets to the embeddings of the N captions that the pipeline encodes within this
    context.

    Pooled embeddings and the empty caption stay as they are. The pipeline still gets prompts, which
    mitigation needs; enter ``mitigate`` within this context, so that it sees these embeddings.
    """
    original = pipe.encode_prompt

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        hidden_NLC, *others = original(*args, **kwargs)
        return (hidden_NLC + offset_NLC.to(hidden_NLC), *others)

    with replaced(pipe, "encode_prompt", encode_prompt):
        yield
