"""The study's adversarial part: its page on a small table, and an attack on two captions."""

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.studies.mitigation.evaluator import StudyCaption
from jobs.studies.mitigation_methods import adversarial_page
from jobs.studies.mitigation_methods.adversarial import TUNED, Attacked, attack
from jobs.studies.mitigation_methods.conditions import NONE, MethodCondition
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.testbed import labels


def _table() -> pa.Table:
    """Control captions of half 0 are reproduced from a radius of 0.3 on; of half 1, the memorized
    ones are only with another embedding."""
    rows = [
        {
            "condition": "none" if half == 0 else "ren",
            "radius": radius,
            "caption": f"caption {number}",
            "family": f"family {number // 2}",
            "memorized": memorized,
            "half": half,
            "kind": kind,
            "likeness": likeness,
            "distance": 0.0 if kind == "caption" else radius,
        }
        for half, radius, memorized, kind, likeness in (
            *((0, radius, False, "caption", 0.2) for radius in (0.1, 0.2, 0.3, 0.4)),
            *((0, radius, False, "embedding", 3 * radius) for radius in (0.1, 0.2, 0.3, 0.4)),
            (1, 0.2, True, "caption", 0.2),
            (1, 0.2, True, "embedding", 0.8),
            (1, 0.2, True, "swap", 0.3),
            (1, 0.2, False, "caption", 0.2),
        )
        for number in range(4)
    ]
    return pa.Table.from_pylist(rows)


def test_the_radius_is_the_largest_that_spares_the_control(tmp_path: Path) -> None:
    summary = adversarial_page.summarize(_table())
    assert adversarial_page.choose_radius(summary) == 0.2
    row = next(row for row in summary if row["half"] == 1 and row["captions"] == "memorized")
    assert (row["n"], row["caption"], row["embedding"], row["swap"]) == (4, 0, 1, 0)
    assert (row["either"], row["either_low"], row["embedding_distance"]) == (1, 1, 0.2)
    sizes = {"testbed": "testbed", "radii": [0.1, 0.2]}
    adversarial_page.write(tmp_path, summary, sizes, 0.2)
    page = (tmp_path / "adversarial.md").read_text()
    assert "--adversarial --testbed testbed --radii 0.1 0.2`" in page
    assert "they do themselves: **0.2**" in page
    assert "| ren | memorized | 4 | 0.000 (0.000–0.000) | 1.000 (1.000–1.000) |" in page
    assert (tmp_path / "adversarial.csv").read_text().count("\n") == 1 + 4 + 2


@pytest.mark.slow
@pytest.mark.parametrize("condition", [NONE, MethodCondition("guard"), TUNED])
def test_an_attack_gives_a_row_per_caption_and_start(condition: MethodCondition) -> None:
    rows = labels().to_pylist()
    sample = [
        StudyCaption(row["caption"], group, row["memorized"], 1, row["caption"])
        for group in ("memorized", "heldout")
        for row in [next(row for row in rows if row["group"] == group)]
    ]
    options = AdversaryOptions(attack_steps=1, swaps=1, neighbors=1, attack_noises=1)
    table = attack("testbed", Attacked(condition, options, 1, tuning_steps=1), sample)
    found = {(row["caption"], row["kind"]): row for row in table.to_pylist()}
    for caption in sample:
        own, moved = (found[caption.caption, kind] for kind in ("caption", "embedding"))
        assert (own["error"], own["distance"]) == (1, 0)
        assert moved["error"] <= 1
        assert 0 <= moved["distance"] <= options.radius + 1e-6
        assert own["text"] == moved["text"] == caption.caption
    if condition == NONE:
        assert found[sample[0].caption, "caption"]["copied"] == 1
        assert found[sample[1].caption, "caption"]["copied"] == 0
