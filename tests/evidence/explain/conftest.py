"""Explanations by the testbed's model with few steps, and their pages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scanner.evidence.explain import (
    Explanation,
    explain,
    pick_held_out,
    render_explanation,
)
from scanner.models import find_model, load_decoder, load_model
from scanner.scoring import ScoringSpec
from scanner.testbed import labels

STEPS = 4
OTHERS = 12
# A caption that tries to break out of HTML, scripts and templates.
HOSTILE = (
    '<script>window.pwned=1</script> "><img src=x onerror="window.pwned=2"> \u202erewop\u202c '
    "</script><svg onload=window.pwned=3> {{ 7*7 }} {% x %} '); window.pwned=4; // "
    "https://example.com/a.png &lt;b&gt; \u05e9\u05dc\u05d5\u05dd \U0001f468\u200d\U0001f469 "
) + "very long " * 120

Explain = Callable[[str], Explanation]


@pytest.fixture(scope="session")
def explained() -> Explain:
    """Explain captions on the testbed, each once per session."""
    files = find_model("testbed")
    model, decode = load_model(files), load_decoder(files, "cpu")
    held_out = [row["caption"] for row in labels().to_pylist() if row["group"] == "heldout"]
    known: dict[str, Explanation] = {}

    def of(caption: str) -> Explanation:
        if caption not in known:
            others = pick_held_out(held_out, OTHERS, caption)
            known[caption] = explain(model, decode, caption, others, ScoringSpec(steps=STEPS))
        return known[caption]

    return of


@pytest.fixture(scope="session")
def page_of(explained: Explain, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write and cache the page of a caption."""
    folder = tmp_path_factory.mktemp("pages")

    def of(caption: str) -> Path:
        file = folder / f"{abs(hash(caption))}.html"
        if not file.exists():
            file.write_text(render_explanation(explained(caption), "testbed"), encoding="utf-8")
        return file

    return of
