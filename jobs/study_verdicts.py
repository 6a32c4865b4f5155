"""Find the thresholds of verdicts on one half of a run's labelled captions, and tell how well the
verdicts of the other half agree with the labels, with and without training images. Without them
no caption can be called a copy: there, seed-consistent captions are taken for memorized.

The halves are told by the hash of a caption's family (else of the caption), so they are the same
everywhere. How clean the labels are taken to be is chosen inside the first half, by
cross-validation. The thresholds that ship come from the testbed:

memscan demo --out DEMO
memscan verify DEMO/run-standard --captions DEMO/data/labels.csv --steps 20 --guidance 2
python -m jobs.study_verdicts DEMO/run-standard --labels DEMO/data/labels.csv \\
    --looked-at scanner/evidence/verify/looked_at.txt
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.terminal import command, print_json, show
from scanner.errors import UserError

WITH = "with training images"
WITHOUT = "without, seed-consistent taken for memorized"

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class StudyConfig:
    """Which verdicts, and what is known of their captions."""

    run: Annotated[str, tyro.conf.Positional]
    """A run with verdicts."""
    labels: str
    """A csv with caption, memorized (true or false) and, if there are any, family (captions of one
    picture) and group (which the result is broken down by)."""
    looked_at: str | None = None
    """A file of captions, one a line, that somebody had looked at when the method was made; the
    agreement is also told without them."""
    json: bool = False
    """Print the result as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(StudyConfig, "study-verdicts", __doc__, _study, arguments)


def _study(config: StudyConfig) -> int:
    import numpy as np

    from scanner.evidence.verify.threshold_fitting import cross_validate, first_half, fit

    table = _labelled(config)
    memorized = table["memorized"].to_numpy(zero_copy_only=False)
    families = [
        f"family {family}" if family is not None else caption
        for family, caption in zip(
            table["family"].to_pylist(), table["caption"].to_pylist(), strict=True
        )
    ]
    half = first_half(families)
    own = [family for family, here in zip(families, half, strict=True) if here]
    first = table.filter(half)
    found = cross_validate(first, memorized[half], own)
    tail = max(found, key=lambda one: found[one])  # of equal ones the smallest
    thresholds = fit(first, memorized[half], own, tail)
    record: dict[str, Any] = {
        "captions": len(table),
        "fitted_on": int(half.sum()),
        "cross_validated_agreement": found,
        "tail": tail,
        "thresholds": asdict(thresholds),
    }
    other, labels = table.filter(~half), memorized[~half]
    judged = _both_ways(other, thresholds)
    record["agreement_with_labels"] = {
        way: _agreement(verdicts, labels, way == WITH, np) for way, verdicts in judged.items()
    }
    if config.looked_at:
        new = ~np.isin(other["caption"].to_pylist(), _lines(config.looked_at))
        record["agreement_on_new_captions"] = {
            way: _agreement(verdicts.filter(new), labels[new], way == WITH, np)
            for way, verdicts in judged.items()
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


def _labelled(config: StudyConfig) -> "pa.Table":
    """The measures of the captions that have both a verdict and a label."""
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
    place = pc.index_in(measures["caption"], labels["caption"].combine_chunks())
    there = pc.is_valid(place)
    labels, table = labels.take(pc.drop_null(place)), measures.filter(there)
    if not len(table):
        raise UserError(f"{config.run}: none of its verdicts is of a labelled caption")
    for name in ("memorized", "family", "group"):
        nothing = pa.nulls(len(table), pa.string())
        found = labels[name] if name in labels.column_names else nothing
        table = table.append_column(name, found)
    return table


def _both_ways(table: "pa.Table", thresholds: Any) -> dict[str, "pa.Table"]:
    """Verdicts by all that is known, and as if no training image could be had."""
    import pyarrow as pa

    from scanner.evidence.verify.verdicts import judge
    from scanner.run.verdicts import MEASURES

    measures = table.select(MEASURES.names)
    blind = measures
    for field in MEASURES:
        if field.name.startswith(("likeness", "reference")):
            place = blind.schema.get_field_index(field.name)
            blind = blind.set_column(place, field, pa.nulls(len(blind), field.type))
    groups = table["group"]
    return {
        WITH: judge(measures, thresholds).append_column("group", groups),
        WITHOUT: judge(blind, thresholds).append_column("group", groups),
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
    "agreement_with_labels": "the other",
    "agreement_on_new_captions": "of these, those that nobody had looked at,",
}


def _print(record: dict[str, Any]) -> None:
    from scanner.run.verdicts import KINDS

    show(f"fitted on {record['fitted_on']:,} of {record['captions']:,} captions; of them agree,")
    show("judged by thresholds fitted without them, when so many labels may be wrong:")
    show("  " + "".join(f"{tail:>8.0%}" for tail in record["cross_validated_agreement"]))
    show("  " + "".join(f"{one:>8.1%}" for one in record["cross_validated_agreement"].values()))
    show(f"thresholds, by {record['tail']:.0%}")
    for name, value in record["thresholds"].items():
        show(f"  {name:14}{'-' if value is None else f'{value:.4f}':>8}")
    for key, which in _PARTS.items():
        for way, found in record.get(key, {}).items():
            show(
                f"{which} {found['captions']:,}, {way}: {found['agree']:.1%} agree with the labels"
            )
            show(f"  {'':12}{'captions':>9}{'agree':>8}" + "".join(f"{k:>17}" for k in KINDS))
            for name, row in found["by_group"].items():
                counts = "".join(f"{row[kind]:>17}" for kind in KINDS)
                show(f"  {name:12}{row['captions']:>9}{row['agree']:>8.1%}{counts}")


if __name__ == "__main__":
    sys.exit(main())
