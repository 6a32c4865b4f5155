"""Counts forwards of U-Nets, of the instrumented copies too."""

import pytest
from diffusers import UNet2DConditionModel


def count_forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every forward of any U-Net."""
    calls: list[int] = []
    forward = UNet2DConditionModel.forward

    def counted(self, *arguments, **options):
        calls.append(1)
        return forward(self, *arguments, **options)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counted)
    return calls
