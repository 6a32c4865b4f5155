"""The views of a run, as SQL.

Text from outside the program reaches DuckDB as bound parameters only. Names of files and columns
are ours, and quoted, since a view's definition takes no parameters.
"""

import pyarrow as pa

from scanner.errors import UserError
from scanner.query.calibrated import COMBINATION, Calibration

TABLES = {
    "captions": """
        SELECT captions.* REPLACE (coalesce(counted.n_samples, 0) = 0 AS is_reference),
               coalesce(counted.n_samples, 0) AS n_samples
        FROM {captions} AS captions
        LEFT JOIN (
            SELECT caption_id, count(*) FILTER (NOT is_reference) AS n_samples
            FROM {samples} GROUP BY caption_id
        ) AS counted USING (caption_id)""",
    "samples": "FROM {samples}",
    "scores": "FROM {scores}",
    "rejects": "FROM {rejects}",
    "verdicts": """
        FROM {verdicts}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id ORDER BY verified_at DESC, verification
        ) = 1""",
    "mitigated": """
        FROM {mitigated}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id, mitigation ORDER BY verified_at DESC, verification
        ) = 1""",
}
PREFERRED = ("noise_norm_first", "entropy_e")
SHOWN = {
    "entropy_e": "NULL::FLOAT",
    "noise_norm_first": "NULL::FLOAT",
    "triggers": 'NULL::STRUCT("start" INTEGER, "end" INTEGER, "text" VARCHAR, mass FLOAT)[]',
}
# The captions that a curation acts on, as long as no policy names others.
FLAGGED = """
    SELECT caption_id, 1 AS rule, 'cap' AS action, 1 AS keep, 'caption' AS unit,
           NULL::VARCHAR AS cluster, ['flagged'] AS reasons, probability,
           decision_signal AS signal, decision_value::DOUBLE AS score
    FROM ranked
    WHERE decision >= decision_cut(0.01)"""


def ranked(
    name: str,
    schema: pa.Schema,
    by: str | None = None,
    calibration: Calibration | None = None,
    which: str = "NOT captions.is_reference",
) -> tuple[str, str]:
    """The definition of the view ranked in a schema, and its decision signal."""
    logit = calibration.logit(schema) if calibration and calibration.weights else None
    probability = f"1 / (1 + exp(-({logit})))" if logit else "NULL::DOUBLE"
    if logit and by in (None, COMBINATION):
        value, sign, by = logit, 1, COMBINATION
    else:
        by = _signal(schema, by)
        value = f'scores."{by}"'
        sign = -1 if (schema.field(by).metadata or {}).get(b"memorized") == b"lower" else 1
    # What a ranking shows is null where this run has not computed it.
    absent = "".join(
        f"{kind} AS {column}, " for column, kind in SHOWN.items() if column not in schema.names
    )
    # The columns' names come from our own schema.
    definition = f"""
        SELECT scores.*, {absent}captions.caption, captions.canonical, captions.n_samples,
               {probability} AS probability,
               {sign} * ({value}) AS decision, {value} AS decision_value,
               '{by}' AS decision_signal
        FROM "{name}".scores AS scores JOIN "{name}".captions AS captions USING (caption_id)
        WHERE {which}"""
    return definition, by


def _signal(schema: pa.Schema, by: str | None) -> str:
    """The column that decides without a combination. Raises UserError."""
    numbers = [f.name for f in schema if pa.types.is_floating(f.type)]
    signals = [f.name for f in schema if f.name in numbers and b"memorized" in (f.metadata or {})]
    if by is None:
        by = next((signal for signal in (*PREFERRED, *signals) if signal in numbers), None)
    if by not in numbers:
        calibrated = " (combination needs a --calibration)" if by == COMBINATION else ""
        raise UserError(
            f"{by}: no signal of this run to rank by{calibrated}; it has {', '.join(numbers)}"
        )
    return str(by)


def signals(name: str, schema: pa.Schema) -> str:
    """The definition of the view signals of a schema: caption_id, signal, value, and ``turned``,
    the value with its sign turned where lower means memorized."""
    ways = {f.name: (f.metadata or {}).get(b"memorized") for f in schema}
    own = [f.name for f in schema if pa.types.is_floating(f.type) and ways[f.name]]
    if not own:  # an UNPIVOT of no columns is an error
        return (
            f"SELECT caption_id, NULL::VARCHAR AS signal, NULL::DOUBLE AS value, "
            f'NULL::DOUBLE AS turned FROM "{name}".ranked WHERE false'
        )
    lower = ", ".join(f"'{signal}'" for signal in own if ways[signal] == b"lower") or "NULL"
    columns = ", ".join(f'"{signal}"::DOUBLE AS "{signal}"' for signal in own)
    return f"""
        SELECT caption_id, signal, value,
               CASE WHEN signal IN ({lower}) THEN -value ELSE value END AS turned
        FROM (
            UNPIVOT (SELECT caption_id, {columns} FROM "{name}".ranked)
            ON COLUMNS(* EXCLUDE caption_id) INTO NAME signal VALUE value
        )"""
