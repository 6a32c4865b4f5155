"""The option --device is checked before anything is loaded."""

from collections.abc import Callable

import pytest

from jobs import explain, finetune, scan
from scanner.errors import UsageError
from scanner.models.device.device_option import check_device


@pytest.mark.parametrize("device", ["auto", "cuda", "cpu"])
def test_the_devices_of_actors_are_accepted(device: str) -> None:
    check_device(device)


def test_a_gpu_s_number_is_for_commands_without_actors() -> None:
    check_device("cuda:1", takes_number=True)
    with pytest.raises(UsageError, match="--device cuda:1: must be cuda, cpu or auto"):
        check_device("cuda:1")


@pytest.mark.parametrize("device", ["mps", "mps:0"])
def test_apple_gpus_are_refused_in_one_line(device: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_device(device, takes_number=True)
    assert str(raised.value).startswith(f"--device {device}: Apple GPUs are not supported: ")
    assert str(raised.value).endswith("; use --device cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (scan.main, ["--captions", "a.csv", "--out", "run"]),
        (explain.main, ["a caption"]),
        (finetune.main, ["--data", "a.parquet", "--out", "tuned"]),
    ],
)
def test_commands_refuse_an_apple_gpu(
    main: Callable[[list[str]], int], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--device", "mps"]) == 2
    assert "Apple GPUs are not supported" in capsys.readouterr().err
