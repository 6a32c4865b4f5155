"""Write the study's tables, plots and findings.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.studies.mitigation import plots
from jobs.studies.mitigation.analysis import StudyResult


def write_findings(
    out: Path, result: StudyResult, cost: dict[str, Any], sizes: dict[str, int]
) -> None:
    """Write settings and doses as parquet, csv and PNG, and findings.md.

    ``sizes``: the command's options that set the study's size.
    """
    for name, rows in (("settings", result.settings), ("doses", result.doses)):
        write_table(out, name, rows)
    plots.plot_settings(result.settings, out / "settings.png")
    plots.plot_dose_response(result.doses, result.without_dose, out / "doses.png")
    (out / "findings.md").write_text(_findings(result, cost, sizes), encoding="utf-8")


def write_table(out: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as parquet and csv."""
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, out / f"{name}.parquet", compression="zstd")
    pyarrow.csv.write_csv(table, out / f"{name}.csv")


def _findings(result: StudyResult, cost: dict[str, Any], sizes: dict[str, int]) -> str:
    summary = result.summary
    lines = [
        "# Effect of mitigation on the testbed",
        "",
        f"Written by `python -m jobs.studies.mitigation --out DIR {options(sizes)}`.",
        "",
        f"Best setting, chosen on one half of the captions: **{summary['best_setting']}** "
        "(selective: only captions with a noise norm above "
        f"{summary['threshold']:.3f}). On the other half it reduces the share of memorized "
        f"captions reproduced from {summary['memorized_before']:.1%} to "
        f"{summary['memorized_after']:.1%} (a reduction of "
        f"{summary['memorized_reduction']:.0%}); the images of other captions change by "
        f"{summary['others_moved']:.3f} RMSE.",
        "",
        *_cost(cost),
        "",
        "## Settings",
        "",
        *markdown_table(
            result.settings,
            (
                "reproduced",
                "similarity",
                "agreement",
                "others_moved",
                "others_alignment",
                "others_frechet",
            ),
            ("setting",),
        ),
        "",
        "![settings](settings.png)",
        "",
        "## Dose–response",
        "",
        "![doses](doses.png)",
        "",
        *markdown_table(
            result.doses,
            ("reproduced", "similarity", "similarity_gain"),
            ("captions", "target", "dose"),
        ),
        "",
    ]
    return "\n".join(lines)


def options(sizes: dict[str, int]) -> str:
    """Return a study's sizes as the command's options."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in sizes.items())


def _cost(cost: dict[str, Any]) -> list[str]:
    words = (
        f"On Stable Diffusion 1.4's full-size U-Net at 256 px it adds at most "
        f"{cost['added_operations']:.4%} operations"
    )
    if "time_ratio" in cost:
        words += (
            f". In {cost['pairs']} pairs of guided forwards, those with mitigation took "
            f"{cost['time_ratio']:.4f} times as long (upper 95 % bound "
            f"{cost['time_ratio_upper_95']:.4f}). With the mask and the BOS scale both "
            "disabled, the output is "
            f"{'' if cost['identical_when_off'] else 'NOT '}bitwise identical"
        )
    return [f"{words}."]


def markdown_table(
    rows: Sequence[dict[str, Any]], values: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return a Markdown table of values, with intervals if the rows have them."""
    lines = ["| " + " | ".join((*names, *values)) + " |", "|" + "---|" * (len(names) + len(values))]
    for row in rows:
        cells = [
            f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in names
        ]
        lines.append("| " + " | ".join((*cells, *(_cell(row, value) for value in values))) + " |")
    return lines


def _cell(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    if f"{name}_low" not in row:
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} ({row[f'{name}_low']:.3f}–{row[f'{name}_high']:.3f})"
