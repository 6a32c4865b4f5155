"""Fit the verdict thresholds on one half of a run's labeled captions, and measure agreement
with the labels on the other half, with and without training images. Without images no caption can
be called a copy, so seed-consistent captions count as memorized.

The halves depend on the hash of a caption's family (or of the caption), so they are the same on
every machine. The assumed share of wrong labels is chosen within the first half by
cross-validation. The default thresholds come from the testbed:

memscan demo --out DEMO
memscan verify DEMO/run-standard --captions DEMO/data/labels.csv --steps 20 --guidance 2
python -m jobs.studies.verdict_thresholds DEMO/run-standard --labels DEMO/data/labels.csv \\
    --looked-at scanner/evidence/verify/looked_at.txt
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.console.terminal import command, print_json, show
from scanner.errors import UserError

WITH = "with training images"
WITHOUT = "without training images (seed-consistent counts as memorized)"

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class VerdictStudyConfig:
    """The run with verdicts, and the labels of its captions."""

    run: Annotated[str, tyro.conf.Positional]
    """A run with verdicts."""
    labels: str
    """A csv with the columns caption, memorized (true or false) and optionally family (captions of
    one image) and group (to break the result down by)."""
    looked_at: str | None = None
    """A file of captions, one per line, that were inspected during development; agreement is also
    reported without them."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(
        VerdictStudyConfig, "jobs.studies.verdict_thresholds", __doc__, _study, arguments
    )


def _study(config: VerdictStudyConfig) -> int:
    import numpy as np

    from scanner.evidence.verify.threshold_fitting import cross_validate, first_half, fit

    table = _labeled(config)
    memorized = table["memorized"].to_numpy(zero_copy_only=False)
    families = [
        f"family {family}" if family is not None else caption
        for family, caption in zip(
            table["family"].to_pylist(), table["caption"].to_pylist(), strict=True
        )
    ]
    half = first_half(families)
    first_families = [family for family, chosen in zip(families, half, strict=True) if chosen]
    first = table.filter(half)
    agreement = cross_validate(first, memorized[half], first_families)
    tail = max(agreement, key=lambda share: agreement[share])  # the smallest of equals
    thresholds = fit(first, memorized[half], first_families, tail)
    record: dict[str, Any] = {
        "captions": len(table),
        "fitted_on": int(half.sum()),
        "cross_validated_agreement": agreement,
        "tail": tail,
        "thresholds": asdict(thresholds),
    }
    other, labels = table.filter(~half), memorized[~half]
    judged = _judge_with_and_without(other, thresholds)
    record["agreement_with_labels"] = {
        images: _agreement(verdicts, labels, images == WITH, np)
        for images, verdicts in judged.items()
    }
    if config.looked_at:
        new = ~np.isin(other["caption"].to_pylist(), _lines(config.looked_at))
        record["agreement_on_new_captions"] = {
            images: _agreement(verdicts.filter(new), labels[new], images == WITH, np)
            for images, verdicts in judged.items()
        }
    if config.json:
        print_json(record)
    else:
        _print(record)
    return 0


def _lines(url: str) -> list[str]:
    from scanner.storage import open_input

    try:
        with open_input(url) as file:
            return file.read().decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--looked-at {url}: cannot be read: {error}") from error


def _labeled(config: VerdictStudyConfig) -> "pa.Table":
    """Return the measures of captions that have both a verdict and a label."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    from scanner.query import open_run
    from scanner.storage import open_input

    try:
        with open_input(config.labels) as file:
            labels = pa.csv.read_csv(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"--labels {config.labels}: cannot be read: {error}") from error
    for name in ("caption", "memorized"):
        if name not in labels.column_names:
            raise UserError(f"--labels {config.labels}: no column {name}")
    measures = open_run(config.run).query("FROM verdicts ORDER BY caption_id")
    index = pc.index_in(measures["caption"], labels["caption"].combine_chunks())
    labels, table = labels.take(pc.drop_null(index)), measures.filter(pc.is_valid(index))
    if not len(table):
        raise UserError(
            f"--labels {config.labels}: labels no caption with a verdict in {config.run}; label "
            "captions of this run"
        )
    for name in ("memorized", "family", "group"):
        missing = pa.nulls(len(table), pa.string())
        values = labels[name] if name in labels.column_names else missing
        table = table.append_column(name, values)
    return table


def _judge_with_and_without(table: "pa.Table", thresholds: Any) -> dict[str, "pa.Table"]:
    """Return verdicts with all measures, and as if no training image were available."""
    import pyarrow as pa

    from scanner.evidence.verify.verdicts import judge
    from scanner.run.verdicts import MEASURES

    measures = table.select(MEASURES.names)
    without = measures
    for field in MEASURES:
        if field.name.startswith(("likeness", "reference")):
            index = without.schema.get_field_index(field.name)
            without = without.set_column(index, field, pa.nulls(len(without), field.type))
    groups = table["group"]
    return {
        WITH: judge(measures, thresholds).append_column("group", groups),
        WITHOUT: judge(without, thresholds).append_column("group", groups),
    }


def _agreement(
    judged: "pa.Table", memorized: "np.ndarray", with_images: bool, np: Any
) -> dict[str, Any]:
    from scanner.run.verdicts import COPIES, KINDS

    verdict = np.array(judged["verdict"].to_pylist())
    right = np.isin(verdict, COPIES if with_images else KINDS[:-1]) == memorized
    group = np.array([str(name) for name in judged["group"].to_pylist()])
    return {
        "captions": len(right),
        "agree": float(right.mean()),
        "by_group": {
            name: {
                "captions": int((group == name).sum()),
                "agree": float(right[group == name].mean()),
                **{kind: int((verdict[group == name] == kind).sum()) for kind in KINDS},
            }
            for name in sorted(set(group.tolist()))
        },
    }


_PARTS = {
    "agreement_with_labels": "the other half",
    "agreement_on_new_captions": "of these, those never inspected",
}


def _print(record: dict[str, Any]) -> None:
    from scanner.run.verdicts import KINDS

    show(f"fitted on {record['fitted_on']:,} of {record['captions']:,} captions")
    show("cross-validated agreement by assumed share of wrong labels:")
    show("  " + "".join(f"{tail:>8.0%}" for tail in record["cross_validated_agreement"]))
    show("  " + "".join(f"{share:>8.1%}" for share in record["cross_validated_agreement"].values()))
    show(f"thresholds at {record['tail']:.0%}")
    for name, value in record["thresholds"].items():
        show(f"  {name:14}{'-' if value is None else f'{value:.4f}':>8}")
    for key, which in _PARTS.items():
        for images, result in record.get(key, {}).items():
            show(
                f"{which} ({result['captions']:,}), {images}: {result['agree']:.1%} agree with the "
                "labels"
            )
            show(f"  {'':12}{'captions':>9}{'agree':>8}" + "".join(f"{k:>17}" for k in KINDS))
            for name, row in result["by_group"].items():
                counts = "".join(f"{row[kind]:>17}" for kind in KINDS)
                show(f"  {name:12}{row['captions']:>9}{row['agree']:>8.1%}{counts}")


if __name__ == "__main__":
    sys.exit(main())
