"""Training images are loaded from all supported layouts; failures are counted."""

import contextlib
import io
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scanner.captions.limits import IMAGE_BYTES
from scanner.evidence.training_images.sample_images import LARGEST_PIXELS, SampleImages
from scanner.scan.config import ScanConfig
from scanner.scan.input_choice import choose_inputs
from scanner.storage import ImageHosts, Roots
from tests.servers import free_port


def png(red: int, size: int = 8) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(data, "PNG")
    return data.getvalue()


def reds(images: list[Image.Image | None]) -> list[int | None]:
    return [image and np.asarray(image)[0, 0, 0] for image in images]


def samples(source: Path, *rows: int) -> list[dict]:
    return [{"source": str(source), "row": row, "key": f"k{row}"} for row in rows]


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("form", ["bytes", "record"])
def test_images_come_from_the_image_column_by_row(form: str, tmp_path: Path) -> None:
    values = [png(n) if form == "bytes" else {"bytes": png(n), "path": "x"} for n in range(20)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"caption": ["c"] * 20, "Image": values}), path, row_group_size=7)
    finder = SampleImages(None, None)
    assert reds(finder.images(samples(path, 13, 0, 19))) == [13, 0, 19]
    assert not finder.problems
    named = SampleImages(None, "nothing")
    assert named.images(samples(path, 1)) == [None]
    assert "no column nothing" in next(iter(named.problems))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_images_come_from_a_webdataset_tar(name: str, tmp_path: Path) -> None:
    members = {}
    for n in range(4):
        members |= {f"x/k{n}.txt": b"caption", f"x/k{n}.jpg": png(n)}
    write_tar(tmp_path / name, members)
    finder = SampleImages(None, None)
    assert reds(finder.images(samples(tmp_path / name, 2, 0))) == [2, 0]
    assert not finder.problems


def test_images_come_from_the_tar_of_an_img2dataset_parquet(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", {"k7.jpg": png(7), "k7.json": b"{}", "k9.jpg": png(9)})
    pq.write_table(pa.table({"caption": ["c"], "key": ["k9"]}), tmp_path / "00000.parquet")
    finder = SampleImages(None, None)
    assert reds(finder.images(samples(tmp_path / "00000.parquet", 9, 8, 7))) == [9, None, 7]
    assert dict(finder.problems) == {"no image with its key in the tar": 1}


def test_tar_rows_are_counted_like_the_scan_does(tmp_path: Path) -> None:
    """A sample without text has a row too."""
    path = tmp_path / "a.tar"
    write_tar(path, {"k0.jpg": png(0), "k1.txt": b"c", "k1.jpg": png(1)})
    from scanner.captions.formats import read

    (batch,) = read(str(path), ["txt"])
    assert list(batch.rows) == [1]
    assert choose_inputs(ScanConfig(captions=(str(path),)))
    assert reds(SampleImages(None, None).images(samples(path, 1))) == [1]


def test_images_come_from_a_template(tmp_path: Path) -> None:
    (tmp_path / "k3.png").write_bytes(png(3))
    finder = SampleImages(f"{tmp_path}/{{key}}.png", None)
    wanted = [*samples(Path("x.csv"), 3, 4), {"source": "x.csv", "row": 0, "key": "../k3"}]
    assert reds(finder.images(wanted)) == [3, None, None]
    assert dict(finder.problems) == {
        "--images: FileNotFoundError": 1,
        "--images: key would lead outside the template's directory": 1,
    }


def test_a_template_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("images", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images/k3.png").write_bytes(png(3))
    monkeypatch.chdir(tmp_path / "work")
    for template in ("../images/{key}.png", f"file://{tmp_path}/images/{{key}}.png"):
        assert reds(SampleImages(template, None).images(samples(Path("x.csv"), 3))) == [3]


def test_a_link_out_of_the_template_s_directory_is_refused(tmp_path: Path) -> None:
    for folder, name in (("private", "p.png"), ("images", "own.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(png(3))
    (tmp_path / "images/k3.png").symlink_to(tmp_path / "private/p.png")
    (tmp_path / "images/k4.png").symlink_to(tmp_path / "images/own.png")
    template = f"{tmp_path}/images/{{key}}.png"
    finder = SampleImages(template, None)
    assert reds(finder.images(samples(Path("x.csv"), 3, 4))) == [None, 3]
    (why,) = finder.problems
    assert why == "--images: a link leads out of the template's directory; see --input-root"
    allowed = SampleImages(template, None, Roots.of([], [str(tmp_path / "private")]))
    assert reds(allowed.images(samples(Path("x.csv"), 3, 4))) == [3, 3]


def test_invalid_images_are_counted(tmp_path: Path) -> None:
    bad = [b"", b"no image", png(1)[:40], png(1)[:-30], None, b"GIF89a" + b"\xff" * 50]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"caption": ["c"] * 6, "image": pa.array(bad, pa.binary())}), path)
    finder = SampleImages(None, None)
    assert finder.images(samples(path, *range(6))) == [None] * 6
    assert sum(finder.problems.values()) >= 5
    assert all(why.startswith("unreadable image") for why in finder.problems)


def test_missing_and_damaged_sources_are_counted(tmp_path: Path) -> None:
    (tmp_path / "broken.tar").write_bytes(b"\xff" * 2000)
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    for name in ("gone.parquet", "gone.tar", "a.csv", "broken.tar", "broken.parquet"):
        finder = SampleImages(None, None)
        assert finder.images(samples(tmp_path / name, 0, 1)) == [None, None], name
        assert sum(finder.problems.values()) == 2, name


def test_a_source_without_a_client_is_counted() -> None:
    finder = SampleImages(None, None)
    source = {"source": "unknown://bucket/a.parquet", "row": 0, "key": "a"}
    assert finder.images([source]) == [None]
    (why,) = finder.problems
    assert why.startswith("unknown://bucket/a.parquet: UserError: ")


@pytest.mark.slow
def test_a_large_image_is_reduced(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"caption": ["c"], "image": [png(1, 3000)]}), path)
    (image,) = SampleImages(None, None).images(samples(path, 0))
    assert image is not None
    assert image.size == (LARGEST_PIXELS, LARGEST_PIXELS)


