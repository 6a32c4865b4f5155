"""Summarize a policy's effect, and that of each rule applied alone, as JSON and as text."""

from dataclasses import asdict, dataclass, field
from typing import Any

from scanner.curation.cautions import (
    SuspiciousImageKey,
    Unscored,
    suspicious_image_key,
    unscored,
)
from scanner.curation.matching import Matching
from scanner.curation.named_samples import ListEffect
from scanner.curation.removals import ACTIONS, count_if_only_rule, count_listed
from scanner.curation.reviewed import Reviewed, compare_with_decisions
from scanner.curation.safeguards import NAMED, HeaviestLosses, heaviest, unnamed
from scanner.curation.training_lists import TrainingLists
from scanner.plurals import join_with_and, pluralize
from scanner.query import RunTables

# One row per flagged caption that loses samples, or whose image other captions' samples lose.
_LOST = """
    WITH lost AS (
        SELECT coalesce(via, caption_id) AS caption_id, count(*) AS samples
        FROM listed WHERE action IN ('drop', 'cap') AND rule IS NOT NULL GROUP BY ALL
    )
    SELECT count(*) AS captions, count(*) FILTER (is_reviewed) AS reviewed_captions,
           coalesce(sum(samples) FILTER (is_reviewed), 0)::BIGINT AS reviewed_samples,
           min(rank_score) FILTER (NOT is_reviewed) AS least,
           sum(1 - probability) FILTER (NOT is_reviewed) AS false_captions,
           sum(samples * (1 - probability)) FILTER (NOT is_reviewed) AS false_samples
    FROM (
        SELECT lost.*, rank_score,
               if(NOT is_disputed AND label = 'none', 0, probability) AS probability,
               coalesce(
                   decision IN ('drop', 'cap') OR (
                       decision IS NULL AND NOT is_disputed AND label IN ('verbatim', 'template')
                   ),
                   false
               ) AS is_reviewed
        FROM lost JOIN matched USING (caption_id) LEFT JOIN reviewed USING (caption_id)
    )"""
_SHARED_IMAGE = """
    SELECT count(*) AS n FROM listed WHERE action IN ('drop', 'cap') AND via IS NOT NULL"""
_BY_RULE = """
    SELECT rule, count(*) FILTER (action IN ('drop', 'cap')) AS removed,
           count(*) FILTER (action = 'recaption') AS recaption
    FROM listed WHERE rule IS NOT NULL GROUP BY rule"""


@dataclass(frozen=True)
class RuleEffect:
    """The effect of one rule.

    ``captions``: number that match; ``removed`` and ``recaption``: samples that this rule decides;
    ``alone``: samples by action if it were the only rule; ``missing``: if nothing matches, what the
    rule needs and the run lacks.
    """

    captions: int
    removed: int
    recaption: int
    alone: dict[str, int]
    missing: str = ""


