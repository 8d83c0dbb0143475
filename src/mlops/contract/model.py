"""The contract as typed values. ``models/<name>.yaml`` is its written form, ``schema.json`` its JSON Schema.

Everything but ``name``, ``task``, ``target`` and ``features`` has a default that suits a first deployment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from mlops.errors import ContractError
from mlops.features.spec import Feature, Severity

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Target:
    """The column to predict. ``classes`` (classification): every label, in the order of the model's
    probabilities; ``positive``: the label that metrics and threshold speak of (binary only)."""

    name: str
    classes: tuple[str, ...] = ()
    positive: str | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How to read files when finding out is not wanted; ``None`` means find out."""

    format: Literal["csv", "jsonl", "parquet"] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    decimal: Literal[".", ","] | None = None
    header: bool | None = None
    missing: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")


@dataclass(frozen=True, slots=True)
class Checks:
    """Checks over a whole file. Shares are fractions of its rows.

    ``max_bad_share``: above it the file is rejected instead of accepted in part.
    ``max_bytes``: a larger file is rejected before it is read. ``future_dates``: what a date after tomorrow does.
    ``severity``: check of the whole file -> ``ignore``, ``warn`` (where nothing is said) or ``reject``; of outliers
    ``quarantine``, too. The fields after it are those checks' bounds.
    """

    duplicates: Literal["quarantine", "allow"] = "quarantine"
    extra_columns: Literal["ignore", "reject"] = "ignore"
    max_bad_share: float = 0.5
    min_rows: int = 1
    max_bytes: int = 5_000_000_000
    future_dates: Literal["allow", "warn", "quarantine", "reject"] = "warn"
    severity: Mapping[str, Literal["ignore", "warn", "quarantine", "reject"]] = field(default_factory=dict)
    completeness: Mapping[str, float] = field(default_factory=dict)  # column -> smallest share of rows with a value
    min_class_share: float = 0.001
    leakage: float = 0.98
    volume_ratio: float = 10.0
    max_age_days: float | None = None
    outlier_steps: float = 3.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over the columns of one row (:mod:`mlops.contract.expressions`). ``max_share``: with severity
    ``reject``, the share of rows that may break it before the file is rejected."""

    expression: str
    severity: Severity = "quarantine"
    max_share: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is fitted. ``time_budget_seconds`` bounds the search. Of a category the ``max_levels`` most frequent
    levels with at least ``min_level_rows`` training rows are told apart; the others count as one, *other*."""

    families: tuple[str, ...] = ("linear", "forest", "boosting")
    metric: str | None = None  # None: roc_auc (binary), log_loss (multiclass), rmse (regression)
    split: Literal["stratified", "random", "time", "group"] | None = None
    test_share: float = 0.25
    folds: int = 3
    seed: int = 7
    time_budget_seconds: int = 60
    class_weight: Literal["balanced"] | None = None
    recipe: str | None = None  # a Python file beside the contract; in force: sha256:<digest>
    calibration: Literal["auto", "sigmoid", "isotonic", "none"] = "auto"
    interval: float | None = 0.9  # share of true values within the prediction interval (regression)
    min_rows: int = 50
    min_level_rows: int = 10
    max_levels: int = 100


@dataclass(frozen=True, slots=True)
class Decision:
    """From which probability the positive class is answered (binary only). ``threshold`` fixes it; else it follows
    from what a ``false_positive`` and a ``false_negative`` cost, in any unit; without either it is 0.5, or what is
    best for a metric of labels."""

    threshold: float | None = None
    false_positive: float | None = None
    false_negative: float | None = None


@dataclass(frozen=True, slots=True)
class Fairness:
    """A bound on how differently the groups of a column may be treated. ``attribute``: a feature, or one of the
    contract's attributes. ``metric``: what is compared between the two groups that differ most; ``edges`` cut a number
    into groups; groups of fewer than ``min_rows`` are left out."""

    attribute: str
    metric: str
    bound: float
    edges: tuple[float, ...] = ()
    min_rows: int = 30


