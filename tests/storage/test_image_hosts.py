"""A host that failed is left alone, for a while if so asked."""

import pytest

from scanner.storage import ImageHosts
from scanner.storage import image_hosts as module
from scanner.storage.image_hosts import FAILURES, Missing
from tests.servers import free_port


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("retry_seconds", "is_tried_again"), [(None, False), (60.0, True)])
def test_a_host_is_contacted_again_after_the_given_time(
    retry_seconds: float | None, is_tried_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    hosts = ImageHosts() if retry_seconds is None else ImageHosts(retry_seconds=retry_seconds)
    url = f"http://127.0.0.1:{free_port()}/x.png"

    def reason() -> str:
        with pytest.raises(Missing) as missing:
            hosts.fetch(url, 10)
        return str(missing.value)

    for _ in range(FAILURES):
        assert "cannot be reached" in reason()
    assert "not contacted again" in reason()
    clock.now += 61
    assert ("cannot be reached" in reason()) == is_tried_again
