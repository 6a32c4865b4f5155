"""Options that several commands have."""

from dataclasses import dataclass

from scanner.errors import UsageError

DEFAULT_MODEL = "CompVis/stable-diffusion-v1-4"


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it imagines a picture."""

    model: str = ""
    """A hub id, a local directory, a URL, a single .safetensors checkpoint (local or a URL), or
    testbed (the small model in this package). CompVis/stable-diffusion-v1-4 by default; a scan with
    --captions-from takes that run's model, its revision, --model-config and --lora."""
    revision: str | None = None
    """The model's revision on the hub; the newest one, then pinned in run.json."""
    model_config: str | None = None
    """For a single-file checkpoint: a diffusers model of the same architecture (a directory, URL or
    hub id), whose configuration, tokenizer and prediction type are taken; by default the usual one
    of its kind on the hub (for Stable Diffusion 2 the one with v-prediction)."""
    lora: str | None = None
    """A LoRA to fuse into the model: a .safetensors file or a directory with one, local or a URL,
    in the format of diffusers or kohya."""
    lora_scale: float = 1.0
    """What the LoRA is multiplied by."""
    dtype: str = "auto"
    """float32, float16, bfloat16, or auto: float16 on cuda and float32 on the cpu."""
    device: str = "auto"
    """cuda or cpu; cuda where there is one."""
    steps: int = 50
    """Steps of the DDIM schedule. Most signals look at its first step only, cosine_low_noise at the
    third from last, those of a trajectory at all."""
    guidance: float = 7.5
    """Guidance scale of a trajectory."""
    height: int | None = None
    """Height of the imagined picture in pixels; the model's own by default."""
    width: int | None = None
    """Width of the imagined picture in pixels; the model's own by default."""


@dataclass(frozen=True)
class ActorOptions:
    """The processes that do the work, and where they run."""

    actors: int | None = None
    """How many processes work; by default one an accelerator, or one a core pair; on a cluster as
    many as it has room for, also as nodes join."""
    gpus_per_actor: float = 1.0
    """Accelerators an actor takes (0.5: two actors share one); ignored on the cpu."""
    cpus_per_actor: float | None = None
    """Cores an actor takes and computes on; by default the cores that this process may use, shared
    among the actors."""
    address: str | None = None
    """A Ray cluster (auto, or ray://host:port), RAY_ADDRESS by default. Starts a local Ray if
    unset; a small scan needs none."""

    def check_actors(self) -> None:
        """Raises UsageError for shares that are none."""
        if self.actors is not None and self.actors < 1:
            raise UsageError(f"--actors {self.actors}: must be at least 1")
        for name in ("gpus_per_actor", "cpus_per_actor"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be more than 0")
