"""What status reads, and what it says while a run is not sealed."""

import json
from pathlib import Path
from typing import Any

import pytest

from scanner.run import Run
from scanner.run.progress import Progress
from scanner.run.status import STALE_SECONDS, status
from scanner.storage.retrying_s3 import RetryingS3
from tests.run.planned import ROWS, commit_slice, planned_run, slices_of


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests to S3 made so far."""
    made: list[str] = []
    request = RetryingS3._request

    async def counted(self: RetryingS3, method: str, *options: Any, **arguments: Any) -> Any:
        made.append(method)
        return await request(self, method, *options, **arguments)

    monkeypatch.setattr(RetryingS3, "_request", counted)
    return made


def _requests_of_status(url: str, commits: int, made: list[str]) -> tuple[int, dict]:
    slices = slices_of(50)
    run, _ = planned_run(url, slices)
    state = Progress(len(slices), 50 * ROWS, committed=commits, rejects={"not finite": commits})
    for item in slices[:commits]:
        commit_slice(run, item, rejects=1)
    state.save(run)
    before = len(made)
    shown = status(Run.existing(url))
    return len(made) - before, shown


def test_status_makes_as_many_requests_at_any_size(
    s3: str, requests: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = tmp_path_factory.mktemp("status").name
    few, shown = _requests_of_status(f"{s3}/{name}/few", 10, requests)
    many, more = _requests_of_status(f"{s3}/{name}/many", 40, requests)
    assert many <= few <= 20
    assert (shown["scored"], more["scored"]) == (10 * (ROWS - 1), 40 * (ROWS - 1))
    assert more["rejects"] == {"not finite": 40}
    assert not more["estimated"]


def test_counts_are_estimated_while_progress_lags(tmp_path: Path) -> None:
    slices = slices_of(5)
    run, _ = planned_run(tmp_path, slices)
    Progress(5, 5 * ROWS, committed=1, rejects={"not finite": 1}).save(run)
    assert status(run)["estimated"] is False  # nothing is committed
    for item in slices[:2]:
        commit_slice(run, item, rejects=1)
    shown = status(run)
    assert shown["estimated"]
    assert shown["slices"]["committed"] == 2
    assert shown["scored"] == 2 * ROWS - 1


def test_it_says_when_a_scan_last_reported(tmp_path: Path) -> None:
    run, _ = planned_run(tmp_path, slices_of(5))
    assert (status(run)["is_active"], status(run)["silent_seconds"]) == (False, None)
    Progress(5, 5 * ROWS).save(run)
    shown = status(run)
    assert shown["is_active"]
    assert 0 <= shown["silent_seconds"] < STALE_SECONDS
    record = json.loads((tmp_path / "progress.json").read_text())
    record["updated"] -= STALE_SECONDS + 1
    (tmp_path / "progress.json").write_text(json.dumps(record))
    shown = status(run)
    assert not shown["is_active"]
    assert shown["silent_seconds"] > STALE_SECONDS
    assert not shown["purge_interrupted"]
    (tmp_path / "purging").mkdir()
    (tmp_path / "purging" / "purge.json").write_text("{}")
    assert status(run)["purge_interrupted"]


def test_a_sealed_run_shows_the_counts_of_its_manifest(tmp_path: Path) -> None:
    slices = slices_of(3)
    run, _ = planned_run(tmp_path, slices)
    for item in slices:
        commit_slice(run, item, rejects=1)
    run.seal()
    shown = status(run)
    assert (shown["scored"], shown["estimated"]) == (3 * (ROWS - 1), False)
    assert shown["rejects"] == {"not finite": 3}
    assert shown["slices"] == {"planned": 3, "committed": 3, "running": 0, "quarantined": 0}


def test_a_run_without_a_summary_shows_the_same(tmp_path: Path) -> None:
    slices = slices_of(3)
    run, _ = planned_run(tmp_path, slices)
    commit_slice(run, slices[1])
    shown = status(run)
    run.store.remove("plan-summary.json")
    assert status(run) == shown
    assert shown["scored"] == ROWS
