"""Write sql/README.md: every query of sql/ with an example and its result on a run.

Example: memscan demo --out demo && python -m jobs.development.cookbook demo/run-standard
"""

import contextlib
import io
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jobs.tables import print_table
from jobs.terminal import command
from scanner.query import Query, RunTables, ask, library, open_run
from scanner.query.library import FOLDER
from scanner.run import Run

MAX_ROWS = 3
OPENING = """# The queries

`memscan sql RUN --name NAME` asks one; `--param name=value` sets a parameter (repeat it for
several), `--format` and `--out FILE` keep the rows, `--calibration FILE` brings thresholds and
probabilities, `--with other=RUN` attaches another run. `memscan sql --list` lists them. Where a run
lacks what a query is about, such as verdicts, the error names the command that makes it. Each is
one file of this directory, and plain SQL over the views `samples`, `captions`, `scores`, `rejects`,
`ranked`, `signals`, `thresholds`, `flagged`, `verdicts` and `mitigated`: copy one, change it, and
ask it by `--file`. `SHOW TABLES` also shows the views that these are made of. Times are in UTC.

A query is exactly one SELECT that only reads, and a predicate (`--where`, a policy's `when`) one
expression, both judged by DuckDB's own parse tree. It sees the run's views and
`information_schema`; functions that read files, settings or the environment are refused, as is
`PIVOT` without an `IN` list. The connection is locked before any of the run's tables is opened: it
reads the files that the run's manifest and verdicts list and no other, in transactions in which
DuckDB refuses to write. A run whose scores have a column that no scan could have named is refused;
columns that a scan kept of the input may have any name.

Ctrl-C stops a query, and so does `--timeout SECONDS`. A query uses as many threads as the process
has cores, half of the machine's memory, and beyond that up to half of the free disk space of the
temporary directory (`TMPDIR`), in a directory of its own that only you can read and that is removed
at the end.

The decision signal, by which `ranked` is ordered, is the combination of a calibration; without one,
of the run's signals the one that separates best on the testbed: `noise_norm_first`, or `bos_mass`
after `--profile triage` ([why](../scanner/signals/README.md#what-ranks-without-a-calibration)).

The examples were run on `memscan demo` with its calibration and the verdicts of `memscan verify` as
in [jobs/README.md](../jobs/README.md#prove-it); at most three rows are shown. From a checkout,
`python -m jobs.development.cookbook demo/run-standard` writes this page.
"""


@dataclass(frozen=True)
class CookbookConfig:
    """The run and calibration of the examples."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory or URL of the run; also attached as ``other``."""
    calibration: str = "testbed"
    """Calibration of the examples: a file, or testbed."""


def main(arguments: Sequence[str] | None = None) -> int:
    return command(CookbookConfig, "jobs.development.cookbook", __doc__, _cookbook, arguments)


def _cookbook(config: CookbookConfig) -> int:
    (FOLDER / "README.md").write_text(cookbook(config.run, config.calibration), encoding="utf-8")
    return 0


def cookbook(run: str, calibration: str) -> str:
    """Return the page, with every query executed on a run with a calibration."""
    from jobs.calibrations import named_calibration

    tables = open_run(run, {"other": run}, named_calibration(calibration))
    (train,) = Run.existing(run).record()["inputs"]["captions"]  # type: ignore[index]
    prefix = str(Path(train).parents[2]) + "/"  # removed from paths in the results
    sections = [_section(query, tables, prefix) for query in library().values()]
    return "\n".join([OPENING, *sections])


def _section(query: Query, tables: RunTables, prefix: str) -> str:
    """Return a query's section: purpose, parameters, an example with its first rows, columns."""
    parameters = dict(word.split("=", 1) for word in query.example)
    words = [f"--param {shlex.quote(word)}" for word in query.example]
    attached = ["--with other=OTHER"] if "other." in query.sql else []
    command = " ".join(["memscan sql RUN --name", query.name, *words, *attached])
    result = ask(tables, query, parameters)
    rows = [
        {
            name: value.removeprefix(prefix) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in result.slice(0, MAX_ROWS).to_pylist()
    ]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_table(rows, result.column_names)
    printed = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    lines = [f"## {query.name}\n", f"{query.purpose}\n"]
    for name, about in query.about.items():
        default = query.parameters[name]
        lines.append(f"- `{name}`{'' if default is None else f' = {default}'}: {about}")
    lines += [
        "",
        f"```\n{command}\n\n{printed}\n```\n",
        "| column | |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {about} |" for name, about in query.columns.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
