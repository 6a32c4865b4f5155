"""What a policy comes to: counts, each rule by itself, expected errors; as JSON and as text."""

from dataclasses import asdict, dataclass
from typing import Any

from scanner.curation.matching import Matching
from scanner.curation.removals import count_alone, count_listed
from scanner.curation.safeguards import Heaviest, heaviest
from scanner.query import RunTables

# One row a flagged caption that loses samples, or has other captions' samples lose an image.
_LOST = """
    WITH lost AS (
        SELECT coalesce(via, caption_id) AS caption_id, count(*) AS samples
        FROM listed WHERE action IN ('drop', 'cap') AND caption_id IS NOT NULL GROUP BY ALL
    )
    SELECT count(*) AS captions, min(decision) AS least, sum(1 - probability) AS false_captions,
           sum(samples * (1 - probability)) AS false_samples
    FROM lost JOIN matched USING (caption_id)"""
_ALONG = """
    SELECT count(*) AS n FROM listed WHERE action IN ('drop', 'cap') AND via IS NOT NULL"""
_BY_RULE = """
    SELECT rule, count(*) FILTER (action IN ('drop', 'cap')) AS removed,
           count(*) FILTER (action = 'recaption') AS recaption
    FROM listed WHERE rule IS NOT NULL GROUP BY rule"""


@dataclass(frozen=True)
class ByRule:
    """``captions``: for how many a rule holds; ``removed`` and ``recaption``: samples for which it
    is the deciding one; ``alone``: samples by action, were it the only rule; ``missing``: what it
    asks for and the run has not got, where it holds for nothing."""

    captions: int
    removed: int
    recaption: int
    alone: dict[str, int]
    missing: str = ""


@dataclass(frozen=True)
class Summary:
    """What the policy does to the data set.

    ``actions`` counts samples, and sums to ``samples`` where no rejected rows are dropped.
    ``rejects``: rows that planning could not use. ``captions_removed``: flagged captions that lose
    samples. ``along``: removed samples of other captions, which have the image of one that is
    removed. ``expected_false_captions``, and ``expected_false_removals`` of samples: how many of
    these are not memorized, by the calibrated probabilities. Without a calibration the first is at
    most so many on average, by the reference captions, and None without those; the second is None.
    ``expected_by`` says which.
    """

    run: str
    out: str
    policy: str
    samples: int
    actions: dict[str, int]
    rejects: dict[str, Any]
    by_rule: dict[str, ByRule]
    captions_removed: int
    along: int
    expected_false_captions: float | None
    expected_false_removals: float | None
    expected_by: str | None
    heaviest: Heaviest

    @property
    def removed(self) -> int:
        return self.actions["drop"] + self.actions["cap"]

    @property
    def expected_false_discovery_rate(self) -> float | None:
        """The expected share of the captions that lose samples without being memorized."""
        if self.expected_false_captions is None or not self.captions_removed:
            return None
        return self.expected_false_captions / self.captions_removed

    def to_json(self) -> dict[str, Any]:
        rate = self.expected_false_discovery_rate
        return asdict(self) | {"expected_false_discovery_rate": rate}

    def to_text(self) -> str:
        """For a curator to read."""
        share = self.removed / self.samples if self.samples else 0.0
        lines = [
            f"policy {self.policy} on {self.run}",
            f"{self.samples:,} samples: {self.removed:,} ({share:.1%}) to be removed, "
            f"on account of {self.captions_removed:,} captions",
            "",
            *(f"  {action:10}{self.actions[action]:>14,}  {about}" for action, about in _ABOUT),
            *self._along(),
            "",
            f"  {'rule':24}{'captions':>12}{'removes':>14}{'were it alone':>16}",
            *(line for reason, rule in self.by_rule.items() for line in _rule(reason, rule)),
            "",
            _errors(self),
            _rejects(self.rejects),
        ]
        for item in self.heaviest.sources[:3]:
            lines.append(
                f"of {item['source']}: {item['removed']:,} of {item['samples']:,} samples "
                f"({item['share']:.1%})"
            )
        return "\n".join(lines)

    def _along(self) -> list[str]:
        about = "of these: the image of a removed sample, under another caption"
        return [f"  {'along':10}{self.along:>14,}  {about}"] if self.along else []


