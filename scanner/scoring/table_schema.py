"""The columns of the score table."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from scanner.run.schema import CAPTION_ID, column
from scanner.scoring.observation import Signal
from scanner.scoring.text import CONTROL_FIELDS
from scanner.scoring.triggers import TRIGGER_FIELD
from scanner.signals.noise_level import NoiseLevel


def score_schema(
    signals: Iterable[Signal],
    timesteps: Mapping[NoiseLevel, float],
    has_triggers: bool,
    embedded_guidance: float | None,
) -> pa.Schema:
    """Return the columns of signals, each with its description, unit and source.

    ``timesteps``: of each noise level that the signals name. ``embedded_guidance``: as
    :attr:`~scanner.models.DiffusionModel.embedded_guidance`; the metadata then says what
    differences of predictions are from.
    """
    fields = [CAPTION_ID]
    for signal in signals:
        field = signal.field_at(timesteps)
        if embedded_guidance is not None and (signal.needs.noise or signal.needs.trajectory):
            said = f"the empty caption at the model's own guidance scale, {embedded_guidance:g}"
            field = field.with_metadata({**(field.metadata or {}), "unconditional": said})
        fields.append(field)
        if signal.seeds_column:
            kind = pa.list_(pa.float32())
            fields.append(column(signal.seeds_column, kind, f"{signal.name} of each seed"))
    if has_triggers:
        fields.append(TRIGGER_FIELD)
    fields += CONTROL_FIELDS
    fields.append(column("seeds", pa.int32(), "how many initial noises were averaged"))
    fields.append(column("truncated", pa.bool_(), "the caption is longer than the model reads"))
    return pa.schema(fields)
