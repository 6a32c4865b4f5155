"""Records of a run, calibrations and policies by others: read, or refused in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from scanner.calibration import file as calibration_file
from scanner.curation.policy import DEFAULT, policy_of, read_policy
from scanner.errors import UserError
from scanner.query import open_run, rank
from scanner.run import Run
from scanner.run.progress import read_progress
from scanner.run.records import encode
from scanner.run.status import status
from scanner.scan.plan.inputs import FrozenInputs
from tests.fuzz.conftest import Explore
from tests.fuzz.damage import damaged
from tests.fuzz.records import changed, changed_json
from tests.query.runs import make_run

NEVER_EVALUATED = {"null": None}
CALIBRATION = {
    "format": calibration_file.FORMAT,
    "version": calibration_file.VERSION,
    "binding": {"weights": "w", "signals": ["entropy_e"], "latent_shape": [4, 8, 8]},
    "intercept": 0.5,
    "weights": {"entropy_e": [1.0]},
    "thresholds": [
        {"signal": "entropy_e", "threshold": 1.0, "higher": True, "false_positive_rate": 0.01}
    ],
    "references": 3,
    "evaluation": {"combination": {"auc": 0.5}, **NEVER_EVALUATED},
}
POLICY: dict[str, Any] = {
    "name": "p",
    "version": 1,
    "rejects": "keep",
    "limits": {"source": 0.5, "cluster": 0.1},
    "rule": [
        {"reason": "a", "when": "true", "action": "cap", "keep": 2, "of": "image"},
        {"reason": "b", "when": "n_samples > 1", "action": "drop"},
    ],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"caption_id": "a" * 32, "caption": "a", "entropy_e": 1.0, "bos_mass": 0.5}]
    place = make_run(tmp_path_factory.mktemp("fuzz") / "run", rows)
    Run.existing(place).store.write(
        "progress.json", encode({"updated": 1.0, "running": {"000000": 1}, "events": ["x"]})
    )
    return Path(place)


def _refused_or(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError as error:
        # One line for a person, which a terminal and a log can take.
        str(error).encode()


def _names(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*.json"))


@pytest.mark.slow
def test_changed_records_of_a_run_are_read_or_refused(explore: Explore, run: Path) -> None:
    whole = {name: (run / name).read_bytes() for name in _names(run)}

    def check(change: tuple[str, bytes]) -> None:
        name, data = change
        (run / name).write_bytes(data)
        try:
            _refused_or(lambda: status(Run.existing(str(run))))
            _refused_or(lambda: rank(open_run(str(run))))
            _refused_or(lambda: read_progress(Run.existing(str(run))))
            _refused_or(lambda: Run.existing(str(run)).is_finished())
        finally:
            (run / name).write_bytes(whole[name])

    one = [st.tuples(st.just(name), changed_json(data)) for name, data in whole.items()]
    explore(check, change=st.one_of(one))


def test_changed_inputs_of_planning_are_read_or_refused(explore: Explore) -> None:
    columns = {"caption": "c", "key": None, "image_key": None, "keep": ["url"], "status": None}
    segment = {"url": "u", "is_reference": False, "columns": columns, "extent": None, "problem": ""}
    units = [
        {"id": "000000", "segments": [{**segment, "extent": {"first": 0, "end": 1, "row": 0}}]}
    ]

    def check(data: bytes) -> None:
        _refused_or(lambda: FrozenInputs.from_json("inputs.json", data))

    record = {"keep": ["url"], "units": units, "skipped": {}}
    explore(check, data=changed_json(encode(record)))


def test_a_changed_calibration_is_read_or_refused(explore: Explore, run: Path, place: Any) -> None:
    def check(data: bytes) -> None:
        url = place("calibration.json", data)
        _refused_or(lambda: calibration_file.read_evaluation(url))
        _refused_or(lambda: calibration_file.read_null(url))
        _refused_or(lambda: calibration_file.read_calibration(url).thresholds_table())

    explore(check, data=changed_json(encode(CALIBRATION)))


def test_a_changed_policy_is_read_or_refused(explore: Explore, place: Any) -> None:
    def check(record: dict[str, Any], text: bytes) -> None:
        _refused_or(lambda: policy_of(record, "p").id)
        _refused_or(lambda: read_policy(place("p.toml", text)).id)

    shipped = st.just(DEFAULT.read_bytes())
    explore(check, record=changed(POLICY), text=damaged(shipped) | st.binary(max_size=50))
