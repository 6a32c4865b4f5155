"""Files of a run that were changed, cut off or lost behind its back."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.scan import main as scan_command
from jobs.status import main as status_command
from scanner.run import Run
from tests.local_ray import local_ray
from tests.memscan import called
from tests.run.planned import damage
from tests.whole_scans import SCAN, assert_nothing_lost, scores


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """What scans in this process share."""
    with local_ray():
        yield


def _copy(undisturbed: str, data: Path, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A copy of the undisturbed run, and the command that makes it."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    return out, (*SCAN, "--captions", str(data), "--out", str(out))


def test_damaged_and_missing_parts_and_commits_are_scored_again(
    undisturbed: str, data: Path, tmp_path: Path
) -> None:
    out, command = _copy(undisturbed, data, tmp_path)
    commits = Run.existing(str(out)).commits.all()
    flipped, missing = (out / commit.parts[0].path for commit in commits[:2])
    damage(flipped)
    missing.unlink()
    cut = out / commits[2].name
    cut.write_bytes(cut.read_bytes()[:100])

    assert status_command([str(out)]) == 0  # reads the manifest, not the commits
    called(*command, "--repair")
    told = assert_nothing_lost(str(out), scores(undisturbed))
    events = "\n".join(told["events"])
    for commit, problem in zip(
        commits, ("is damaged", "is missing", "its commit is damaged"), strict=False
    ):
        assert f"scoring slice {commit.slice} again" in events
        assert problem in events


def test_files_that_errors_say_to_remove_are_made_again(
    undisturbed: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, command = _copy(undisturbed, data, tmp_path)
    parts = set((out / "scores").iterdir())
    for name in ("progress.json", "plan.json", "manifest-0001.json", "run.json"):
        (out / name).write_bytes((out / name).read_bytes()[:40])
    removed = []
    while scan_command(command[1:]) == 1:
        refused = capsys.readouterr().err
        assert "remove it and rerun the same memscan scan" in refused
        removed.append(Path(refused.rsplit("memscan: ", 1)[1].split(" is damaged")[0]))
        removed[-1].unlink()
    # A damaged manifest has a successor by then, and progress.json is restarted.
    assert [path.name for path in removed] == ["run.json", "plan.json"]
    assert_nothing_lost(str(out), scores(undisturbed))
    assert set((out / "scores").iterdir()) == parts


def test_many_small_parts_are_merged_and_repaired(
    undisturbed: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = (*SCAN, "--captions", str(data), "--out", str(out), "--slice-captions", "5")
    called(*command)
    assert_nothing_lost(str(out), scores(undisturbed))
    merged = list((out / "compacted/scores").iterdir())
    assert len(list((out / "commits").iterdir())) == 80
    assert len(merged) == 1
    assert list((out / "scores").iterdir()) == []
    damage(merged[0])
    told = called(*command, "--repair")
    assert "scoring slice 000000 and 79 more again: compacted/scores/000000-000079" in told.stderr
    assert_nothing_lost(str(out), scores(undisturbed))
