import hashlib
from pathlib import Path

import pytest
import torch

from scanner.errors import UserError
from scanner.evidence.embedding import Embedding
from scanner.evidence.image_tensors import as_image


class Means(torch.nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean((2, 3))


class Maps(torch.nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures


def save_script(module: torch.nn.Module, path: Path) -> tuple[str, str]:
    torch.jit.script(module).save(str(path))
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def load(path: str, sha256: str) -> Embedding:
    return Embedding(path, sha256, cache=Path(path).parent / "cache")


def test_a_pinned_script_separates_similar_images_from_others(tmp_path: Path) -> None:
    script = load(*save_script(Means(), tmp_path / "m.pt"))
    red, blue = torch.zeros(3, 32, 32), torch.zeros(3, 32, 32)
    red[0], blue[2] = 1, 1
    assert script.likeness(red.repeat(2, 1, 1, 1), as_image(red)) == pytest.approx(1, abs=1e-3)
    assert script.likeness(red.repeat(2, 1, 1, 1), as_image(blue)) < 0.5


def test_a_file_with_another_hash_is_not_run(tmp_path: Path) -> None:
    path, _ = save_script(Means(), tmp_path / "m.pt")
    with pytest.raises(UserError, match="its SHA-256 is"):
        load(path, "0" * 64)


def test_a_pickle_is_refused_even_if_pinned(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "harmed",)

    path = tmp_path / "m.pt"
    torch.save(Harm(), path)
    with pytest.raises(UserError, match="not TorchScript"):
        load(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    assert not (tmp_path / "harmed").exists()


def test_a_missing_file_or_wrong_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must return one vector per image"):
        load(*save_script(Maps(), tmp_path / "m.pt")).likeness(
            torch.zeros(2, 3, 32, 32), as_image(torch.zeros(3, 32, 32))
        )
    with pytest.raises(UserError, match=r"gone.pt: no such file"):
        load(str(tmp_path / "gone.pt"), "0" * 64)
