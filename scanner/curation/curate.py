"""Apply a policy to a sealed run: write its removal list and summary."""

from collections.abc import Sequence
from dataclasses import replace

from scanner.curation.matching import Matching
from scanner.curation.name_lists import NameList
from scanner.curation.named_samples import list_effects, taken_rows, without_listed
from scanner.curation.policy import Policy
from scanner.curation.removals import PARQUET, list_removals, write_list
from scanner.curation.safeguards import check
from scanner.curation.summary import Summary, summarize
from scanner.curation.training_lists import write_training_lists
from scanner.errors import UserError
from scanner.query import RunTables, identifier
from scanner.run import Run
from scanner.run.records import encode
from scanner.storage import Store

POLICY = "policy.toml"
SUMMARY = "summary.json"
SUMMARY_TEXT = "summary.txt"


class LimitExceeded(UserError):
    """A policy removes more than its limits allow; ``summary``: what it would remove."""

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
    lists: Sequence[NameList] = (),
) -> Summary:
    """Write a policy's removal list and summary into the directory ``out``; return the summary.

    Nothing is scored. Raises UserError for an invalid predicate, and LimitExceeded, without writing
    anything, if a source or a cluster loses more than the policy's limits, unless ``force``.
    ``csv_safe``: see :func:`write_list`. ``lists``: of samples to remove, whatever the rules say,
    matched by :func:`match_lists` before.
    """
    matching = make_list(run, tables, policy, lists)
    summary = summarize(matching, run, out)
    if lists:
        summary = replace(summary, by_list=list_effects(tables, lists))
    store = Store(out, single_writer=True)
    if not force:
        try:
            check(summary.heaviest, policy.limits, policy.id)
        except UserError as error:
            old = f"; {out} still has the earlier list" if store.exists(PARQUET) else ""
            raise LimitExceeded(f"{error}. Nothing was written{old}", summary) from error
    record = Run.existing(run).record() or {}
    write_list(tables, store, policy.id, record["fingerprint"]["id"], csv_safe)
    is_whole = not record["inputs"].get("captions_from")
    summary = replace(summary, lists=write_training_lists(tables, store, is_whole))
    store.write(POLICY, policy.text.encode())
    store.write(SUMMARY_TEXT, (summary.to_text() + "\n").encode())
    store.write(SUMMARY, encode(summary.to_json()))
    return summary


def make_list(
    run: str, tables: RunTables, policy: Policy, lists: Sequence[NameList] = ()
) -> Matching:
    """Create the table listed by a policy, and before it by ``lists``, without writing files.

    Raises UserError for an invalid predicate.
    """
    matching = Matching(tables, policy)
    plan = Run.existing(run).plan()
    assert plan is not None, "a sealed run has a plan"
    references = [item["url"] for item in plan.inputs if item.get("is_reference")]
    if not lists:
        list_removals(matching, references)
        return matching
    with without_listed(tables):
        list_removals(matching, references, taken_rows(tables, policy.rejects == "keep"))
    return matching


def choose_image_key(tables: RunTables, column: str) -> None:
    """Identify images by another column of samples, or, if "none", do not identify them.

    Call at most once per connection. Raises UserError if the column does not exist.
    """
    if column == "image_key":
        return
    columns = tables.query("FROM samples LIMIT 0").column_names
    if column != "none" and column not in columns:
        raise UserError(
            f"--image-key {column}: samples has no such column; it has {', '.join(columns)}. Scan "
            "with --keep to add columns, or use none to ignore images"
        )
    key = "NULL::VARCHAR" if column == "none" else identifier(column)
    tables.connection.execute("ALTER VIEW samples RENAME TO samples_as_scanned")
    tables.define_view("samples", f"SELECT * REPLACE ({key} AS image_key) FROM samples_as_scanned")
