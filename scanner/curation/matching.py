"""Match captions to a policy's rules, and define the view flagged that the removal list reads."""

from collections.abc import Sequence, Set

import pyarrow as pa

from scanner.curation.policy import IMAGE_CLUSTER, Policy, Rule
from scanner.curation.significance import Significance, compute_significance
from scanner.errors import UserError
from scanner.plurals import join_with_and, pluralize
from scanner.query import RunTables, near_duplicate_clusters
from scanner.run.decisions import CHOICES

# Columns that predicates can read and not every run has (null then), and why a run lacks them.
_MISSING = {
    "probability": "no probability without --calibration",
    "verdict": "nothing is verified yet; see memscan verify",
    "decision": "nobody has decided yet; see memscan review",
    "label": "nobody has labeled a caption yet; see memscan review",
    "p_value": "the run has no reference captions; see scan --reference",
    "q_value": "the run has no reference captions; see scan --reference",
}
_NOT_REVIEWED = "nobody has reviewed a caption yet; see memscan review"
# An ENUM is never compared with a number, which older policies did: decision was ranked's number.
_REVIEWED = f"reviewed.decision::ENUM{CHOICES} AS decision, label, is_disputed"
# Only the captions with the highest rank_score are clustered.
CLUSTERED = 100_000


class Matching:
    """The captions of a run that match each rule of a policy.

    ``missing``: by rule, what its predicate needs and the run lacks, or "". ``significance``: of
    rank_score among the reference captions, if the run has any and a rule or the summary needs it.
    """

    def __init__(self, tables: RunTables, policy: Policy) -> None:
        """Raises UserError if a predicate is not a SQL expression over ranked."""
        self.tables, self.policy = tables, policy
        self._check_image_clusters()
        self.calibrated = bool(tables.calibration and tables.calibration.weights)
        predicates = {
            rule.reason: tables.parse_predicate(rule.when, _where(rule)) for rule in policy.rules
        }
        tests_null = any({"p_value", "q_value"} & each.columns for each in predicates.values())
        self.significance: Significance | None = None
        if tests_null or not self.calibrated:
            self.significance = compute_significance(tables)
        unavailable = self._unavailable()
        self.missing = {
            reason: "; ".join(self._missing(predicate.needed, unavailable))
            for reason, predicate in predicates.items()
        }
        view = self._rule_columns(tests_null)
        for rule in policy.rules:
            tables.bind_predicate(rule.when, view, _where(rule))
        reasons = [rule.reason for rule in policy.rules]
        tables.create_table("matched", _matched(view, policy.rules), {"reasons": reasons})
        tables.add_table("policy_rules", _rules(policy.rules))

    def flag(self, only: int | None = None) -> None:
        """Define flagged by the first rule that matches, or by the single rule ``only``."""
        rule = "rules[1]" if only is None else str(int(only))
        matches = "true" if only is None else f"list_contains(rules, {int(only)})"
        definition = f"""
            SELECT caption_id, policy_rules.*, cluster, reasons, probability, signal, score
            FROM matched JOIN policy_rules ON policy_rules.rule = {rule}
            WHERE {matches}"""
        self.tables.define_view("flagged", definition)

    def count_captions(self, rule: int) -> int:
        """Return the number of captions that match a rule, whether or not another decides."""
        counts = self.tables.query(
            "SELECT count(*) AS n FROM matched WHERE list_contains(rules, $rule)", {"rule": rule}
        )
        return counts["n"][0].as_py()

    def _check_image_clusters(self) -> None:
        """Raise UserError if a rule is of image clusters and the run has none."""
        rules = [rule.reason for rule in self.policy.rules if rule.of == IMAGE_CLUSTER]
        if rules and not len(self.tables.query("SELECT image FROM image_clusters LIMIT 1")):
            raise UserError(
                f"rule {rules[0]}: of = '{IMAGE_CLUSTER}': {self.tables.url} has no image "
                "clusters; make them with memscan group-images"
            )

    def _unavailable(self) -> set[str]:
        """Return the columns of _MISSING that are null in this run."""
        verified = len(self.tables.query("SELECT caption_id FROM verdicts LIMIT 1"))
        available = {"probability"} if self.calibrated else set()
        available |= {"verdict"} if verified else set()
        for name in ("decision", "label"):
            stated = f"SELECT caption_id FROM reviewed WHERE {name} IS NOT NULL LIMIT 1"
            available |= {name} if len(self.tables.query(stated)) else set()
        available |= {"p_value", "q_value"} if self.significance else set()
        return _MISSING.keys() - available

    def _missing(self, needed: Set[str], unavailable: Set[str]) -> list[str]:
        """Return what a predicate needs and this run lacks, else the smallest p-value or q-value
        that the run attains."""
        if lacking := needed & unavailable:
            reviewed = {"decision", "label"}
            if lacking & reviewed and reviewed <= unavailable:
                return [_NOT_REVIEWED, *(_MISSING[name] for name in sorted(lacking - reviewed))]
            return list(dict.fromkeys(_MISSING[name] for name in sorted(lacking)))
        if self.calibrated or self.significance is None:
            return []
        lowest = self.significance.lowest()
        attained = [
            f"the lowest {name} is {lowest[name]:.2g}" for name in sorted(needed & lowest.keys())
        ]
        references = pluralize(self.significance.references, "reference caption")
        return [f"{join_with_and(attained)}, with {references}"] if attained else []

    def _rule_columns(self, tests_null: bool) -> str:
        """Return SQL for ranked with all columns that a predicate can read."""
        self.tables.add_table("clusters", _clusters(self.tables))
        columns = f"ranked.*, {_REVIEWED}, cluster"
        joins = "LEFT JOIN clusters USING (caption_id) LEFT JOIN reviewed USING (caption_id)"
        # Verdicts may have other columns with arbitrary names.
        verdicts = "(SELECT caption_id, verdict FROM verdicts) AS verdicts"
        columns, joins = f"{columns}, verdict", f"{joins} LEFT JOIN {verdicts} USING (caption_id)"
        if tests_null and self.significance:
            self.tables.add_table("significance", self.significance.table())
            columns = f"{columns}, p_value, q_value"
            joins = f"{joins} ASOF LEFT JOIN significance ON ranked.rank_score::DOUBLE >= threshold"
        else:
            columns += ", NULL::DOUBLE AS p_value, NULL::DOUBLE AS q_value"
        return f"SELECT {columns} FROM ranked {joins}"