@dataclass(frozen=True, slots=True)
class Gates:
    """What a candidate must reach. ``minimum`` / ``maximum``: metric name -> bound on the hold-out set.
    ``margin``: how much worse than the champion, in units of the contract's metric, is still accepted.
    ``approval``: a person decides before the release starts, within ``approval_hours``.
    ``max_latency_ms``: median time of one row.
    ``max_noise_change``, ``max_missing_change``: how much small noise, or a missing value, may change the answers
    (share of labels, or mean change relative to the spread of values)."""

    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)
    margin: float = 0.02
    max_model_bytes: int = 50_000_000
    parity_tolerance: float = 1e-5
    approval: bool = False
    approval_hours: float = 72.0
    max_latency_ms: float | None = None
    max_noise_change: float | None = None
    max_missing_change: float | None = None
    fairness: tuple[Fairness, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """What only people know of a model, for its model card. ``factors``: what its quality depends on."""

    owner: str = ""
    purpose: str = ""
    intended_uses: str = ""
    factors: str = ""
    risk_rating: Literal["Unknown", "Low", "Medium", "High"] = "Unknown"
    risk_explanation: str = ""
    ethical_considerations: str = ""
    caveats: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """When is a population different. ``threshold`` is for the effect size of the method chosen per column
    (PSI by default), ``significance`` for the false-discovery rate over columns; a feature drifts when both
    say so. ``feature_share``: the model drifts when at least this share of features (by weight) drifts, or
    when its predictions do. ``confirmations``: k of the last ``windows`` checks before it counts."""

    threshold: float = 0.2
    significance: float = 0.01
    feature_share: float = 0.3
    min_rows: int = 100
    window_hours: float = 24.0
    confirmations: int = 1
    windows: int = 1
    methods: Mapping[str, str] = field(default_factory=dict)  # feature -> method


@dataclass(frozen=True, slots=True)
class Quality:
    """When live predictions count as degraded. ``metric``: what is watched, None for the contract's. ``margin``: how
    much worse than on the hold-out rows is accepted, in the metric's unit (of an error: as a share of it). ``bound``: a
    fixed value instead. ``min_rows``: predictions, and labels, without which nothing is said."""

    metric: str | None = None
    margin: float = 0.05
    bound: float | None = None
    min_rows: int = 100
    window_hours: float = 168.0


@dataclass(frozen=True, slots=True)
class Retrain:
    """When a retraining is launched, and where. ``quiet_hours``: UTC, ``"22-06"``. ``deadline_hours``: from launch to
    model, waiting included. ``max_interruptions``: of a spot job; after them it goes on on demand."""

    on_drift: bool = True
    on_quality: bool = True
    on_new_rows: int | None = None  # launch after this many accepted new rows; None: never for that reason
    every_days: float | None = None
    cooldown_hours: float = 24.0
    max_per_week: int = 3
    quiet_hours: str | None = None
    where: Literal["lambda", "sagemaker", "auto"] = "auto"
    deadline_hours: float = 24.0
    max_interruptions: int = 2


@dataclass(frozen=True, slots=True)
class Retention:
    """When versions are put aside. ``candidate_days``: a candidate that was not released is archived.
    ``keep_versions``: newest versions that are never retired. ``served_days``: nor is one that served within them.
    ``files_days``: so long after it was retired, a version's large files are deleted; None keeps them."""

    candidate_days: int = 30
    keep_versions: int = 10
    served_days: int = 365
    files_days: int | None = 90


@dataclass(frozen=True, slots=True)
class Release:
    """How a challenger becomes champion. Shadow first, then each canary share in ``steps``; a step ends after
    ``min_requests`` paired answers and at least ``min_seconds``; after ``max_seconds`` traffic was too thin
    and ``if_thin`` says what happens. ``max_disagreement``: share of requests with another label
    (classification), or relative mean absolute difference (regression). ``max_prediction_drift``,
    ``max_expected_loss`` and ``max_realised_loss`` stop it when they are surely passed, None: never; estimates above
    ``warn_prediction_drift`` and ``warn_loss`` are told. Losses are increases as shares of the champion's;
    ``min_labels``: fewer say nothing about the realised one."""

    steps: tuple[float, ...] = (0.1, 0.5)
    min_requests: int = 50
    min_seconds: int = 300
    max_seconds: int = 86_400
    check_seconds: int = 60
    if_thin: Literal["replay", "promote", "abort"] = "replay"
    max_error_share: float = 0.0
    max_disagreement: float = 0.2
    max_latency_ratio: float = 3.0
    max_out_of_range_share: float = 0.05
    warn_prediction_drift: float = 0.1
    max_prediction_drift: float | None = 0.3
    warn_loss: float = 0.1
    max_expected_loss: float | None = None
    max_realised_loss: float | None = 0.2
    min_labels: int = 100


@dataclass(frozen=True, slots=True)
class Capture:
    """What is kept of live traffic; ``rate`` is the share of requests outside a release (all during one). For how long
    is the stack's parameter ``CaptureRetentionDays``."""

    rate: float = 1.0


@dataclass(frozen=True)
class Contract:
    """The whole contract of one model.

    ``attributes``: columns that the model never sees and is judged by (slices, fairness); files have them, requests do
    not. ``key``: columns that identify an entity (sticky canary, joining labels), never features.
    ``timestamp``: the column that orders rows, never a feature. ``ignore``: columns that are not used.
    """

    name: str
    task: Task
    target: Target
    features: tuple[Feature, ...]
    description: str = ""
    attributes: tuple[Feature, ...] = ()
    key: tuple[str, ...] = ()
    timestamp: str | None = None
    ignore: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    file: FileFormat = field(default_factory=FileFormat)
    checks: Checks = field(default_factory=Checks)
    training: Training = field(default_factory=Training)
    decision: Decision = field(default_factory=Decision)
    gates: Gates = field(default_factory=Gates)
    drift: Drift = field(default_factory=Drift)
    quality: Quality = field(default_factory=Quality)
    retrain: Retrain = field(default_factory=Retrain)
    release: Release = field(default_factory=Release)
    retention: Retention = field(default_factory=Retention)
    capture: Capture = field(default_factory=Capture)
    card: Card = field(default_factory=Card)

    @property
    def metric(self) -> str:
        """The metric that search, gates and comparisons use."""
        if self.training.metric:
            return self.training.metric
        if self.task == "regression":
            return "rmse"
        return "roc_auc" if len(self.target.classes) == 2 else "log_loss"

    @property
    def described(self) -> tuple[Feature, ...]:
        """The columns that the contract describes cell by cell: features, then attributes."""
        return (*self.features, *self.attributes)

    def feature(self, name: str) -> Feature:
        """The feature or attribute of that name; KeyError when there is none."""
        for feature in self.described:
            if feature.name == name:
                return feature
        raise KeyError(name)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """Build from the JSON form.

        Raises
        ------
        ContractError
            naming the field, for an unknown or missing field. Values are checked by the JSON Schema
            (:func:`mlops.contract.source.load`) before a contract is stored.
        """
        sections: dict[str, type] = {
            "target": Target,
            "file": FileFormat,
            "checks": Checks,
            "training": Training,
            "decision": Decision,
            "gates": Gates,
            "drift": Drift,
            "quality": Quality,
            "retrain": Retrain,
            "release": Release,
            "retention": Retention,
            "capture": Capture,
            "card": Card,
        }
        values: dict[str, Any] = {}
        known = {f.name for f in fields(cls)}
        for name, value in data.items():
            if name not in known:
                raise ContractError(f"contract: unknown field '{name}'; known fields are {', '.join(sorted(known))}")
            if name in ("features", "attributes"):
                values[name] = tuple(_build(Feature, item, f"{name}[{i}]") for i, item in enumerate(value))
            elif name == "rules":
                values[name] = tuple(_build(Rule, item, f"rules[{i}]") for i, item in enumerate(value))
            elif name in sections:
                values[name] = _build(sections[name], value, name)
                if name == "gates":
                    values[name] = replace(values[name], fairness=_rules(value.get("fairness", ())))
            else:
                values[name] = tuple(value) if isinstance(value, list) else value
        missing = {"name", "task", "target", "features"} - values.keys()
        if missing:
            raise ContractError(f"contract: missing field '{sorted(missing)[0]}'")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The complete JSON form, every default written out but that of ``attributes``: contracts without any keep the
        digest that they had before there were some."""
        result = asdict(self)
        result["features"] = [f.to_dict() for f in self.features]
        result["attributes"] = [f.to_dict() for f in self.attributes]
        if not self.attributes:
            del result["attributes"]
        plain: dict[str, Any] = json.loads(json.dumps(result))
        return plain

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON form."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _rules(items: Sequence[Mapping[str, Any]]) -> tuple[Fairness, ...]:
    return tuple(_build(Fairness, item, f"gates.fairness[{i}]") for i, item in enumerate(items))


def _build(kind: type, data: Mapping[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known:
            raise ContractError(f"{where}: unknown field '{name}'; known fields are {', '.join(sorted(known))}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ContractError(f"{where}: {error}") from error