@dataclass(frozen=True)
class Summary:
    """The effect of a policy on the training set.

    ``actions`` counts samples and sums to ``samples``. ``rejects``: number of rows that planning
    rejected, which are not samples, and the action for them. ``captions_removed``: flagged captions
    that lose samples. ``shared_image``: removed samples of other captions that share an image with
    a removed sample. ``unscored``: samples that no rule can match. ``suspicious_image_key``: an
    image key with too many samples to be one image. ``reviewed``: what people decided.

    ``reviewed_captions``, ``reviewed_samples``: of the removed ones, those that people decided to
    remove or labeled as memorized. ``expected_false_captions`` and ``expected_false_removals``:
    expected number of the others that are not memorized, by the calibrated probabilities. Without a
    calibration the first is an upper bound from the reference captions, or None if there are none,
    and the second is None. ``expected_by`` names the method. ``lists``: the lists written for
    training code. ``by_list``: the effect of each list of samples to remove, by reason.
    """

    run: str
    out: str
    policy: str
    samples: int
    actions: dict[str, int]
    rejects: dict[str, Any]
    by_rule: dict[str, RuleEffect]
    captions_removed: int
    reviewed_captions: int
    reviewed_samples: int
    shared_image: int
    unscored: Unscored
    suspicious_image_key: SuspiciousImageKey | None
    expected_false_captions: float | None
    expected_false_removals: float | None
    expected_by: str | None
    heaviest: HeaviestLosses
    reviewed: Reviewed
    lists: TrainingLists | None = None
    by_list: dict[str, ListEffect] = field(default_factory=dict)

    @property
    def removed(self) -> int:
        return self.actions["drop"] + self.actions["cap"]

    @property
    def expected_false_discovery_rate(self) -> float | None:
        """Return the expected share of non-memorized captions among those that lose samples
        without a review."""
        judged = self.captions_removed - self.reviewed_captions
        if self.expected_false_captions is None or not judged:
            return None
        return self.expected_false_captions / judged

    def to_json(self) -> dict[str, Any]:
        rate = self.expected_false_discovery_rate
        return asdict(self) | {"expected_false_discovery_rate": rate}

    def to_text(self) -> str:
        """Return the summary as text."""
        share = self.removed / self.samples if self.samples else 0.0
        lines = [
            f"policy {self.policy} on {self.run}",
            f"{pluralize(self.samples, 'sample')}: {self.removed:,} ({share:.1%}) to be removed, "
            f"because of {pluralize(self.captions_removed, 'caption')}",
            "",
            *self._actions(),
            "",
            f"  {'rule':24}{'matches':>12}{'removes':>14}{'if applied alone':>18}",
            *(_rule(reason, rule) for reason, rule in self.by_rule.items() if not rule.missing),
            *_matching_nothing(self.by_rule),
            *(effect.to_text(reason) for reason, effect in self.by_list.items()),
            "",
            _errors(self),
            _rejects(self.rejects),
            *self.reviewed.to_text(),
        ]
        lines += [
            f"removed from {item['source']}: {item['removed']:,} of {item['samples']:,} samples "
            f"({item['share']:.1%})"
            for item in self.heaviest.sources[:NAMED]
        ]
        lines += [f"and from {more}" for more in unnamed(self.heaviest.sources, "source")]
        if self.suspicious_image_key:
            lines.append(f"warning: {self.suspicious_image_key.to_text()}")
        if self.lists:
            lines += ["", *self.lists.to_text().splitlines()]
        return "\n".join(lines)

    def _actions(self) -> list[str]:
        rows = [(action, self.actions[action], about) for action, about in _ABOUT]
        if self.unscored.samples:
            rows.insert(1, ("unscored", self.unscored.samples, self.unscored.to_text()))
        if self.shared_image:
            about = "of these, removed because they show the image of another removed sample"
            rows.append(("shared image", self.shared_image, about))
        return [f"  {name:12}{count:>14,}  {about}" for name, count, about in rows]


_ABOUT = (
    ("keep", "unchanged"),
    ("drop", "removed"),
    ("cap", "removed, beyond the number that a cap keeps"),
    ("recaption", "kept, but need a new caption"),
)


def summarize(matching: Matching, run: str, out: str) -> Summary:
    """Summarize the table listed, and each rule applied alone."""
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
        reviewed_captions=lost["reviewed_captions"],
        reviewed_samples=lost["reviewed_samples"],
        shared_image=_one(tables, _SHARED_IMAGE)["n"],
        unscored=unscored(tables),
        suspicious_image_key=suspicious_image_key(tables, samples),
        **_expected(matching, lost),
        heaviest=heaviest(tables, samples),
        reviewed=compare_with_decisions(tables),
    )


