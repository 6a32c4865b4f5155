"""Count forwards of U-Nets, including instrumented copies."""

from typing import Any

import pytest
from diffusers import UNet2DConditionModel


def count_forwards(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list that grows by the keyword arguments of every U-Net forward."""
    calls: list[dict[str, Any]] = []
    forward = UNet2DConditionModel.forward

    def counted(self, *arguments, **options):
        calls.append(options)
        return forward(self, *arguments, **options)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counted)
    return calls
