import pytest
import torch

from scanner.models import load_model
from scanner.scoring import Scorer, scorer
from scanner.scoring.observing import observe
from scanner.scoring.packing import pack


def _values(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {"scalar": torch.rand(5), "list": torch.rand(5, 7), "one": torch.rand(5, 1)}


def test_packing_keeps_the_values_of_each_seed() -> None:
    seeds = [_values(0), _values(1)]
    unpacked = pack(seeds, rows=3).wait()
    assert unpacked.keys() == seeds[0].keys()
    for name, values in unpacked.items():
        assert torch.equal(values, torch.stack([seed[name] for seed in seeds])[:, :3]), name


def test_a_batch_is_one_tensor() -> None:
    packed = pack([_values(0), _values(1)], rows=5)
    assert packed.host_SBK.shape == (2, 5, 1 + 7 + 1)


def test_half_precision_values_arrive_as_float32() -> None:
    values = {"scalar": torch.tensor([1.5, 2.5], dtype=torch.float16)}
    assert pack([values], rows=2).wait()["scalar"].dtype == torch.float32


@pytest.mark.slow
@torch.inference_mode()
def test_every_batch_is_packed_and_equals_its_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []
    monkeypatch.setattr(scorer, "pack", lambda *given: packed.append(pack(*given)) or packed[-1])
    one = Scorer(load_model("testbed", device="cpu"), seeds=2, batch_size=2)
    read = one.read(["a red fox", "an old boat", "fog"])
    computed = one.compute(read)
    assert [batch.host_SBK.shape[:2] for batch in packed] == [(2, 2), (2, 1)]
    observations = observe(one.forwards, one.schedule, read.tokens[:2], one.seeds)
    for signal in one.signals:
        plain = torch.stack([signal.compute(each) for each in observations])
        assert torch.equal(computed[signal.name][:, :2], plain), signal.name
