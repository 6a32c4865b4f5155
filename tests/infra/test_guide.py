"""The guide from an empty account to a removal list, followed on a local S3 and a local Ray: its
own commands and files in its order, but for the place, the model and the processors."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
import yaml

from scanner.testbed import files
from tests.infra.shapes import laion
from tests.local_ray import local_ray
from tests.memscan import called
from tests.servers import bucket_server, point_to

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "infra/README.md").read_text()
(STEPS,) = re.findall(r"^## Steps$(.*?)^## ", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^ *(memscan .*)$", STEPS, re.MULTILINE)
HERE = {"--model": "testbed", "--device": "cpu", "--cpus-per-actor": "1", "--actors": "1"}
TAKES = {
    "scan": {**HERE, "--seeds": "1"},
    "verify": {"--top": "12", "--seeds": "2", "--steps": "5", "--actors": "1"},
}
# Enough others after the cascade for a rate of 1 % among them.
MEMORIZED, OTHERS = 24, 300


def _fill(folder: Path) -> None:
    """Captions of the testbed as LAION has them, and labels.csv with what is known of them."""
    labels = files.labels().to_pylist()
    chosen = [row for row in labels if row["memorized"]][:MEMORIZED]
    chosen += [row for row in labels if row["group"] == "once"][:OTHERS]
    told = {name: [row[name] for row in chosen] for name in ("caption", "memorized")}
    folder.mkdir(parents=True)
    laion(folder, told["caption"])
    pa.csv.write_csv(pa.table(told), "labels.csv")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bucket with data under ``inputs/``, a Ray to join, and a working directory with labels."""
    folder = tmp_path_factory.mktemp("account")
    server = bucket_server(folder)
    with pytest.MonkeyPatch.context() as environ:
        point_to(server.port, environ)
        environ.chdir(folder)
        _fill(folder / "bucket/inputs/laion2B-en")
        with local_ray():
            yield folder
    server.kill()


def _entrypoint() -> str:
    """What the RayJob starts, with the job file where step 5 takes it from."""
    job = yaml.safe_load((ROOT / "infra/kubernetes/rayjob.yaml").read_text())
    (taken,) = re.findall(r"--from-file=job.toml=(\S+)", STEPS)
    entrypoint: str = job["spec"]["entrypoint"]
    return re.sub(r"\S+/job\.toml", taken, entrypoint)


def _follow(command: str, account: Path) -> str:
    """What a command of the guide prints when it is called here."""
    _, name, *words = shlex.split(command.replace("s3://BUCKET/", "s3://bucket/"))
    for number, word in enumerate(words):
        if word.endswith(".toml"):
            text = (ROOT / word).read_text().replace("s3://BUCKET/", "s3://bucket/")
            words[number] = str(account / "job.toml")
            Path(words[number]).write_text(text)
    for flag, value in TAKES.get(name, {}).items():
        words += [flag, value]  # the last one counts
    return called(name, *words).stdout


def test_the_guide_leads_to_a_removal_list(account: Path) -> None:
    before, after = (
        [line for line in COMMANDS if ("--dry-run" in line) == dry] for dry in (True, False)
    )
    assert len(before) == 1
    assert len(after) >= 6
    assert [*before, *after] == COMMANDS
    assert "distinct captions    324 in" in _follow(before[0], account)
    assert not (account / "bucket/runs").exists()
    assert "324 captions scored" in _follow(_entrypoint(), account)
    printed = {command.split()[1]: _follow(command, account) for command in after}
    assert "sealed     yes" in printed["status"]
    assert "verbatim" in printed["verify"]
    assert "removed" in printed["curate"]
    assert (account / "report.html").stat().st_size > 100_000
    summary = json.loads((account / "removal/summary.json").read_text())
    assert summary["by_rule"]


def test_storage_is_what_the_demo_s_run_takes(testbed_run: str) -> None:
    words = " ".join(GUIDE.split())
    (stated,) = re.findall(
        r"\(([\d,]+) samples, ([\d,]+) captions, `standard`\): "
        r"(\d+) bytes per sample in `samples/`, "
        r"(\d+) per distinct caption in `captions/` and (\d+) in `scores/`",
        words,
    )
    samples, captions, *each = (int(number.replace(",", "")) for number in stated)
    bytes_of = {
        folder: sum(path.stat().st_size for path in Path(testbed_run, folder).iterdir())
        for folder in ("samples", "captions", "scores")
    }
    counts = json.loads(Path(testbed_run, "manifest-0001.json").read_text())["counts"]
    assert (counts["samples"], counts["captions"]) == (samples, captions)
    real = [bytes_of["samples"] / samples, bytes_of["captions"] / captions]
    assert each == pytest.approx([*real, bytes_of["scores"] / captions], rel=0.05)
