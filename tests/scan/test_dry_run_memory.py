"""A dry run counts FLOPs and memory without weights, and says whether the model fits."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.scan import main
from scanner.models import load_model
from scanner.models.device.device_memory import DeviceMemory, weight_bytes
from scanner.scan import device_fit
from tests.hub import serving

MIB = 1 << 20


@pytest.fixture
def scan(tmp_path: Path) -> list[str]:
    captions = tmp_path / "a.txt"
    captions.write_text("a red fox\nan old boat\n")
    return ["--captions", str(captions), "--dry-run", "--dtype", "float32", "--device", "cpu"]


def _result(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_memory_is_shown_by_part(scan: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = _result(capsys, [*scan, "--model", "testbed"])
    memory = result["memory"]
    assert memory["weights"] == weight_bytes(load_model("testbed", "float32", "cpu"))
    assert memory["needed"] == sum(memory["weights"].values()) + memory["activations"]
    assert (memory["device"], memory["batch_size"], memory["refusal"]) == ("cpu", 1, "")
    assert 0 < memory["free"] <= memory["total"]
    assert result["captions_per_second"] > 0
    share = result["gflop_text_encoder"] / (
        result["gflop_text_encoder"] + result["gflop_per_caption"]
    )
    assert result["text_encoder_share"] == pytest.approx(share)


def test_a_hub_model_s_weights_are_not_downloaded(
    random_models: dict[str, Path],
    scan: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(random_models["sd1"], tmp_path / "served" / "owner" / "name")
    with serving(tmp_path / "served", tmp_path / "cache", monkeypatch) as hub:
        assert main([*scan, "--model", "owner/name"]) == 0
        assert not hub.downloads(".safetensors")
    shown = capsys.readouterr().out
    assert "weights in float32: " in shown
    assert "not measured: the weights are not on this machine" in shown


def test_a_model_that_does_not_fit_is_not_loaded(
    scan: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = DeviceMemory("cpu", 12 * MIB, 12 * MIB, "cpu")
    monkeypatch.setattr(device_fit, "device_memory", lambda device, share: tiny)
    assert main([*scan, "--model", "testbed"]) == 0
    shown = capsys.readouterr().out
    assert "the cpu has 12.0 MiB: does not fit" in shown
    assert "use --dtype float16 or bfloat16" in shown
    assert "speed                not measured: the model does not fit" in shown


def test_a_named_gpu_s_memory_is_compared_in_its_precision(
    scan: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*scan, "--model", "testbed", "--gpu", "t4"]
    arguments.remove("float32")
    arguments[arguments.index("--dtype")] = "--dtype=auto"
    memory = _result(capsys, arguments)["memory"]
    assert (memory["device"], memory["total"]) == ("t4", 16 << 30)
    assert memory["dtype"] == "float16"
    whole = weight_bytes(load_model("testbed", "float32", "cpu"))["unet"]
    assert memory["weights"]["unet"] == whole // 2
