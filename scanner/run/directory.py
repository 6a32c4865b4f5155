"""The directory of a run: its files, and the steps that change it.

Order of a run's life: ``run.json`` (created once), ``plan.json`` (created once), parts and then
the commit that names them, the manifest. Readers follow commits and the manifest only, so parts
without a commit are ignored. Every step may be repeated by any number of
drivers: the first to create a file wins, and the others continue from that file.
"""

import hashlib
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scanner.errors import UserError
from scanner.run.commits import READERS, Commits
from scanner.run.json_files import ManifestRecord, RunRecord, flags_of
from scanner.run.records import LARGEST_BYTES, Commit, Part, Plan, encode, read_json
from scanner.storage import Store

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
        if self.store.create("run.json", encode(record)):
            return
        existing = self.record() or {}
        given = json.loads(encode(record))
        for part in ("inputs", "fingerprint"):
            if existing.get(part) != given[part]:
                changed = _differences(part, existing, given)
                hint = "; to add input files to it, --extend" if "captions (" in changed else ""
                raise UserError(
                    f"{self.store.url} holds a run with another configuration; differences: "
                    f"{changed}. Choose another --out, or repeat the settings of its run.json{hint}"
                )

    def abandon(self) -> None:
        """Remove run.json if planning failed and cannot be resumed, to allow other options."""
        if not self.plans() and not self.store.exists(f"{planning_folder(0)}/inputs.json"):
            self.store.remove("run.json")

    # -- plan.json, and plan-0002.json … if the run was extended ----------------------------

    def plans(self) -> list[Plan]:
        """Return the generations of the plan, oldest first; [] before the first."""
        existing = set(self.store.names(""))
        names = itertools.takewhile(existing.__contains__, map(_plan_name, itertools.count()))
        return [self._plan(name) for name in names]

    def plan(self) -> Plan | None:
        """Return all generations as one plan, or None."""
        plans = self.plans()
        return Plan.joined(plans) if plans else None

    def adopt(self, plan: Plan, generation: int = 0) -> Plan:
        """Create this generation of the plan, or return the one that another driver created."""
        name = _plan_name(generation)
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

    def damaged(self) -> dict[str, str]:
        """Return the damaged slices, and why: the commit cannot be read, or a part is missing or
        has another checksum.

        Reads every part.
        """
        loaded = self.commits.load(self.commits.done())
        commits = [commit for commit in loaded.values() if isinstance(commit, Commit)]
        unread = {
            name: f"its commit is damaged ({commit.why})"
            for name, commit in loaded.items()
            if not isinstance(commit, Commit)
        }

        def problem(part: Part) -> str:
            try:
                digest = hashlib.sha256(self.store.read(part.path)).hexdigest()
            except FileNotFoundError:
                return f"{part.path} is missing"
            return "" if digest == part.sha256 else f"{part.path} is damaged"

        pairs = [(commit.slice, part) for commit in commits for part in commit.parts]
        with ThreadPoolExecutor(READERS) as threads:
            problems = threads.map(problem, [part for _, part in pairs])
            bad = {pair[0]: why for pair, why in zip(pairs, problems, strict=True) if why}
        return unread | bad

    # -- the manifest -----------------------------------------------------------------------

    def manifest(self) -> dict[str, Any] | None:
        """Return the newest manifest, or None if the run is not sealed."""
        names = [n for n in self.store.names("") if n.startswith("manifest-")]
        if not names:
            return None
        return read_json(self.store, names[-1], ManifestRecord)

    def seal(self) -> dict[str, Any]:
        """List all planned and committed files in a new manifest, and return it.

        Raises UserError if a commit has another fingerprint or its row count does not match the
        plan.
        """
        record, plan, commits = self.record(), self.plan(), self.commits.all()
        if record is None or plan is None:
            raise UserError(f"{self.store.url}: nothing to seal: the run has no plan yet")
        planned = {item.id: item for item in plan.slices}
        for commit in commits:
            done = commit.rows("scores") + commit.rows("rejects")
            if commit.slice not in planned or done != planned[commit.slice].rows:
                raise UserError(
                    f"{self.store.url}/{commit.name} does not match the plan: {done} rows; do not "
                    "mix files of two runs"
                )
            if commit.fingerprint != record["fingerprint"]["id"]:
                raise UserError(
                    f"{self.store.url}/{commit.name} was made with other settings than run.json "
                    "says; do not mix files of two runs"
                )
        finished = {commit.slice for commit in commits}
        left = [item for item in plan.slices if item.id not in finished]
        parts = [part for commit in commits for part in commit.parts]
        manifest = {
            "fingerprint": record["fingerprint"]["id"],
            "samples": list(plan.samples),
            "captions": list(plan.captions),
            "rejects": [*plan.rejects, *(p.path for p in parts if p.kind == "rejects")],
            "scores": [
                {"path": p.path, "rows": p.rows, "sha256": p.sha256}
                for p in parts
                if p.kind == "scores"
            ],
            "quarantined": [{"slice": item.id, "captions": item.rows} for item in left],
            "counts": {
                **plan.counts,
                "scored": sum(p.rows for p in parts if p.kind == "scores"),
                "scan_rejects": sum(p.rows for p in parts if p.kind == "rejects"),
                "quarantined": sum(item.rows for item in left),
            },
            "sealed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        number = 1
        while not self.store.create(f"manifest-{number:04d}.json", encode(manifest)):
            number += 1
        return manifest

    def _plan(self, name: str) -> Plan:
        return Plan.from_json(self.store.location(name), self.store.read(name, LARGEST_BYTES))

    def is_finished(self) -> bool:
        """Return whether the run is sealed, without quarantined slices."""
        manifest, plan = self.manifest(), self.plan()
        return (
            manifest is not None
            and plan is not None
            and not manifest["quarantined"]
            and set(plan.captions) == set(manifest["captions"])
        )


def recorded_roots(record: dict[str, Any]) -> list[str]:
    """Return the --captions of a scan, or of the scan that its captions come from, by run.json."""
    return record.get("input_roots") or record["inputs"].get("captions") or []


def planning_folder(generation: int) -> str:
    """Return the folder that keeps the progress of planning a generation."""
    return f"planning/{generation:04d}"


def _plan_name(generation: int) -> str:
    return f"plan-{generation + 1:04d}.json" if generation else "plan.json"


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
