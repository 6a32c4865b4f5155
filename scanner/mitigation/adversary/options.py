"""Options of the adversary, importable without torch for --help."""

from dataclasses import dataclass, fields

from scanner.errors import UsageError

MOST_CANDIDATES = 64
"""Swaps that are tried at a time: those of the most similar words."""


@dataclass(frozen=True)
class AdversaryOptions:
    """The neighborhood of a caption, and how it is searched."""

    radius: float = 0.1
    """With --adversarial: how far the embedding of each text position may move, as a share of its
    norm; 0 searches no embedding. Before you raise it, check that captions that are not
    memorized are still not reproduced."""
    attack_steps: int = 6
    """With --adversarial: gradient steps on the embedding."""
    swaps: int = 2
    """With --adversarial: maximum number of words to replace, one at a time; 0 replaces none."""
    neighbors: int = 4
    """With --adversarial: words to try in place of each word, nearest first in the text encoder's
    token embeddings."""
    attack_noises: int = 2
    """With --adversarial: initial noises, those of the first seeds, with which a start's denoising
    error of the training image is measured."""

    def check(self, on: bool) -> None:
        """Raise UsageError for invalid values, and for options given without --adversarial."""
        for field in fields(self):
            flag, value = f"--{field.name.replace('_', '-')}", getattr(self, field.name)
            if not on and value != field.default:
                raise UsageError(f"{flag} needs --adversarial; add it, or drop {flag}")
            least = 0 if field.name in ("radius", "swaps") else 1
            if not least <= value < 1000:
                raise UsageError(f"{flag} {value}: must be at least {least} and below 1000")
        if self.radius >= 1:
            raise UsageError(
                f"--radius {self.radius}: must be below 1, since an embedding that moves by its "
                "own norm is not near the caption"
            )
        if not self.radius and not self.swaps:
            raise UsageError("--adversarial with --radius 0 and --swaps 0 searches nothing")
