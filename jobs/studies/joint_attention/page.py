"""Render the study's page from the models' results."""

from collections.abc import Sequence
from pathlib import Path

from jobs.studies.joint_attention.measurements import (
    TRAJECTORY_GUIDANCE,
    TRAJECTORY_STEPS,
    Evaluated,
)
from scanner.calibration import Separation

TEMPLATE = Path(__file__).with_name("joint_attention.template")


def render(models: Sequence[Evaluated]) -> str:
    """Return the page with a column per model."""
    text = TEMPLATE.read_text(encoding="utf-8")
    tables = {
        "models": _groups(models),
        "signals": _wide(models, [one.scores.signals for one in models]),
        "combinations": _wide(models, [one.combinations for one in models]),
        "gains": _gains(models),
        "baselines": _wide(models, [one.scores.text_only for one in models]),
        "layers": _layers(models),
        "trajectory": _trajectory(models[0]),
    }
    for name, lines in tables.items():
        text = text.replace("{" + name + "}", "\n".join(lines))
    return text


def _groups(models: Sequence[Evaluated]) -> list[str]:
    lines = _head(["group", *_names(models)])
    for group in models[0].groups:
        cells = [f"{one.groups[group][0]} of {one.groups[group][1]}" for one in models]
        lines.append(_line([group, *cells]))
    return lines


def _wide(models: Sequence[Evaluated], rows: Sequence[dict[str, Separation]]) -> list[str]:
    lines = _head(["", *_names(models)])
    for name in rows[0]:
        lines.append(_line([f"`{name}`", *(_cell(of_model[name]) for of_model in rows)]))
    return lines


def _trajectory(model: Evaluated) -> list[str]:
    if not model.trajectory:
        return ["Signals of the whole trajectory were not measured (`--trajectory`)."]
    setting = f"{TRAJECTORY_STEPS} steps, guidance {TRAJECTORY_GUIDANCE:g}"
    title = f"Signals of the whole trajectory ({setting}):"
    return [title, "", *_wide([model], [model.trajectory])]


def _gains(models: Sequence[Evaluated]) -> list[str]:
    cells = [f"{one.gain.auc:+.3f} ({one.gain.low:+.3f} to {one.gain.high:+.3f})" for one in models]
    return [*_head(["", *_names(models)]), _line(["AUC gain", *cells])]


def _layers(models: Sequence[Evaluated]) -> list[str]:
    names = models[0].layers.all_layers
    depth = max(len(layers) for layers in names.values())
    lines = _head(["signal", "model", *(f"layer {layer}" for layer in range(depth))])
    for name in names:
        for one in models:
            cells = [
                f"{each.auc:.2f} ({each.auc_low:.2f}–{each.auc_high:.2f})"
                for each in one.layers.all_layers[name]
            ]
            lines.append(_line([f"`{name}`", f"seed {one.seed}", *cells]))
    return lines


def _names(models: Sequence[Evaluated]) -> list[str]:
    return [f"seed {one.seed}" for one in models]


def _cell(one: Separation) -> str:
    point = one.at_fpr[0.01]
    return f"{one.auc:.3f} ({one.auc_low:.3f}–{one.auc_high:.3f}); {point.tpr:.2f}"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
