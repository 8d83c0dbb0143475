"""Rules that join several fields of a contract, so that no schema can state them."""

from __future__ import annotations

from collections.abc import Iterator

from mlops.contract.expressions import ExpressionError, columns_of, parse
from mlops.contract.model import Contract
from mlops.data.row_rules import try_out
from mlops.features.spec import Feature

Path = tuple[str | int, ...]

CLASSIFICATION_METRICS = (
    "roc_auc",
    "pr_auc",
    "f1",
    "accuracy",
    "balanced_accuracy",
    "log_loss",
    "brier",
    "calibration_error",
    "cost",
)
REGRESSION_METRICS = ("rmse", "mae", "median_ae", "r2", "pinball")
#: Metrics of fairness by task: two classes, more classes, values.
BINARY_FAIRNESS = (
    "selection_rate_ratio",
    "selection_rate_difference",
    "equal_opportunity_difference",
    "false_positive_rate_difference",
    "accuracy_difference",
)
MULTICLASS_FAIRNESS = ("accuracy_difference",)
REGRESSION_FAIRNESS = ("error_ratio", "mean_error_difference")


def broken_rules(contract: Contract) -> Iterator[tuple[Path, str]]:
    """Every broken rule as (path of the field, message)."""
    yield from _target(contract)
    names = [f.name for f in contract.features]
    first: dict[str, str] = {}
    for block in ("features", "attributes"):
        for i, feature in enumerate(getattr(contract, block)):
            place = first.setdefault(feature.name, f"{block}[{i}]")
            if place != f"{block}[{i}]":
                yield (block, i, "name"), f"'{feature.name}' is the name of {place} already"
            yield from (((block, i, *path), message) for path, message in _feature(feature))
            if block == "attributes" and feature.type == "date":
                yield (block, i, "type"), "a date has no groups to judge by"
    yield from _roles(contract, set(names))
    yield from _metrics(contract)
    yield from _decision(contract)
    yield from _fairness(contract)
    yield from _sections(contract, set(names))
    yield from _row_rules(contract)


def _target(contract: Contract) -> Iterator[tuple[Path, str]]:
    target = contract.target
    if contract.task == "classification":
        if len(target.classes) < 2:
            yield ("target", "classes"), "classification needs at least two classes, for example [no, yes]"
        if target.positive is not None:
            if target.positive not in target.classes:
                known = ", ".join(target.classes)
                yield ("target", "positive"), f"'{target.positive}' is not one of target.classes ({known})"
            elif len(target.classes) > 2:
                yield ("target", "positive"), "is for two classes only; leave it out"
        for bound in ("minimum", "maximum"):
            if getattr(target, bound) is not None:
                yield ("target", bound), "is for regression only"
    else:
        if target.classes:
            yield ("target", "classes"), "is for classification only; leave it out or set task: classification"
        if target.positive is not None:
            yield ("target", "positive"), "is for classification only"
        if target.minimum is not None and target.maximum is not None and target.minimum >= target.maximum:
            yield ("target", "minimum"), f"{target.minimum:g} is not below target.maximum ({target.maximum:g})"


def _feature(feature: Feature) -> Iterator[tuple[Path, str]]:
    numeric = feature.type in ("number", "integer")
    for bound in ("minimum", "maximum"):
        if getattr(feature, bound) is not None and not numeric:
            yield (bound,), f"is for number and integer, not for {feature.type}"
    if feature.minimum is not None and feature.maximum is not None and feature.minimum > feature.maximum:
        yield ("minimum",), f"{feature.minimum:g} is above maximum ({feature.maximum:g})"
    if feature.type == "category":
        if not feature.categories:
            yield ("categories",), "a category needs its list of levels, for example [small, large]"
        if "" in feature.categories:
            yield ("categories",), "an empty level is a missing value; use nullable: true"
    else:
        if feature.categories:
            yield ("categories",), f"is for type category, not for {feature.type}"
        if feature.on_unknown != "reject":
            yield ("on_unknown",), f"is for type category, not for {feature.type}"


def _roles(contract: Contract, features: set[str]) -> Iterator[tuple[Path, str]]:
    """A column has one role: target, feature, attribute, key, timestamp or ignored."""
    target = contract.target.name
    if target in features:
        position = [f.name for f in contract.features].index(target)
        yield ("features", position, "name"), f"'{target}' is the target; a model may not see what it predicts"
    attributes = {f.name for f in contract.attributes}
    if target in attributes:
        position = [f.name for f in contract.attributes].index(target)
        yield ("attributes", position, "name"), f"'{target}' is the target; groups by it say nothing of fairness"
    for i, name in enumerate(contract.key):
        if name in features:
            yield ("key", i), f"'{name}' is a feature; a key column is never a feature"
        if name in attributes:
            yield ("key", i), f"'{name}' is an attribute; a key column is never an attribute"
        if name == target:
            yield ("key", i), f"'{name}' is the target; a key column is never the target"
    if contract.timestamp is not None:
        if contract.timestamp in features:
            yield ("timestamp",), f"'{contract.timestamp}' is a feature; the timestamp is never a feature"
        if contract.timestamp in attributes:
            yield ("timestamp",), f"'{contract.timestamp}' is an attribute; the timestamp is never an attribute"
        if contract.timestamp == target or contract.timestamp in contract.key:
            yield ("timestamp",), f"'{contract.timestamp}' is the target or part of the key"
    used = features | attributes | {target, *contract.key} | ({contract.timestamp} if contract.timestamp else set())
    for i, name in enumerate(contract.ignore):
        if name in used:
            yield (
                ("ignore", i),
                f"'{name}' is used as feature, attribute, target, key or timestamp; it cannot be ignored too",
            )


