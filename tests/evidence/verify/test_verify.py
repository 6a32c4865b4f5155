"""A verification of testbed captions as a user starts it: killed, started again, judged anew."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from scanner.errors import UserError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.drive import Drawn, verify
from scanner.evidence.verify.mitigated import Mitigation
from scanner.evidence.verify.thresholds import Thresholds
from scanner.evidence.verify.verification import Verification
from scanner.mitigation.adversary.options import AdversaryOptions
from scanner.models import ModelSpec, canonical, find_model, load_tokenizer
from scanner.query import open_run
from scanner.run.records import Commit
from scanner.scan.config import ScanConfig
from scanner.scan.opening import options_record
from scanner.testbed import labels
from scanner.testbed.files import TRAIN
from tests.curation.runs import loudness, make_run
from tests.local_ray import local_ray
from tests.logs import logged
from tests.sessions import kill_session, start_held
from tests.waiting import wait_until

SETTINGS = ("--seeds", "2", "--steps", "10", "--guidance", "2", "--actors", "1")


@pytest.fixture(scope="module")
def chosen() -> list[dict]:
    """Labels of a whole family, of copies and of others, some of them not in the training set."""
    rows = labels().to_pylist()
    family = [row for row in rows if row["family"] == 0]
    own = [row for row in rows if row["group"] == "memorized"][:4]
    once = [row for row in rows if row["group"] == "once"][:4]
    return [*family, *own, *once, *[row for row in rows if row["group"] == "heldout"][:3]]


@pytest.fixture(scope="module")
def run(chosen: list[dict], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sealed run of the testbed over all rows of those captions that were trained on."""
    folder = tmp_path_factory.mktemp("verify")
    table = pq.read_table(TRAIN)
    wanted = pa.array([row["caption"] for row in chosen])
    table = table.filter(pc.is_in(table["caption"], wanted))
    pq.write_table(table, folder / "data.parquet")
    files = find_model("testbed")
    model = {"name": files.name, "revision": None, "weights": files.weights_hash()}
    config = ScanConfig(model="testbed")
    place = make_run(
        folder / "run",
        loudness,
        record={"options": options_record(config, config.model_spec), "model": model},
        make_canonical=partial(partial, canonical, load_tokenizer(files)),
        captions=(str(folder / "data.parquet"),),
    )
    (folder / "captions.jsonl").write_text(
        "".join(json.dumps({"caption": row["caption"]}) + "\n" for row in chosen)
    )
    return place


@pytest.fixture(scope="module")
def killed(run: str) -> int:
    """The first command on the run, killed after it has committed one group: how many there are."""
    words = ("verify", run, "--captions", str(Path(run).parent / "captions.jsonl"), *SETTINGS)
    call = "from jobs.cli import main; sys.argv[1:2] = []; sys.exit(main())"
    driver = start_held("scanner.evidence.verify.drive", call, *words)

    def commits() -> int:
        return len(list((Path(run) / "verdicts").glob("*/commits/*.json")))

    try:
        wait_until(lambda: commits() or driver.poll() is not None, "nothing is committed")
    finally:
        kill_session(driver)
    return commits()


def again(run: str, lines: list[str], **options: object) -> Verification:
    config = VerifyConfig(
        run=run, captions=str(Path(run).parent / "captions.jsonl"), seeds=2, steps=10, guidance=2,
        actors=1,
    )  # fmt: skip
    drawn: list[Drawn] = []
    with logged(lines):
        return verify(replace(config, **options), drawn.append)


@pytest.fixture(scope="module")
def found(run: str, killed: int) -> Iterator[tuple[Verification, list[str]]]:
    """The same again, to its end."""
    lines: list[str] = []
    with local_ray():
        yield again(run, lines), lines


def test_a_killed_verification_resumes(
    found: tuple[Verification, list[str]], killed: int, chosen: list[dict]
) -> None:
    result, lines = found
    assert killed == 1
    assert any(line.startswith("resuming: 8 of 16") for line in lines)
    assert result.images == 2 * len(chosen) - 16
    assert result.images_per_second > 0
    assert not result.complaints


