"""Trigger words: the words of a caption that attract the most attention.

Computed for a whole batch with NumPy: a Python loop over captions took as long as the forwards of
some devices.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from scanner.models import Tokens
from scanner.run.schema import column

TRIGGERS = 5
TRIGGER_FIELD = column(
    "triggers",
    pa.list_(
        pa.struct(
            [
                pa.field("start", pa.int32()),
                pa.field("end", pa.int32()),
                pa.field("text", pa.string()),
                pa.field("token_index", pa.int32()),
                pa.field("mass", pa.float32()),
                pa.field("lift", pa.float32()),
            ]
        )
    ),
    "words with at least their share of the prompt's attention, by falling mass, at most "
    f"{TRIGGERS}: character span in the caption (end excluded), its text, the position of its "
    "heaviest token, mass, and lift = mass over the mean mass of a prompt token",
    source="Ren et al. 2024 (ECCV), finding 1",
)


def trigger_column(captions: Sequence[str], tokens: Tokens, mass_BL: np.ndarray) -> pa.Array:
    """Return the words with at least the mean mass of a prompt token, summed over their tokens.

    ``mass_BL``: ā; positions after a caption's tokens are ignored.
    """
    n_B, length = tokens.n_B.numpy(), mass_BL.shape[1]
    index = np.arange(length)
    prompt_BL = (index >= tokens.begins) & (index <= n_B[:, None] - 2)
    number_BL = np.array(tokens.words, dtype=np.float64)  # None becomes NaN
    row, position = np.nonzero(prompt_BL & ~np.isnan(number_BL))
    mass = mass_BL[row, position].astype(np.float64)
    mean_B = np.where(prompt_BL, mass_BL, 0.0).sum(1) / np.maximum(prompt_BL.sum(1), 1)

    # ``order`` groups the tokens by word, heaviest first.
    number = row * length + number_BL[row, position]
    order = np.lexsort((position, -mass, number))
    begins = np.flatnonzero(np.diff(number[order], prepend=-1.0))
    total = np.add.reduceat(mass[order], begins) if len(begins) else np.empty(0)
    ends = np.append(begins[1:], len(order))
    heaviest = order[begins]

    # Sort words by caption and descending mass; keep the first TRIGGERS per caption.
    kept = np.flatnonzero(total >= mean_B[row[heaviest]])
    kept = kept[np.lexsort((position[heaviest[kept]], -total[kept], row[heaviest[kept]]))]
    of_row = row[heaviest[kept]]
    kept = kept[np.arange(len(kept)) - np.searchsorted(of_row, of_row) < TRIGGERS]
    of_row = row[heaviest[kept]]

    spans = [
        _span(tokens.spans[caption], position[order[begins[word] : ends[word]]].tolist())
        for caption, word in zip(of_row.tolist(), kept.tolist(), strict=True)
    ]
    share, mean = total[kept], mean_B[of_row]
    values = {
        "start": [start for start, _ in spans],
        "end": [end for _, end in spans],
        "text": [
            captions[caption][start:end]
            for caption, (start, end) in zip(of_row.tolist(), spans, strict=True)
        ],
        "token_index": position[heaviest[kept]],
        "mass": share,
        "lift": np.divide(share, mean, out=np.zeros_like(share), where=mean > 0),
    }
    kind = TRIGGER_FIELD.type.value_type
    fields = [kind.field(name) for name in values]
    words = [pa.array(values[field.name]).cast(field.type) for field in fields]
    offsets = np.searchsorted(of_row, np.arange(len(captions) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.StructArray.from_arrays(words, fields=fields)
    ).cast(TRIGGER_FIELD.type)


def _span(of_tokens: list[tuple[int, int]], positions: list[int]) -> tuple[int, int]:
    """Return the character span from a word's first to its last token."""
    starts, ends = zip(*(of_tokens[position] for position in positions), strict=True)
    return min(starts), max(ends)
