"""Generate with mitigation, for memscan verify --mitigate."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from scanner.errors import UsageError

if TYPE_CHECKING:
    from scanner.models import ModelFiles


@dataclass(frozen=True)
class Mitigation:
    """Method and settings of --mitigate, with the names and defaults of
    scanner.mitigation.mitigate."""

    method: str = "embedding"
    """With --mitigate: embedding (Wen et al.), guard, sharpness, sail, basin, padding or ren (Ren
    et al., with --bos-scale and --no-mask-padding); compared in scanner/mitigation/README.md."""
    bos_scale: float = 1.25
    """With --method ren: factor on the BOS token's logit; 1 changes nothing."""
    mask_padding: bool = True
    """With --method ren: mask the padding after the EOS token (default)."""
    setting: tuple[str, ...] = ()
    """With --mitigate: a setting of that method, as NAME=VALUE (such as repulsion=1); repeat the
    option, or list several."""

    @property
    def options(self) -> dict[str, Any]:
        """The options of scanner.mitigation.mitigate, as a verification records them.

        Raises UsageError for a setting that is not NAME=VALUE.
        """
        if self.method == "ren":
            own = {"bos_scale": self.bos_scale, "mask_padding": self.mask_padding}
            return {"method": self.method, **own}
        return {"method": self.method, **self._settings()}

    def _settings(self) -> dict[str, float]:
        settings = {}
        for text in self.setting:
            name, _, value = text.partition("=")
            try:
                settings[name] = float(value)
            except ValueError:
                raise UsageError(
                    f"--setting {text}: must be NAME=VALUE with a number, such as repulsion=1"
                ) from None
        return settings

    def check(self, on: bool) -> None:
        """Raise UsageError for invalid values, and for options given without --mitigate."""
        for field in fields(self):
            if not on and getattr(self, field.name) != field.default:
                flag = field.name.replace("_", "-")
                flag = f"no-{flag}" if field.default is True else flag
                raise UsageError(f"--{flag} needs --mitigate; add it, or drop --{flag}")
        if not on:
            return
        if not 0 < self.bos_scale < float("inf"):
            raise UsageError(f"--bos-scale {self.bos_scale}: must be a positive number")
        if self.bos_scale == 1 and not self.mask_padding:
            raise UsageError(
                "--mitigate with --bos-scale 1 and --no-mask-padding changes nothing; drop one"
            )
        self._check_method()

    def _check_method(self) -> None:
        if self.method == "ren":
            if self.setting:
                raise UsageError("--setting is for the other methods; drop it, or --method ren")
            return
        if (self.bos_scale, self.mask_padding) != (Mitigation.bos_scale, Mitigation.mask_padding):
            raise UsageError(
                "--bos-scale and --no-mask-padding are of --method ren, not of "
                f"{self.method}; add --method ren"
            )
        if self.method == Mitigation.method and not self.setting:
            return
        from scanner.mitigation.methods import METHODS, make_method  # loads torch

        if self.method not in METHODS:
            raise UsageError(
                f"--method {self.method}: no such method; choose ren, {', '.join(METHODS)}"
            )
        make_method(self.method, self._settings())


class MitigatedPipeline:
    """Wrap a pipeline to mitigate its calls; other attributes are the pipeline's own."""

    def __init__(self, pipe: Any, mitigation: Mitigation) -> None:
        self.pipe = pipe
        self.options = mitigation.options

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


def unmitigated(pipe: Any) -> Any:
    """Return the pipeline itself, if it is wrapped."""
    return pipe.pipe if isinstance(pipe, MitigatedPipeline) else pipe
