"""Write the study's tables, figures and findings.md.

Figures come from the tables; what they mean is written below by hand, and was checked against the
tables of the models named in ``models``.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from jobs.studies.late_step import analysis, measurements, plots
from jobs.studies.late_step.measurements import FIRST, LOW, ModelScores
from jobs.studies.late_step.models import VARIANTS
from scanner.models.random.random_weights import stable_diffusion_14
from scanner.scoring import Scorer
from scanner.scoring.cost import ForwardCosts, cost
from scanner.scoring.profiles import PROFILES

COUNTED = ("triage", "late-half", "standard", "late", "thorough")

Row = dict[str, Any]


def write_findings(out: Path) -> None:
    """Write a csv per table, two figures and findings.md for the models that are measured."""
    models = [measurements.read(out, name) for name in measurements.measured(out)]
    tables = {
        name: [row for model in models for row in table(model)]
        for name, table in analysis.TABLES.items()
    }
    for name, rows in tables.items():
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), out / f"{name}.csv")
    plots.plot_timesteps(tables["timesteps"], out / "timesteps.png")
    plots.plot_groups([row for model in models for row in _points(model)], out / "groups.png")
    text = (Path(__file__).parent / "findings.template").read_text(encoding="utf-8")
    for name, lines in _sections(tables, models).items():
        marker = f"<!-- {name} -->"
        assert marker in text, marker
        text = text.replace(marker, "\n".join(lines))
    (out / "findings.md").write_text(text, encoding="utf-8")


def _points(model: ModelScores) -> list[Row]:
    order = {group: number for number, group in enumerate(analysis.GROUPS)}
    rows = [
        {"model": model.name, "group": group, "first": float(first), "low": float(low)}
        for group, first, low in zip(model.groups, model.norm(FIRST), model.norm(LOW), strict=True)
    ]
    return sorted(rows, key=lambda row: order[row["group"]])


def _sections(tables: dict[str, list[Row]], models: Sequence[ModelScores]) -> dict[str, list[str]]:
    names = [model.name for model in models]
    return {
        "models": _models(tables, names),
        "timesteps": _wide(
            [row for row in tables["timesteps"] if row["side"] == 1], ("timestep",), names
        ),
        "sides": _wide(
            [row for row in tables["timesteps"] if row["timestep"] in (FIRST, 281, LOW)],
            ("side", "timestep"),
            names,
        ),
        "seeds": _wide(tables["seeds"], ("timestep", "seeds"), names),
        "scales": _wide(tables["scales"], ("timestep", "scale"), names),
        "gains": _gains(tables["gains"], names),
        "combinations": _wide(tables["combinations"], ("combination",), names),
        "baselines": _wide(tables["baselines"], ("score",), names),
        "groups": _groups(tables["groups"]),
        "errors": _errors(tables["errors"]),
        "mistaken": _mistaken(tables["mistaken"]),
        "directions": _directions(tables["directions"]),
        "with_image": _wide(tables["with_image"], ("timestep",), names),
        "costs": _costs(),
    }


def _models(tables: dict[str, list[Row]], names: Sequence[str]) -> list[str]:
    groups_head = (f"group {group}: memorized" for group in analysis.GROUPS)
    lines = _head(("model", "differs by", *groups_head))
    for name in names:
        groups = {row["group"]: row for row in tables["groups"] if row["model"] == name}
        shares = [
            f"{groups[group]['memorized']} of {groups[group]['captions']}"
            for group in analysis.GROUPS
        ]
        lines.append(_line((name, VARIANTS[name].description, *shares)))
    return lines


def _wide(rows: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a table with a column per model: AUC, and TPR at 1 % and at one false positive."""
    lines = _head((*keys, *names))
    values = list(dict.fromkeys(tuple(row[key] for key in keys) for row in rows))
    for value in values:
        of_model = {row["model"]: row for row in rows if tuple(row[key] for key in keys) == value}
        lines.append(_line((*value, *(_cell(of_model[name]) for name in names))))
    return lines


