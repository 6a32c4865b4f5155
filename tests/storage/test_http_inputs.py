"""Files of an HTTP server: found by one request, read by ranges, downloaded where it has none."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.captions.formats import inspect, read, why_not_read
from scanner.errors import UserError
from scanner.storage import Listing, StoreOutage

ROWS = 40_000


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a folder; ``server.sent`` counts bytes by path."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        server = self.server
        path = server.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, size = path.read_bytes(), path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and server.ranges:
            first, last = int(asked[1]), min(int(asked[2]), size - 1)
            data = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        else:
            self.send_response(200)
        if server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)
            server.sent[self.path] = server.sent.get(self.path, 0) + len(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.folder, server.ranges, server.sent = tmp_path, request.param, {}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_parquet_file_is_listed_without_its_body_and_read_once(server, tmp_path: Path) -> None:
    captions = [f"caption {row} {row * 7919 % 1000003}" for row in range(ROWS)]
    table = pa.table({"caption": captions, "other": captions})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=ROWS // 4, compression="none")
    url = f"http://127.0.0.1:{server.server_port}/a.parquet?download=true"
    listing = Listing()
    assert listing.add([url], why_not_read) == [url]
    assert listing.files[url] == (tmp_path / "a.parquet").stat().st_size
    assert server.sent == {}
    assert inspect(url).row_groups == (ROWS // 4,) * 4
    found = [text for batch in read(url, ["caption"]) for text in batch.columns["caption"]]
    assert [text.as_py() for text in found] == captions
    (sent,) = server.sent.values()
    # Of two columns one is read. Without ranges the file is fetched to inspect and to read it, each
    # time after a try for a range.
    assert sent < listing.files[url] * (0.75 if server.ranges else 4.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl.zst", "a.txt"])
def test_text_files_are_read(name: str, server, tmp_path: Path) -> None:
    text = '{"caption": "a cat"}\n' if "json" in name else "caption\na cat\n"
    packed = {".gz": "gzip", ".zst": "zstd"}.get(Path(name).suffix)
    data = text.encode()
    if packed:
        with pa.CompressedOutputStream(str(tmp_path / name), packed) as file:
            file.write(data)
    else:
        (tmp_path / name).write_bytes(data)
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    assert Listing().add([url, f"{url}#x", url.replace("a.", "%61.")], why_not_read) == [url]
    (batch,) = read(url, ["caption"])
    assert list(batch.columns["caption"])[-1] == "a cat"


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_no_missing_file(server: http.server.HTTPServer) -> None:
    here = f"http://127.0.0.1:{server.server_port}/a.csv"
    with pytest.raises(UserError, match=r"a\.csv: no such file"):
        Listing().add([here], why_not_read)
    server.shutdown()
    server.server_close()
    with pytest.raises(StoreOutage, match=r"is unavailable .*Cannot connect to host"):
        Listing().add([here], why_not_read)
