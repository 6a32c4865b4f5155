"""Which captions a policy's rules hold for, and the view flagged that the removal list reads."""

from collections.abc import Sequence, Set

import pyarrow as pa

from scanner.curation.policy import Policy, Rule
from scanner.curation.significance import Significance, significance
from scanner.curation.wording import counted, joined
from scanner.query import RunTables, near_duplicate_clusters

# What a predicate may ask for and not every run has; then it is null.
_MISSING = {
    "probability": "it asks for a probability, and no --calibration gives one",
    "verdict": "nothing is verified yet; see memscan verify",
    "p_value": "the run has no reference captions; see scan --reference",
    "q_value": "the run has no reference captions; see scan --reference",
}
# Near-duplicates are looked for among those that a policy is about: the likely memorized ones.
CLUSTERED = 100_000


class Matching:
    """The rules of a policy over one run: every caption that a rule holds for, found once.

    ``missing`` says, by rule, what its predicate asks for and the run has not got, "" where it has
    it all. ``significance`` is that of the decisions, where there are reference captions and
    nothing is calibrated.
    """

    def __init__(self, tables: RunTables, policy: Policy) -> None:
        """Raises UserError where a predicate is no SQL expression over ranked."""
        self.tables, self.policy = tables, policy
        self.calibrated = bool(tables.calibration and tables.calibration.weights)
        asked = {
            rule.reason: tables.parse_predicate(rule.when, _where(rule)) for rule in policy.rules
        }
        surprising = any({"p_value", "q_value"} & each.columns for each in asked.values())
        self.significance: Significance | None = None
        if surprising or not self.calibrated:
            self.significance = significance(tables)
        lacking = self._lacking()
        self.missing = {
            reason: "; ".join(self._missing(each.needed, lacking)) for reason, each in asked.items()
        }
        view = self._judged(surprising)
        for rule in policy.rules:
            tables.bind_predicate(rule.when, view, _where(rule))
        reasons = [rule.reason for rule in policy.rules]
        tables.materialize("matched", _matched(view, policy.rules), {"reasons": reasons})
        tables.keep("policy_rules", _rules(policy.rules))

    def flag(self, only: int | None = None) -> None:
        """Define flagged: by the first rule that holds, or as if ``only`` were the only one."""
        deciding = "rules[1]" if only is None else str(int(only))
        among = "true" if only is None else f"list_contains(rules, {int(only)})"
        definition = f"""
            SELECT caption_id, policy_rules.*, cluster, reasons, probability, signal, score
            FROM matched JOIN policy_rules ON policy_rules.rule = {deciding}
            WHERE {among}"""
        self.tables.define("flagged", definition)

    def captions(self, only: int) -> int:
        """How many captions a rule holds for."""
        found = self.tables.query(
            "SELECT count(*) AS n FROM matched WHERE list_contains(rules, $rule)", {"rule": only}
        )
        return found["n"][0].as_py()

    def _lacking(self) -> set[str]:
        """What predicates may ask for and this run has not got."""
        verified = len(self.tables.query("SELECT caption_id FROM verdicts LIMIT 1"))
        there = {"probability"} if self.calibrated else set()
        there |= {"verdict"} if verified else set()
        there |= {"p_value", "q_value"} if self.significance else set()
        return _MISSING.keys() - there

    def _missing(self, needed: Set[str], lacking: Set[str]) -> list[str]:
        """What a predicate needs and this run lacks, or else how far surprise goes in it."""
        if needed & lacking:
            return list(dict.fromkeys(_MISSING[name] for name in sorted(needed & lacking)))
        if self.calibrated or self.significance is None:
            return []
        lowest = self.significance.lowest()
        asked = [
            f"the lowest {name} is {lowest[name]:.2g}" for name in sorted(needed & lowest.keys())
        ]
        references = counted(self.significance.references, "reference caption")
        return [f"{joined(asked)}, by {references}"] if asked else []

    def _judged(self, surprising: bool) -> str:
        """ranked with all that a predicate may ask for."""
        self.tables.keep("clusters", _clusters(self.tables))
        columns, joins = "ranked.*, cluster", "LEFT JOIN clusters USING (caption_id)"
        # A run's verdicts may have further columns, of any name.
        verdicts = "(SELECT caption_id, verdict FROM verdicts) AS verdicts"
        columns, joins = f"{columns}, verdict", f"{joins} LEFT JOIN {verdicts} USING (caption_id)"
        if surprising and self.significance:
            self.tables.keep("surprises", self.significance.table())
            columns = f"{columns}, p_value, q_value"
            joins = f"{joins} ASOF LEFT JOIN surprises ON ranked.decision::DOUBLE >= start"
        else:
            columns += ", NULL::DOUBLE AS p_value, NULL::DOUBLE AS q_value"
        return f"SELECT {columns} FROM ranked {joins}"


def _where(rule: Rule) -> str:
    return f"rule {rule.reason}: when = {rule.when!r}"


def _clusters(tables: RunTables) -> pa.Table:
    """The near-duplicate cluster of each of the captions with the highest decision."""
    top = "SELECT caption_id, caption FROM ranked ORDER BY decision DESC, caption_id LIMIT $top"
    captions = tables.query(top, {"top": CLUSTERED})
    clusters = near_duplicate_clusters(captions) if len(captions) else captions["caption_id"]
    return pa.table({"caption_id": captions["caption_id"], "cluster": clusters})


def _matched(view: str, rules: Sequence[Rule]) -> str:
    """The captions for which rules hold, with the numbers of those rules, in order."""
    # Each predicate has been seen to be one expression.
    tests = ", ".join(f"CASE WHEN ({rule.when}\n) THEN {k} END" for k, rule in enumerate(rules, 1))
    return f"""
        SELECT caption_id, rules, list_transform(rules, lambda k: $reasons[k]) AS reasons,
               cluster, probability, decision_signal AS signal,
               decision_value::DOUBLE AS score, decision::DOUBLE AS decision
        FROM (
            SELECT *, list_filter([{tests}], lambda k: k IS NOT NULL) AS rules FROM ({view})
        )
        WHERE len(rules) > 0"""


def _rules(rules: Sequence[Rule]) -> pa.Table:
    return pa.table(
        {
            "rule": pa.array(range(1, len(rules) + 1), pa.int32()),
            "action": [rule.action for rule in rules],
            "keep": pa.array([rule.keep for rule in rules], pa.int64()),
            "unit": [rule.of for rule in rules],
        }
    )
