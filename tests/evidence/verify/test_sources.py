"""With an index, a caption that reproduces the image of another caption says so."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scanner.cluster import InProcess
from scanner.errors import UsageError, UserError
from scanner.evidence.index.build import index_images
from scanner.evidence.index.config import IndexConfig
from scanner.evidence.verify import drive
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verification import Verification
from scanner.models import canonical, find_model, load_tokenizer
from scanner.query import open_run
from scanner.scan.config import ScanConfig
from scanner.scan.opening import options_record
from scanner.testbed import labels
from scanner.testbed.files import TRAIN
from tests.curation.runs import loudness, make_run

pytestmark = pytest.mark.slow

Rows = dict[str, dict]


@pytest.fixture(scope="module")
def captions() -> dict[str, str]:
    """Captions by role: the image of ``left`` stands under ``right`` and the other way round."""
    rows = labels().to_pylist()
    left, right, kept = [row["caption"] for row in rows if row["group"] == "memorized"][:3]
    held_out = next(row["caption"] for row in rows if row["group"] == "heldout")
    return {"left": left, "right": right, "kept": kept, "heldout": held_out}


@pytest.fixture(scope="module")
def run(captions: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of these captions and of some others, with the captions of two images swapped."""
    folder = tmp_path_factory.mktemp("sources")
    table = pq.read_table(TRAIN)
    others = [row["caption"] for row in labels().to_pylist() if row["group"] == "once"][:20]
    wanted = pa.array([*captions.values(), *others])
    table = table.filter(pc.is_in(table["caption"], wanted))
    swap = {captions["left"]: captions["right"], captions["right"]: captions["left"]}
    swapped = [swap.get(text, text) for text in table["caption"].to_pylist()]
    index = table.schema.get_field_index("caption")
    pq.write_table(table.set_column(index, "caption", [swapped]), folder / "data.parquet")
    files, config = find_model("testbed"), ScanConfig(model="testbed")
    model = {"name": files.name, "revision": None, "weights": files.weights_hash()}
    make_run(
        folder / "run",
        loudness,
        record={"options": options_record(config, config.model_spec), "model": model},
        make_canonical=partial(partial, canonical, load_tokenizer(files)),
        captions=(str(folder / "data.parquet"),),
    )
    lines = [json.dumps({"caption": text}) + "\n" for text in captions.values()]
    (folder / "captions.jsonl").write_text("".join(lines))
    index_images(IndexConfig(inputs=(str(folder / "run"),), out=str(folder / "index")), print)
    return folder / "run"


def verified(run: Path, **options) -> Verification:
    config = VerifyConfig(
        run=str(run), captions=str(run.parent / "captions.jsonl"), index=str(run.parent / "index"),
        seeds=2, steps=20, guidance=2,
    )  # fmt: skip
    # Without Ray: eight images are made sooner than it starts.
    here = partial(drive.execute, in_process=InProcess(lambda items: True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "execute", here)
        return drive.verify(replace(config, **options), lambda drawn: None)


@pytest.fixture(scope="module")
def found(run: Path) -> Verification:
    return verified(run)


def rows_of(run: Path, captions: dict[str, str]) -> Rows:
    rows = {row["caption"]: row for row in open_run(str(run)).query("FROM verdicts").to_pylist()}
    return {role: rows[caption] for role, caption in captions.items()}


def test_copies_of_another_caption_s_image_become_visible(
    run: Path, found: Verification, captions: dict[str, str]
) -> None:
    rows = rows_of(run, captions)
    assert {role: row["source_match"] for role, row in rows.items()} == {
        "left": "other", "right": "other", "kept": "own", "heldout": "none"
    }  # fmt: skip
    assert found.sources == {"own": 1, "other": 2, "none": 1}
    images = pq.read_table(TRAIN, columns=["caption", "url"])
    for role, verdict in (("left", "seed-consistent"), ("kept", "verbatim")):
        row = rows[role]
        own = images.filter(pc.equal(images["caption"], captions[role]))["url"][0].as_py()
        assert row["verdict"] == verdict
        assert row["source_image_key"] == own
        assert len(row["source_keys"]) == len(row["source_similarities"]) == 5
        assert row["source_similarities"] == sorted(row["source_similarities"], reverse=True)
    assert rows["left"]["source_caption_ids"] == [rows["right"]["caption_id"]]
    assert "not its own image: cosine" in rows["left"]["reason"]


def test_thresholds_and_resumed_searches_need_no_new_images(
    run: Path, found: Verification, captions: dict[str, str]
) -> None:
    before = rows_of(run, captions)
    again = verified(run)
    assert (again.images, again.sources) == (0, found.sources)
    assert rows_of(run, captions) == before
    strict = verified(run, thresholds=Thresholds(source=1.0))
    assert strict.sources == {"own": 0, "other": 0, "none": 4}
    assert {row["source_match"] for row in rows_of(run, captions).values()} == {"none"}
    verified(run)


def test_a_threshold_without_an_index_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="--source is a threshold of --index"):
        VerifyConfig(run=str(run), thresholds=Thresholds(source=0.9)).check()
    with pytest.raises(UserError, match="no finished index here"):
        verified(run, index=str(run))
