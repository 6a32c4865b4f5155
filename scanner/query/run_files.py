"""The files of a sealed run, as SQL by table."""

from typing import Any

from scanner.errors import UserError
from scanner.query.allowed_files import AllowedFiles
from scanner.query.later_tables import LATER, later_parts
from scanner.query.views import sample_predicate
from scanner.run import Run
from scanner.run.decision_log import read_decisions
from scanner.run.sealing import is_in_part


class RunFiles:
    """DuckDB opens none of the files yet. ``given``: a manifest in place of the run's.

    Raises UserError if the run is not sealed or its manifest lists no rows.
    """

    def __init__(
        self, allowed: AllowedFiles, url: str, given: dict[str, Any] | None = None
    ) -> None:
        run = Run.existing(url)
        manifest = given or run.manifest()
        if manifest is None:
            raise UserError(
                f"{url}: this run is not sealed yet; memscan status {url} shows its progress, and "
                "rerunning the same memscan scan command finishes it"
            )
        if not manifest["scores"]:
            raise UserError(f"{url}: this run has no scores; memscan status {url} shows why")
        for kind in ("samples", "captions"):
            if not manifest[kind]:
                raise UserError(
                    f"{url}: the run's manifest lists no {kind}; scan again into a new --out"
                )
        names = {
            "samples": manifest["samples"],
            "captions": manifest["captions"],
            "scores": [part["path"] for part in manifest["scores"]],
            "rejects": manifest["rejects"],
            **later_parts(run.store),
        }
        self.url = url
        self.store = run.store
        self.decisions = read_decisions(run.store)
        self.first_scores = names["scores"][0]
        rows = sum(part["rows"] for part in manifest["scores"])
        self.sample = sample_predicate(rows, is_in_part(manifest))
        self.is_extended = run.store.exists("plan-0002.json")
        # Extensions may keep other columns of samples; releases may store other measures.
        varying = {*LATER} | ({"samples"} if self.is_extended else set())
        self.tables = {
            kind: allowed.parquet(run.store, paths, same_columns=kind not in varying)
            for kind, paths in names.items()
            if paths
        }
