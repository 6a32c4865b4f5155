"""Reference pages written from the code: columns of all tables, and the named queries' SQL."""

import re
from collections.abc import Callable, Iterable

import pyarrow as pa

from jobs.development.site.python_names import python_page
from scanner.evidence.index.shards import shard_schema
from scanner.query import library
from scanner.run.decisions import DECISIONS
from scanner.run.image_tables import IMAGE_CLUSTERS, SAMPLE_SCORES
from scanner.run.schema import CAPTIONS, REJECTS, samples_schema
from scanner.run.verdicts import MITIGATED, VERDICTS
from scanner.scoring.catalog import SIGNALS, find_signal
from scanner.scoring.profiles import PROFILES
from scanner.scoring.table_schema import score_schema

_COLUMNS = """# Columns

The tables of a run and of an index of images. All are Parquet, and each column's description, unit
and source are metadata of its field. This page is written from the same schemas.
"""
_SCORES = """`NAME_low`, `NAME_mid` and `NAME_T` are the signal NAME on pure noise at the low-noise
step, at half of the training steps and at timestep T (`--signals NAME@low`, `NAME@mid`, `NAME@T`).
A run has the signals of its profile that its model, resolution and number of seeds can give.
"""


def columns_page() -> str:
    """Return the page of columns."""
    lines = [_COLUMNS]
    for table, about, schema in _tables():
        lines += [f"## {table}", "", f"{about}.", "", *_rows(schema), ""]
        if table == "scores":
            lines += ["### Signals", "", _SCORES, *_signals(), ""]
    lines += [
        "## removal_list.parquet",
        "",
        "The samples that `memscan curate` removes, and why.",
        "",
    ]
    lines += ["| column | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in library()["removal_list"].columns.items()]
    return "\n".join([*lines, "| `policy` | the policy's name, version and hash |", ""])


def _tables() -> list[tuple[str, str, pa.Schema]]:
    """Return each table with what it holds and its columns."""
    return [
        ("samples", "One row per sample, with the columns of `--keep`", samples_schema([], True)),
        ("captions", "One row per distinct caption", CAPTIONS),
        ("scores", "One row per caption: its signals, and these", score_schema([], {}, True, None)),
        ("rejects", "One row per row or caption without a score", REJECTS),
        ("verdicts", "One row per caption and verification, by `memscan verify`", VERDICTS),
        ("mitigated", "The same with `--mitigate`", MITIGATED),
        ("sample_scores", "One row per caption and image, by `score-samples`", SAMPLE_SCORES),
        ("image_clusters", "One row per image, by `memscan group-images`", IMAGE_CLUSTERS),
        ("decisions", "One row per statement of a reviewer", DECISIONS),
        ("Index of images", "One row per image, by `memscan index-images`", shard_schema(1)),
    ]


def _rows(schema: Iterable[pa.Field]) -> list[str]:
    lines = ["| column | type | |", "|---|---|---|"]
    return lines + [f"| `{field.name}` | {_type(field)} | {_about(field)} |" for field in schema]


def _signals() -> list[str]:
    """Return a table of all signals, with those that a profile computes at other noise levels."""
    of_profiles = {
        name: {find_signal(signal).name for signal in profile.signals}
        for name, profile in PROFILES.items()
    }
    others = [find_signal(name) for one in PROFILES.values() for name in one.signals]
    lines = ["| column | type | memorized is | profiles | |", "|---|---|---|---|---|"]
    for signal in {one.name: one for one in (*SIGNALS.values(), *others)}.values():
        field = signal.documented_field
        direction = (field.metadata or {}).get(b"memorized", "–".encode()).decode()
        profiles = ", ".join(f"`{name}`" for name, has in of_profiles.items() if signal.name in has)
        seeds = f"; `{signal.seeds_column}`: of each seed" if signal.seeds_column else ""
        cells = (_type(field), direction, profiles or "–", f"{_about(field)}{seeds}")
        lines.append(f"| `{signal.name}` | {' | '.join(cells)} |")
    return lines


def _type(field: pa.Field) -> str:
    """Return a field's type as one code span."""
    return f"`{field.type}`".replace("|", "\\|")


def _about(field: pa.Field) -> str:
    """Return a field's description, with its unit and source."""
    about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f" ({about['unit']})" if "unit" in about else ""
    source = f"; {about['source']}" if "source" in about else ""
    return f"{about['description']}{unit}{source}".replace("|", "\\|").replace("<", "&lt;")


def with_sql(page: str) -> str:
    """Return the page of named queries with each one's SQL at the end of its section."""
    introduction, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    written = [introduction]
    for section in sections:
        name = section.partition("\n")[0].removeprefix("## ")
        lines = library()[name].sql.splitlines()
        sql = "\n".join(line for line in lines if not line.startswith("--")).strip()
        written.append(f"{section.rstrip()}\n\n### SQL\n\n```sql\n{sql}\n```\n\n")
    return "".join(written)


GENERATED: dict[str, Callable[[], str]] = {
    "reference/columns.md": columns_page,
    "reference/python.md": python_page,
}