def _metrics(contract: Contract) -> Iterator[tuple[Path, str]]:
    known = CLASSIFICATION_METRICS if contract.task == "classification" else REGRESSION_METRICS
    given: list[tuple[Path, str]] = []
    if contract.training.metric:
        given.append((("training", "metric"), contract.training.metric))
    if contract.quality.metric:
        given.append((("quality", "metric"), contract.quality.metric))
    given += [(("gates", "minimum", name), name) for name in contract.gates.minimum]
    given += [(("gates", "maximum", name), name) for name in contract.gates.maximum]
    for path, name in given:
        if name not in known:
            yield path, f"'{name}' is not a metric of {contract.task}; allowed are {', '.join(known)}"
        elif name == "cost" and contract.decision.false_positive is None:
            yield path, "needs decision.false_positive and decision.false_negative"
        elif name == "pinball" and contract.training.interval is None:
            yield path, "needs training.interval"


def _decision(contract: Contract) -> Iterator[tuple[Path, str]]:
    rule = contract.decision
    given = [name for name in ("threshold", "false_positive", "false_negative") if getattr(rule, name) is not None]
    if given and len(contract.target.classes) != 2:
        yield ("decision", given[0]), "is for two classes only"
    elif given and contract.target.positive is None:
        yield ("decision", given[0]), "needs target.positive: which class is the positive one"
    if (rule.false_positive is None) != (rule.false_negative is None):
        absent = "false_positive" if rule.false_positive is None else "false_negative"
        yield ("decision", absent), "is missing; a threshold follows from both costs"


def _fairness(contract: Contract) -> Iterator[tuple[Path, str]]:
    known = {f.name: f for f in contract.described}
    allowed: tuple[str, ...] = REGRESSION_FAIRNESS
    if contract.task == "classification":
        allowed = BINARY_FAIRNESS if len(contract.target.classes) == 2 else MULTICLASS_FAIRNESS
    for i, rule in enumerate(contract.gates.fairness):
        path: Path = ("gates", "fairness", i)
        feature = known.get(rule.attribute)
        if feature is None:
            yield (*path, "attribute"), f"'{rule.attribute}' is not a feature, nor one of attributes"
        elif feature.type in ("number", "integer") and not rule.edges:
            yield (*path, "edges"), f"are missing: '{rule.attribute}' is a {feature.type}, for example [30, 60]"
        elif feature.type not in ("number", "integer") and rule.edges:
            yield (*path, "edges"), f"are for numbers, not for {feature.type}"
        elif feature.type == "date":
            yield (*path, "attribute"), f"'{rule.attribute}' is a date, which has no groups"
        if any(b <= a for a, b in zip(rule.edges, rule.edges[1:], strict=False)):
            yield (*path, "edges"), "do not ascend"
        if rule.metric not in allowed:
            yield (*path, "metric"), f"'{rule.metric}' does not suit this target; allowed are {', '.join(allowed)}"
        elif rule.metric == "selection_rate_ratio" and rule.bound > 1:
            yield (*path, "bound"), "is the lowest over the highest rate, so at most 1"
        elif rule.metric == "error_ratio" and rule.bound < 1:
            yield (*path, "bound"), "is the highest over the lowest error, so at least 1"


def _sections(contract: Contract, features: set[str]) -> Iterator[tuple[Path, str]]:
    for i, (before, after) in enumerate(zip(contract.release.steps, contract.release.steps[1:], strict=False)):
        if after <= before:
            yield ("release", "steps", i + 1), f"{after:g} does not follow {before:g}; steps ascend"
    if contract.release.max_seconds < contract.release.min_seconds:
        yield ("release", "max_seconds"), f"is below release.min_seconds ({contract.release.min_seconds})"
    if contract.drift.confirmations > contract.drift.windows:
        yield ("drift", "confirmations"), f"cannot be more than drift.windows ({contract.drift.windows})"
    for name in contract.drift.methods:
        if name not in features:
            yield ("drift", "methods", name), f"'{name}' is not a feature"
    if contract.training.split == "time" and contract.timestamp is None:
        yield ("training", "split"), "time needs the contract's timestamp"
    if contract.training.split == "group" and not contract.key:
        yield ("training", "split"), "group needs the contract's key"
    if contract.training.split == "stratified" and contract.task == "regression":
        yield ("training", "split"), "stratified is for classification only"
    quiet = contract.retrain.quiet_hours
    if quiet is not None and len(set(map(int, quiet.split("-")))) == 1:
        yield ("retrain", "quiet_hours"), f"'{quiet}' is empty: begin and end are the same hour"
    yield from _file(contract)


def _row_rules(contract: Contract) -> Iterator[tuple[Path, str]]:
    columns = columns_of(contract)
    for i, rule in enumerate(contract.rules):
        try:
            parse(rule.expression, columns)
            try_out(rule, contract)
        except ExpressionError as error:
            yield ("rules", i, "expression"), str(error)
        if rule.max_share and rule.severity != "reject":
            yield ("rules", i, "max_share"), "is for severity reject only"
    for name in contract.checks.completeness:
        if name not in columns:
            yield ("checks", "completeness", name), f"'{name}' is no column of the contract"


def _file(contract: Contract) -> Iterator[tuple[Path, str]]:
    encoding = contract.file.encoding
    if encoding is not None:
        try:
            "".encode(encoding)  # refuses codecs that do not turn text into bytes, such as base64
        except LookupError:
            yield ("file", "encoding"), f"'{encoding}' is unknown; for example utf-8, windows-1252, utf-16"
    if contract.file.delimiter is not None and contract.file.delimiter == contract.file.decimal:
        yield ("file", "decimal"), "is the delimiter too"
