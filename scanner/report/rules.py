"""The rules of a policy as a table: what each says, does, and holds for."""

from dataclasses import dataclass

from scanner.curation import Policy, Summary
from scanner.curation.plurals import pluralize
from scanner.curation.policy import Rule

_DOES = {
    "keep": "keep: all samples stay, whatever later rules say",
    "drop": "drop: all samples go",
    "recaption": "recaption: all samples stay, with a caption that should be another",
}


@dataclass(frozen=True)
class RuleRow:
    """A rule: its predicate ``when``, what it ``does``, for how many ``captions`` it holds, and
    how many samples it removes and recaptions, as the deciding rule and were it alone; ``note``:
    why it holds for nothing."""

    reason: str
    when: str
    does: str
    captions: int
    removed: int
    recaption: int
    removed_alone: int
    recaption_alone: int
    note: str


def rule_rows(policy: Policy, summary: Summary) -> list[RuleRow]:
    """The rules in their order, with what came of them."""
    return [
        RuleRow(
            reason=rule.reason,
            when=" ".join(rule.when.split()),
            does=_does(rule),
            captions=found.captions,
            removed=found.removed,
            recaption=found.recaption,
            removed_alone=found.alone["drop"] + found.alone["cap"],
            recaption_alone=found.alone["recaption"],
            note=found.missing,
        )
        for rule in policy.rules
        for found in [summary.by_rule[rule.reason]]
    ]


def _does(rule: Rule) -> str:
    if rule.action == "cap":
        return f"cap: all but {pluralize(rule.keep, 'sample')} of each {rule.of} go"
    return _DOES[rule.action]
