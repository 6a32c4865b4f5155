"""Read the probabilities that captions are memorized, as known before training."""

import math
from collections.abc import Sequence

import pyarrow as pa

from scanner.captions.parquet import SkippedRows, bounded_batches, open_parquet
from scanner.errors import UserError
from scanner.storage import is_transient, open_input

COLUMNS = ("caption", "probability")


def read_known(url: str) -> dict[str, float]:
    """Read a Parquet file with columns caption and probability, such as a query of a calibrated
    run's view ``ranked`` writes; of equal captions, the largest probability.

    Raises UserError if the file is not Parquet, lacks a column, or has a probability outside
    [0, 1].
    """
    known: dict[str, float] = {}
    try:
        with open_input(url) as file:
            parquet = open_parquet(file)
            missing = set(COLUMNS) - set(parquet.schema_arrow.names)
            if missing:
                raise UserError(
                    f"--known {url}: no column {', '.join(sorted(missing))}; write captions with "
                    "their probability, such as from the view ranked of a calibrated run"
                )
            groups = range(parquet.metadata.num_row_groups)
            for batch in bounded_batches(file, parquet, groups, list(COLUMNS)):
                if isinstance(batch, SkippedRows):
                    raise UserError(
                        f"--known {url}: {batch.reason}; rewrite the file with smaller pages"
                    )
                _collect(known, url, *(batch.column(name).to_pylist() for name in COLUMNS))
    except (OSError, ValueError, pa.ArrowException) as error:
        if is_transient(error):
            raise
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0]
        raise UserError(
            f"--known {url}: cannot be read as Parquet ({why}); give a Parquet file with columns "
            "caption and probability"
        ) from error
    return known


def _collect(
    known: dict[str, float], url: str, captions: Sequence[object], values: Sequence[object]
) -> None:
    for caption, value in zip(captions, values, strict=True):
        if caption is None or value is None:
            continue
        probability = float(value) if isinstance(value, int | float) else math.nan
        if not 0 <= probability <= 1:
            raise UserError(
                f"--known {url}: probability {value!r} is not in [0, 1]; give P(memorized)"
            )
        known[str(caption)] = max(known.get(str(caption), 0.0), probability)
