"""From a sealed run and a policy to a removal list and its summary."""

from scanner.curation.matching import Matching
from scanner.curation.policy import Policy
from scanner.curation.removals import PARQUET, list_removals, write_list
from scanner.curation.safeguards import check
from scanner.curation.summary import Summary, summarize
from scanner.errors import UserError
from scanner.query import RunTables, identifier
from scanner.run import Run
from scanner.run.records import encode
from scanner.storage import Store

POLICY = "policy.toml"
SUMMARY = "summary.json"
SUMMARY_TEXT = "summary.txt"


class OverLimit(UserError):
    """A policy removes more than its limits allow; ``summary`` is what it would come to."""

    def __init__(self, why: str, summary: Summary) -> None:
        super().__init__(why)
        self.summary = summary


def curate(
    run: str,
    tables: RunTables,
    policy: Policy,
    out: str,
    force: bool = False,
    csv_safe: bool = False,
) -> Summary:
    """Write the removal list of a policy, and what it comes to, into the directory ``out``.

    Nothing is scored. Raises UserError where a predicate is wrong, and OverLimit where, without
    ``force``, a source or a cluster loses more than the policy's limits; then nothing is written.
    ``csv_safe``: see :func:`write_list`.
    """
    matching = make_list(run, tables, policy)
    summary = summarize(matching, run, out)
    store = Store(out, single_writer=True)
    if not force:
        try:
            check(summary.heaviest, policy.limits, policy.id)
        except UserError as error:
            old = f"; the list in {out} is still the earlier one" if store.exists(PARQUET) else ""
            raise OverLimit(f"{error}. Nothing was written{old}", summary) from error
    record = Run.existing(run).record() or {}
    write_list(tables, store, policy.id, record["fingerprint"]["id"], csv_safe)
    store.write(POLICY, policy.text.encode())
    store.write(SUMMARY_TEXT, (summary.to_text() + "\n").encode())
    store.write(SUMMARY, encode(summary.to_json()))
    return summary


def make_list(run: str, tables: RunTables, policy: Policy) -> Matching:
    """Make the table listed by a policy; writes nothing. Raises UserError for a wrong predicate."""
    matching = Matching(tables, policy)
    plan = Run.existing(run).plan()
    assert plan is not None, "a sealed run has a plan"
    references = [item["url"] for item in plan.inputs if item.get("is_reference")]
    list_removals(matching, references)
    return matching


def choose_image_key(tables: RunTables, column: str) -> None:
    """Have another column of samples tell which images are the same, or, by none, no column.

    Once for a connection. Raises UserError where there is no such column.
    """
    if column == "image_key":
        return
    have = tables.query("FROM samples LIMIT 0").column_names
    if column != "none" and column not in have:
        raise UserError(
            f"--image-key {column}: no column of samples; there are {', '.join(have)}; scan with "
            "--keep to carry more, or none, to remove no sample on account of its image"
        )
    chosen = "NULL::VARCHAR" if column == "none" else identifier(column)
    tables.connection.execute("ALTER VIEW samples RENAME TO samples_as_scanned")
    tables.define("samples", f"SELECT * REPLACE ({chosen} AS image_key) FROM samples_as_scanned")
