"""Copies read only below the scan's roots, and write only below --apply."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.curation.copies.copying import apply
from scanner.errors import UserError
from tests.curation.copies.test_apply import files_of, listed, small
from tests.curation.runs import loudness, make_run

TEXT = "key,caption\na,loud\nb,quiet\n"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["/etc/passwd", "s3://other/a.csv", "ftp://host/a.csv"])
def test_a_plan_with_files_outside_the_roots_is_refused(place: str, tmp_path: Path) -> None:
    data = small(tmp_path / "d", TEXT)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list")
    plan = tmp_path / "run/plan.json"
    (source,) = data.iterdir()
    plan.write_text(plan.read_text().replace(str(source), place))
    with pytest.raises(UserError, match=rf"{place} is refused.*--input-root"):
        apply(run, out, str(tmp_path / "copies"))
    assert not (tmp_path / "copies").exists()


@pytest.mark.slow
def test_an_input_that_has_become_a_link_is_refused(tmp_path: Path) -> None:
    data = small(tmp_path / "d", TEXT)
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    out = listed(run, tmp_path / "list")
    (source,) = data.iterdir()
    private = small(tmp_path / "private", TEXT)
    source.unlink()
    source.symlink_to(next(private.iterdir()))
    with pytest.raises(UserError, match=r"a\.csv is refused: .*link"):
        apply(run, out, str(tmp_path / "copies"))
    copies = tmp_path / "copies"
    assert apply(run, out, str(copies), input_roots=[str(private)]).kept == 1


@pytest.mark.slow
def test_links_next_to_a_table_are_counted_not_copied(tmp_path: Path) -> None:
    data = tmp_path / "d"
    (data / "0").mkdir(parents=True)
    (tmp_path / "secret").write_text("PRIVATE")
    (data / "0/a.jpg").write_text("a")
    (data / "0/b.jpg").write_text("b")
    (data / "0/c.jpg").symlink_to(tmp_path / "secret")
    columns = {"key": ["a", "b"], "url": ["u", "v"], "status": ["success"] * 2}
    pq.write_table(pa.table({**columns, "caption": ["loud", "quiet"]}), data / "0.parquet")
    run = make_run(tmp_path / "run", loudness, captions=(str(data),))
    copies = tmp_path / "copies"
    found = apply(run, listed(run, tmp_path / "list"), str(copies))
    assert set(files_of(copies)) == {"0.parquet", "0/b.jpg"}
    assert found.names_refused == 1
    assert "1 name refused" in found.to_text()
    assert "c.jpg" in found.to_text()
