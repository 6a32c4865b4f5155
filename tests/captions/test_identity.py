import duckdb

from scanner.captions.identity import caption_id, caption_ids


def test_any_engine_can_compute_the_id() -> None:
    for text in ("a cat", "日本 🎉", ""):
        (found,) = duckdb.connect().execute("SELECT left(sha256($t), 32)", {"t": text}).fetchone()
        assert caption_id(text) == found
        assert len(found) == 32


def test_many_ids_are_the_same_as_one_by_one() -> None:
    texts = ["a cat", "日本 🎉", ""]
    assert caption_ids(texts).to_pylist() == [caption_id(text) for text in texts]
    assert caption_ids([]).to_pylist() == []
