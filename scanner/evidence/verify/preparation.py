"""Resolve verify's options: the run's own model and denoising unless they name others."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scanner.cluster import Resources
from scanner.cluster.connection.placement import choose_resources
from scanner.errors import UsageError
from scanner.evidence.embedding import Embedding
from scanner.evidence.embedding_file import embedding_of
from scanner.evidence.index.index_files import open_index
from scanner.evidence.run_model import choose_models
from scanner.evidence.verify.config import VerifyConfig
from scanner.evidence.verify.drawing import Recipe
from scanner.evidence.verify.generation import CaptionGroup, GenerateWork
from scanner.evidence.verify.mitigated import load_mitigated
from scanner.evidence.verify.sources import SourceSearch
from scanner.evidence.verify.thresholds import Thresholds
from scanner.models import ModelFiles
from scanner.models.loading import choose_dtype
from scanner.models.pipeline import load_pipeline
from scanner.run.directory import recorded_roots
from scanner.storage import Roots, Store

BATCH = 16


@dataclass(frozen=True)
class PreparedVerification:
    """The options, resolved: how images are generated, on what, and compared with which files.

    ``run_files``: the model whose tokenizer made the run's caption ids; ``device``, ``resources``:
    of the actors; ``roots``: where samples' files may be stored; ``sources``:
    the index to search, if any.
    """

    config: VerifyConfig
    recipe: Recipe
    run_files: ModelFiles
    device: str
    resources: Resources
    roots: Roots
    sources: SourceSearch | None = None

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

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds, with that of the index's embedding."""
        given = self.config.thresholds
        return replace(given, source=self.sources.match) if self.sources else given

    def about(self, groups: Sequence[CaptionGroup]) -> dict[str, Any]:
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


def prepare(config: VerifyConfig, record: dict[str, Any]) -> PreparedVerification:
    """Resolve the options; ``record``: the run's run.json.

    Raises UsageError or UserError, before any actor starts, for what cannot be generated.
    """
    files, weights, run_files = choose_models(
        "verify", config.run, record, config.model, config.revision
    )
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
        adversary=config.adversary if config.adversarial else None,
    )
    noise_levels = files.noise_process.levels
    if recipe.steps > noise_levels:
        raise UsageError(f"--steps {recipe.steps}: the model has {noise_levels} noise levels")
    if recipe.guidance <= 1:
        raise UsageError(f"--guidance: the run's own is {recipe.guidance}; name one above 1")
    if config.embedding and config.embedding_sha256:
        Embedding(config.embedding, config.embedding_sha256)
    roots = Roots.of(recorded_roots(record), config.input_root)
    sources = _sources(config, device, resources)
    return PreparedVerification(config, recipe, run_files, device, resources, roots, sources)


def _sources(config: VerifyConfig, device: str, resources: Resources) -> SourceSearch | None:
    """Open the index to search. Raises UserError if it is not one of the embedding."""
    if config.index is None:
        return None
    index = open_index(config.index)
    # --embedding may also be given only to compare with a caption's own images.
    given = embedding_of(config.embedding, config.embedding_sha256)
    embedder = index.embedder(None if index.is_built_in else given)
    match = config.thresholds.source
    match = embedder.match if match is None else match
    return SourceSearch(index, embedder, match, device, resources, config.address)
