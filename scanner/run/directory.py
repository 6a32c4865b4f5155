"""The directory of a run: its files, and the steps that change it.

Order of a run's life: ``run.json`` (created once), ``plan.json`` (created once), parts and then
the commit that names them, the manifest. Readers follow commits and the manifest only, so parts
without a commit are ignored. Every step may be repeated by any number of
drivers: the first to create a file wins, and the others continue from that file.
"""

import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scanner.errors import UserError
from scanner.run.commits import Commits
from scanner.run.compaction import (
    DEFAULT_SIZES,
    GroupSizes,
    Layout,
    arrange,
    compaction_commits,
)
from scanner.run.json_files import ManifestRecord, RunRecord, flags_of
from scanner.run.records import LARGEST_BYTES, DamagedFile, Plan, decode, encode, read_json
from scanner.run.rejects import committed_reasons, count_reasons
from scanner.run.results import Results, load_results
from scanner.run.sealing import check_results, is_in_part, make_manifest
from scanner.run.summary import PlanSummary
from scanner.storage import Store

_MANIFEST = re.compile(r"manifest-(\d{1,9})\.json")
# A purge that began to replace files, and has to be finished before anything else writes.
PURGE_JOURNAL = "purging/purge.json"
REPAIR = "rerun the same memscan scan with --repair, which scores its slice again"


