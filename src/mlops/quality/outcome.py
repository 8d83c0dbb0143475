"""What a quality check found, and what is decided from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlops.contract import Contract
from mlops.evaluation import fairness
from mlops.evaluation.metrics import Metric
from mlops.evaluation.slices import Slice
from mlops.quality import slices
from mlops.quality.joining import Joined
from mlops.quality.labels import INFERENCE_ID

#: Label files without a label that a report names.
FILES_NAMED = 5


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    status : ``no_champion``, ``insufficient`` (too few predictions), ``ok`` or ``degraded``.
    metric, reference, bound : which metric, its value on the hold-out rows, and the value that it may not fall behind.
    realised, lower, upper : of the labelled predictions, with the 95 % interval; None without enough labels.
    estimated, estimated_lower, estimated_upper : without labels, over all predictions of the window.
    gap : how much worse realised is than estimated on the same, labelled, predictions.
    rows, labelled : predictions and labelled predictions looked at.
    reasons : codes, the gravest first: ``realised_below_bound``, ``estimated_below_bound``, ``gap``, ``fairness``,
        ``worst_slice``, ``no_labels``, ``few_rows``, ``no_holdout``.
    news : degraded, and the version's last check did not say so.
    """

    model: str
    check_id: str
    status: str
    version: str | None = None
    metric: str | None = None
    reference: float | None = None
    bound: float | None = None
    realised: float | None = None
    lower: float | None = None
    upper: float | None = None
    estimated: float | None = None
    estimated_lower: float | None = None
    estimated_upper: float | None = None
    gap: float | None = None
    rows: int = 0
    labelled: int = 0
    reasons: tuple[str, ...] = ()
    explanation: str = ""
    report_key: str | None = None
    news: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "reasons": list(self.reasons)}


@dataclass
class Findings:
    """What goes into the report besides the outcome."""

    metrics: dict[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    fairness: list[fairness.Finding] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    by_group: list[Slice] = field(default_factory=list)
    found: list[slices.Found] = field(default_factory=list)
    looked: int = 0
    notes: list[str] = field(default_factory=list)
    method: str = ""
    is_off: bool = False


def bound_of(fixed: float | None, margin: float, reference: float | None, metric: Metric) -> float | None:
    """The value that the metric may not fall behind: the contract's, or the hold-out value less the margin."""
    if fixed is not None:
        return fixed
    if reference is None:
        return None
    allowed = allowed_by(margin, reference, metric)
    return reference - allowed if metric.higher_is_better else reference + allowed


def allowed_by(margin: float, value: float, metric: Metric) -> float:
    """The margin in the metric's unit; of an error without upper bound it is a share, as at the gate."""
    return margin * abs(value) if metric.scale == "target" else margin


def _beyond(interval: tuple[float | None, float | None], bound: float | None, metric: Metric) -> bool:
    """Whether the whole interval is worse than the bound."""
    low, high = interval
    if bound is None or low is None or high is None:
        return False
    return high < bound if metric.higher_is_better else low > bound


def decided(outcome: Outcome, metric: Metric, findings: Findings, least: int) -> Outcome:
    """The outcome with its status, reasons and explanation; ``least``: predictions without which nothing is said."""
    reasons: list[str] = []
    if _beyond((outcome.lower, outcome.upper), outcome.bound, metric):
        reasons.append("realised_below_bound")
    if _beyond((outcome.estimated_lower, outcome.estimated_upper), outcome.bound, metric):
        reasons.append("estimated_below_bound")
    # Labels have the last word: an estimate that they contradict is no reason.
    degraded = "realised_below_bound" in reasons or (bool(reasons) and outcome.realised is None)
    if findings.is_off:
        reasons.append("gap")
    if findings.broken:
        reasons.append("fairness")
    if findings.found:
        reasons.append("worst_slice")
    if outcome.realised is None:
        reasons.append("no_labels")
    if outcome.reference is None:
        reasons.append("no_holdout")
    judged = outcome.realised is not None or outcome.estimated is not None
    if outcome.rows < least:
        reasons.append("few_rows")
    status = "degraded" if degraded else "ok" if judged and outcome.bound is not None else "insufficient"
    text = _explained(outcome, metric, status, least, findings)
    return replace(outcome, status=status, reasons=tuple(reasons), explanation=text)


def _explained(outcome: Outcome, metric: Metric, status: str, least: int, findings: Findings) -> str:
    said = []
    if outcome.realised is not None:
        said.append(
            f"{metric.title} {outcome.realised:.4g} ({outcome.lower:.4g} to {outcome.upper:.4g}) on "
            f"{outcome.labelled} labelled predictions"
        )
    if outcome.estimated is not None:
        said.append(
            f"{metric.title} estimated without labels {outcome.estimated:.4g} ({outcome.estimated_lower:.4g} to "
            f"{outcome.estimated_upper:.4g}) over {outcome.rows} predictions"
        )
    if not said:
        said.append(f"{outcome.rows} predictions, {outcome.labelled} of them labelled; {least} are needed")
    if outcome.bound is not None:
        worse = "is worse than" if status == "degraded" else "is compared with"
        said.append(f"it {worse} the bound {outcome.bound:.4g}" + (
            f" (hold-out {outcome.reference:.4g})" if outcome.reference is not None else ""
        ))  # fmt: skip
    said += findings.broken[:2]
    if findings.found:
        said.append(f"worst where {findings.found[0].where}")
    return "; ".join(said) + "."


def label_notes(joined: Joined, contract: Contract) -> list[str]:
    """What the reader should know of labels and of what was looked at."""
    labels, notes = joined.labels, []
    unknown = labels.usable - joined.matched
    if unknown:
        notes.append(f"{unknown} labels belong to no prediction of this version in this window")
    if labels.repeated:
        notes.append(f"{labels.repeated} labels came again with the same value")
    if labels.conflicting:
        notes.append(f"{labels.conflicting} labels came again with another value; the last one counts")
    for reason, rows in sorted(labels.invalid.items()):
        notes.append(f"{rows} rows of label files were left out: {_INVALID[reason]}")
    for key in labels.useless[:FILES_NAMED]:
        by = " or ".join(filter(None, [INFERENCE_ID, " and ".join(contract.key)]))
        notes.append(
            f"{key} holds no label that can be used: it should be CSV with a header, or JSON Lines, with "
            f"'{contract.target.name}' and {by}, plain or gzip"
        )
    if len(labels.useless) > FILES_NAMED:
        notes.append(f"{len(labels.useless) - FILES_NAMED} more label files hold none that can be used")
    if joined.seen > len(joined.predictions):
        notes.append(
            f"{len(joined.predictions)} of {joined.seen} predictions were looked at, chosen by a hash of the id"
        )
    return notes


_INVALID = {
    "not_a_row": "no row of CSV or JSON Lines",
    "no_label": "no label, or one that is no class or number of the target",
    "bad_time": "a time that is not ISO 8601",
    "no_id": "neither an inference id nor a whole entity key",
    "no_pseudonym_key": "entity keys cannot be found without the stack's pseudonym key",
}
