"""Decide whether an item, a device or a node is at fault for a failure.

An item that fails is tried on another device. If it succeeds there, the failure was the first
device's; if it fails there too, it was the item's. A device with the failures of two items is taken
out of service for the rest of the execution, and so is a node on which actors cannot start.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from scanner.cluster.events import Location, Place
from scanner.cluster.limits import DEFAULT_LIMITS, RetryLimits


class FaultTracker:
    """Books failures on items, devices and nodes.

    ``out_of_service``: what is not used any more, by device (or a node's id and "" for all of it),
    with its name and the reason.
    """

    def __init__(self, limits: RetryLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.out_of_service: dict[Place, str] = {}
        # Items that failed in a process with other items, any of which may have caused it.
        self._bystanders: set[str] = set()
        self._failed_at: defaultdict[str, dict[Place, Location]] = defaultdict(dict)
        # Items that failed on a device and succeeded on another.
        self._proven: defaultdict[Place, set[str]] = defaultdict(set)
        # Items and starts that broke a device since it last committed anything.
        self._broken: defaultdict[Place, set[str]] = defaultdict(set)
        self._failed_starts: Counter[str] = Counter()

    def is_out(self, location: Location) -> bool:
        """Return whether nothing more may run there."""
        return bool({location.place, (location.node, "")} & self.out_of_service.keys())

    def may_retry(
        self, item: str, place: Place, in_service: Iterable[Place], others_wait: bool = False
    ) -> bool:
        """Return whether to retry an item on a device: one on which it has not failed yet, unless
        it has failed on every device in service.

        A device that it broke is tried with one of the other items that wait first.
        """
        failed_at = self._failed_at.get(item, {})
        if place not in failed_at:
            return True
        if others_wait and item in self._broken[place]:
            return False
        return failed_at.keys() >= set(in_service)

    def record_failure(
        self, item: str, location: Location, *, is_broken: bool = False, is_alone: bool = True
    ) -> bool:
        """Book an item's failure; ``is_broken``: the error says that the device is broken;
        ``is_alone``: no other item that ran in the process may have caused it.

        Returns whether to count it for the item: not if its device has broken for another item too
        and committed nothing since.
        """
        self._failed_at[item][location.place] = location
        if not is_alone:
            self._bystanders.add(item)
        counts = not (is_broken and self._broken[location.place] - {item})
        if is_broken:
            self._broken[location.place].add(item)
        if len(self._failed_at[item]) > 1:  # the item's own fault
            for items in (*self._proven.values(), *self._broken.values()):
                items.discard(item)
        return counts

    def record_success(self, item: str, location: Location) -> list[Location]:
        """Book an item's success: an earlier failure of it was that of the other device.

        Returns that device, if there is one.
        """
        self._broken.pop(location.place, None)
        failed_at = self._failed_at.pop(item, {})
        failed_at.pop(location.place, None)
        if len(failed_at) != 1 or item in self._bystanders:
            return []
        ((place, suspect),) = failed_at.items()
        self._proven[place].add(item)
        return [suspect]

    def record_failed_start(self, location: Location, reason: str, is_broken: bool = False) -> int:
        """Book a failed start of an actor on its node, which is taken out of service after
        ``attempts`` of them; returns their number since the last start that worked."""
        count = self._failed_starts[location.node] = self._failed_starts[location.node] + 1
        if is_broken:
            self._broken[location.place].add(f"start {count}")
        if count >= self._limits.attempts:
            self.out_of_service[location.node, ""] = f"{location.host}: {reason}"
        return count

    def record_start(self, location: Location) -> None:
        """Book a start that worked."""
        self._failed_starts.pop(location.node, None)

    def take_out(self, location: Location, in_service: Iterable[Place], reason: str) -> bool:
        """Take a device out of service if it is at fault and another one is in service.

        Returns whether it is out of service now and was in service before.
        """
        place = location.place
        at_fault = max(len(self._proven[place]), len(self._broken[place]))
        others = set(in_service) - {place}
        if self.is_out(location) or at_fault < self._limits.device_items or not others:
            return False
        self.out_of_service[place] = f"{location.name}: {reason}"
        return True
