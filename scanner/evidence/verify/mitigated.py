"""Generate with mitigation, for memscan verify --mitigate."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.models import ModelFiles


@dataclass(frozen=True)
class Mitigation:
    """Strength of --mitigate, with the names and defaults of scanner.mitigation.mitigate."""

    bos_scale: float = 1.25
    """With --mitigate: factor on the BOS token's logit; 1 changes nothing."""
    mask_padding: bool = True
    """With --mitigate: do not mask the padding after the EOS token."""

    def check(self, on: bool) -> None:
        """Raise UsageError for invalid values, and for options given without --mitigate."""
        for field in fields(self):
            if not on and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                flag = f"no-{flag}" if field.default is True else flag
                raise UsageError(f"--{flag} needs --mitigate; add it, or drop --{flag}")
        if not 0 < self.bos_scale < float("inf"):
            raise UsageError(f"--bos-scale {self.bos_scale}: must be a positive number")
        if on and self.bos_scale == 1 and not self.mask_padding:
            raise UsageError(
                "--mitigate with --bos-scale 1 and --no-mask-padding changes nothing; drop one"
            )


class MitigatedPipeline:
    """Wrap a pipeline to mitigate its calls; other attributes are the pipeline's own."""

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
    """Load a pipeline like scanner.models.pipeline.load_pipeline, and mitigate its calls."""
    from scanner.models.pipeline import load_pipeline

    return MitigatedPipeline(load_pipeline(files, dtype, device), mitigation)
