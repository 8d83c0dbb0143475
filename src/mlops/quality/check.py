"""The quality check of a model: how good its live predictions were, and how good they can be expected to be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from mlops.capture.columns import Block, read
from mlops.contract import Contract
from mlops.errors import MlopsError, NotFoundError
from mlops.evaluation import fairness, recent
from mlops.evaluation.compare import Interval, metric_interval
from mlops.evaluation.evaluate import task_of
from mlops.evaluation.metrics import Metric, Task, compute_all, metric_for
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.evaluation.slices import slices as groups_by_metric
from mlops.features.columns import Columns
from mlops.features.encoding import encode, width
from mlops.manifest import Manifest
from mlops.objects import (
    ObjectInfo,
    ObjectStore,
    batch_captures,
    label_prefix,
    labelled_key,
    report_prefix,
    version_prefix,
)
from mlops.quality import labelled, report, slices
from mlops.quality.calibration import calibrate
from mlops.quality.estimate import (
    can_estimate,
    expected,
    expected_error,
    expected_of_draws,
    inputs_of,
    is_mean,
    learn_loss,
    open_features,
)
from mlops.quality.joining import Joined, Rows, join
from mlops.quality.labels import Hash, Labels, parse
from mlops.quality.outcome import Findings, Outcome, allowed_by, bound_of, decided, label_notes
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry

ACTOR = "function:quality_check"
KIND = "quality"
EVENT = "QualityChecked"
MAX_HOURS = 24.0 * 400
SEED = 20_261

FloatArray = npt.NDArray[np.float64]
Reader = Callable[[ObjectStore, str, datetime, datetime], Iterable[Block]]


class Events(Protocol):
    """Where an event is put."""

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class _Version:
    manifest: Manifest
    task: Task
    metric: Metric
    holdout: Rows | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class QualityCheck:
    """Runs checks and writes down what they found.

    Parameters
    ----------
    data, artifacts : the two buckets.
    hashed : gives the name that captures have for the values of an entity key; see :class:`Labels`.
    capture_days : for how long captured traffic is kept, and so what is made of it.
    reader : gives the captured records of a model between two times.
    """

    data: ObjectStore
    artifacts: ObjectStore
    registry: Registry
    ledger: Ledger
    events: Events
    hashed: Hash
    clock: Callable[[], datetime]
    capture_days: int
    reader: Reader = read

    def checks(
        self, model: str | None = None, hours: float | None = None, until: datetime | None = None
    ) -> list[Outcome]:
        """:meth:`check` for one model, or for all."""
        return [self.check(name, hours, until) for name in ([model] if model else self.registry.models())]

    def check(self, model: str, hours: float | None = None, until: datetime | None = None) -> Outcome:
        """Check the predictions of the last ``hours`` (default: the contract's) before ``until`` (default: now), and
        put the event ``QualityChecked``.

        Raises
        ------
        NotFoundError
            for a model without a contract.
        MlopsError
            for hours outside (0, MAX_HOURS].
        """
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"there is no model '{model}' in this stack; its contract has to be uploaded first")
        length = contract.quality.window_hours if hours is None else hours
        if not 0 < length <= MAX_HOURS:
            raise MlopsError(f"hours must be above 0 and at most {MAX_HOURS:g}, not {length:g}", code="invalid_request")
        end = (until or self.clock()).astimezone(UTC)
        start = end - timedelta(hours=length)
        files = sorted(self._label_files(model, start), key=lambda info: (info.modified, info.key))
        seen = hashlib.sha256("\n".join(f"{f.key} {f.modified} {f.size}" for f in files).encode()).hexdigest()[:8]
        champion = self.registry.in_state(model, "champion")
        stamp = f"{start:%Y%m%dT%H%M%SZ}-{end:%Y%m%dT%H%M%SZ}-{champion.version if champion else 'none'}-{seen}"
        known = self._known(model, stamp)
        if known is None:
            if champion is None:
                text = f"{model} has no champion yet, so nothing predicts."
                known = Outcome(model, stamp, "no_champion", explanation=text)
            else:
                version = self._version(contract, champion.version)
                labels = self._labels(contract, files)
                known = self._look(contract, version, labels, stamp, start, end)
        # The first attempt may have died before this; consumers take a check once.
        self.events.put(EVENT, known.to_dict())
        return known

    def _label_files(self, model: str, start: datetime) -> list[ObjectInfo]:
        """Files that arrived after the window began: a label cannot come before its prediction."""
        return [i for i in self.data.list(label_prefix(model)) if datetime.fromisoformat(i.modified) >= start]

    def _labels(self, contract: Contract, files: Sequence[ObjectInfo]) -> Labels:
        labels = Labels()
        for info in files:
            before = labels.rows - sum(labels.invalid.values())
            labels.add(parse(self.data.get(info.key)), contract, datetime.fromisoformat(info.modified), self.hashed)
            if labels.rows - sum(labels.invalid.values()) == before:
                labels.useless.append(info.key)
        return labels

    def _known(self, model: str, check_id: str) -> Outcome | None:
        for record in self.registry.records(model, KIND, 50):
            if record.id == check_id:
                return Outcome(**{**record.body, "reasons": tuple(record.body["reasons"])})
        return None

    # The version and its hold-out rows ----------------------------------------------------------------

    def _version(self, contract: Contract, version: str) -> _Version:
        prefix = version_prefix(contract.name, version)
        manifest = Manifest.from_dict(orjson.loads(self.artifacts.get(prefix + "manifest.json")))
        metric = metric_for(contract.quality.metric or contract.metric, manifest.task)
        task = task_of(manifest, contract)
        try:
            holdout = self._holdout(manifest, task, prefix)
        except (NotFoundError, ModelRefusedError, KeyError, ValueError) as error:
            return _Version(manifest, task, metric, None, f"no estimate: the hold-out rows cannot be used ({error})")
        return _Version(manifest, task, metric, holdout)

    def _holdout(self, manifest: Manifest, task: Task, prefix: str) -> Rows:
        table = Columns.load(self.artifacts.get(prefix + "holdout.npz"))
        target = table[manifest.target]
        if task.classes:
            actual: npt.NDArray[Any] = target.recode(manifest.classes).astype(np.int64)
            usable = (actual >= 0) & (actual < task.classes)
        else:
            actual = target.values.astype(np.float64)
            usable = np.isfinite(actual)
        features = table.select([f.name for f in manifest.features]).take(usable)
        scorer = OnnxScorer(self.artifacts.get(prefix + "model.onnx"), width(manifest.features), task.classes)
        return Rows(features, scorer(encode(manifest.features, features)), actual[usable])

    # The check ------------------------------------------------------------------------------------------

    def _look(
        self, contract: Contract, version: _Version, labels: Labels, check_id: str, start: datetime, end: datetime
    ) -> Outcome:
        policy, metric, task, manifest = contract.quality, version.metric, version.task, version.manifest
        names = (contract.name, batch_captures(contract.name))
        blocks = chain.from_iterable(self.reader(self.data, name, start, end) for name in names)
        joined = join(manifest.features, blocks, labels, manifest.version, classes=task.classes)
        findings = Findings(notes=label_notes(joined, contract))
        reference = None
        if version.holdout is not None and len(version.holdout):
            findings.reference = compute_all(version.holdout.actual, version.holdout.scores, task)
            reference = findings.reference.get(metric.name)
        elif version.note:
            findings.notes.append(version.note)
        bound = bound_of(policy.bound, policy.margin, reference, metric)
        realised = None
        if len(joined.labelled) >= policy.min_rows:
            rows = joined.labelled
            findings.metrics = compute_all(rows.actual, rows.scores, task)
            realised = _finite(metric_interval(rows.actual, rows.scores, metric, task, seed=SEED))
            _by_groups(contract, version, rows, findings)
        if len(joined.labelled):
            self._hand_on(contract, manifest, joined.labelled, findings)
        estimated = gap = None
        estimate = _estimator(version, findings)
        if estimate is not None and len(joined.predictions) >= policy.min_rows:
            estimated = _finite(estimate(joined.predictions))
            same = _finite(estimate(joined.labelled)) if realised is not None else None
            if realised is not None and same is not None:
                gap = metric.gain(same.value, realised.value)
                outside = not same.low <= realised.value <= same.high
                findings.is_off = outside and abs(gap) > allowed_by(policy.margin, same.value, metric)
                if findings.is_off:
                    findings.notes.append(
                        f"on labelled predictions {metric.title} is {realised.value:.4g}, where {same.value:.4g} "
                        f"({same.low:.4g} to {same.high:.4g}) was estimated: what rows mean may have changed, which no "
                        "estimate can see"
                    )
        outcome = Outcome(
            model=contract.name,
            check_id=check_id,
            status="insufficient",
            version=manifest.version,
            metric=metric.name,
            reference=reference,
            bound=bound,
            realised=realised.value if realised else None,
            lower=realised.low if realised else None,
            upper=realised.high if realised else None,
            estimated=estimated.value if estimated else None,
            estimated_lower=estimated.low if estimated else None,
            estimated_upper=estimated.high if estimated else None,
            gap=gap,
            rows=joined.seen,
            labelled=len(joined.labelled),
            report_key=f"{report_prefix('quality', contract.name)}{check_id}.html",
        )
        outcome = self._with_news(decided(outcome, metric, findings, policy.min_rows))
        return self._keep(outcome, findings, joined, f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC")

    def _hand_on(self, contract: Contract, manifest: Manifest, rows: Rows, findings: Findings) -> None:
        """Add the labelled rows to those for the gate that judges the next version.

        Two checks at once may undo what one of them added; the next check adds it again.
        """
        hidden = labelled.hidden(contract, manifest)
        if hidden:
            findings.notes.append(
                f"new versions are not judged on these labels: captures do not hold '{hidden[0]}' as the model gets it"
            )
            return
        try:
            kept = recent.load(self.data.get(labelled_key(contract.name)))
        except NotFoundError:
            kept = None
        except ModelRefusedError as error:
            findings.notes.append(f"{error.message}: it was begun anew")
            kept = None
        merged = labelled.merged(kept, labelled.table(manifest, rows), self.clock(), self.capture_days)
        self.data.put(labelled_key(contract.name), merged.save())

    def _with_news(self, outcome: Outcome) -> Outcome:
        """Degraded is news when the version's last check did not say so already."""
        earlier = [r.body for r in self.registry.records(outcome.model, KIND, 10) if r.body["status"] != "insufficient"]
        known = bool(earlier) and earlier[0]["version"] == outcome.version and earlier[0]["status"] == "degraded"
        return replace(outcome, news=outcome.status == "degraded" and not known)

    def _keep(self, outcome: Outcome, findings: Findings, joined: Joined, what: str) -> Outcome:
        key = f"{report_prefix('quality', outcome.model)}{outcome.check_id}"
        document = {
            "schema": "mlops.quality.v1",
            **outcome.to_dict(),
            "checked_at": self.clock().astimezone(UTC).isoformat(),
            "window": what,
            "metrics": findings.metrics,
            "holdout": dict(findings.reference),
            "method": findings.method,
            "labels": {
                "rows": joined.labels.rows, "usable": joined.labels.usable, "matched": joined.matched,
                "unknown": joined.labels.usable - joined.matched, "repeated": joined.labels.repeated,
                "conflicting": joined.labels.conflicting, "invalid": joined.labels.invalid,
            },
            "fairness": [f.to_dict() for f in findings.fairness],
            "groups": [asdict(s) for s in findings.by_group],
            "worst": [s.to_dict() for s in findings.found],
            "slices_looked_at": findings.looked,
            "notes": findings.notes,
        }  # fmt: skip
        self.data.put(f"{key}.json", orjson.dumps(document), content_type="application/json")
        history = [r.body for r in reversed(self.registry.records(outcome.model, KIND, 60))]
        page = report.page(document, findings, history=history)
        self.data.put(f"{key}.html", page.encode(), content_type="text/html; charset=utf-8")
        time = self.clock().astimezone(UTC).isoformat()
        self.registry.put_record(Record(outcome.model, KIND, outcome.check_id, time, outcome.to_dict()))
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR,
                action="quality.checked",
                subject=f"model/{outcome.model}/{outcome.version}",
                reason=outcome.explanation,
                outcome=outcome.status,
                inputs={
                    "check": outcome.check_id,
                    "rows": outcome.rows,
                    "labelled": outcome.labelled,
                    "metric": outcome.metric,
                    "reasons": list(outcome.reasons),
                    "report": outcome.report_key,
                },
                id=f"quality/{outcome.model}/{outcome.check_id}",
            )
        )
        return outcome


