"""The late-step study: its tables on made-up scores, what no scan computes, and its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.studies.late_step import analysis, findings, measurements, models
from jobs.studies.late_step.measurements import FIRST, LOW, SIDES, TIMESTEPS, ModelScores
from scanner.calibration import combination
from scanner.calibration.labels.labeled_captions import LabeledCaptions
from scanner.errors import UserError
from scanner.models import load_model
from scanner.scoring import Scorer

pytestmark = pytest.mark.usefixtures("few_replicates")

CAPTIONS = 400
CLASSES = np.full(CAPTIONS, "")
KNOWN = 40
GROUPS = {"memorized": 30, "template": 10, "repeated": 40, "once": 160, "heldout": 160}


@pytest.fixture(scope="module")
def measured() -> ModelScores:
    """Scores of a model whose late norm separates perfectly, and whose first norm does not; one
    held-out caption has a large late norm."""
    random = np.random.default_rng(0)
    memorized = np.arange(CAPTIONS) < KNOWN
    names = [f"caption {number}" for number in range(CAPTIONS)]

    def scan(noise: float) -> LabeledCaptions:
        columns = {
            f"noise_norm_{timestep}": random.normal(size=CAPTIONS)
            + memorized * (1 + 6 * (timestep == LOW)) / noise
            for timestep in TIMESTEPS
        }
        for name in measurements.ATTENTION:
            column = name.replace("@", "_")
            width = 16 if "_layers" in column else 1
            values = random.normal(size=(CAPTIONS, width))
            columns[column] = values.tolist() if width > 1 else values[:, 0]
        columns[f"noise_norm_{LOW}"][-1] = 99.0
        table = pa.table(
            {
                "caption": names,
                **columns,
                **{
                    name: random.normal(size=CAPTIONS)
                    for name in (*analysis.TEXT_ONLY, "n_samples")
                },
            }
        )
        return LabeledCaptions(table, memorized, np.arange(CAPTIONS), CLASSES, 0, 0)

    by_seed = {
        f"noise_norm_{timestep}_seeds": random.normal(size=(CAPTIONS, 4)).tolist()
        for timestep in measurements.SEEDED
    }
    seeds = LabeledCaptions(pa.table(by_seed), memorized, np.arange(CAPTIONS), CLASSES, 0, 0)
    extra = {
        f"{name}_{timestep}": random.uniform(size=CAPTIONS)
        for timestep in (FIRST, LOW)
        for name in ("own_cosine", "nearer_than", "conditional", "unconditional")
    }
    extra[f"nearest_is_memorized_{LOW}"] = np.arange(CAPTIONS) == CAPTIONS - 1
    for timestep in (FIRST, LOW):
        for scale in measurements.SCALES:
            extra[f"noise_norm_{timestep}_scale_{scale:g}"] = random.normal(size=CAPTIONS)
        extra[f"nearer_than_{timestep}"][:KNOWN] = 99 / 100
    scans = {side: scan(1 / side) for side in SIDES}
    groups = [group for group, count in GROUPS.items() for _ in range(count)]
    copied = [1.0] * KNOWN + [0.0] * (CAPTIONS - KNOWN)
    return ModelScores("testbed", scans, seeds, pa.table(extra), 100, groups, copied)


@pytest.mark.slow
def test_the_late_norm_separates_and_its_error_is_listed(measured: ModelScores) -> None:
    rows = {(row["side"], row["timestep"]): row for row in analysis.by_timestep(measured)}
    assert len(rows) == len(SIDES) * len(TIMESTEPS)
    assert rows[1.0, LOW]["auc"] > 0.99 > rows[1.0, FIRST]["auc"]
    assert rows[1.0, LOW]["tpr_one_false"] == 1
    (wrong,) = [row for row in analysis.errors(measured) if row["percentile"] > 0.99]
    assert (wrong["error"], wrong["group"]) == ("falsely flagged", "heldout")
    false = analysis.mistaken(measured)[0]
    assert (false["captions"], false["nearest_is_memorized"]) == ("falsely flagged", 1)
    gain = next(row for row in analysis.gains(measured) if row["side"] == 1)
    assert gain["gain_low"] > 0


def test_groups_and_directions_are_counted(measured: ModelScores) -> None:
    groups = {row["group"]: row for row in analysis.by_group(measured)}
    assert {name: row["captions"] for name, row in groups.items()} == GROUPS
    assert groups["memorized"]["flagged_low"] == groups["memorized"]["ever_reproduced"] == 30
    assert groups["heldout"]["flagged_low"] >= 1
    first = analysis.directions(measured)[0]
    assert (first["group"], first["timestep"]) == ("memorized", FIRST)
    assert first["own_image_first"] == 1  # one of 100 images is not farther: its own


def test_early_combinations_read_only_the_early_layers(measured: ModelScores) -> None:
    names = ("entropy_e", "entropy_layers", "noise_norm_low")
    early = analysis._features(measured, names, 0.5, is_early=True)
    assert early.shape == (CAPTIONS, 1 + analysis.EARLY_LAYERS + 1)
    assert np.array_equal(early[:, -1], measured.norm(LOW, 0.5))
    assert analysis._features(measured, names, 0.5, is_early=False).shape == (CAPTIONS, 18)


def test_more_seeds_are_averaged(measured: ModelScores) -> None:
    by_seed = np.array(measured.seeds.table[f"noise_norm_{LOW}_seeds"].to_pylist())
    assert np.allclose(measured.norm_of_seeds(LOW, 2), by_seed[:, :2].mean(1))


@pytest.mark.slow
def test_the_page_has_every_table(
    measured: ModelScores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {name: replace(measured, name=name) for name in ("testbed", "joint")}
    monkeypatch.setattr(measurements, "measured", lambda out: list(both))
    monkeypatch.setattr(measurements, "read", lambda out, name: both[name])
    # Fewer fits: the test does not check the figures.
    monkeypatch.setattr(combination, "INVERSE_STRENGTHS", (0.1, 1.0))
    findings.write_findings(tmp_path)
    page = (tmp_path / "findings.md").read_text()
    assert "<!--" not in page
    assert page.count("\n| 41 | ") >= 1
    for name in analysis.TABLES:
        assert (tmp_path / f"{name}.csv").stat().st_size > 0
    for name in ("timesteps.png", "groups.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UserError, match="one of testbed, joint"):
        models.chosen(["jiont"])
    assert models.chosen([]) == list(models.VARIANTS)


def test_a_trained_model_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    monkeypatch.setattr(models, "train_testbed", trained.append)
    models.train(tmp_path, "testbed")
    models.train(tmp_path, "frozen")
    models.train(tmp_path, "latents")
    assert [config.recipe.text_encoder for config in trained] == ["frozen", "joint"]
    assert [config.vae is None for config in trained] == [False, True]
    labels = models.labels_file(tmp_path, "frozen")
    labels.parent.mkdir(parents=True)
    labels.touch()
    models.train(tmp_path, "frozen")
    assert len(trained) == 2


@pytest.mark.slow
def test_what_no_scan_computes_is_computed_from_the_stock_unet() -> None:
    model = load_model("testbed")
    captions = ["a red fox on a hill", "bell pepper sticker"]
    scaled = measurements._scaled_noise(model, captions)
    text, empty = model.encode(model.tokenize(captions)), model.encode_empty()
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    for scale in measurements.SCALES:
        with torch.no_grad():
            x = scale * noise
            difference = model.predict(x.expand(2, -1, -1, -1), LOW, text)
            difference = difference - model.predict(x, LOW, empty)
        expected = difference.flatten(1).norm(dim=1)
        assert scaled[f"noise_norm_{LOW}_scale_{scale:g}"] == pytest.approx(
            expected.numpy(), rel=1e-4
        )
    plain = Scorer(model, signals=("noise_norm_low",)).score(captions)["noise_norm_low"]
    assert not np.allclose(plain.to_numpy(), scaled[f"noise_norm_{LOW}_scale_0"])
