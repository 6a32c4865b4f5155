import duckdb

from scanner.captions.identity import caption_id


def test_any_engine_can_compute_the_id() -> None:
    for text in ("a cat", "日本 🎉", ""):
        (found,) = duckdb.execute("SELECT left(sha256($t), 32)", {"t": text}).fetchone()
        assert caption_id(text) == found
        assert len(found) == 32
