"""Adversarial verdicts from the measures of a few captions and of starts near them."""

import pyarrow as pa

from scanner.evidence.verify.attacking import AttackOutcome, add_adversarial, count_attacks
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verdicts import judge
from scanner.run.verdicts import ATTACKS, MEASURES, VERDICTS

LIMITS = Thresholds(agreement=0.8, likeness=0.7, part=0.5, same_picture=0.1)


def row(name: str, picture: float, likeness: float | None, **more: object) -> dict:
    return {
        "caption_id": name,
        "caption": f"caption {name}",
        "seeds": 2,
        "agreement": 0.3,
        "agreeing_share": 0.0,
        "n_references": 0 if likeness is None else 1,
        "likeness": likeness,
        "picture": [picture] * 12,
        "images": [f"{name}.png"],
        **more,
    }


def attack(name: str, picture: float, likeness: float, kind: str, text: str) -> dict:
    more = {"kind": kind, "attacked_caption": text, "distance": 0.2, "error": 0.5}
    return row(name, picture, likeness, **more)


def judged() -> pa.Table:
    measures = pa.Table.from_pylist(
        [row("a", 0, 0.2), row("b", 1, 0.9), row("c", 2, None), row("d", 3, 0.5)], MEASURES
    )
    attacks = pa.Table.from_pylist(
        [
            attack("a", 4, 0.8, "embedding", "caption a"),
            attack("a", 5, 0.6, "swap", "caption e"),
            attack("b", 6, 0.8, "embedding", "caption b"),
            attack("d", 7, 0.6, "swap", "caption f"),
        ],
        ATTACKS,
    )
    return add_adversarial(judge(measures, LIMITS), measures, attacks, LIMITS)


def test_the_start_most_like_the_training_image_is_judged() -> None:
    table = judged()
    assert table.schema == VERDICTS
    assert table["verdict"].to_pylist() == ["none", "verbatim", "none", "none"]
    assert table["adversarial_verdict"].to_pylist() == ["verbatim", "verbatim", None, "none"]
    assert table["adversarial_kind"].to_pylist() == ["embedding", "caption", None, "swap"]
    assert table["adversarial_caption"].to_pylist() == [None, None, None, "caption f"]
    first, second = table.slice(0, 2).to_pylist()
    assert (round(first["adversarial_likeness"], 3), first["adversarial_error"]) == (0.8, 0.5)
    assert (second["adversarial_distance"], second["adversarial_error"]) == (0, 1)


def test_copies_only_under_attack_are_counted() -> None:
    kinds = {"verbatim": 2, "template": 0, "seed-consistent": 0, "none": 1}
    assert count_attacks(judged()) == AttackOutcome(3, kinds, 1, {"embedding": 1})


def test_no_captions_give_no_adversarial_verdicts() -> None:
    empty = MEASURES.empty_table()
    table = add_adversarial(judge(empty, LIMITS), empty, ATTACKS.empty_table(), LIMITS)
    assert table.schema == VERDICTS
    assert count_attacks(table).attacked == 0
