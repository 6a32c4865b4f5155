"""Resolve verify's options: the run's own model and denoising unless they name others."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scanner.cluster import Resources
from scanner.cluster.placement import choose_resources
from scanner.errors import UsageError, UserError
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.drawing import Recipe
from scanner.evidence.verify.embedding import Embedding
from scanner.evidence.verify.generation import GenerateWork, Group
from scanner.evidence.verify.mitigated import load_mitigated
from scanner.models import ModelFiles, ModelSpec, find_model
from scanner.models.loading import choose_dtype
from scanner.models.pipeline import load_pipeline
from scanner.run.directory import recorded_roots
from scanner.storage import Roots, Store

BATCH = 16


@dataclass(frozen=True)
class PreparedVerification:
    """The options, resolved: how images are generated, on what, and compared with which files.

    ``run_files``: the model whose tokenizer made the run's caption ids; ``device``, ``resources``:
    of the actors; ``roots``: where samples' files may be stored.
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
            gpu_share=self.resources.gpus,
        )

    def _make_pipeline(self) -> Callable[..., Any]:
        mitigation = self.recipe.mitigation
        if mitigation is None:
            return load_pipeline
        return functools.partial(load_mitigated, mitigation=mitigation)

    def about(self, groups: Sequence[Group]) -> dict[str, Any]:
        """Return all that the measures depend on, which calls on one directory have in common."""
        config = self.config
        captions = [caption for group in groups for caption in group.captions]
        return {
            **self.recipe.to_json(),
            "images": config.images,
            "image_column": config.image_column,
            "references": config.references,
            "embedding": config.embedding_sha256,
            "captions": hashlib.sha256(json.dumps(captions).encode()).hexdigest()[:16],
        }


def identity(about: dict[str, Any]) -> str:
    """Return the name of a verification: a hash of all that its measures depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def prepare(config: VerifyConfig, record: dict[str, Any]) -> PreparedVerification:
    """Resolve the options; ``record``: the run's run.json.

    Raises UsageError or UserError, before any actor starts, for what cannot be generated.
    """
    files, weights, run_files = _models(config, record)
    scoring = record["options"]["scoring"]
    dtype = record["options"]["model"]["dtype"] if config.dtype == "run" else config.dtype
    device, resources = choose_resources(config, config.device)
    recipe = Recipe(
        model=replace(files.spec, dtype=choose_dtype(dtype, device)),
        weights=weights,
        seeds=config.seeds,
        steps=config.steps or scoring["steps"],
        guidance=float(scoring["guidance"] if config.guidance is None else config.guidance),
        height=scoring["height"],
        width=scoring["width"],
        mitigation=config.mitigation if config.mitigate else None,
    )
    noise_levels = files.noise_process.levels
    if recipe.steps > noise_levels:
        raise UsageError(f"--steps {recipe.steps}: the model has {noise_levels} noise levels")
    if recipe.guidance <= 1:
        raise UsageError(f"--guidance: the run's own is {recipe.guidance}; name one above 1")
    if config.embedding and config.embedding_sha256:
        Embedding(config.embedding, config.embedding_sha256)
    roots = Roots.of(recorded_roots(record), config.input_root)
    return PreparedVerification(config, recipe, run_files, device, resources, roots)


def _models(config: VerifyConfig, record: dict[str, Any]) -> tuple[ModelFiles, str, ModelFiles]:
    """Return the model to generate with, its weights' hash, and the run's own model.

    A URL that the run names is fetched only if --model names it too; else the tokenizer of the
    model that --model names stands for the run's.
    """
    name, weights = record["model"]["name"], record["model"]["weights"]
    own = ModelSpec.of_run(record).resolved()
    is_confirmed = config.model == name and "://" in name
    if config.model and not is_confirmed:
        files = find_model(ModelSpec(config.model, config.revision).resolved())
        files.refuse_only_scanned("verify")
        is_remote = any("://" in (url or "") for url in (own.name, own.config, own.lora))
        return files, files.weights_hash(), files if is_remote else find_model(own)
    own.refuse_urls(config.run, confirmed=config.model)
    files = find_model(own)
    files.refuse_only_scanned("verify")
    if files.weights_hash() != weights:
        raise UserError(
            f"{name}: its weights are no longer those that the run was made with (or an "
            "earlier version of memscan hashed them); name the model to generate with by --model"
        )
    return files, weights, files
