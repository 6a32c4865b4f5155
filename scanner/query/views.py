"""The views of a run, as SQL.

Untrusted text reaches DuckDB as bound parameters. View definitions cannot have parameters: names of
files and columns in them are quoted by scanner.query.quoting, and columns of the scores must have
names that a scan can produce.
"""

import re

import pyarrow as pa

from scanner.errors import UserError
from scanner.query.calibrated import COMBINATION, Calibration
from scanner.query.quoting import abbreviated, identifier, literal

# What each reviewer states last about a caption; statements that differ are disputed, but for
# unsure. A caption that was drawn at random keeps its probability, however it is shown later.
_DECISIONS = """
    SELECT caption_id, reviewer, label, decision, note, queue, sampling_probability,
           to_timestamp(decided_at) AS decided_at, entry,
           coalesce(min(decision) OVER each_caption <> max(decision) OVER each_caption, false)
           OR coalesce(min(nullif(label, 'unsure')) OVER each_caption
                       <> max(nullif(label, 'unsure')) OVER each_caption, false) AS is_disputed
    FROM (
        SELECT * REPLACE (
            max(sampling_probability) OVER (PARTITION BY caption_id, reviewer)
            AS sampling_probability
        )
        FROM {decisions}
        QUALIFY row_number() OVER (PARTITION BY caption_id, reviewer ORDER BY entry DESC) = 1
    )
    WHERE label IS NOT NULL OR decision IS NOT NULL OR note <> ''
    WINDOW each_caption AS (PARTITION BY caption_id)"""
TABLES = {
    "captions": """
        SELECT captions.* REPLACE (coalesce(counts.n_samples, 0) = 0 AS is_reference),
               coalesce(counts.n_samples, 0) AS n_samples
        FROM {captions} AS captions
        LEFT JOIN (
            SELECT caption_id, count(*) FILTER (NOT is_reference) AS n_samples
            FROM {samples} GROUP BY caption_id
        ) AS counts USING (caption_id)""",
    "samples": "FROM {samples}",
    "scores": "FROM {scores}",
    "texts": "FROM {captions}",
    "rejects": "FROM {rejects}",
    "verdicts": """
        SELECT * REPLACE (to_timestamp(verified_at) AS verified_at)
        FROM {verdicts}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id ORDER BY verified_at DESC, verification
        ) = 1""",
    "mitigated": """
        SELECT * REPLACE (to_timestamp(verified_at) AS verified_at)
        FROM {mitigated}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id, mitigation ORDER BY verified_at DESC, verification
        ) = 1""",
    "sample_scores": """
        SELECT * REPLACE (to_timestamp(scored_at) AS scored_at)
        FROM {sample_scores}
        QUALIFY row_number() OVER (
            PARTITION BY caption_id, image ORDER BY scored_at DESC, scoring
        ) = 1""",
    "image_clusters": """
        SELECT * REPLACE (to_timestamp(grouped_at) AS grouped_at)
        FROM {image_clusters}
        QUALIFY row_number() OVER (PARTITION BY image ORDER BY cluster) = 1""",
    "decisions": _DECISIONS,
    # One row per caption; what reviewers dispute is null.
    "reviewed": f"""
        SELECT caption_id,
               CASE WHEN count(DISTINCT nullif(label, 'unsure')) = 1
                    THEN min(nullif(label, 'unsure'))
                    WHEN count(nullif(label, 'unsure')) = 0 THEN min(label) END AS label,
               CASE WHEN count(DISTINCT decision) = 1 THEN min(decision) END AS decision,
               list(reviewer ORDER BY reviewer) AS reviewers,
               bool_or(is_disputed) AS is_disputed,
               max(sampling_probability) AS sampling_probability,
               max(decided_at) AS decided_at
        FROM ({_DECISIONS}) GROUP BY caption_id""",
}
# For extended runs: a later plan may have added a reference caption to the training set.
REFERENCES = "FROM {captions} WHERE is_reference"
EXTENDED = f"""{REFERENCES} AND caption_id NOT IN (
    SELECT caption_id FROM {{samples}} WHERE NOT is_reference
)"""
SAMPLED = 100_000
# Ranking without a calibration uses the first of these signals that a run has. They are ordered by
# how well they separate on the testbed in their published direction (scanner/signals/README.md);
# from curvature on, they have not been evaluated.
PREFERRED = (
    *("noise_norm_low", "velocity_norm_mid", "noise_norm_first", "noise_norm_mean"),
    *("bright_ending", "anisotropy", "text_share", "bos_mass", "prompt_mass"),
    *("cosine_low_noise", "entropy_d", "entropy_e"),
    *("curvature", "gradient_gap", "score_change", "condition_jacobian"),
    *("seed_agreement", "seed_agreement_small", "cosine_v_low_noise"),
)
# Columns that the ranking always has; null in runs that have not computed them.
RANK_COLUMNS = {
    "entropy_e": "NULL::FLOAT",
    "noise_norm_low": "NULL::FLOAT",
    "noise_norm_first": "NULL::FLOAT",
    "triggers": 'NULL::STRUCT("start" INTEGER, "end" INTEGER, "text" VARCHAR, mass FLOAT)[]',
}
# Captions to curate, unless a policy defines others.
FLAGGED = """
    SELECT caption_id, 1 AS rule, 'cap' AS action, 1 AS keep, 'caption' AS unit,
           NULL::VARCHAR AS cluster, ['flagged'] AS reasons, probability,
           rank_signal AS signal, rank_value::DOUBLE AS score
    FROM ranking
    WHERE rank_score >= rank_threshold(0.01)"""


