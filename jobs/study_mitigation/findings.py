"""Write the study's tables, figures and page of findings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.study_mitigation import figures
from jobs.study_mitigation.analysis import Found


def write(out: Path, found: Found, cost: dict[str, Any], sizes: dict[str, int]) -> None:
    """settings, doses and tuning as parquet and csv, three figures, findings.md.

    ``sizes``: the options of the command that the study's size follows from.
    """
    tables = {"settings": found.settings, "doses": found.doses, "tuning": found.tuning}
    for name, rows in tables.items():
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
        pyarrow.csv.write_csv(table, out / f"{name}.csv")
    figures.settings(found.settings, out / "settings.png")
    figures.dose_response(found.doses, found.undosed, out / "doses.png")
    figures.tuning(found.tuning, out / "tuning.png")
    (out / "findings.md").write_text(_page(found, cost, sizes), encoding="utf-8")


def _page(found: Found, cost: dict[str, Any], sizes: dict[str, int]) -> str:
    summary = found.summary
    lines = [
        "# What mitigation does to the testbed",
        "",
        f"Written by `memscan study-mitigation --out DIR {_options(sizes)}`.",
        "",
        f"Best setting, chosen on one half of the captions: **{summary['best_setting']}** (where "
        f"selective: noise norm above {summary['threshold']:.3f}). On the other half the share of "
        f"memorized captions reproduced goes from {summary['memorized_before']:.1%} to "
        f"{summary['memorized_after']:.1%} (a fall of {summary['memorized_fall']:.0%}), and other "
        f"captions' pictures move by {summary['others_moved']:.3f} RMSE.",
        "",
        *_cost(cost),
        "",
        "## Settings",
        "",
        *_table(
            found.settings,
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
        "## Dose and response",
        "",
        "![doses](doses.png)",
        "",
        *_table(
            found.doses,
            ("reproduced", "similarity", "similarity_gain"),
            ("captions", "target", "dose"),
        ),
        "",
        "## Fine-tuning",
        "",
        "![tuning](tuning.png)",
        "",
        *_table(
            found.tuning,
            ("reproduced", "similarity", "unseen_loss", "others_frechet", "left_out_share"),
            ("run", "step"),
        ),
        "",
    ]
    return "\n".join(lines)


def _options(sizes: dict[str, int]) -> str:
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in sizes.items())


def _cost(cost: dict[str, Any]) -> list[str]:
    words = (
        f"On Stable Diffusion 1.4's full-size U-Net at 256 px it adds at most "
        f"{cost['added_operations']:.4%} operations"
    )
    if "time_ratio" in cost:
        words += (
            f"; {cost['pairs']} guided forwards in turns with and without took "
            f"{cost['time_ratio']:.4f} times as long (upper 95 % bound "
            f"{cost['time_ratio_upper_95']:.4f}); with both parts off the output is "
            f"{'the same to the last bit' if cost['identical_when_off'] else 'NOT the same'}"
        )
    return [f"{words}."]


def _table(
    rows: Sequence[dict[str, Any]], values: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Markdown: a value with its interval, where it has one."""
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
