"""The table and the page of the study's adversarial part."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jobs.studies.mitigation.findings import markdown_table
from scanner.evidence.verify.thresholds import Thresholds
from scanner.run.verdicts import OWN_CAPTION

COMMAND = "python -m jobs.studies.mitigation_methods --out DIR --adversarial"
DRAWS = 2000
KINDS = {
    OWN_CAPTION: (OWN_CAPTION,),
    "embedding": (OWN_CAPTION, "embedding"),
    "swap": (OWN_CAPTION, "swap"),
}
MEASURES = (*KINDS, "either")
SHARED = ("condition", "radius", "half")


def summarize(table: pa.Table) -> list[dict[str, Any]]:
    """Return one row per condition, radius, half and kind of caption: the share that is reproduced
    by the caption alone, and by the most alike of it and each kind of start.

    With 95 % bootstrap intervals over families of captions.
    """
    rows = table.to_pylist()
    groups = list(dict.fromkeys(tuple(row[name] for name in SHARED) for row in rows))
    return [
        _measures(mine, dict(zip(SHARED, group, strict=True)) | {"captions": kind})
        for group in groups
        for kind, is_memorized in (("memorized", True), ("not memorized", False))
        if (
            mine := [
                row
                for row in rows
                if tuple(row[name] for name in SHARED) == group and row["memorized"] == is_memorized
            ]
        )
    ]


def _measures(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> dict[str, Any]:
    captions = list(dict.fromkeys((row["caption"], row["family"]) for row in rows))
    likeness: dict[tuple[str, str], float] = {
        (row["caption"], row["kind"]): row["likeness"] for row in rows
    }
    summary = about | {"n": len(captions)}
    for name, kinds in (KINDS | {"either": ("caption", "embedding", "swap")}).items():
        best = [
            max(likeness.get((caption, kind), 0.0) for kind in kinds) for caption, _ in captions
        ]
        copied = np.array(best) >= Thresholds.likeness
        low, high = _interval(copied, [family for _, family in captions])
        summary |= {name: float(copied.mean()), f"{name}_low": low, f"{name}_high": high}
    for kind in ("embedding", "swap"):
        values = [row["distance"] for row in rows if row["kind"] == kind]
        summary[f"{kind}_distance"] = float(np.mean(values)) if values else None
    return summary


def _interval(copied: np.ndarray, families: Sequence[str]) -> tuple[float, float]:
    names, family = np.unique(families, return_inverse=True)
    total = np.bincount(family, copied)
    size = np.bincount(family)
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    low, high = np.quantile(total[drawn].sum(1) / size[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def choose_radius(summary: Sequence[dict[str, Any]]) -> float:
    """Return the largest radius up to which no caption of half 0 that is not memorized is
    reproduced more often than without an attack; the smallest if there is none."""
    rows = [row for row in summary if row["half"] == 0 and row["captions"] == "not memorized"]
    rows.sort(key=lambda row: row["radius"])
    passing = 0
    while passing < len(rows) and rows[passing]["embedding"] <= rows[passing][OWN_CAPTION]:
        passing += 1
    return float(rows[max(0, passing - 1)]["radius"])


def write(
    out: Path, summary: Sequence[dict[str, Any]], sizes: dict[str, object], used: float
) -> None:
    """Write adversarial.csv and adversarial.md; ``used``: the radius of half 1."""
    pa.csv.write_csv(pa.Table.from_pylist(list(summary)), out / "adversarial.csv")
    options = " ".join(
        f"--{name.replace('_', '-')} {_text(value)}" for name, value in sizes.items()
    )
    chosen = choose_radius(summary)
    lines = [
        f"# Mitigations under attack on the model {sizes['testbed']}",
        "",
        f"Written by `{COMMAND} {options}`.",
        "",
        "Share of captions that are reproduced (likeness of at least "
        f"{Thresholds.likeness:g}, mean over seeds, as in `memscan verify`) by the caption itself, "
        "and by the most alike of it and the start that an adversary finds: an embedding moved "
        "within the radius, or a caption with words replaced. Captions that are not memorized (a "
        "third each trained once, trained with many images, and held out) are the control. 95 % "
        "bootstrap intervals over images.",
        "",
        "## Radius, on half 0 without mitigation",
        "",
        "The largest radius that reproduces no more of the captions that are not memorized than "
        f"they do themselves: **{chosen:g}**.",
        "",
        *_table([row for row in summary if row["half"] == 0], ("radius", "captions", "n")),
        "",
        f"## By mitigation, on half 1 at a radius of {used:g}",
        "",
        *_table([row for row in summary if row["half"] == 1], ("condition", "captions", "n")),
        "",
    ]
    (out / "adversarial.md").write_text("\n".join(lines), encoding="utf-8")


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    return markdown_table(rows, (*MEASURES, "embedding_distance", "swap_distance"), names)
