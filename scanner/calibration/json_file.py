"""Fields of a calibration file, for validation: a calibration may come from an untrusted source."""

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

_OPEN = ConfigDict(extra="allow", strict=True)
Finite = Annotated[float, Field(allow_inf_nan=False)]


class SeparationRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    auc: float
    auc_low: float
    auc_high: float
    tpr_at: NotRequired[dict[str, float | None]]
    tpr_interval_at: NotRequired[dict[str, list[float] | None]]
    threshold_at: NotRequired[dict[str, float | None]]


class ScoreRecord(SeparationRecord):
    """Separation of all memorized captions, and of each class if labels say which."""

    verbatim: NotRequired[SeparationRecord]
    template: NotRequired[SeparationRecord]


class ClassRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions: int
    clusters: int


class CorrelationRecord(TypedDict):
    rho: float
    low: float
    high: float


class SimilarityThresholdRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    threshold: float
    captions: int
    clusters: int
    scores: dict[str, SeparationRecord]


class SimilarityRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions: int
    clusters: int
    class_threshold: float | None
    correlations: dict[str, CorrelationRecord | None]
    thresholds: list[SimilarityThresholdRecord]


class GainRecord(TypedDict):
    auc: float
    low: float
    high: float


class ReliabilityRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions: int
    predicted: float
    observed: float


class NullRecord(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    null: str
    fdr: float
    length: int


class EvaluationRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    captions: int
    memorized: int
    clusters: int
    references: int
    classes: dict[str, ClassRecord]
    similarity: SimilarityRecord | None
    signals: dict[str, ScoreRecord]
    combination: ScoreRecord
    attention_only: ScoreRecord | None
    text_only: dict[str, ScoreRecord]
    gains: dict[str, GainRecord]
    prevalence: float
    reliability: list[ReliabilityRecord]
    null: NullRecord | None


class BindingRecord(TypedDict, total=False):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    weights: str | None
    signals: list[str] | None


class ThresholdRecord(TypedDict):
    signal: str
    threshold: Finite
    higher: bool
    false_positive_rate: float


class VersionRecord(TypedDict, total=False):
    """Fields that every version of the file has."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    format: Any
    version: Any


class CalibrationRecord(TypedDict):
    """The whole file, in the current version."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    binding: BindingRecord
    weights: dict[str, list[Finite]]
    intercept: Finite
    thresholds: list[ThresholdRecord]
    references: int
    evaluation: EvaluationRecord
