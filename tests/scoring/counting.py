"""Counts forwards of U-Nets, of the instrumented copies too."""

from typing import Any

import pytest
from diffusers import UNet2DConditionModel


def count_forwards(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A list that grows with every forward of any U-Net, by its keyword arguments."""
    calls: list[dict[str, Any]] = []
    forward = UNet2DConditionModel.forward

    def counted(self, *arguments, **options):
        calls.append(options)
        return forward(self, *arguments, **options)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counted)
    return calls
