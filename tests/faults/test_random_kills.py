"""Kill -9 of actors, drivers, nodes and the S3 server at random moments of whole scans.

The long part is ``pytest -m faults -s tests/faults``: the rounds FAULT_FIRST (0) to FAULT_FIRST +
FAULT_ROUNDS (25) of the seed FAULT_SEED (0), each of which is the same however they are cut.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.storage import Store
from tests.faults.machine import Machine
from tests.faults.scans import FAULTS, Disturbed, check, disturb
from tests.servers import bucket_server, point_to
from tests.whole_scans import Scores, scores, write_captions

FIRST, ROUNDS, SEED = (
    int(os.environ.get(f"FAULT_{name}", default))
    for name, default in (("FIRST", "0"), ("ROUNDS", "25"), ("SEED", "0"))
)
DISTINCT = 2000


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    server = bucket_server(folder / "s3")
    with pytest.MonkeyPatch.context() as patch:
        point_to(server.port, patch, AWS_MAX_ATTEMPTS="1")
        machine = Machine(folder, server)
        yield machine
        machine.close()


def _uploaded(path: Path) -> tuple[str, ...]:
    Store("s3://bucket/set").upload(path, path.name)
    return ("--captions", f"s3://bucket/set/{path.name}")


@pytest.fixture(scope="module")
def many(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The options of the long part's scans."""
    path = tmp_path_factory.mktemp("data") / "many.csv"
    write_captions(path, rows=2 * DISTINCT, distinct=DISTINCT)
    return (*_uploaded(path), "--profile", "triage", "--slice-captions", "25")


@pytest.fixture(scope="module")
def calm(machine: Machine, many: tuple[str, ...]) -> tuple[Scores, float]:
    """The scores of the undisturbed run, and the seconds it took."""
    scan = Disturbed("s3://bucket/runs/calm")
    disturb(machine, many, scan, [], random.Random(0))
    return scores(scan.out), scan.seconds


def test_a_kill_of_each_kind_in_one_scan_costs_nothing(
    machine: Machine, undisturbed: str, data: Path
) -> None:
    scan = Disturbed("s3://bucket/runs/short")
    options = (*_uploaded(data), "--slice-captions", "20")
    disturb(machine, options, scan, [(0.0, kind) for kind in FAULTS], random.Random(1))
    assert len(scan.faults) == len(FAULTS)
    check(scan, scores(undisturbed))


@pytest.mark.faults
def test_two_drivers_started_at_once_make_one_run(
    machine: Machine, many: tuple[str, ...], calm: tuple[Scores, float]
) -> None:
    scan = Disturbed("s3://bucket/runs/two")
    disturb(machine, many, scan, [(0.0, "second driver")], random.Random(0))
    assert scan.drivers == 2
    check(scan, calm[0])


@pytest.mark.faults
def test_many_random_kills_cost_nothing(
    machine: Machine, many: tuple[str, ...], calm: tuple[Scores, float]
) -> None:
    undisturbed, seconds = calm
    print(f"\nseed {SEED}; an undisturbed scan of {DISTINCT:,} captions takes {seconds:.0f} s")
    print("round  seconds  drivers  slices redone  captions lost  faults")
    killed: Counter[str] = Counter()
    redone = 0
    for number in range(FIRST, FIRST + ROUNDS):
        choose = random.Random(f"{SEED}-{number}")
        kinds = choose.choices(FAULTS, k=choose.randint(1, 4))
        scan = Disturbed(f"s3://bucket/runs/{number}")
        faults = [(choose.uniform(0, seconds), kind) for kind in kinds]
        disturb(machine, many, scan, faults, choose)
        lost = len(undisturbed) - check(scan, undisturbed)
        killed.update(what.rsplit(" ", 2)[0] for what in scan.faults)
        redone += scan.redone
        what = ", ".join(scan.faults) or "over before it could be disturbed"
        cost = f"{scan.seconds:7.0f}  {scan.drivers:7}  {scan.redone:13}  {lost:13}"
        print(f"{number:5}  {cost}  {what}", flush=True)
    print(f"{ROUNDS} rounds; {dict(killed)}; slices redone: {redone}; captions lost: 0")
    assert sum(killed.values()) >= ROUNDS
