from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from scanner.models import DiffusionModel, load_model
from scanner.probe import CompiledDenoiser, RecordingUNet, record_prefix
from scanner.probe.compiled import BACKEND, Backend
from tests.random_pipelines import KINDS

CAPTIONS = ["a red apple", "The Great Wave", ""]


@pytest.fixture(autouse=True)
def _forget() -> None:
    torch.compiler.reset()


@torch.inference_mode()
def _load(recording: RecordingUNet, model: DiffusionModel, seed: int, time: int) -> None:
    latent = torch.randn(1, *model.latent_shape(), generator=torch.manual_seed(seed))
    with record_prefix(model.unet) as prefix:
        model.predict(latent, time, model.encode_empty())
    recording.load(latent, time, prefix)


@torch.inference_mode()
def _compare(model: DiffusionModel, depth: int | None, backend: Backend = BACKEND) -> None:
    """Compare a compiled copy with the uncompiled one at two latents and steps."""
    text = model.encode(model.tokenize(CAPTIONS))
    recording = RecordingUNet(model.unet, model.layers, depth)
    _load(recording, model, 0, 981)
    run = CompiledDenoiser(recording, backend)
    for seed, time in ((0, 981), (1, 41)):
        _load(recording, model, seed, time)
        output, abar = run(text.hidden_BLC, text.added)
        expected, expected_abar = recording(text.hidden_BLC, text.added)
        assert torch.allclose(abar, expected_abar, atol=1e-5)
        assert (output is None) == (depth is not None)
        if output is not None:
            assert torch.allclose(output, expected, atol=1e-5)
    assert run.is_compiled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "depth"),
    # The other blocks of sd2 are of the kinds that sd1 and sdxl have.
    [*((kind, 4) for kind in KINDS), ("sd1", None), ("sdxl", None)],
)
def test_a_whole_forward_is_one_graph_with_equal_outputs(
    random_models: dict[str, Path], kind: str, depth: int | None
) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    _compare(load_model(str(random_models[kind])), depth, counter)
    assert counter.frame_count == 1, "other latents and steps reuse the graph"


@pytest.mark.inductor
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [4, None])
def test_machine_code_gives_equal_outputs(
    random_models: dict[str, Path], kind: str, depth: int | None
) -> None:
    _compare(load_model(str(random_models[kind])), depth)


@pytest.mark.slow
@torch.inference_mode()
def test_failed_compilation_warns_and_runs_uncompiled(random_models: dict[str, Path]) -> None:
    def fail(*_):
        raise OSError("no C compiler")

    model = load_model(str(random_models["sd1"]))
    text = model.encode(model.tokenize(CAPTIONS))
    recording = RecordingUNet(model.unet, model.layers, 4)
    _load(recording, model, 0, 981)
    run = CompiledDenoiser(recording, fail)
    with pytest.warns(UserWarning, match="uncompiled.*no C compiler"):
        _, abar = run(text.hidden_BLC, text.added)
    assert not run.is_compiled
    assert torch.equal(abar, recording(text.hidden_BLC, text.added)[1])
