"""Sealed runs of captions with scores set by the test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scanner.captions.identity import caption_id
from scanner.run.schema import CAPTION_ID, column
from tests.sealed import seal_run

FINGERPRINT = {
    "weights": "w",
    "signals_version": 1,
    "signals": ["noise_norm_first", "bos_mass", "entropy_layers"],
    "seeds": 1,
    "steps": 50,
    "guidance": 7.5,
    "latent_shape": [4, 8, 8],
    "dtype": "float32",
}
SCORES = pa.schema(
    [
        CAPTION_ID,
        column("noise_norm_first", pa.float32(), "n").with_metadata({"memorized": "higher"}),
        column("bos_mass", pa.float32(), "b").with_metadata({"memorized": "lower"}),
        column("entropy_layers", pa.list_(pa.float32()), "e").with_metadata(
            {"memorized": "higher"}
        ),
        column("n_tokens", pa.int32(), "t"),
        column("title_case_fraction", pa.float32(), "t"),
        column("digit_fraction", pa.float32(), "d"),
    ]
)


def write_run(
    folder: Path,
    captions: list[str],
    scores: pa.Table,
    reference: np.ndarray,
    fingerprint: dict[str, Any],
) -> str:
    """Write a sealed run; caption k has k % 3 + 1 samples with key ``k<k>``, or is a reference."""
    ids = [caption_id(caption.lower()) for caption in captions]
    samples = [
        {"caption_id": ids[k], "row": k, "key": f"k{k}", "is_reference": bool(held)}
        for k, held in enumerate(reference)
        for _ in range(1 if held else k % 3 + 1)
    ]
    texts = [
        {"caption_id": i, "caption": c, "is_reference": bool(held)}
        for i, c, held in zip(ids, captions, reference, strict=True)
    ]
    return seal_run(
        folder, samples, texts, scores, record={"fingerprint": {"id": "f", **fingerprint}}
    )


def synthetic_run(
    folder: Path,
    captions: int = 300,
    seed: int = 0,
    directions: Mapping[str, str] | None = None,
    **changed: Any,
) -> str:
    """Write a run of captions ``Word k``: the first fifth memorized, the last third references.

    Memorized captions have a noise norm 2 standard deviations higher, a BOS mass 1 lower, and 1.5
    more in the second of three layers. ``directions``: documented directions to override, by
    column; ``changed``: entries of the fingerprint to override.
    """
    schema = SCORES
    for name, direction in (directions or {}).items():
        field = SCORES.field(name).with_metadata({"memorized": direction})
        schema = schema.set(schema.get_field_index(name), field)
    random = np.random.default_rng(seed)
    memorized = np.arange(captions) < captions // 5
    texts = [f"Word{'abcdefghij'[k % 10]} {k:04d}" for k in range(captions)]
    layers = random.normal(size=(captions, 3)) + np.outer(memorized, [0, 1.5, 0])
    scores = pa.table(
        {
            "caption_id": [caption_id(text.lower()) for text in texts],
            "noise_norm_first": random.normal(size=captions) + 2 * memorized,
            "bos_mass": random.normal(size=captions) - memorized,
            "entropy_layers": layers.tolist(),
            "n_tokens": random.integers(4, 9, captions),
            "title_case_fraction": random.random(captions),
            "digit_fraction": random.random(captions),
        }
    ).cast(schema)
    reference = np.arange(captions) >= captions - captions // 3
    return write_run(folder, texts, scores, reference, FINGERPRINT | changed)


def synthetic_labels(path: Path, captions: int = 300, classes: bool = False) -> str:
    """Write the labels of a synthetic run as a csv of captions in another spelling.

    ``classes``: every third memorized caption is a template copy, the others are verbatim ones.
    """
    lines = []
    for k in range(captions):
        memorized = k < captions // 5
        label = str(memorized).lower()
        if classes:
            label = ("verbatim" if k % 3 else "template") if memorized else "none"
        lines.append(f"WORD{'ABCDEFGHIJ'[k % 10]}   {k:04d},{label}")
    path.write_text("\n".join([f"caption,{'verdict' if classes else 'memorized'}", *lines]) + "\n")
    return str(path)


def synthetic_similarities(path: Path, captions: int = 300, column: str = "similarity") -> str:
    """Write similarities of a synthetic run's captions by key: 0.5 to 1 for memorized captions, 0
    to 0.39 for others, some of them equal."""
    lines = [
        f"k{k},{0.5 + k / (2 * (captions // 5)) if k < captions // 5 else k % 40 / 100:.4f}"
        for k in range(captions)
    ]
    path.write_text("\n".join([f"key,{column}", *lines]) + "\n")
    return str(path)
