"""The model card of a version: what it is for, what it was made from, how it was judged.

``model_card.json`` follows the JSON schema of Amazon SageMaker Model Cards (``SageMakerModelCardSchema`` 0.1.0,
Amazon SageMaker Developer Guide, "Model card JSON schema"), so it can be given to ``CreateModelCard`` as it is.
``model_card.html`` shows the same to a person. What only people know (owner, purpose, risk, caveats) comes from the
contract's section ``card``; nothing is invented where it is silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mlops.contract import Contract
from mlops.evaluation import report
from mlops.evaluation.evaluate import Evaluation
from mlops.evaluation.metrics import METRICS, reliability, roc_points
from mlops.manifest import Manifest
from mlops.objects import version_prefix
from mlops.report import html, svg
from mlops.report.markup import Markup

#: Limits of the schema.
TEXT, LONG_TEXT, VALUE_TEXT, NAME, POINTS, MOST_METRICS = 1024, 2048, 63, 63, 20, 50
MOST_PARAMETERS = 100

_NOT_SAID = "not said in the contract"

#: What the page calls fields of the lineage.
_WORDS = {
    "dataset_version": "data set", "contract_digest": "contract (SHA-256)", "onnx_sha256": "model.onnx (SHA-256)",
    "lock": "lock file (SHA-256)", "duration_seconds": "seconds of training", "list_usd": "US dollars (list price)",
    "created_at": "created", "where": "trained by",
}  # fmt: skip


def to_json(contract: Contract, manifest: Manifest, evaluation: Evaluation) -> dict[str, Any]:
    """The card in SageMaker's schema."""
    said = contract.card
    metric = METRICS[contract.metric]
    lineage = manifest.lineage
    overview = {
        "model_name": manifest.model,
        "model_id": f"{manifest.model}/{manifest.version}",
        "model_description": contract.description,
        "model_owner": said.owner,
        "model_creator": str(lineage.get("where") or ""),
        "problem_type": _problem(manifest),
        "algorithm_type": _algorithm(manifest),
        "model_artifact": [version_prefix(manifest.model, manifest.version) + "model.onnx"],
    }
    uses = {
        "purpose_of_model": said.purpose,
        "intended_uses": said.intended_uses,
        "factors_affecting_model_efficiency": said.factors,
        "risk_rating": said.risk_rating,
        "explanations_for_risk_rating": said.risk_explanation,
    }
    training = {
        "objective_function": {
            "function": {
                "function": "Maximize" if metric.higher_is_better else "Minimize",
                "facet": metric.name,
                "condition": "cross-validated",
            }
        },
        "training_observations": _cut(_observation(manifest), TEXT),
        "training_job_details": {
            "training_datasets": [f"dataset {lineage.get('dataset_version')}"],
            "user_provided_training_metrics": _training_metrics(manifest),
            **_hyper_parameters(manifest),
        },
    }
    information = {
        "ethical_considerations": said.ethical_considerations,
        "caveats_and_recommendations": said.caveats,
        "custom_details": _details(contract, manifest),
    }
    return {
        "model_overview": _said(overview, TEXT),
        "intended_uses": _said(uses, LONG_TEXT),
        "training_details": training,
        "evaluation_details": [_evaluation(evaluation)],
        "additional_information": _said(information, LONG_TEXT),
    }


def render(contract: Contract, manifest: Manifest, evaluation: Evaluation, *, time: str) -> str:
    """The page; ``time``: ISO 8601 UTC of the evaluation."""
    said, lineage = contract.card, manifest.lineage
    verdict = evaluation.status.replace("_", " ")
    summary = f"{_problem(manifest)} of '{manifest.target}' by {_algorithm(manifest)}; {verdict} by the gates."
    uses = [
        ("owner", said.owner),
        ("purpose", said.purpose),
        ("intended uses", said.intended_uses),
        ("what affects it", said.factors),
        ("risk", f"{said.risk_rating}. {said.risk_explanation}" if said.risk_explanation else said.risk_rating),
        ("ethical considerations", said.ethical_considerations),
        ("caveats", said.caveats),
    ]
    made_from = [(_WORDS.get(n, n.replace("_", " ")), value) for n, value in _details(contract, manifest).items()]
    sections: list[Markup] = [
        html.section("What it is for", html.definitions([(name, value or _NOT_SAID) for name, value in uses])),
        html.section("What it was made from", html.definitions(made_from)),
    ]
    importance = lineage.get("importance") or {}
    if importance:
        first = sorted(importance.items(), key=lambda item: -item[1])[:15]
        bars = svg.bars([n for n, _ in first], [v for _, v in first], title="Share of what shuffling a feature loses")
        sections.append(html.section("What it looks at", html.figures([bars])))
    sections += report.result_sections(evaluation)
    return html.page(
        f"Model card of {manifest.model} {manifest.version}",
        summary,
        sections,
        footer=f"{manifest.model} {manifest.version}, {time}",
    )


def _problem(manifest: Manifest) -> str:
    if manifest.task == "regression":
        return "regression"
    return "binary classification" if len(manifest.classes) == 2 else f"classification, {len(manifest.classes)} classes"


def _algorithm(manifest: Manifest) -> str:
    lineage = manifest.lineage
    return str(lineage.get("estimator") or lineage.get("family") or "an imported model")


