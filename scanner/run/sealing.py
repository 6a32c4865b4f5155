"""The manifest of a run, from its plan and committed results."""

import time
from collections import Counter
from collections.abc import Container
from typing import Any

from scanner.errors import UserError
from scanner.run.compaction import FOLDER, KINDS, SCORES
from scanner.run.records import Plan, commit_name
from scanner.run.results import Results, rows_of


def check_results(url: str, fingerprint: str, plan: Plan, results: Results) -> None:
    """Raise UserError if a commit is damaged, has another fingerprint or other rows than planned.

    ``url``: the run's, for errors; ``fingerprint``: its id.
    """
    if results.errors:
        raise results.errors[0]
    if results.damaged:
        name, why = next(iter(results.damaged.items()))
        raise UserError(f"{url}: slice {name} is damaged ({why}); rerun the same memscan scan")
    planned = {item.id: item.rows for item in plan.slices}
    for commit, slices in results.held:
        done = rows_of(commit, "scores") + rows_of(commit, "rejects")
        folder = "commits" if len(slices) == 1 else FOLDER
        name = commit_name(folder, commit.slice, commit.generation)
        if done != sum(planned.get(item, -1) for item in slices):
            raise UserError(
                f"{url}/{name} does not match the plan: {done} rows; do not mix files of two runs"
            )
        if commit.fingerprint != fingerprint:
            raise UserError(
                f"{url}/{name} was made with other settings than run.json says; do not mix "
                "files of two runs"
            )


def is_in_part(manifest: dict[str, Any]) -> bool:
    """Return whether a manifest lacks slices because the scan was ended before it tried them."""
    return bool(manifest["counts"].get("not_scanned"))


def make_manifest(
    fingerprint: str,
    plan: Plan,
    results: Results,
    reasons: dict[str, int],
    quarantined: Container[str] | None = None,
) -> dict[str, Any]:
    """Return the manifest.

    ``reasons``: all rejects by reason; ``quarantined``: which of the slices without results failed,
    by default all. The others were not scanned yet.
    """
    finished = results.slices()
    left = [item for item in plan.slices if item.id not in finished]
    failed = [item for item in left if quarantined is None or item.id in quarantined]
    parts = [part for commit, _ in results.held for part in commit.parts]
    scores = [part for part in parts if part.kind in SCORES]
    rejects = [part for part in parts if part.kind in ("rejects", KINDS["rejects"])]
    return {
        "fingerprint": fingerprint,
        "samples": list(plan.samples),
        "captions": list(plan.captions),
        "rejects": [*plan.rejects, *(part.path for part in rejects)],
        "scores": [{"path": p.path, "rows": p.rows, "sha256": p.sha256} for p in scores],
        "quarantined": [{"slice": item.id, "captions": item.rows} for item in failed],
        "counts": {
            **plan.counts,
            "scored": sum(part.rows for part in scores),
            "scan_rejects": sum(part.rows for part in rejects),
            "quarantined": sum(item.rows for item in failed),
            "not_scanned": sum(item.rows for item in left) - sum(item.rows for item in failed),
        },
        "reject_reasons": dict(Counter(reasons).most_common()),
        "sealed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