@pytest.mark.slow
def test_an_image_is_checked_by_declared_size_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = bytearray(png(1))
    huge[16:24] = (1 << 14).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    path = tmp_path / "a.parquet"
    images = [bytes(huge), script, b"II*\0" + bytes(99), bytes(IMAGE_BYTES + 1), png(5)]
    pq.write_table(pa.table({"caption": ["c"] * 5, "image": images}), path)
    finder = SampleImages(None, None)
    assert reds(finder.images(samples(path, *range(5)))) == [None] * 4 + [5]
    assert finder.problems == {
        "unreadable image: an image of more than 64 Mi pixels": 1,
        "unreadable image: not an image": 2,
        "unreadable image: an image of more than 64 MiB": 1,
    }


class Host(BaseHTTPRequestHandler):
    """Responds according to the first part of the path."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if kind == "good":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png(7))
        elif kind == "drip":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
        elif kind == "away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif kind == "hang":
            time.sleep(1)
        elif kind != "close":
            self.send_error(int(kind))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["503", "429", "500", "close", "hang", "drip", "refused"])
def test_a_dead_image_host_is_tried_briefly_and_then_skipped(kind: str) -> None:
    with hosts() as good, hosts() as bad:
        port = 9 if kind == "refused" else bad.server_port
        urls = [f"http://127.0.0.1:{port}/{kind}/{n}.png" for n in range(9)]
        urls.insert(5, f"http://127.0.0.1:{good.server_port}/good/x.png")
        impatient = ImageHosts(silent_seconds=0.3, total_seconds=0.6)
        finder = SampleImages("{url}", None, hosts=impatient)
        began = time.monotonic()
        images = finder.images([{"url": url} for url in urls])
    assert reds(images) == [None] * 5 + [7] + [None] * 4
    assert time.monotonic() - began < 4
    assert sum(finder.problems.values()) == 9
    assert finder.problems["--images: its host failed before and is not contacted again"] == 7
    assert len(bad.asked) <= 4


def test_missing_images_do_not_mark_a_host_as_dead() -> None:
    with hosts() as host:
        kinds = ["404", "404", "403", "away", "good"]
        urls = [f"http://127.0.0.1:{host.server_port}/{kind}/x.png" for kind in kinds]
        finder = SampleImages("{url}", None)
        assert reds(finder.images([{"url": url} for url in urls])) == [None] * 4 + [7]
    assert "--images: its host failed before and is not contacted again" not in finder.problems


@contextlib.contextmanager
def hosts() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", free_port()), Host)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