def _cell(row: Row) -> str:
    return (
        f"{row['auc']:.4f} ({row['auc_low']:.3f}–{row['auc_high']:.3f}); "
        f"{row['tpr']:.2f} ({row['tpr_low']:.2f}–{row['tpr_high']:.2f}); {row['tpr_one_false']:.2f}"
    )


def _gains(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    lines = _head(("latent side", *names))
    for side in measurements.SIDES:
        cells = [
            f"{row['gain']:+.4f} ({row['gain_low']:+.4f} to {row['gain_high']:+.4f})"
            for name in names
            for row in rows
            if row["model"] == name and row["side"] == side
        ]
        lines.append(_line((side, *cells)))
    return lines


def _groups(rows: Sequence[Row]) -> list[str]:
    lines = _head(
        (
            *("model", "group", "captions", "memorized", "ever reproduced"),
            *("norm at 981: 5, 50, 95 %", "flagged", "norm at 41: 5, 50, 95 %", "flagged"),
        )
    )
    for row in rows:
        norms = {
            when: ", ".join(f"{row[f'norm_{when}_{q}']:.3g}" for q in (5, 50, 95))
            for when in ("first", "low")
        }
        lines.append(
            _line(
                (
                    *(row["model"], row["group"], row["captions"], row["memorized"]),
                    row["ever_reproduced"],
                    *(norms["first"], row["flagged_first"], norms["low"], row["flagged_low"]),
                )
            )
        )
    return lines


def _errors(rows: Sequence[Row]) -> list[str]:
    """Count missed and falsely flagged captions by model and group."""
    lines = _head(("model", "error", "group", "captions", "of them reproduced at least once"))
    kinds = list(dict.fromkeys((row["model"], row["error"], row["group"]) for row in rows))
    for kind in kinds:
        of_kind = [row for row in rows if (row["model"], row["error"], row["group"]) == kind]
        copied = sum(row["reproduced"] > 0 for row in of_kind)
        lines.append(_line((*kind, len(of_kind), copied)))
    return lines


def _mistaken(rows: Sequence[Row]) -> list[str]:
    lines = _head(("model", "captions", "count", "nearest to an image of a memorized caption"))
    for row in rows:
        share = row["nearest_is_memorized"] / row["count"] if row["count"] else 0.0
        lines.append(
            _line(
                (
                    *(row["model"], row["captions"], row["count"]),
                    f"{row['nearest_is_memorized']} ({share:.0%})",
                )
            )
        )
    return lines


def _directions(rows: Sequence[Row]) -> list[str]:
    lines = _head(
        (
            *("model", "timestep", "group", "cosine with its own image"),
            *("own image nearest of all", "‖ε_c‖ / √d", "‖ε_∅‖ / √d"),
        )
    )
    for row in rows:
        lines.append(
            _line(
                (
                    *(row["model"], row["timestep"], row["group"], f"{row['own_cosine']:.2f}"),
                    f"{row['own_image_first']:.0%}",
                    *(f"{row['conditional']:.2f}", f"{row['unconditional']:.2f}"),
                )
            )
        )
    return lines


def _costs() -> list[str]:
    lines = _head(("profile", "latents", "GFLOP per caption", "share of one whole forward"))
    model = stable_diffusion_14(device="meta")
    forwards = functools.cache(lambda shape: ForwardCosts(model, shape, device="cpu"))
    whole = forwards(Scorer(model, "late").latent_shape).whole
    for name in COUNTED:
        scorer = Scorer(model, name)
        counted = cost(scorer, forwards(scorer.latent_shape))
        size = "x".join(map(str, scorer.latent_shape[1:]))
        seeds = f", {PROFILES[name].seeds} seeds" if PROFILES[name].seeds > 1 else ""
        lines.append(
            _line(
                (
                    f"`{name}`{seeds}",
                    size,
                    f"{counted.per_caption:,.0f}",
                    f"{counted.per_caption / whole:.2f}",
                )
            )
        )
    return lines


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Sequence[Any]) -> str:
    return (
        "| "
        + " | ".join(f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells)
        + " |"
    )