def test_verdicts_agree_with_labels_and_families_are_templates(
    run: str, found: tuple[Verification, list[str]], chosen: list[dict]
) -> None:
    rows = open_run(run).query("FROM verdicts").to_pylist()
    seen = {row["caption"]: row for row in rows}
    assert seen.keys() == {row["caption"] for row in chosen}
    for row in chosen:
        got = seen[row["caption"]]
        expected = {"template": "template", "memorized": "verbatim"}.get(row["group"], "none")
        assert got["verdict"] == expected, got["reason"]
        assert got["n_references"] == (row["group"] != "heldout")
    assert sum(found[0].verdicts.values()) == len(chosen)
    foreign = sum(row["group"] == "heldout" for row in chosen)
    assert (found[0].compared, found[0].outside) == (len(chosen) - foreign, foreign)
    assert f"no training image was compared for {foreign} of {len(chosen)}" in found[0].warning


def test_images_are_stored_with_their_settings(
    run: str, found: tuple[Verification, list[str]]
) -> None:
    row = open_run(run).query("FROM verdicts LIMIT 1").to_pylist()[0]
    assert len(row["images"]) == row["seeds"] == 2
    for seed, name in enumerate(row["images"]):
        with Image.open(Path(run) / name) as image:
            assert image.size == (32, 32)
            about = {"caption_id": row["caption_id"], "seed": str(seed), "steps": "10"}
            assert about.items() <= image.info.items()
            assert (image.info["guidance"], image.info["model"]) == ("2.0", "testbed")


def test_a_damaged_commit_is_refused_with_a_remedy(
    run: str, found: tuple[Verification, list[str]]
) -> None:
    commit = min(Path(found[0].out, "commits").iterdir())
    commit.write_text("{")
    with pytest.raises(UserError, match="remove it and rerun the same memscan verify, which"):
        again(run, [])
    commit.unlink()
    assert again(run, []).verdicts == found[0].verdicts


def test_a_damaged_part_is_refused_with_a_remedy(
    run: str, found: tuple[Verification, list[str]]
) -> None:
    commit = min(Path(found[0].out, "commits").iterdir())  # a kill may leave parts of none
    paths = Commit.from_json(commit.name, commit.read_bytes()).paths("measures")
    part = Path(found[0].out, paths[0])
    data = part.read_bytes()
    part.write_bytes(data[:-8])
    with pytest.raises(UserError, match=r"measures/.* is damaged.*remove .*json"):
        again(run, [])
    part.write_bytes(data)
    assert again(run, []).verdicts == found[0].verdicts


def test_new_thresholds_need_no_new_images(run: str, found: tuple[Verification, list[str]]) -> None:
    lines: list[str] = []
    result = again(run, lines, thresholds=Thresholds(agreement=1, likeness=1, part=1))
    assert result.images == 0
    assert "all images exist already" in lines
    assert result.verdicts["none"] > found[0].verdicts["none"]
    tables = len(list((Path(run) / "verdicts" / "tables").iterdir()))
    again(run, lines, thresholds=Thresholds(agreement=1, likeness=1, part=1))
    assert len(list((Path(run) / "verdicts" / "tables").iterdir())) == tables
    assert again(run, lines).verdicts == found[0].verdicts


def test_mitigated_verdicts_are_compared_with_plain_ones(
    run: str, found: tuple[Verification, list[str]]
) -> None:
    tables = open_run(run)
    plain = {row["caption_id"]: row for row in tables.query("FROM verdicts").to_pylist()}
    strong = Mitigation("ren", 8, False)
    result = again(run, [], mitigate=True, mitigation=strong)
    tables = open_run(run)
    assert {row["caption_id"]: row for row in tables.query("FROM verdicts").to_pylist()} == plain
    rows = tables.query("FROM mitigated").to_pylist()
    assert {row["caption_id"] for row in rows} == plain.keys()
    differ = [row for row in rows if row["verdict"] != plain[row["caption_id"]]["verdict"]]
    assert result.changes is not None
    assert (result.changes.captions, result.changes.changed) == (len(rows), len(differ))
    assert differ
    assert sum(result.changes.to["none"].values()) == found[0].verdicts["none"]
    for row in rows:
        assert json.loads(row["mitigation"]) == {
            "method": "ren",
            "bos_scale": 8,
            "mask_padding": False,
        }
        name, before = Path(run) / row["images"][0], plain[row["caption_id"]]["images"][0]
        with Image.open(name) as image, Image.open(Path(run) / before) as other:
            assert json.loads(image.info["mitigation"]) == json.loads(row["mitigation"])
            assert "mitigation" not in other.info
            assert image.tobytes() != other.tobytes()