def _expected(matching: Matching, lost: dict[str, Any]) -> dict[str, Any]:
    """Return the expected_ fields of a summary; ``lost``: the row of _LOST."""
    captions, samples, by = None, None, None
    if matching.calibrated:
        captions, samples = lost["false_captions"] or 0.0, lost["false_samples"] or 0.0
        by = "calibration"
    elif matching.significance:
        captions = 0.0
        if judged := lost["captions"] - lost["reviewed_captions"]:
            captions = min(matching.significance.expected_false(lost["least"]), judged)
        by = "reference captions"
    return {
        "expected_false_captions": captions,
        "expected_false_removals": samples,
        "expected_by": by,
    }


def _by_rule(matching: Matching) -> dict[str, RuleEffect]:
    rows = matching.tables.query(_BY_RULE).to_pylist()
    decided = {row["rule"]: row for row in rows}
    effects = {}
    for number, rule in enumerate(matching.policy.rules, 1):
        row = decided.get(number, {"removed": 0, "recaption": 0})
        captions = matching.count_captions(number)
        effects[rule.reason] = RuleEffect(
            captions=captions,
            removed=row["removed"],
            recaption=row["recaption"],
            alone=count_if_only_rule(matching, number) if captions else dict.fromkeys(ACTIONS, 0),
            missing="" if captions else matching.missing[rule.reason],
        )
    return effects


def _one(tables: RunTables, sql: str) -> dict[str, Any]:
    (row,) = tables.query(sql).to_pylist()
    return row


def _rule(reason: str, rule: RuleEffect) -> str:
    alone = rule.alone["drop"] + rule.alone["cap"]
    line = f"  {reason:24}{rule.captions:>12,}{rule.removed:>14,}{alone:>18,}"
    if rule.alone["recaption"]:
        line += f"  recaptions {rule.recaption:,} ({rule.alone['recaption']:,} if applied alone)"
    return line


def _matching_nothing(by_rule: dict[str, RuleEffect]) -> list[str]:
    """Return lines with what rules need and the run lacks, one for each."""
    rules: dict[str, list[str]] = {}
    for reason, rule in by_rule.items():
        if rule.missing:
            rules.setdefault(rule.missing, []).append(reason)
    lines = []
    for missing, reasons in rules.items():
        verb = "matches" if len(reasons) == 1 else "match"
        lines.append(f"  {join_with_and(reasons)} {verb} nothing: {missing}")
    return lines


def _errors(summary: Summary) -> str:
    rate = summary.expected_false_discovery_rate
    share = f" ({rate:.1%})" if rate is not None else ""
    if summary.expected_by and not summary.captions_removed:
        return "expected false removals: 0, because nothing is removed"
    judged = summary.captions_removed - summary.reviewed_captions
    if not judged and summary.reviewed_captions:
        return "expected false removals: none, because people chose all captions that are removed"
    captions = f"of {pluralize(judged, 'caption')}{share}"
    reviewed = ""
    if summary.reviewed_captions:
        chosen = pluralize(summary.reviewed_captions, "caption")
        reviewed = f"; not counting {chosen} that people chose"
    if summary.expected_by == "calibration":
        samples = pluralize(summary.removed - summary.reviewed_samples, "sample")
        return (
            f"expected false removals: {summary.expected_false_captions:,.1f} {captions}, "
            f"{summary.expected_false_removals:,.1f} of {samples}, by the calibrated "
            f"probabilities{reviewed}"
        )
    if summary.expected_by:
        return (
            f"expected false removals: at most {summary.expected_false_captions:,.1f} {captions} "
            f"on average, estimated from the {summary.expected_by} (no calibration given){reviewed}"
        )
    return (
        "expected false removals: unknown, because there is no calibration for this run and no "
        "reference captions; create a calibration with memscan calibrate and pass --calibration"
    )


def _rejects(rejects: dict[str, Any]) -> str:
    if not rejects["rows"]:
        return "planning rejected no rows"
    action = "kept in cleaned copies" if rejects["action"] == "keep" else "dropped as well"
    return (
        f"planning rejected {pluralize(rejects['rows'], 'row')}, not counted above: {action} "
        f"(rejects = '{rejects['action']}')"
    )
