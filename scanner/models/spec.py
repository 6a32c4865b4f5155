"""Which model to score with: the typed seam between command line, actors and run.json."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from scanner.errors import UserError
from scanner.models.files.names import check_name, model_error
from scanner.models.files.packaged import PACKAGED
from scanner.storage import full_url, local_path

DEFAULT_MODEL = "CompVis/stable-diffusion-v1-4"


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, what changes its weights, and its precision.

    ``name``: ``testbed`` or ``testbed-dit``; a local directory, or a URL of one in a store; a
    hub id such as ``CompVis/stable-diffusion-v1-4``; a single .safetensors checkpoint, local or
    a URL, whose configuration is that of the model ``config``. ``lora``: a .safetensors file or
    a directory with one, local or a URL, fused at ``lora_scale``. ``dtype``: float32, float16,
    bfloat16 or auto.
    """

    name: str
    revision: str | None = None
    config: str | None = None
    lora: str | None = None
    lora_scale: float = 1.0
    dtype: str = "auto"

    def resolved(self) -> "ModelSpec":
        """Return the spec with absolute local paths, since actors work in another directory."""
        return replace(
            self,
            name=absolute_if_local(self.name),
            config=self.config and absolute_if_local(self.config),
            lora=self.lora and absolute_if_local(self.lora),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_run(cls, record: dict[str, Any]) -> "ModelSpec":
        """Return the model that a run was scored with; ``record``: its run.json."""
        given, loaded = record["options"]["model"], record["model"]
        # Earlier versions recorded a configuration and a LoRA as options only.
        return cls(
            name=loaded["name"],
            revision=loaded["revision"],
            config=loaded.get("model_config", given.get("config")),
            lora=loaded.get("lora", given.get("lora")),
            lora_scale=loaded.get("lora_scale", given.get("lora_scale", cls.lora_scale)),
            dtype=given.get("dtype", cls.dtype),
        )

    def check_names(self) -> None:
        """Raise UserError for a name, configuration or LoRA that cannot be one. Loads nothing."""
        for name in filter(None, (self.name, self.config)):
            check_name(name)
        if self.lora and "://" not in self.lora and not local_path(self.lora).exists():
            raise model_error(
                f"--lora {self.lora}", "no such file, directory or URL; check the path"
            )

    def refuse_urls(self, run: str, confirmed: str | None = None) -> None:
        """Raise UserError if a run's model is, or takes a part from, a URL: what a run names is not
        fetched unless the user names it. ``confirmed``: the URL that the user named."""
        names = (self.name, self.config, self.lora)
        urls = [url for url in names if "://" in (url or "") and url != confirmed]
        if urls:
            raise UserError(
                f"{run}: its model is at {urls[0]}, and URLs that a run names are not fetched; if "
                f"you trust that address, name the model yourself with --model {self.name}"
            )


@dataclass(frozen=True)
class ModelOptions:
    """The model's options on a command line; a field's docstring is its help text."""

    model: str = ""
    """A hub id, a local directory, a URL, a single .safetensors checkpoint (local or a URL), or
    testbed or testbed-dit (the small U-Net and transformer in this package). Default:
    CompVis/stable-diffusion-v1-4; with memscan scan --captions-from, the model of that run,
    including its revision, configuration and LoRA."""
    revision: str | None = None
    """The model's revision on the hub; by default the newest one. A scan records it in run.json and
    keeps it when resumed."""
    model_config: str | None = None
    """For a single-file checkpoint: a diffusers model of the same architecture (a directory, URL or
    hub id) to take configuration, tokenizer and prediction type from; by default the
    standard one for its architecture (for Stable Diffusion 2, the one with v-prediction)."""
    lora: str | None = None
    """A LoRA to fuse into the model: a .safetensors file or a directory with one, local or a URL,
    in diffusers or kohya format."""
    lora_scale: float = 1.0
    """Scale of the LoRA."""
    dtype: str = "auto"
    """float32, float16, bfloat16 or auto (float16 on cuda, float32 on cpu)."""
    device: str = "auto"
    """cuda, cpu, or auto: cuda if available. Apple GPUs (mps) are not supported."""

    @property
    def model_spec(self) -> ModelSpec:
        return ModelSpec(
            self.model, self.revision, self.model_config, self.lora, self.lora_scale, self.dtype
        )


def absolute_if_local(name: str) -> str:
    """Return an existing local path as an absolute one, and any other name as it is."""
    return full_url(name) if name not in PACKAGED and local_path(name).exists() else name
