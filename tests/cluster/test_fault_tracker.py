"""Whether an item, a device or a node is at fault."""

from scanner.cluster.events import Location
from scanner.cluster.fault_tracker import FaultTracker
from scanner.cluster.heartbeat import Heartbeat

GOOD, BAD = Location("node", "host", "GPU 0"), Location("node", "host", "GPU 1")
BOTH = {GOOD.place, BAD.place}


def test_a_device_whose_items_succeed_elsewhere_is_at_fault() -> None:
    faults = FaultTracker()
    for item in ("a", "b"):
        assert not faults.take_out(BAD, BOTH, "it fails")
        faults.record_failure(item, BAD)
        assert not faults.may_retry(item, BAD.place, BOTH)
        assert faults.may_retry(item, GOOD.place, BOTH)
        assert faults.record_success(item, GOOD) == [BAD]
    assert faults.take_out(BAD, BOTH, "it fails")
    assert faults.is_out(BAD)
    assert not faults.is_out(GOOD)
    assert list(faults.out_of_service.values()) == ["GPU 1 of host: it fails"]
    assert not faults.take_out(BAD, {GOOD.place}, "it fails"), "only once"


def test_a_device_that_breaks_twice_in_a_row_is_at_fault() -> None:
    faults = FaultTracker()
    faults.record_failure("a", BAD, is_broken=True)
    assert not faults.take_out(BAD, BOTH, "broken")
    faults.record_failure("b", BAD, is_broken=True)
    assert faults.take_out(BAD, BOTH, "broken")


def test_a_device_that_commits_in_between_is_not_at_fault() -> None:
    faults = FaultTracker()
    faults.record_failure("a", BAD, is_broken=True)
    faults.record_success("c", BAD)
    faults.record_failure("b", BAD, is_broken=True)
    assert not faults.take_out(BAD, BOTH, "broken")


def test_bystanders_of_a_death_blame_no_device() -> None:
    faults = FaultTracker()
    for item in ("a", "b"):
        faults.record_failure(item, BAD, is_alone=False)
    for item in ("a", "b"):
        assert faults.record_success(item, GOOD) == []
    assert not faults.take_out(BAD, BOTH, "it dies")


def test_items_that_fail_everywhere_blame_no_device() -> None:
    faults = FaultTracker()
    for item in ("a", "b", "c"):
        for place in (BAD, GOOD):
            faults.record_failure(item, place, is_broken=True)
        assert not faults.take_out(BAD, BOTH, "broken")
        assert not faults.take_out(GOOD, BOTH, "broken")
        assert faults.may_retry(item, BAD.place, BOTH), "there is no device left to try"


def test_the_last_device_stays_in_service() -> None:
    faults = FaultTracker()
    for item, counts in (("a", True), ("b", False), ("a", False)):
        assert faults.record_failure(item, BAD, is_broken=True) == counts
        assert faults.may_retry(item, BAD.place, {BAD.place})
        assert not faults.may_retry(item, BAD.place, {BAD.place}, others_wait=True)
    assert not faults.take_out(BAD, {BAD.place}, "broken")
    faults.record_success("d", BAD)
    assert faults.may_retry("a", BAD.place, {BAD.place}, others_wait=True)


def test_a_node_is_out_after_three_failed_starts_in_a_row() -> None:
    faults = FaultTracker()
    counts = [faults.record_failed_start(BAD, "no weights") for _ in range(2)]
    assert counts == [1, 2]
    assert not faults.is_out(BAD)
    faults.record_start(BAD)
    assert [faults.record_failed_start(BAD, "no weights") for _ in range(3)] == [1, 2, 3]
    assert faults.is_out(BAD)
    assert faults.is_out(GOOD)
    assert not faults.is_out(Location("other", "host 2", "GPU 0"))


def test_a_heartbeat_gives_silence_and_the_slowest_batch() -> None:
    now = 0.0
    heart = Heartbeat(lambda: now)
    now = 50.0
    assert heart.pulse().silent == 0.0, "nothing runs"
    with heart.running("a"):
        now = 51.0
        with heart.computing("a") as report:
            now = 52.0
            report(1)
            now = 57.0
            assert (heart.pulse().silent, heart.pulse().computed) == (5.0, {"a": 1})
            report(2)
            assert heart.pulse().silent == 0.0
        now = 60.0
        assert (heart.pulse().silent, heart.pulse().computed) == (3.0, {"a": 2})
    assert (heart.pulse().slowest, heart.pulse().computed) == (5.0, {})