def _where(rule: Rule) -> str:
    return f"rule {rule.reason}: when = {rule.when!r}"


def _clusters(tables: RunTables) -> pa.Table:
    """Return the near-duplicate cluster of each caption among those with the highest rank_score."""
    top = "SELECT caption_id, caption FROM ranked ORDER BY rank_score DESC, caption_id LIMIT $top"
    captions = tables.query(top, {"top": CLUSTERED})
    clusters = near_duplicate_clusters(captions) if len(captions) else captions["caption_id"]
    return pa.table({"caption_id": captions["caption_id"], "cluster": clusters})


def _matched(view: str, rules: Sequence[Rule]) -> str:
    """Return SQL for the captions that match rules, with the numbers of those rules in order."""
    # Each predicate has been checked to be one expression.
    tests = ", ".join(f"CASE WHEN ({rule.when}\n) THEN {k} END" for k, rule in enumerate(rules, 1))
    return f"""
        SELECT caption_id, rules,
               list_transform(rules, lambda k: $reasons[k]) || list_transform(
                   list_filter([decision::VARCHAR, label, if(is_disputed, 'disputed', NULL)],
                               lambda each: each IS NOT NULL),
                   lambda each: 'reviewed-' || each
               ) AS reasons,
               cluster, probability, rank_signal AS signal,
               rank_value::DOUBLE AS score, rank_score::DOUBLE AS rank_score
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
