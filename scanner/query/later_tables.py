"""The tables that commands add to a sealed run after its scan; a run may lack any of them."""

import pyarrow as pa

from scanner.run.image_tables import (
    IMAGE_CLUSTERS,
    SAMPLE_SCORES,
    image_cluster_parts,
    sample_score_parts,
)
from scanner.run.verdicts import MITIGATED, MITIGATED_FOLDER, VERDICTS, verdict_parts
from scanner.storage import Store

LATER: dict[str, pa.Schema] = {
    "verdicts": VERDICTS,
    "mitigated": MITIGATED,
    "sample_scores": SAMPLE_SCORES,
    "image_clusters": IMAGE_CLUSTERS,
}


def later_parts(store: Store) -> dict[str, list[str]]:
    """Return the files of each table that the commits of a run list."""
    return {
        "verdicts": verdict_parts(store),
        "mitigated": verdict_parts(store, MITIGATED_FOLDER),
        "sample_scores": sample_score_parts(store),
        "image_clusters": image_cluster_parts(store),
    }
