"""Policies are validated, with errors that name the problem."""

import tomllib
from pathlib import Path

import pytest

from scanner.curation.policy import Limits, policy_of, read_policy
from scanner.errors import UserError

GOOD = {
    "name": "p",
    "version": 3,
    "rule": [{"reason": "loud", "when": "score > 1", "action": "cap", "keep": 2, "of": "image"}],
}


def changed(**keys) -> dict:
    return {**GOOD, **keys}


def with_rule(**keys) -> dict:
    return changed(rule=[{**GOOD["rule"][0], **keys}])


def test_a_policy_is_read_with_its_defaults() -> None:
    policy = policy_of(GOOD, "p")
    assert (policy.name, policy.version, policy.rejects) == ("p", 3, "keep")
    assert policy.limits == Limits()
    assert policy.rules[0].keep == 2
    assert policy_of(with_rule(keep=1), "p").rules[0].of == "image"


def test_the_id_changes_with_every_setting_of_a_policy() -> None:
    ids = {
        policy_of(record, "p").id
        for record in (
            GOOD,
            with_rule(keep=3),
            with_rule(when="score > 2"),
            changed(limits={"source": 0.1}),
            changed(rejects="drop"),
        )
    }
    assert len(ids) == 5
    assert all(name.startswith("p-3-") for name in ids)


def test_the_default_policy_is_valid() -> None:
    policy = read_policy("default")
    assert policy.name == "default"
    assert {rule.reason for rule in policy.rules if rule.action == "drop"} == {"people-drop"}
    assert policy.text.startswith("# The default policy")
    assert policy.id == policy_of(tomllib.loads(policy.text), "default").id


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (changed(version="1"), r"version = '1': must be an integer"),
        (changed(name=""), "name = '': must be a non-empty string"),
        (changed(limit={}), r"limit = \{\}: unknown key; valid: name, version, rule, li"),
        (
            changed(limits={"source": 2}),
            r"limits: source = 2: must be a number above 0",
        ),
        (changed(limits={"host": 0.5}), "limits: host = 0.5: unknown key; valid: source, clus"),
        (changed(rejects="no"), "rejects = 'no': must be one of keep, drop"),
        (changed(rule=[]), r"rule = \[\]: must be at least one table"),
        (changed(rule=GOOD["rule"] * 2), "2 rules have reason = 'loud'"),
        (with_rule(action="delete"), r"rule 1 \(loud\): action = 'delete': must be one of keep,"),
        (with_rule(of="word"), r"of = 'word': must be one of caption, cluster, image"),
        (with_rule(keep=0), "keep = 0: must be an integer of at least 1"),
        (with_rule(keep=True), "keep = True"),
        (with_rule(wen="x"), r"rule 1 \(loud\): wen = 'x': unknown key; valid: reason, when"),
        ({"name": "p", "version": 1}, "rule is missing: must be at least one table"),
        (changed(text="x"), "text = 'x': unknown key"),
        (changed(rules=[]), r"rules = \[\]: unknown key"),
        (changed(rule=["x"]), "rule = 'x': must be at least one table"),
        (changed(version=10**400), "version = 1000+…: must be an integer"),
        (changed(limits={"source": float("nan")}), "limits: source = nan: must be a number"),
        (changed(limits=3), r"limits = 3: must be a table, as \[limits\]"),
        (with_rule(when=" "), "when = ' ': must be a non-empty string"),
        (with_rule(reason="a;b"), "reason = 'a;b': must be a code"),
        (with_rule(action="drop"), r"rule 1 \(loud\): keep = 2 needs action = 'cap', got 'drop'"),
    ],
)
def test_an_error_names_the_key_its_value_and_valid_values(record: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        policy_of(record, "--policy p.toml")


def test_an_error_lists_every_problem_of_a_policy() -> None:
    with pytest.raises(UserError) as caught:
        policy_of({"rule": [{"reason": "a", "action": "delete"}]}, "--policy p.toml")
    assert str(caught.value).splitlines() == [
        "--policy p.toml: 4 problems:",
        "  the policy's name is missing: must be a non-empty string",
        "  the policy's version is missing: must be an integer of at least 1, below 2^63",
        "  rule 1 (a): when is missing: must be a non-empty string",
        "  rule 1 (a): action = 'delete': must be one of keep, drop, cap, recaption",
    ]


def test_an_error_lists_at_most_five_problems() -> None:
    with pytest.raises(UserError) as caught:
        policy_of(changed(rule=[{"reason": "a"}, {"reason": "b"}, {"reason": "c"}]), "p")
    first, *rest = str(caught.value).splitlines()
    assert first == "p: 6 problems, the first 5:"
    assert len(rest) == 5
    conflicting = changed(rule=[{**GOOD["rule"][0], "action": "drop"}] * 2)
    with pytest.raises(UserError, match=r"(?s)rule 1 .*rule 2 .*2 rules have reason"):
        policy_of(conflicting, "p")


def test_a_file_that_is_missing_or_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="or default"):
        read_policy(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(UserError, match="invalid TOML"):
        read_policy(str(tmp_path / "bad.toml"))