class Run:
    """A run's directory in a store; the methods are the commit protocol."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def existing(cls, url: str) -> "Run":
        """Open a run to read. Raises UserError if the directory has no run."""
        run = cls(Store(url, single_writer=True))
        if not run.store.exists("run.json"):
            why = run.store.why_missing() or "run.json is missing"
            raise UserError(f"{url}: no run here ({why}); make one by memscan scan")
        return run

    # -- run.json ---------------------------------------------------------------------------

    def record(self) -> dict[str, Any] | None:
        """run.json, or None."""
        if not self.store.exists("run.json"):
            return None
        return read_json(self.store, "run.json", RunRecord)

    def begin(self, record: dict[str, Any]) -> None:
        """Create run.json, or check that the existing one has the same configuration.

        Raises UserError, naming the differences, if the directory has a run with another
        configuration.
        """
        if not self.store.create("run.json", encode(record)):
            self.refuse_others(record, self.record() or {})

    def refuse_others(self, given: dict[str, Any], existing: dict[str, Any]) -> None:
        """Raise UserError, naming the differences, if ``existing``, the record of this run, has
        other ``inputs`` than ``given``, or another ``fingerprint`` if that is given too."""
        given = json.loads(encode(given))
        for part in ("inputs", "fingerprint"):
            if part in given and existing.get(part) != given[part]:
                changed = _differences(part, existing, given)
                hint = "repeat the settings of its run.json"
                if "captions (" in changed:
                    hint += "; to add input files to it, --extend"
                if existing.get("options") == given.get("options") and "signals (" in changed:
                    hint = "use the version of memscan that began it: its profile had other signals"
                raise UserError(
                    f"{self.store.url} holds a run with another configuration; differences: "
                    f"{changed}. Choose another --out, or {hint}"
                )

    def abandon(self) -> None:
        """Remove run.json if planning failed and cannot be resumed, to allow other options."""
        if not self.plans() and not self.store.exists(f"{planning_folder(0)}/inputs.json"):
            self.store.remove("run.json")

    # -- plan.json, and plan-0002.json … if the run was extended ----------------------------

    def plans(self) -> list[Plan]:
        """Return the generations of the plan, oldest first; [] before the first."""
        existing = set(self.store.names(""))
        names = itertools.takewhile(existing.__contains__, map(plan_name, itertools.count()))
        return [self._plan(name) for name in names]

    def plan(self) -> Plan | None:
        """Return all generations as one plan, or None."""
        plans = self.plans()
        return Plan.joined(plans) if plans else None

    def adopt(self, plan: Plan, generation: int = 0) -> Plan:
        """Create this generation of the plan, or return the one that another driver created."""
        name = plan_name(generation)
        if self.store.create(name, plan.to_json()):
            return plan
        return self._plan(name)

    # -- commits ----------------------------------------------------------------------------

    @property
    def commits(self) -> Commits:
        """The commits of scored slices."""
        record = self.record()
        fingerprint = record["fingerprint"]["id"] if record else ""
        return Commits(self.store, "commits", fingerprint, REPAIR)

    @property
    def compaction(self) -> Commits:
        """The commits of merged groups of slices."""
        return compaction_commits(self.store, self.commits.fingerprint)

    def layout(self, plan: Plan, sizes: GroupSizes = DEFAULT_SIZES) -> Layout:
        """Return where the results of the committed slices are, from two listings."""
        compacted = self.compaction.done()  # first: see arrange
        return arrange(plan.slices, self.commits.done(), compacted, sizes)

    def quarantined(self) -> set[str]:
        """Return the ids of the slices that have been quarantined, some of them committed since."""
        names = (name.rsplit("/", 1)[1] for name in self.store.names("quarantine"))
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def results(self, layout: Layout) -> Results:
        """Read the commits of the results."""
        return load_results(self.commits, self.compaction, layout)

    # -- plan-summary.json: derived from the plan -------------------------------------------

    def summarize(self, plan: Plan, generation: int) -> None:
        """Write the summary of a generation of the plan, unless it is there."""
        name = _summary_name(generation)
        summary = PlanSummary.of(plan, {})
        if self.store.exists(name):
            with contextlib.suppress(DamagedFile):
                existing = self._summary(name)
                if replace(existing, reasons={}) == summary:
                    return
        reasons = count_reasons(self.store, plan.rejects)
        self.store.write(name, replace(summary, reasons=reasons).to_json())

    def summaries(self) -> list[PlanSummary]:
        """Return the summary of every generation; reads the plan if the summary is missing."""
        existing = set(self.store.names(""))
        summaries: list[PlanSummary] = []
        while (plan := plan_name(len(summaries))) in existing:
            name = _summary_name(len(summaries))
            if name in existing:
                summaries.append(self._summary(name))
            else:
                whole = self._plan(plan)
                reasons = count_reasons(self.store, whole.rejects)
                summaries.append(PlanSummary.of(whole, reasons))
        return summaries

    def _summary(self, name: str) -> PlanSummary:
        data = self.store.read(name, LARGEST_BYTES)
        return decode(self.store.location(name), data, PlanSummary)

    # -- the manifest -----------------------------------------------------------------------

    def manifest(self) -> dict[str, Any] | None:
        """Return the newest manifest, or None if the run is not sealed."""
        return next(iter(self.newest_manifests(1)), None)

    def newest_manifests(self, most: int) -> list[dict[str, Any]]:
        """Return at most this many manifests, newest first."""
        newest = self.manifest_names()[::-1][:most]
        return [read_json(self.store, name, ManifestRecord) for name in newest]

    def manifest_names(self) -> list[str]:
        """Return the names of all manifests, oldest first."""
        return [name for name in self.store.names("") if name.startswith("manifest-")]

    def newest_manifest(self) -> int:
        """Return the number of the newest manifest, 0 before the first."""
        found = map(_MANIFEST.fullmatch, self.manifest_names())
        return max((int(match[1]) for match in found if match), default=0)

    def seal(self, layout: Layout | None = None, is_whole: bool = True) -> dict[str, Any]:
        """List all planned and committed files in a new manifest, and return it.

        ``layout``: where the results are; listed if not given, and if other drivers have merged
        parts or committed slices since. ``is_whole``: whether all slices were tried, so that those
        without results are quarantined. Reads one commit per merged group and per other slice.
        Raises UserError if a commit is damaged, has another fingerprint or its row count does not
        match the plan.
        """
        record, plan = self.record(), self.plan()
        if record is None or plan is None:
            raise UserError(f"{self.store.url}: nothing to seal: the run has no plan yet")
        fingerprint = record["fingerprint"]["id"]
        while True:
            compacted = self.compaction.done()
            if layout is None or not layout.is_current(compacted):
                layout = self.layout(plan)
            results = self.results(layout)
            check_results(self.store.url, fingerprint, plan, results)
            commits = [commit for commit, _ in results.held]
            reasons = Counter(committed_reasons(self.store, commits))
            for summary in self.summaries():
                reasons.update(summary.reasons)
            failed = None if is_whole else self.quarantined()
            manifest = make_manifest(fingerprint, plan, results, reasons, failed)
            # After the newest, not in a gap: create() accepts an older one of the same content.
            number = 1 + self.newest_manifest()
            while not self.store.create(f"manifest-{number:04d}.json", encode(manifest)):
                number += 1
            # Another driver that has merged parts since may have removed those listed here; the
            # slices that it has committed since are not listed.
            left = {item.id for item in plan.slices} - results.slices()
            is_behind = bool(left) and not left.isdisjoint(self.commits.done())
            if self.compaction.done() == compacted and not is_behind:
                return manifest
            layout = None

    def _plan(self, name: str) -> Plan:
        return Plan.from_json(self.store.location(name), self.store.read(name, LARGEST_BYTES))

    def is_finished(self) -> bool:
        """Return whether the run is sealed with all its slices."""
        manifest = self.manifest()
        return manifest is not None and is_complete(manifest, self.summaries())


def is_complete(manifest: dict[str, Any], plans: Sequence[PlanSummary]) -> bool:
    """Return whether a manifest covers all slices of all generations of the plan."""
    counts: Counter[str] = sum((Counter(plan.counts) for plan in plans), Counter())
    names = ("rows", "samples", "captions")
    is_current = all(counts[name] == manifest["counts"].get(name, 0) for name in names)
    is_whole = not (manifest["quarantined"] or is_in_part(manifest))
    return bool(plans) and is_current and is_whole


def recorded_roots(record: dict[str, Any]) -> list[str]:
    """Return the --captions of a scan, or of the scan that its captions come from, by run.json."""
    return record.get("input_roots") or record["inputs"].get("captions") or []


def planning_folder(generation: int) -> str:
    """Return the folder that keeps the progress of planning a generation."""
    return f"planning/{generation:04d}"


def plan_name(generation: int) -> str:
    """Return the file name of a generation of the plan, counted from 0."""
    return f"plan-{generation + 1:04d}.json" if generation else "plan.json"


def _summary_name(generation: int) -> str:
    return plan_name(generation).replace("plan", "plan-summary", 1)


def _differences(part: str, existing: dict[str, Any], given: dict[str, Any]) -> str:
    """Return what differs in a part of run.json: by flag if the options differ, else by field."""
    was, now = ({**existing.get(part, {})}, {**given[part]})
    if part == "fingerprint":
        options = flags_of(existing.get("options", {})), flags_of(given.get("options", {}))
    else:
        options = was, now
    names = _different(*options) or _different(was, now)
    # The value that the scorer used, since an option may have been left at its default.
    old, new = ({**flags, **values} for flags, values in zip(options, (was, now), strict=True))
    return ", ".join(
        f"{name} (run: {_shown(old.get(name))}, given: {_shown(new.get(name))})" for name in names
    )


def _different(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in {**was, **now} if was.get(name) != now.get(name) and name != "id"]


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value)
