"""What a policy comes to: counts, each rule by itself, expected errors; as JSON and as text."""

from dataclasses import asdict, dataclass
from typing import Any

from scanner.curation.cautions import SharedImage, Unscored, shared_image, unscored
from scanner.curation.matching import Matching
from scanner.curation.removals import count_alone, count_listed
from scanner.curation.safeguards import NAMED, Heaviest, heaviest, unnamed
from scanner.curation.wording import counted
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
    is the deciding one; ``alone``: samples by action, were it the only rule; ``missing``: where
    it holds for nothing, what it asks for and the run has not got."""

    captions: int
    removed: int
    recaption: int
    alone: dict[str, int]
    missing: str = ""


@dataclass(frozen=True)
class Summary:
    """What the policy does to the data set.

    ``actions`` counts samples, and sums to ``samples``. ``rejects``: how many rows planning could
    not use, and what becomes of them; they are no samples. ``captions_removed``: flagged captions
    that lose samples. ``along``: removed samples of other captions, which have the image of one
    that is removed. ``unscored``: samples that no rule can hold for. ``shared_image``: an image key
    of so many samples that it may be none. ``expected_false_captions``, and
    ``expected_false_removals`` of samples: how many of these are not memorized, by the calibrated
    probabilities. Without a calibration the first is at most so many on average, by the reference
    captions, and None without those; the second is None. ``expected_by`` says which.
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
    unscored: Unscored
    shared_image: SharedImage | None
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
            f"{counted(self.samples, 'sample')}: {self.removed:,} ({share:.1%}) to be removed, "
            f"on account of {counted(self.captions_removed, 'caption')}",
            "",
            *self._actions(),
            "",
            f"  {'rule':24}{'captions':>12}{'removes':>14}{'were it alone':>16}",
            *(line for reason, rule in self.by_rule.items() for line in _rule(reason, rule)),
            "",
            _errors(self),
            _rejects(self.rejects),
        ]
        lines += [
            f"of {item['source']}: {item['removed']:,} of {item['samples']:,} samples "
            f"({item['share']:.1%})"
            for item in self.heaviest.sources[:NAMED]
        ]
        lines += [f"and of {more}" for more in unnamed(self.heaviest.sources, "source")]
        if self.shared_image:
            lines.append(f"warning: {self.shared_image.to_text()}")
        return "\n".join(lines)

    def _actions(self) -> list[str]:
        rows = [(action, self.actions[action], about) for action, about in _ABOUT]
        if self.unscored.samples:
            rows.insert(1, ("unscored", self.unscored.samples, self.unscored.to_text()))
        if self.along:
            about = "of these: the image of a removed sample, under another caption"
            rows.append(("along", self.along, about))
        return [f"  {name:10}{count:>14,}  {about}" for name, count, about in rows]


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
    untouched = samples - sum(actions.values())
    rejects = _one(tables, "SELECT count(*) AS n FROM rejected")["n"]
    lost = _one(tables, _LOST)
    return Summary(
        run=run,
        out=out,
        policy=matching.policy.id,
        samples=samples,
        actions=actions | {"keep": actions["keep"] + untouched},
        rejects={"rows": rejects, "action": matching.policy.rejects},
        by_rule=_by_rule(matching),
        captions_removed=lost["captions"],
        along=_one(tables, _ALONG)["n"],
        unscored=unscored(tables, run),
        shared_image=shared_image(tables, samples),
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
            missing="" if captions else matching.missing[rule.reason],
        )
    return found


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
    share = f" ({rate:.1%})" if rate is not None else ""
    if summary.expected_by and not summary.captions_removed:
        return "expected false removals: none, since nothing is removed"
    captions = f"of {counted(summary.captions_removed, 'caption')}{share}"
    if summary.expected_by == "calibration":
        return (
            f"expected false removals: {summary.expected_false_captions:,.1f} {captions}, "
            f"{summary.expected_false_removals:,.1f} of {counted(summary.removed, 'sample')}, "
            "by the calibrated probabilities"
        )
    if summary.expected_by:
        return (
            f"expected false removals: at most {summary.expected_false_captions:,.1f} {captions} "
            f"on average, compared with the {summary.expected_by}; there is no calibration"
        )
    return (
        "expected false removals: unknown, since there is no calibration for this run, and no "
        "reference captions; memscan calibrate makes one, --calibration names it"
    )


def _rejects(rejects: dict[str, Any]) -> str:
    if not rejects["rows"]:
        return "no rows were rejected by planning"
    what = "kept in cleaned copies" if rejects["action"] == "keep" else "dropped as well"
    return (
        f"{counted(rejects['rows'], 'row')} that planning rejected, no samples and not in the sums "
        f"above: {what} (rejects = '{rejects['action']}')"
    )
