"""What the options of verify come to: the run's model and settings where they say nothing else."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scanner.cluster import Resources
from scanner.errors import UsageError, UserError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.drawing import Recipe
from scanner.evidence.verify.embedding import Embedding
from scanner.evidence.verify.generation import GenerateWork, Group
from scanner.evidence.verify.mitigated import load_mitigated
from scanner.models import ModelFiles, find_model
from scanner.models.diffusion_model import score_scheduler
from scanner.models.pipeline import load_pipeline
from scanner.run.directory import recorded_roots
from scanner.scan.config import MODEL
from scanner.scan.inherited import refuse_urls
from scanner.scan.resources import choose_resources
from scanner.scan.setting import from_anywhere
from scanner.storage import Roots, Store

BATCH = 16


@dataclass(frozen=True)
class Setting:
    """How pictures are made and where; ``run_files`` are the run's model, whose ids captions have.

    ``device``, ``resources``: what the actors take; ``roots``: where samples' files may lie.
    """

    config: VerifyConfig
    recipe: Recipe
    run_files: ModelFiles
    device: str
    resources: Resources
    roots: Roots

    def work(self, out: Store, place: str) -> GenerateWork:
        config = self.config
        pinned = None
        if config.embedding and config.embedding_sha256:
            pinned = (config.embedding, config.embedding_sha256)
        return GenerateWork(
            out=out,
            place=place,
            recipe=self.recipe,
            device=self.device,
            threads=self.resources.threads,
            batch_size=config.batch_size or BATCH,
            images=config.images,
            image_column=config.image_column,
            embedding=pinned,
            roots=self.roots,
            make_pipeline=self._make_pipeline(),
        )

    def _make_pipeline(self) -> Callable[..., Any]:
        mitigation = self.recipe.mitigation
        if mitigation is None:
            return load_pipeline
        return functools.partial(load_mitigated, mitigation=mitigation)

    def about(self, groups: Sequence[Group]) -> dict[str, Any]:
        """All that the measures depend on; what an earlier call on the same directory had too."""
        config = self.config
        captions = [caption for group in groups for caption in group.captions]
        recipe = asdict(self.recipe)
        if recipe["mitigation"] is None:
            # A plain verification keeps the name that it had before there was mitigation.
            del recipe["mitigation"]
        return {
            **recipe,
            "images": config.images,
            "image_column": config.image_column,
            "references": config.references,
            "embedding": config.embedding_sha256,
            "captions": hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:16],
        }


def identity(about: dict[str, Any]) -> str:
    """The name of a verification, by all that its measures depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def prepare(config: VerifyConfig, record: dict[str, Any]) -> Setting:
    """``record``: run.json. Raises UserError for what could not be generated with.

    What is wrong shows here, before any actor starts.
    """
    asked, own = record["asked"], record["model"]
    files, weights, options, run_files = _models(config, asked, own)
    dtype = asked["dtype"] if config.dtype == "run" else config.dtype
    device, dtype, resources = choose_resources(config, config.device, dtype)
    recipe = Recipe(
        model=files.name,
        revision=files.revision,
        model_options=options,
        weights=weights,
        dtype=dtype,
        seeds=config.seeds,
        steps=config.steps or asked["steps"],
        guidance=float(asked["guidance"] if config.guidance is None else config.guidance),
        height=asked["height"],
        width=asked["width"],
        mitigation=config.mitigation if config.mitigate else None,
    )
    most = score_scheduler(files.config("scheduler")).config.num_train_timesteps
    if recipe.steps > most:
        raise UsageError(f"--steps {recipe.steps}: the model has {most} noise levels")
    if recipe.guidance <= 1:
        raise UsageError(f"--guidance: the run's own is {recipe.guidance}; name one above 1")
    if config.embedding and config.embedding_sha256:
        Embedding(config.embedding, config.embedding_sha256)
    roots = Roots.of(recorded_roots(record), config.input_root)
    return Setting(config, recipe, run_files, device, resources, roots)


def _models(
    config: VerifyConfig, asked: dict[str, Any], own: dict[str, Any]
) -> tuple[ModelFiles, str, dict[str, Any], ModelFiles]:
    """The model to generate with, its weights' hash and its options; and the run's own model.

    A URL of the run's is fetched only if --model names it; where --model names another model, that
    one's tokenizer stands for the run's.
    """
    options = {name: asked[name] for name in MODEL}
    for name in ("model_config", "lora"):
        options[name] = options[name] and from_anywhere(options[name])
    places = [own["name"], options["model_config"], options["lora"]]
    is_confirmed = config.model == own["name"] and "://" in own["name"]
    if config.model and not is_confirmed:
        files = find_model(from_anywhere(config.model), config.revision)
        is_remote = any("://" in (place or "") for place in places)
        here = files if is_remote else find_model(own["name"], own["revision"], **options)
        return files, files.weights_hash(), {}, here
    refuse_urls({**options, "name": own["name"]}, config.run, confirmed=config.model)
    files = find_model(own["name"], own["revision"], **options)
    if files.weights_hash() != own["weights"]:
        raise UserError(
            f"{own['name']}: its weights are not those that the run was made with any more; name "
            "the model to generate with by --model"
        )
    return files, own["weights"], options, files
