"""The study's table, the settings that no other beats, and its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from jobs.studies.mitigation.analysis import choose_setting, choose_threshold, settings_table
from jobs.studies.mitigation.findings import markdown_table
from jobs.studies.mitigation.results import by_condition
from scanner.pages import Chart, png

MEASURES = ("reproduced", "others_moved", "memorized_moved", "others_alignment", "others_frechet")


@dataclass(frozen=True)
class MethodComparison:
    """``settings``: one row per setting on the reported half, with ``time_ratio`` (CPU seconds per
    image against those without mitigation) and ``on_front``."""

    settings: list[dict[str, Any]]
    summary: dict[str, Any]


def compare(table: pa.Table) -> MethodComparison:
    """Choose the best setting on half 0, and report every setting on half 1."""
    halves = [by_condition(table, half) for half in (0, 1)]
    threshold = choose_threshold(halves[0]["none"])
    first, second = (settings_table(half, threshold) for half in halves)
    chosen = choose_setting(first)
    seconds = _seconds(table)
    for row in second:
        row["time_ratio"] = seconds[row["setting"].removesuffix(", selective")] / seconds["none"]
    for row in second:
        row["on_front"] = not any(_beats(other, row) for other in second)
    reported = {row["setting"]: row for row in second}
    before, after = reported["none"], reported[chosen]
    summary = {
        "chosen": chosen,
        "threshold": threshold,
        "memorized_before": before["reproduced"],
        "memorized_after": [after[name] for name in ("reproduced", *_bounds("reproduced"))],
        "others_moved": [after[name] for name in ("others_moved", *_bounds("others_moved"))],
        "front": [row["setting"] for row in second if row["on_front"]],
    }
    return MethodComparison(second, summary)


def _bounds(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a setting copies and changes no more than another, and one of them less."""
    names = ("reproduced", "others_moved")
    return all(one[name] <= other[name] for name in names) and any(
        one[name] < other[name] for name in names
    )


def _seconds(table: pa.Table) -> dict[str, float]:
    """Return the median CPU seconds per image by condition."""
    return {
        name: pc.quantile(table.filter(pc.equal(table["condition"], name))["seconds"])[0].as_py()
        for name in table["condition"].unique().to_pylist()
    }


def write(out: Path, result: MethodComparison, sizes: dict[str, object]) -> None:
    """Write methods.csv, methods.png and findings.md."""
    pa.csv.write_csv(pa.Table.from_pylist(result.settings), out / "methods.csv")
    plot(result.settings, out / "methods.png")
    (out / "findings.md").write_text(_page(result, sizes), encoding="utf-8")


def _page(result: MethodComparison, sizes: dict[str, object]) -> str:
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in sizes.items())
    summary = result.summary
    after, low, high = summary["memorized_after"]
    lines = [
        f"# Methods of mitigation on the model {sizes['testbed']}",
        "",
        f"Written by `python -m jobs.studies.mitigation_methods --out DIR {options}`.",
        "",
        "Chosen on one half of the captions, the setting that changes other captions least among "
        f"those that stop at least 70 % of the copies: **{summary['chosen']}** (selective: only "
        f"captions with a noise norm above {summary['threshold']:.3f}). On the other half, "
        f"{after:.1%} ({low:.1%} to {high:.1%}) of the memorized captions are still reproduced, of "
        f"{summary['memorized_before']:.1%} without mitigation; the images of other captions "
        f"change by {summary['others_moved'][0]:.3f} RMSE.",
        "",
        "![methods](methods.png)",
        "",
        "Settings that no other setting beats in both copies and change: "
        f"{', '.join(summary['front'])}.",
        "",
        *markdown_table(result.settings, (*MEASURES, "time_ratio"), ("setting",)),
        "",
    ]
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the share of copies against the change of other captions, with intervals."""
    data = [
        {**row, "method": row["setting"].split()[0].rstrip(",")}
        for row in rows
        if not row["setting"].endswith("selective")
    ]
    base = alt.Chart(alt.Data(values=data)).encode(
        x=alt.X("others_moved:Q", title="change of other captions' images (RMSE)"),
        y=alt.Y("reproduced:Q", title="memorized captions reproduced"),
        color=alt.Color("method:N", title=None),
    )
    points = base.mark_point(size=70, filled=True).encode(shape=alt.Shape("method:N", title=None))
    across = base.mark_rule(opacity=0.4).encode(
        x=alt.X("others_moved_low:Q"), x2="others_moved_high:Q"
    )
    along = base.mark_rule(opacity=0.4).encode(y=alt.Y("reproduced_low:Q"), y2="reproduced_high:Q")
    chart = alt.layer(across, along, points).properties(width=520, height=340)
    path.write_bytes(png(Chart(chart.to_dict(), path.stem)))
