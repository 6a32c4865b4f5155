"""The runtime environment of a command's actors on a cluster that others share."""

import json
from pathlib import Path
from typing import Any

from scanner.cluster.connection.address import joins_cluster
from scanner.credentials import hide
from scanner.errors import UsageError

FLAG = "--runtime-env"
MOST_BYTES = 1 << 20
# Of Ray's fields, those that name software, files or settings of the actors' processes.
FIELDS = (
    *("config", "conda", "env_vars", "excludes", "image_uri", "pip", "py_executable"),
    *("py_modules", "uv", "worker_process_setup_hook", "working_dir"),
)


def check_runtime_env(given: str | None, address: str | None) -> None:
    """Raise UsageError for a runtime environment that is invalid or has no cluster."""
    if given is None:
        return
    if not joins_cluster(address):
        raise UsageError(
            f"{FLAG}: is for the cluster that --address or RAY_ADDRESS names, and neither is set; "
            "a local Ray uses this environment"
        )
    read_runtime_env(given)


def read_runtime_env(given: str) -> dict[str, Any]:
    """Return the runtime environment of a file (YAML or JSON), or of a JSON object itself.

    The values of its secret variables are hidden in every message from then on. Raises UsageError
    for what cannot be read, and for what Ray would ignore or refuse.
    """
    is_inline = given.lstrip().startswith("{")
    name = FLAG if is_inline else f"{FLAG} {given}"
    options = _parse(given if is_inline else _text_of(given, name), is_inline, name)
    _check_fields(options, name)
    hide(options.get("env_vars", {}))
    _check_with_ray(options, name)
    return options


def _text_of(path: str, name: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(
            f"{name}: cannot be read ({why}); name a YAML or JSON file, or pass a JSON object"
        ) from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name}: has over {MOST_BYTES >> 20} MiB; name a smaller file")
    return text


def _parse(text: str, is_inline: bool, name: str) -> dict[str, Any]:
    """Parse it; errors give the position, never the text, which can hold secrets."""
    import yaml  # YAML includes JSON

    try:
        options = json.loads(text) if is_inline else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}: is not JSON ({error.msg}, character {error.pos})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{name}: is not YAML{where}; correct it") from None
    if not isinstance(options, dict):
        raise UsageError(f"{name}: must be an object with fields such as pip and env_vars")
    return options


def _check_fields(options: dict[str, Any], name: str) -> None:
    unknown = [str(field) for field in options if field not in FIELDS]
    if unknown:
        raise UsageError(
            f"{name}: unknown field {unknown[0]}; a runtime environment has {', '.join(FIELDS)}"
        )
    variables = options.get("env_vars", {})
    if not isinstance(variables, dict):
        raise UsageError(f"{name}: env_vars must map names of variables to values")
    for variable, value in variables.items():
        if not isinstance(variable, str) or not isinstance(value, str):
            raise UsageError(
                f"{name}: env_vars: {variable} must be a string, got {type(value).__name__}; "
                "put the value in quotes"
            )


def _check_with_ray(options: dict[str, Any], name: str) -> None:
    from ray.runtime_env import RuntimeEnv

    try:
        RuntimeEnv(**options)
    except (ValueError, TypeError, AssertionError, OSError) as error:
        raise UsageError(f"{name}: {error}") from error
