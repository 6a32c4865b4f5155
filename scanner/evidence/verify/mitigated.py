"""Generate with mitigation on, and tell what that changes of the verdicts without it."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.models import ModelFiles


@dataclass(frozen=True)
class Mitigation:
    """How strong --mitigate is; named as scanner.mitigation.mitigate names it, whose defaults
    these are."""

    bos_scale: float = 1.25
    """With --mitigate: what the beginning token's logit is multiplied by; 1: not at all."""
    mask_padding: bool = True
    """With --mitigate: do not hide what follows the end token."""

    def check(self, on: bool) -> None:
        """Raises UsageError for what cannot be, and for a strength of what is not asked for."""
        for field in fields(self):
            if not on and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                flag = f"no-{flag}" if field.default is True else flag
                raise UsageError(f"--{flag} is of --mitigate; add that, or leave it out")
        if not 0 < self.bos_scale < float("inf"):
            raise UsageError(f"--bos-scale {self.bos_scale}: must be a positive number")
        if on and self.bos_scale == 1 and not self.mask_padding:
            raise UsageError("--mitigate with --bos-scale 1 and --no-mask-padding changes nothing")


class MitigatedPipeline:
    """A pipeline whose calls are mitigated; all else is the pipeline's own."""

    def __init__(self, pipe: Any, mitigation: Mitigation) -> None:
        self.pipe = pipe
        self.options = asdict(mitigation)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from scanner.mitigation import mitigate

        with mitigate(self.pipe, **self.options):
            return self.pipe(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipe, name)


def load_mitigated(
    files: "ModelFiles", dtype: str, device: str, *, mitigation: Mitigation
) -> MitigatedPipeline:
    """As scanner.models.pipeline.load_pipeline, mitigated."""
    from scanner.models.pipeline import load_pipeline

    return MitigatedPipeline(load_pipeline(files, dtype, device), mitigation)
