"""The requests of planning to an S3 server grow with the rows, not with their square."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.scan.plan.make_plan import make_plan
from scanner.scan.plan.sizes import PlanSizes
from scanner.storage import Store
from scanner.storage.retrying_s3 import RetryingS3
from tests.scan.test_inputs_and_plan import normalization

# As by default, a range holds two parts' rows, but 4 parts are merged into one, not 16.
SIZES = PlanSizes(
    segment_rows=50, unit_segments=1, chunk_rows=50, range_rows=100, staged_rows=2, fan_in=4
)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The requests sent to S3 by this process, by method, updated as they are sent."""
    sent: Counter[str] = Counter()
    send = RetryingS3._request

    async def counted(self: RetryingS3, method: str, *options: Any, **arguments: Any) -> Any:
        sent[method] += 1
        return await send(self, method, *options, **arguments)

    monkeypatch.setattr(RetryingS3, "_request", counted)
    return sent


@pytest.mark.parametrize("start", [2, 8])
def test_requests_to_s3_grow_with_the_rows_not_their_square(
    tmp_path: Path, s3: str, requests: Counter[str], start: int
) -> None:
    """From few parts, which are not merged, to many; from the most that are not merged."""
    totals = []
    for parts in (start, 4 * start):
        captions = pa.table({"caption": [f"caption {row}" for row in range(parts * 50)]})
        pq.write_table(captions, tmp_path / f"{parts}.parquet", row_group_size=50)
        inputs = choose_inputs(ScanConfig(captions=(str(tmp_path / f"{parts}.parquet"),)))
        store = Store(f"{s3}/requests/{start}/{parts}")
        requests.clear()
        plan = make_plan(inputs, store, normalization, lambda _: 100, sizes=SIZES)
        assert plan.counts["captions"] == parts * 50
        totals.append(requests.total())
    assert totals[0] > 10 * start, "counted"
    assert totals[1] <= 5 * totals[0]