def test_an_adversary_gives_a_second_verdict(
    run: str, found: tuple[Verification, list[str]], chosen: list[dict], tmp_path: Path
) -> None:
    groups = ("memorized", "memorized", "heldout")
    captions = [row["caption"] for row in chosen if row["group"] in groups][2:5]
    (tmp_path / "few.txt").write_text("\n".join(captions) + "\n")
    options = {
        "captions": str(tmp_path / "few.txt"),
        "mitigate": True,
        "mitigation": Mitigation("ren", 3, False),
        "adversarial": True,
        "adversary": AdversaryOptions(attack_steps=4, swaps=1, neighbors=1, attack_noises=1),
    }
    result = again(run, [], **options)
    attacked = "FROM mitigated WHERE mitigation LIKE '%\"bos_scale\": 3%'"
    rows = {row["caption"]: row for row in open_run(run).query(attacked).to_pylist()}
    mine = [rows[caption] for caption in captions]
    assert [row["adversarial_verdict"] is None for row in mine] == [False, False, True]
    assert result.attacks is not None
    assert (result.attacks.attacked, sum(result.attacks.verdicts.values())) == (2, 2)
    for row in mine[:2]:
        assert row["adversarial_likeness"] > row["likeness"]
        assert row["adversarial_kind"] in ("embedding", "swap")
        assert row["adversarial_error"] < 1
        with Image.open(Path(run) / row["adversarial_images"][0]) as image:
            assert image.info["attack"] == row["adversarial_kind"]
    assert again(run, [], **options).images == 0
    other = replace(options["adversary"], radius=0.05)
    assert again(run, [], **options | {"adversary": other}).images > 0
    (tmp_path / "few.txt").write_text(f"{captions[2]}\n")
    with pytest.raises(UserError, match="none of the captions is in the training set"):
        again(run, [], **options)


@pytest.mark.slow
def test_a_directory_of_another_verification_is_refused(run: str, tmp_path: Path) -> None:
    (tmp_path / "verification.json").write_text("{}")
    with pytest.raises(UserError, match="holds a verification with other settings"):
        again(run, [], out=str(tmp_path))


@pytest.mark.slow
def test_a_damaged_description_of_a_verification_is_named(run: str, tmp_path: Path) -> None:
    (tmp_path / "verification.json").write_text('{"model": ')
    with pytest.raises(UserError, match=r"verification.json is damaged .* the same memscan verify"):
        again(run, [], out=str(tmp_path))


def test_a_model_whose_output_is_not_finite_gives_no_verdict() -> None:
    from collections import Counter

    from scanner.evidence.verify.drawing import Recipe
    from scanner.evidence.verify.generation import (
        CaptionGroup,
        GenerateWork,
        Generator,
        _DrawnGroup,
    )
    from scanner.storage import Roots, Store

    recipe = Recipe(ModelSpec("testbed", dtype="float32"), "", 2, 1, 2.0, None, None)
    how = GenerateWork(Store("/nonexistent"), "", recipe, "cpu", 1, 4, None, None, None, Roots())
    group = CaptionGroup("000000", (("a", "a caption"),), ((),))
    broken = torch.full((1, 2, 3, 32, 32), torch.nan)
    result = Generator(how, None, None, 4).finish(
        _DrawnGroup(group, [[]], Counter(), broken, torch.zeros(1, 2, 4, 8, 8))
    )
    assert result.notes["rejects"] == {"a": "the model's output is not finite"}
    assert [output.table.num_rows for output in result.outputs] == [0]
