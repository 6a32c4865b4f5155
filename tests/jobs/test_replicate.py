"""memscan replicate, whole, on the packaged testbeds."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

from jobs.console.options import parse
from scanner.calibration import read_calibration
from scanner.replication.config import ReplicateConfig
from scanner.replication.published import published
from scanner.replication.running import run_scans
from tests.conftest import Once
from tests.memscan import called
from tests.pages import opened

SMALL = ("--timesteps", "981", "41", "--sides", "1", "0.5", "--limit", "24")
TESTBED = ("replicate", "testbed", "--profiles", "triage", *SMALL)


@pytest.fixture(scope="module")
def out(once: Once) -> Path:
    """A small replication on the testbed, and the text that it printed, in ``printed``."""

    def make(folder: Path) -> None:
        done = called(*TESTBED, "--out", str(folder / "out"))
        (folder / "printed").write_text(done.stdout)

    return once("replication", make) / "out"


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_the_testbed_is_replicated_whole(out: Path, result: dict[str, Any]) -> None:
    assert (result["model"], result["prompts"], result["memorized"]) == ("testbed", 24, 12)
    assert pq.read_table(out / "prompts.parquet").num_rows == 24
    entropy = result["signals"]["entropy_e"]
    assert entropy["auc_low"] <= entropy["auc"] <= entropy["auc_high"]
    assert (entropy["published_auc"], entropy["published_tpr"]) == (0.846, 0.116)
    assert result["signals"]["bos_mass"]["published_auc"] is None
    assert {"n_tokens", "title_case_fraction"} <= set(result["text_only"])
    assert "n_samples" not in result["text_only"]
    assert len(result["published"]) == len(published().figures)
    assert Path(result["page"]) == out / "replication.html"
    printed = (out.parent / "printed").read_text()
    assert "entropy_e, seeds: 1" in printed
    assert "0.846, here" in printed
    assert "deviation: the figures are of Stable Diffusion 1.4" in printed


def test_the_sweep_covers_timesteps_and_sides(result: dict[str, Any]) -> None:
    points = {(one["side"], one["timestep"]): one["auc"] for one in result["timesteps"]}
    assert set(points) == {(1.0, 981), (1.0, 41), (0.5, 981), (0.5, 41)}
    for one in result["low_noise_step"]:
        gain = points[one["side"], 41] - points[1.0, 981]
        assert one["auc_gain"]["auc"] == pytest.approx(gain)


def test_each_profile_has_its_cost(result: dict[str, Any]) -> None:
    found = {(one["profile"], one["side"]): one for one in result["profiles"]}
    assert set(found) == {("triage", 1.0), ("triage", 0.5)}
    assert all(one["seconds_per_caption"] > 0 for one in found.values())
    whole, half = found["triage", 1.0], found["triage", 0.5]
    assert half["gflop_per_caption"] < whole["gflop_per_caption"]


def test_the_calibration_can_be_shared(out: Path, result: dict[str, Any]) -> None:
    assert result["calibrations"] == {"triage": result["calibration"]}
    calibration = read_calibration(result["calibration"])
    run = json.loads((out / "runs/triage-100/run.json").read_text())
    assert calibration.binding["weights"] == run["fingerprint"]["weights"] == result["weights"]


def test_a_finished_replication_scans_nothing_again(out: Path) -> None:
    config = parse(ReplicateConfig, "replicate", "", [*TESTBED[1:], "--out", str(out)])
    commits = sorted((out / "runs").rglob("commits/*.json"))
    before = [path.stat().st_mtime_ns for path in commits]
    assert len(run_scans(config, lambda state: None).scans) == 4
    assert before == [path.stat().st_mtime_ns for path in commits]


def test_other_prompts_need_another_directory(out: Path) -> None:
    done = called(*TESTBED, "--out", str(out), "--limit", "20", check=False)
    assert done.returncode == 1
    assert "of 24 other prompts, and this one of 20" in done.stderr


def test_the_page_says_what_was_not_run(out: Path, browser: Browser) -> None:
    with opened(browser, out / "replication.html") as page:
        text = page.inner_text("main")
        assert "sd14, sd2 and rv51 have not been run" in text
        assert "only 24 prompts were evaluated" in text
        assert page.locator(".chart svg").count() == 2
        page.set_viewport_size({"width": 390, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_transformer_is_replicated_too(tmp_path: Path) -> None:
    options = ("--profiles", "late", "--timesteps", "999", "500", "--sides", "1", "--limit", "24")
    done = called("replicate", "testbed-dit", *options, "--out", str(tmp_path / "out"), "--json")
    result = json.loads(done.stdout)
    assert {"velocity_norm_mid", "text_share_mid"} <= set(result["signals"])
    assert [one["timestep"] for one in result["timesteps"]] == [999, 500]


def test_lists_and_weights_are_fetched_and_locked(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, words in (("RV_mem.txt", "Podcast of Speaker"), ("RV_nmem.txt", "a bowl of fruit")):
        lines = [f"{words} {hashlib.sha256(f'{words}{n}'.encode()).hexdigest()}" for n in range(12)]
        (mirror / name).write_text("\n".join(lines))
    weights, out = str(random_models["sd1"]), tmp_path / "out"
    given = ("--mirror", str(mirror), "--weights", weights, "--out", str(out))
    options = ("--profiles", "triage", "--timesteps", "981", "--sides", "0.5", "--json")
    done = called("replicate", "rv51", *given, *options)
    result = json.loads(done.stdout)
    assert [(one["prompts"], one["pinned"]) for one in result["lists"]] == [(12, False)] * 2
    assert f"weights: {weights} instead of SG161222/Realistic_Vision_V5.1_noVAE" in done.stdout
    locked = json.loads((out / "lock.json").read_text())
    assert locked["model"] == {"name": weights, "revision": None, "weights": result["weights"]}
    digest = hashlib.sha256((mirror / "RV_mem.txt").read_bytes()).hexdigest()
    assert locked["lists"]["RV_mem.txt"]["sha256"] == digest
    assert result["signals"] == {}, "nothing is measured at the model's own side"
    page = (out / "replication.html").read_text()
    assert digest in page
    assert "sd14, sd2 and rv51 have not been run" not in page


def test_a_dry_run_counts_without_network(tmp_path: Path) -> None:
    options = ("--profiles", "triage", "--sides", "1", "--timesteps", "41", "--dry-run")
    done = called("replicate", "sd14", *options, "--json", "--out", str(tmp_path / "out"))
    result = json.loads(done.stdout)
    assert {one["name"] for one in result["scans"]} == {"triage-100", "timesteps-100"}
    assert 3.9e9 < result["download_bytes"] < 4.0e9
    assert 0 < result["hours_low"] < result["hours_high"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("testbed", "--weights", "a/b"), "testbed fetches nothing"),
        (("testbed", "--sides", "2"), "--sides 2: must be from 0.25 to 1"),
        (("testbed", "--limit", "1"), "--limit 1: must be at least 2"),
        (("sd14", "--gpu", "abacus", "--dry-run"), "--gpu abacus: not in the table"),
        (("sd3",), "sd3"),
    ],
)
def test_invalid_options_end_with_status_2(options: tuple[str, ...], message: str) -> None:
    done = called("replicate", *options, check=False)
    assert done.returncode == 2
    assert message in done.stderr