# What the views add to the scores.
_ADDED = {
    *("by_signal", "canonical", "caption", "n_samples", "probability"),
    *("rank_score", "rank_signal", "rank_value"),
}


def check_columns(schema: pa.Schema, where: str) -> None:
    """Raise UserError unless every column of the scores has a unique name that a scan can produce.

    ``where``: the file, for the error.
    """
    used = set(_ADDED)
    for name in schema.names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
            why = "no scan produces this name"
        elif name.lower() in used:
            why = "the name is already used"
        else:
            used.add(name.lower())
            continue
        raise UserError(
            f"{where}: column {abbreviated(name)} is refused: {why}; scan again, or get a new copy "
            "of the run from its author"
        )


def scored_view(
    name: str,
    schema: pa.Schema,
    by: str | None = None,
    calibration: Calibration | None = None,
) -> tuple[str, str]:
    """Return the definition of the view scored in schema ``name``, and its ranking signal.

    Raises UserError if ``by`` is not a number column.
    """
    logit = calibration.logit(schema) if calibration and calibration.weights else None
    probability = f"1 / (1 + exp(-({logit})))" if logit else "NULL::DOUBLE"
    if logit and by in (None, COMBINATION):
        value, sign, by = logit, 1, COMBINATION
    else:
        by = _signal(schema, by)
        value = f"scores.{identifier(by)}"
        sign = -1 if _is_lower(schema.field(by)) else 1
    missing = "".join(
        f"{null} AS {column}, "
        for column, null in RANK_COLUMNS.items()
        if column not in schema.names
    )
    definition = f"""
        SELECT scores.*, {missing}{probability} AS probability,
               {sign} * ({value}) AS rank_score, {value} AS rank_value,
               {literal(by)} AS rank_signal, {_by_signal(schema, logit)} AS by_signal
        FROM {identifier(name)}.scores AS scores"""
    return definition, by


def sample_predicate(rows: int, is_partial: bool) -> str:
    """Return SQL that holds for a random sample of about SAMPLED of so many scores.

    Ids are hashes, so the smallest are one; files are sorted by id, so few are read. A run that was
    sealed in part (``is_partial``) has the scores of certain ranges of ids: there the last digits
    decide.
    """
    if rows <= SAMPLED:
        return "true"
    digits = "substr(caption_id, 25)" if is_partial else "caption_id"
    return f"{digits} < '{2**32 * SAMPLED // rows:08x}'"


def ranking_views(name: str, scored: str, sample: str, where: str = "true") -> dict[str, str]:
    """Return the definitions of scored and of the views derived from it.

    ``sample``: see :func:`sample_predicate`; ``where``: a predicate on ranked that restricts all
    views, and replaces the sample.
    """
    if where != "true":
        selected = f"FROM ({_ranked(name, scored)}) WHERE ({where}\n)"
        scored = f"FROM ({scored}) SEMI JOIN ({selected}) AS selected USING (caption_id)"
    ranking = _ranking(name, scored)
    sample = sample if where == "true" else "true"
    return {
        "scored": scored,
        "ranking": ranking,
        "ranked": _ranked(name, scored),
        "sampled": f"""
            FROM (FROM ({scored}) WHERE {sample})
            ANTI JOIN (
                SELECT caption_id FROM {identifier(name)}.reference_captions WHERE {sample}
            ) USING (caption_id)""",
        "signals": f"""
            FROM (SELECT caption_id, unnest(by_signal, recursive := true) FROM ({ranking}))
            WHERE value IS NOT NULL""",
    }


def _ranking(name: str, scored: str) -> str:
    return f"""
        FROM ({scored}) AS scored
        ANTI JOIN (
            SELECT caption_id FROM {identifier(name)}.reference_captions
        ) USING (caption_id)"""


def _ranked(name: str, scored: str) -> str:
    return f"""
        SELECT ranking.* EXCLUDE (by_signal), captions.caption, captions.canonical,
               captions.n_samples
        FROM ({_ranking(name, scored)}) AS ranking
        JOIN {identifier(name)}.captions AS captions USING (caption_id)"""


def _by_signal(schema: pa.Schema, logit: str | None) -> str:
    """Return SQL for a row's signals as a list of signal, value and ``oriented``, the value negated
    if lower means memorized."""
    signals = [
        (field.name, f"scores.{identifier(field.name)}", "-" if _is_lower(field) else "")
        for field in schema
        if pa.types.is_floating(field.type) and b"memorized" in (field.metadata or {})
    ]
    if logit:
        signals.append((COMBINATION, f"({logit})", ""))
    structs = ", ".join(
        f"{{signal: {literal(signal)}, value: {value}::DOUBLE, oriented: {sign}{value}::DOUBLE}}"
        for signal, value, sign in signals
    )
    return f"[{structs}]::STRUCT(signal VARCHAR, value DOUBLE, oriented DOUBLE)[]"


def _is_lower(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"memorized") == b"lower"


def _signal(schema: pa.Schema, by: str | None) -> str:
    """Return the column to rank by without a combination. Raises UserError."""
    numbers = [f.name for f in schema if pa.types.is_floating(f.type)]
    signals = [f.name for f in schema if f.name in numbers and b"memorized" in (f.metadata or {})]
    if by is None:
        by = next((signal for signal in (*PREFERRED, *signals) if signal in numbers), None)
    if by not in numbers:
        calibrated = " (combination needs --calibration)" if by == COMBINATION else ""
        raise UserError(
            f"{by}: this run has no such signal to rank by{calibrated}; it has {', '.join(signals)}"
        )
    return str(by)
