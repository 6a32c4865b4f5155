"""The types of the fields that commands read from the JSON files of a run.

Runs are shared between people: a file may be damaged, malicious or from another version. Fields not
listed here are kept and ignored. A missing field is an error on access
(:class:`scanner.run.records.Fields`).
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
)
from typing_extensions import TypedDict

from scanner.storage import why_unsafe

# Of a staged part of planning.
MOST_CUTS = 512


def _contained(name: str) -> str:
    if why := why_unsafe(name):
        raise ValueError(f"the name {name[:200]!r} is refused: {why}")
    return name


def checked_as(kind: Any) -> AfterValidator:
    """Return a validator of a plain dictionary as a typed one."""
    adapter = TypeAdapter(kind)
    return AfterValidator(lambda value: adapter.validate_python(value, strict=True))


def _with_totals(counts: dict[str, int]) -> dict[str, int]:
    if missing := {"captions", "samples"} - set(counts):
        raise ValueError(f"no {min(missing)}")
    return counts


# A file of the run, relative to its directory, and an identifier used in file names.
FileName = Annotated[str, AfterValidator(_contained)]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Counts = dict[str, Count]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PlanCounts = Annotated[Counts, AfterValidator(_with_totals)]
_OPEN = ConfigDict(extra="allow", strict=True)


class SkippedRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    files: Count
    first: list[str]


class ColumnsRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    caption: str
    key: str | None
    image_key: str | None
    keep: list[str]
    status: str | None
    quoting: Literal["standard", "needed", "none"] | None
    fallback: str | None
    more_captions: list[str]


class InputRecord(TypedDict, total=False):
    """One input file with its counts, or the run that a cascade took captions from."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    url: str
    is_reference: bool
    rows: Count
    pairs: Count
    samples: Count
    rejects: Count
    not_downloaded: Count
    unreadable: bool
    notes: Counts
    run: str
    where: str
    not_scanned: Count


class InputsRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions: list[str]
    reference: list[str]
    caption_column: str | list[str] | None
    key_column: str | None
    image_key: str | None
    keep: list[str] | None
    limit: int | None
    captions_from: str | None
    where: str


class ModelSpecRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str | None
    revision: str | None
    config: str | None
    lora: str | None
    lora_scale: float
    dtype: str


class ScoringSpecRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    profile: str
    signals: list[str] | None
    seeds: Count | None
    steps: Count | None
    guidance: float | None
    height: Count | None
    width: Count | None


class OptionsRecord(TypedDict, total=False):
    """The options of a scan that can change a score, as given."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    model: ModelSpecRecord
    scoring: ScoringSpecRecord


# Flags whose field in the options has another name.
_FLAGS = {"model": "name", "model_config": "config"}


def flags_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values in an options record by the name of their flag, in its order."""
    flags = {field: flag for flag, field in _FLAGS.items()}
    model = {flags.get(name, name): one for name, one in options.get("model", {}).items()}
    return {**model, **options.get("scoring", {})}


class ModelRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str
    revision: str | None
    pipeline: str
    weights: str
    model_config: str | None
    lora: str | None
    lora_scale: float


class FingerprintRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    id: str
    weights: str
    signals: list[str]
    seeds: Count
    steps: Count
    guidance: float
    dtype: str
    latent_shape: list[int]


class RunRecord(TypedDict):
    """run.json."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    inputs: InputsRecord
    input_roots: NotRequired[list[str]]
    skipped: NotRequired[dict[str, SkippedRecord]]
    options: NotRequired[OptionsRecord]
    model: NotRequired[ModelRecord]
    fingerprint: FingerprintRecord


class PartOfManifest(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    path: FileName
    rows: Count
    sha256: str


class QuarantinedSlice(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    slice: str
    captions: Count


class ManifestRecord(TypedDict):
    """manifest-0001.json and its successors."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    fingerprint: str
    samples: list[FileName]
    captions: list[FileName]
    rejects: list[FileName]
    scores: list[PartOfManifest]
    quarantined: list[QuarantinedSlice]
    counts: Counts
    reject_reasons: Counts


class ProgressRecord(TypedDict, total=False):
    """progress.json."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions_per_second: float
    updated: float
    committed: Count
    rejects: Counts
    running: Counts
    actors: Count
    events: list[str]
    out_of_service: list[str]
    placed: Count
    device_seconds: Amount
    device_share: Amount
    device_kind: Literal["GPU", "CPU"]


class PlanningRecord(TypedDict):
    """inputs.json of planning, as far as its progress needs it."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    units: list[dict[str, Any]]


class QuarantineRecord(TypedDict):
    """quarantine/SLICE.json: why a slice was given up, where it failed, and with what versions."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    reason: str
    captions: NotRequired[Count]
    node: NotRequired[str]
    device: NotRequired[str]
    environment: NotRequired[dict[str, str]]
    traceback: NotRequired[str]


class BatchSizeRecord(TypedDict):
    """batch_sizes/DEVICE.json."""

    batch_size: Annotated[int, Field(ge=1)]


class StagedRecord(TypedDict):
    """A staged part of planning: stored bytes of each cut."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    cuts: Annotated[list[Count], Field(min_length=1, max_length=MOST_CUTS)]
    long_bytes: Count


class NotesRecord(TypedDict, total=False):
    """What the work of a slice records, for all commands that commit slices."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    began: float
    files: list[InputRecord]  # of planning
    staged: list[StagedRecord]  # of planning, in the order of the parts
    added_at: float  # of tables of sample scores and image clusters
    missing: Count  # images that could not be read
    images: Count  # of verify, up to out
    problems: Counts
    rejects: dict[str, str]
    reasons: Counts  # of scan: rejects by reason
    damaged: dict[str, str]  # of merges: slices that cannot be read; of checks: parts
    refused: str
    replaced: list[FileName]  # of merges: the parts that were merged
    verified_at: float
    thresholds: str
    captions: Count
    out: str
    rows: Count  # of curate --apply
    kept: Count
    removed: Count
    names_refused: Count
    first_refused: str
