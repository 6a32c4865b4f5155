"""Find the model to run on a run's captions: its own, unless the user names another."""

from typing import Any

from scanner.errors import UserError
from scanner.models import ModelFiles, ModelSpec, find_model


def choose_models(
    command: str,
    run: str,
    record: dict[str, Any],
    model: str | None,
    revision: str | None,
    any_family: bool = False,
) -> tuple[ModelFiles, str, ModelFiles]:
    """Return the model to run, its weights' hash, and the run's own model.

    ``record``: the run's run.json; ``model``, ``revision``: as the user names them. A URL that the
    run names is fetched only if ``model`` names it too; else the tokenizer of the model that it
    names stands for the run's. Raises UserError if the run's weights have changed, and unless
    ``any_family``, for families that are only scanned.
    """
    name, weights = record["model"]["name"], record["model"]["weights"]
    own = ModelSpec.of_run(record).resolved()
    is_confirmed = model == name and "://" in name
    if model and not is_confirmed:
        files = find_model(ModelSpec(model, revision).resolved())
        if not any_family:
            files.refuse_only_scanned(command)
        is_remote = any("://" in (url or "") for url in (own.name, own.config, own.lora))
        return files, files.weights_hash(), files if is_remote else find_model(own)
    own.refuse_urls(run, confirmed=model)
    files = find_model(own)
    if not any_family:
        files.refuse_only_scanned(command)
    if files.weights_hash() != weights:
        raise UserError(
            f"{name}: its weights are no longer those that the run was made with; name the model "
            f"for {command} by --model"
        )
    return files, weights, files
