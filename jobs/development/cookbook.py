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

from jobs.console.tables import print_table
from jobs.console.terminal import command
from scanner.query import Query, RunTables, library, open_run, run_named_query
from scanner.query.library import FOLDER
from scanner.run import Run

MAX_ROWS = 3
OPENING = """# Named queries

`memscan sql RUN --name NAME` runs a query; `--param name=value` sets a parameter (repeat it for
more), `--format` and `--out FILE` save the rows, `--calibration FILE` adds thresholds and
probabilities, and `--with other=RUN` attaches another run. `memscan sql --list` lists the queries.
If a run lacks what a query needs, such as verdicts, the error names the command that adds it. Each
query is one file in this directory, in plain SQL over the views `samples`, `captions`, `scores`,
`rejects`, `ranked`, `signals`, `thresholds`, `flagged`, `verdicts`, `mitigated`, `sample_scores`,
`image_clusters`, `decisions` and `reviewed`: copy one, edit it, and run it with `--file`. `SHOW
TABLES` also lists the views that these are built on. Times are in UTC.

A query must be exactly one read-only SELECT, and a predicate (`--where`, a policy's `when`) one
expression; both are checked on DuckDB's parse tree. A query can read the run's views and
`information_schema`; functions that read files, settings or the environment are refused, as is
`PIVOT` without an `IN` list. The connection is locked before any of the run's tables is opened: it
reads only the files that the run's manifest and verdicts list, in read-only transactions. A run
whose scores table has an unknown column is refused; columns kept from the input may have any name.

Ctrl-C and `--timeout SECONDS` stop a query. A query uses as many threads as the process has cores,
half of the machine's memory, and beyond that up to half of the free disk space of the temporary
directory (`TMPDIR`), in a private directory that is removed afterwards.

The ranking signal, which orders `ranked`, is the combination of a calibration; without one, the
run's signal with the highest AUC on the testbed: `noise_norm_low`, or `bos_mass` after
`--profile triage` ([why](../scanner/signals/README.md#ranking-without-a-calibration)).

The examples come from `memscan demo`, its calibration and the verdicts of `memscan verify` as in
[jobs/README.md](../jobs/README.md#verify); at most three rows are shown. From a checkout, `python
-m jobs.development.cookbook demo/run-standard` writes this page.
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
    from jobs.console.calibrations import named_calibration

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
    result = run_named_query(tables, query, parameters)
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
