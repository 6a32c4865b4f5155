"""The columns of the score table."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from scanner.run.schema import CAPTION_ID, column
from scanner.scoring.observation import Signal
from scanner.scoring.schedule import Needs
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
        of_signal = signal.fields_at(timesteps)
        if embedded_guidance is not None and without_caption(signal.needs):
            said = f"the empty caption at the model's own guidance scale, {embedded_guidance:g}"
            of_signal = [
                field.with_metadata({**(field.metadata or {}), "unconditional": said})
                for field in of_signal
            ]
        fields += of_signal
    if has_triggers:
        fields.append(TRIGGER_FIELD)
    fields += CONTROL_FIELDS
    fields.append(column("seeds", pa.int32(), "how many initial noises were averaged"))
    fields.append(column("truncated", pa.bool_(), "the caption is longer than the model reads"))
    return pa.schema(fields)


def without_caption(needs: Needs) -> bool:
    """Return whether a signal also runs the model on the empty caption."""
    return bool(needs.pairs or needs.gradient or needs.derivatives)