def _by_groups(contract: Contract, version: _Version, rows: Rows, findings: Findings) -> None:
    """Fairness by the contract's rules, the metric by group, and where the model is worst."""
    held = [f for f in contract.features if f.name in rows.table and f.pii == "none"]
    names = {f.name for f in held}
    rules = tuple(rule for rule in contract.gates.fairness if rule.attribute in names)
    unseen = {a.name for a in contract.attributes}
    for attribute in sorted({rule.attribute for rule in contract.gates.fairness} - names):
        why = "requests do not have it; the gate judged it on the hold-out rows"
        why = why if attribute in unseen else "captures do not hold it as it is"
        findings.notes.append(f"fairness by '{attribute}' cannot be seen: {why}")
    visible = replace(contract, features=tuple(held), attributes=(), gates=replace(contract.gates, fairness=rules))
    findings.fairness = fairness.judge(visible, rows.table, rows.actual, rows.scores, version.task)
    checks = [fairness.fairness_check(f) for f in findings.fairness]
    findings.broken = [c.message for c in checks if not c.passed and c.effect == "reject"]
    findings.by_group = groups_by_metric(visible, rows.table, rows.actual, rows.scores, version.task, seed=SEED)
    findings.found, findings.looked = slices.find(held, rows, version.task)


def _estimator(version: _Version, findings: Findings) -> Callable[[Rows], Interval] | None:
    """How the metric of some predictions is estimated; None where it cannot be."""
    holdout, metric, task = version.holdout, version.metric, version.task
    if holdout is None or not len(holdout) or not can_estimate(metric, task):
        if holdout is not None and len(holdout):
            findings.notes.append(f"there is no estimate of the {metric.title}: the version has no prediction interval")
        return None
    if task.classes:
        calibration = calibrate(holdout.actual, holdout.scores, seed=SEED)
        how = "as the model gives them" if calibration.name == "none" else f"corrected by a {calibration.name} curve"
        findings.method = f"confidence-based, probabilities {how}"
        return lambda rows: expected(rows.scores, calibration(rows.scores), metric, task, seed=SEED)
    names = open_features(version.manifest.features)
    known = learn_loss(
        inputs_of(holdout.table, holdout.scores, names), holdout.actual - holdout.scores[:, 0], metric, seed=SEED
    )
    findings.method = f"direct loss estimation, a tree of depth {known.depth} over {len(holdout)} hold-out rows"

    def estimate(rows: Rows) -> Interval:
        inputs = inputs_of(rows.table, rows.scores, names)
        if is_mean(metric):
            return expected_error(known, inputs, metric, seed=SEED)
        return expected_of_draws(known, inputs, rows.scores, metric, task, seed=SEED)

    return estimate


def _finite(interval: Interval) -> Interval | None:
    values = (interval.value, interval.low, interval.high)
    return interval if all(map(math.isfinite, values)) else None