def _observation(manifest: Manifest) -> str:
    parts = []
    calibration = manifest.lineage.get("calibration")
    if calibration:
        parts.append(f"calibration: {calibration['kind']} ({calibration['reason']})")
    if manifest.positive is not None:
        parts.append(f"'{manifest.positive}' is answered from probability {manifest.threshold:.4g} on")
    if manifest.interval is not None:
        parts.append(f"prediction intervals for a coverage of {manifest.interval.coverage:.0%}")
    return "; ".join(parts) or "nothing to note"


_CALIBRATION = ("brier_before", "brier_after", "calibration_error_before", "calibration_error_after")


def _training_metrics(manifest: Manifest) -> list[dict[str, Any]]:
    lineage = manifest.lineage
    found: dict[str, Any] = {f"rows {k}": v for k, v in (lineage.get("rows") or {}).items()}
    found["duration_seconds"] = lineage.get("duration_seconds")
    calibration = lineage.get("calibration") or {}
    found |= {k: calibration.get(k) for k in _CALIBRATION}
    return [{"name": k, "value": v} for k, v in found.items() if _is_number(v)][:MOST_METRICS]


def _details(contract: Contract, manifest: Manifest) -> dict[str, str]:
    """Lineage as short texts."""
    lineage = manifest.lineage
    names = (
        "dataset_version", "contract_digest", "code", "lock", "seed", "parameters", "recipe", "split", "rows",
        "parent_version", "libraries", "duration_seconds", "list_usd", "where",
    )  # fmt: skip
    found = {name: lineage[name] for name in names if lineage.get(name) not in (None, "", {})}
    found |= {"onnx_sha256": manifest.onnx_sha256, "created_at": manifest.created_at, "task": contract.task}
    return {name: _cut(_plain(value), TEXT) for name, value in found.items() if value not in (None, "")}


def _hyper_parameters(manifest: Manifest) -> dict[str, Any]:
    """The estimator's parameters, which the schema takes as texts; nothing where lineage has none."""
    known = manifest.lineage.get("parameters") or {}
    listed = [{"name": _cut(str(n), 255), "value": _cut(_plain(v), 255)} for n, v in known.items() if _plain(v)]
    return {"user_provided_hyper_parameters": listed[:MOST_PARAMETERS]} if listed else {}


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    groups = [
        _group("metrics", (_number(n, v, _interval_note(evaluation, n)) for n, v in evaluation.metrics.items())),
        _group("gates", (_simple(c.name, "boolean", c.passed, c.message) for c in evaluation.checks)),
        *_curves(evaluation),
        _group(
            "slices",
            (
                _number(f"{s.feature}={s.group}", s.value, f"{s.rows} rows, 95% interval {s.low:.4g} to {s.high:.4g}")
                for s in evaluation.slices
            ),
        ),
        _group(
            "fairness",
            (
                _number(f"{f.rule.attribute}:{f.rule.metric}", f.value, f"bound {f.rule.bound:.4g}")
                for f in evaluation.fairness
                if f.value is not None
            ),
        ),
    ]
    return {
        "name": "held-out rows",
        "evaluation_observation": _cut(f"{evaluation.status}: " + "; ".join(evaluation.reasons), 2096),
        "datasets": [version_prefix(evaluation.model, evaluation.version) + "holdout.npz"],
        "metadata": {"rows": str(evaluation.rows), "champion": str(evaluation.champion)},
        "metric_groups": [g for g in groups if g["metric_data"]],
    }


def _interval_note(evaluation: Evaluation, name: str) -> str:
    known = evaluation.intervals.get(name)
    return f"95% interval {known.low:.4g} to {known.high:.4g}" if known else ""


def _group(name: str, data: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    return {"name": name, "metric_data": [d for d in data if d is not None]}


def _number(name: str, value: float | None, note: str) -> dict[str, Any] | None:
    if value is None or not math.isfinite(value):
        return None
    return _simple(name, "number", float(value), note)


def _simple(name: str, kind: str, value: Any, note: str) -> dict[str, Any]:
    return {"name": _cut(name, 255), "type": kind, "value": value, **({"notes": _cut(note, TEXT)} if note else {})}


def _curves(evaluation: Evaluation) -> list[dict[str, Any]]:
    judged = evaluation.judged
    if judged is None or not judged.task.binary or not evaluation.metrics:
        return []
    positive, score = judged.actual == judged.task.positive, judged.scores[:, judged.task.positive]
    bins = [(mean, share) for _, mean, share, _ in reliability(score, positive)]
    graphs = (
        (
            "ROC curve",
            list(zip(*roc_points(positive, score), strict=True)),
            "false positive rate",
            "true positive rate",
        ),
        ("reliability", bins, "mean probability", "observed share"),
    )
    return [_group(name, [_graph(name, points, x, y)]) for name, points, x, y in graphs if points]


def _graph(name: str, points: Sequence[tuple[float, float]], x: str, y: str) -> dict[str, Any]:
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), POINTS)).round().astype(int))
    return {
        "name": name,
        "type": "linear_graph",
        "value": [[float(points[i][0]), float(points[i][1])] for i in chosen],
        "x_axis_name": x,
        "y_axis_name": y,
    }


def _said(fields: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Fields that are known, texts no longer than the schema takes."""
    return {k: _cut(v, limit) if isinstance(v, str) else v for k, v in fields.items() if v not in ("", None, {})}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