_ABOUT = (
    ("keep", "stay as they are"),
    ("drop", "removed"),
    ("cap", "removed: more than a cap leaves"),
    ("recaption", "stay, with a caption that should be another"),
)


def summarize(matching: Matching, run: str, out: str) -> Summary:
    """Of the table listed; also asks what each rule would do alone."""
    tables = matching.tables
    samples = _one(tables, "SELECT count(*) AS n FROM samples WHERE NOT is_reference")["n"]
    actions = count_listed(tables)
    found = tables.query("SELECT count(*) AS n FROM listed WHERE caption_id IS NULL")
    rejects = found["n"][0].as_py()
    untouched = samples + rejects - sum(actions.values())
    lost = _one(tables, _LOST)
    return Summary(
        run=run,
        out=out,
        policy=matching.policy.id,
        samples=samples,
        actions=actions | {"keep": actions["keep"] + untouched},
        rejects={"rows": _planning_rejects(tables), "action": matching.policy.rejects},
        by_rule=_by_rule(matching),
        captions_removed=lost["captions"],
        along=_one(tables, _ALONG)["n"],
        **_expected(matching, lost),
        heaviest=heaviest(tables, samples),
    )


def _expected(matching: Matching, lost: dict[str, Any]) -> dict[str, Any]:
    """How many of the captions and samples that go are not memorized, and how that is known."""
    captions, samples, by = None, None, None
    if matching.calibrated:
        captions, samples = lost["false_captions"] or 0.0, lost["false_samples"] or 0.0
        by = "calibration"
    elif matching.significance:
        found = matching.significance
        captions = (
            min(found.expected_false(lost["least"]), lost["captions"]) if lost["captions"] else 0.0
        )
        by = "reference captions"
    return {
        "expected_false_captions": captions,
        "expected_false_removals": samples,
        "expected_by": by,
    }


def _by_rule(matching: Matching) -> dict[str, ByRule]:
    rows = matching.tables.query(_BY_RULE).to_pylist()
    decided = {row["rule"]: row for row in rows}
    found = {}
    for number, rule in enumerate(matching.policy.rules, 1):
        row = decided.get(number, {"removed": 0, "recaption": 0})
        captions = matching.captions(number)
        found[rule.reason] = ByRule(
            captions=captions,
            removed=row["removed"],
            recaption=row["recaption"],
            alone=count_alone(matching, number),
            missing="" if captions else matching.missing.get(rule.reason, ""),
        )
    return found


def _planning_rejects(tables: RunTables) -> int:
    sql = "SELECT count(*) AS n FROM rejects WHERE stage = 'plan' AND \"row\" IS NOT NULL"
    return _one(tables, sql)["n"]


def _one(tables: RunTables, sql: str) -> dict[str, Any]:
    (row,) = tables.query(sql).to_pylist()
    return row


def _rule(reason: str, rule: ByRule) -> list[str]:
    alone = rule.alone["drop"] + rule.alone["cap"]
    line = f"  {reason:24}{rule.captions:>12,}{rule.removed:>14,}{alone:>16,}"
    if rule.alone["recaption"]:
        line += f"  recaptions {rule.recaption:,} ({rule.alone['recaption']:,} alone)"
    return [line, *([f"    holds for nothing: {rule.missing}"] if rule.missing else [])]


def _errors(summary: Summary) -> str:
    rate = summary.expected_false_discovery_rate
    share = f" ({rate:.1%} of them)" if rate is not None else ""
    if summary.expected_by == "calibration":
        return (
            f"expected false removals: {summary.expected_false_captions:,.1f} captions{share}, "
            f"{summary.expected_false_removals:,.1f} samples, by the calibrated probabilities"
        )
    if summary.expected_by:
        return (
            f"expected false removals: at most {summary.expected_false_captions:,.1f} captions"
            f"{share} on average, compared with the {summary.expected_by}; there is no calibration"
        )
    return (
        "expected false removals: unknown, since there is no calibration for this run, and no "
        "reference captions; memscan calibrate makes one, --calibration names it"
    )


def _rejects(rejects: dict[str, Any]) -> str:
    if not rejects["rows"]:
        return "no rows were rejected by planning"
    what = "kept in cleaned copies" if rejects["action"] == "keep" else "dropped (rejects = 'drop')"
    return f"{rejects['rows']:,} rows that planning rejected are {what}"
