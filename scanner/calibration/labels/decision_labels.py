"""Take labels from the decisions of reviewers."""

from scanner.calibration.labels.labels import Labels
from scanner.errors import UserError
from scanner.query import RunTables
from scanner.run.verdicts import COPIES

_LABELED = """
    SELECT caption_id, decisions.label, reviewed.sampling_probability AS probability
    FROM decisions JOIN reviewed USING (caption_id)
    WHERE decisions.label IN ('verbatim', 'template', 'none')
    ORDER BY caption_id, reviewer"""


def decision_labels(tables: RunTables) -> Labels:
    """Turn what reviewers stated into labels: verbatim and template mean memorized.

    Captions that were drawn at random are weighted by 1 / probability; any other represents only
    itself. Captions whose reviewers differ are contradicted labels. Raises UserError if there are
    no labels.
    """
    rows = tables.query(_LABELED).to_pylist()
    unsure = tables.query("SELECT count(*) AS n FROM decisions WHERE label = 'unsure'")["n"][0]
    if not rows:
        raise UserError(
            f"--labels decisions: nobody has labeled a caption of this run ({unsure} are unsure); "
            f"run memscan review {tables.url} first"
        )
    labels = [row["label"] for row in rows]
    weights = [1 / (row["probability"] or 1.0) for row in rows]
    return Labels(
        "caption_id",
        [row["caption_id"] for row in rows],
        [label in COPIES for label in labels],
        [None] * len(rows),
        unlabeled=unsure.as_py(),
        classes=[label if label in COPIES else None for label in labels],
        weights=weights if max(weights) > 1 else [],
    )
