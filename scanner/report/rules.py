"""The rules of a policy as a table, with their effects."""

from dataclasses import dataclass

from scanner.curation import Policy, Summary
from scanner.curation.policy import Rule
from scanner.plurals import pluralize

_EFFECTS = {
    "keep": "keep: keeps all samples, overriding later rules",
    "drop": "drop: removes all samples",
    "recaption": "recaption: keeps all samples, marked for a new caption",
}


@dataclass(frozen=True)
class RuleRow:
    """A rule: its predicate ``when``, its ``effect``, the number of ``captions`` it matches, and
    the number of samples it removes and recaptions, in the policy and on its own; ``note``: why
    it cannot match."""

    reason: str
    when: str
    effect: str
    captions: int
    removed: int
    recaption: int
    removed_alone: int
    recaption_alone: int
    note: str


def rule_rows(policy: Policy, summary: Summary) -> list[RuleRow]:
    """Return the rules in order, with their effects."""
    return [
        RuleRow(
            reason=rule.reason,
            when=" ".join(rule.when.split()),
            effect=_effect(rule),
            captions=counts.captions,
            removed=counts.removed,
            recaption=counts.recaption,
            removed_alone=counts.alone["drop"] + counts.alone["cap"],
            recaption_alone=counts.alone["recaption"],
            note=counts.missing,
        )
        for rule in policy.rules
        for counts in [summary.by_rule[rule.reason]]
    ]


def _effect(rule: Rule) -> str:
    if rule.action == "cap":
        return f"cap: keeps {pluralize(rule.keep, 'sample')} per {rule.of}"
    return _EFFECTS[rule.action]
