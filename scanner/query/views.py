"""The views of a run, as SQL.

Text from outside the program reaches DuckDB as bound parameters. A view's definition takes none:
names of files and columns in it are quoted by scanner.query.quoting, and the scores have only
names that a scan could have written.
"""

import re

import pyarrow as pa

from scanner.errors import UserError
from scanner.query.calibrated import COMBINATION, Calibration
from scanner.query.quoting import identifier, literal, shown
from scanner.run.verdicts import COPIES, SEED_CONSISTENT

# Earlier releases called seeds that agree a copy also where no training image was compared.
VERDICT = f"""
    CASE WHEN n_references = 0 AND list_contains({[*COPIES]}, verdict)
         THEN '{SEED_CONSISTENT}' ELSE verdict END"""
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
    "texts": "FROM {captions}",
    "rejects": "FROM {rejects}",
    "verdicts": f"""
        SELECT * REPLACE ({VERDICT} AS verdict, to_timestamp(verified_at) AS verified_at)
        FROM {{verdicts}}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id ORDER BY verified_at DESC, verification
        ) = 1""",
    "mitigated": f"""
        SELECT * REPLACE ({VERDICT} AS verdict, to_timestamp(verified_at) AS verified_at)
        FROM {{mitigated}}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id, mitigation ORDER BY verified_at DESC, verification
        ) = 1""",
}
# A later plan may have put a reference caption into the training set.
REFERENCES = "FROM {captions} WHERE is_reference"
EXTENDED = f"""{REFERENCES} AND caption_id NOT IN (
    SELECT caption_id FROM {{samples}} WHERE NOT is_reference
)"""
SAMPLED = 100_000
# What ranks without a calibration: the first of these that a run has, in the order of how well they
# separate on the testbed in their published direction (scanner/signals/README.md).
PREFERRED = (
    *("noise_norm_first", "noise_norm_mean", "bright_ending", "anisotropy"),
    *("bos_mass", "prompt_mass", "cosine_low_noise", "entropy_d", "entropy_e"),
)
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
    FROM decisions
    WHERE decision >= decision_cut(0.01)"""


# What the views add to the scores.
_ADDED = {
    *("by_signal", "canonical", "caption", "decision", "decision_signal", "decision_value"),
    *("n_samples", "probability"),
}


def check_columns(schema: pa.Schema, where: str) -> None:
    """Raises UserError unless every column of the scores has a name of its own that a scan may
    give it; ``where`` names the file."""
    seen = set(_ADDED)
    for name in schema.names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
            why = "no scan names a column so"
        elif name.lower() in seen:
            why = "the name is taken"
        else:
            seen.add(name.lower())
            continue
        raise UserError(
            f"{where}: its column {shown(name)} is refused: {why}; scan again, or ask whoever "
            "made the run for another copy"
        )


def scored(
    name: str,
    schema: pa.Schema,
    by: str | None = None,
    calibration: Calibration | None = None,
) -> tuple[str, str]:
    """The definition of the view scored in a schema, and its decision signal. Raises UserError."""
    logit = calibration.logit(schema) if calibration and calibration.weights else None
    probability = f"1 / (1 + exp(-({logit})))" if logit else "NULL::DOUBLE"
    if logit and by in (None, COMBINATION):
        value, sign, by = logit, 1, COMBINATION
    else:
        by = _signal(schema, by)
        value = f"scores.{identifier(by)}"
        sign = -1 if _is_lower(schema.field(by)) else 1
    # What a ranking shows is null where this run has not computed it.
    absent = "".join(
        f"{kind} AS {column}, " for column, kind in SHOWN.items() if column not in schema.names
    )
    definition = f"""
        SELECT scores.*, {absent}{probability} AS probability,
               {sign} * ({value}) AS decision, {value} AS decision_value,
               {literal(by)} AS decision_signal, {_by_signal(schema, logit)} AS by_signal
        FROM {identifier(name)}.scores AS scores"""
    return definition, by


def deciding(name: str, scored: str, rows: int, where: str = "true") -> dict[str, str]:
    """The definitions of the views that follow from that of scored, of so many rows.

    ``where``: a predicate on ranked that all of them keep to.
    """
    if where != "true":
        chosen = f"FROM ({_ranked(name, scored)}) WHERE ({where}\n)"
        scored = f"FROM ({scored}) SEMI JOIN ({chosen}) AS chosen USING (caption_id)"
    decisions = _decisions(name, scored)
    # Ids are hashes, so that the smallest are a fair sample, and sorted, so that few are read.
    few = rows <= SAMPLED or where != "true"
    last = "~" if few else f"{2**32 * SAMPLED // rows:08x}"
    return {
        "scored": scored,
        "decisions": decisions,
        "ranked": _ranked(name, scored),
        "sampled": f"""
            FROM (FROM ({scored}) WHERE caption_id < '{last}')
            ANTI JOIN (
                SELECT caption_id FROM {identifier(name)}.reference_captions
                WHERE caption_id < '{last}'
            ) USING (caption_id)""",
        "signals": f"""
            FROM (SELECT caption_id, unnest(by_signal, recursive := true) FROM ({decisions}))
            WHERE value IS NOT NULL""",
    }


def _decisions(name: str, scored: str) -> str:
    return f"""
        FROM ({scored}) AS scored
        ANTI JOIN (
            SELECT caption_id FROM {identifier(name)}.reference_captions
        ) USING (caption_id)"""


def _ranked(name: str, scored: str) -> str:
    return f"""
        SELECT decisions.* EXCLUDE (by_signal), captions.caption, captions.canonical,
               captions.n_samples
        FROM ({_decisions(name, scored)}) AS decisions
        JOIN {identifier(name)}.captions AS captions USING (caption_id)"""


def _by_signal(schema: pa.Schema, logit: str | None) -> str:
    """Return a row's signals as a list of signal, value and ``oriented``, the value negated if
    lower means memorized."""
    pairs = [
        (field.name, f"scores.{identifier(field.name)}", "-" if _is_lower(field) else "")
        for field in schema
        if pa.types.is_floating(field.type) and b"memorized" in (field.metadata or {})
    ]
    if logit:
        pairs.append((COMBINATION, f"({logit})", ""))
    listed = ", ".join(
        f"{{signal: {literal(signal)}, value: {value}::DOUBLE, oriented: {sign}{value}::DOUBLE}}"
        for signal, value, sign in pairs
    )
    return f"[{listed}]::STRUCT(signal VARCHAR, value DOUBLE, oriented DOUBLE)[]"


def _is_lower(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"memorized") == b"lower"


def _signal(schema: pa.Schema, by: str | None) -> str:
    """The column that decides without a combination. Raises UserError."""
    numbers = [f.name for f in schema if pa.types.is_floating(f.type)]
    signals = [f.name for f in schema if f.name in numbers and b"memorized" in (f.metadata or {})]
    if by is None:
        by = next((signal for signal in (*PREFERRED, *signals) if signal in numbers), None)
    if by not in numbers:
        calibrated = " (combination needs a --calibration)" if by == COMBINATION else ""
        raise UserError(
            f"{by}: no signal of this run to rank by{calibrated}; it has {', '.join(signals)}"
        )
    return str(by)
