"""The scikit-learn estimators that a model may be: those whose answers :mod:`mlops.training.export` repeats exactly.

Which form of the features each is fitted on: ``linear`` (imputed, bounded, scaled), ``trees`` (as they are, missing
values have their side), ``filled`` (as they are, missing numbers replaced by the median and marked).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sklearn import ensemble, linear_model, neural_network, svm, tree
from sklearn.pipeline import Pipeline

from mlops.training.graph import ExportError

Form = Literal["linear", "trees", "filled"]

_LINEAR = (
    linear_model.LogisticRegression,
    linear_model.SGDClassifier,
    linear_model.LinearRegression,
    linear_model.Ridge,
    linear_model.Lasso,
    linear_model.ElasticNet,
    linear_model.BayesianRidge,
    linear_model.HuberRegressor,
    linear_model.QuantileRegressor,
    linear_model.SGDRegressor,
    linear_model.PoissonRegressor,
    linear_model.GammaRegressor,
    svm.LinearSVR,
    neural_network.MLPClassifier,
    neural_network.MLPRegressor,
)
_TREES = (
    tree.DecisionTreeClassifier,
    tree.DecisionTreeRegressor,
    ensemble.RandomForestClassifier,
    ensemble.RandomForestRegressor,
    ensemble.HistGradientBoostingClassifier,
    ensemble.HistGradientBoostingRegressor,
)
_FILLED = (
    ensemble.ExtraTreesClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.GradientBoostingClassifier,
    ensemble.GradientBoostingRegressor,
)
FORMS: Mapping[type, Form] = {
    **dict.fromkeys(_LINEAR, "linear"),
    **dict.fromkeys(_TREES, "trees"),
    **dict.fromkeys(_FILLED, "filled"),
}


def names(classification: bool) -> list[str]:
    """Names of the supported estimators of a task, sorted."""
    return sorted(kind.__name__ for kind in FORMS if _classifies(kind) == classification)


def form_of(estimator: Any, classification: bool) -> Form:
    """What an estimator is to be fitted on.

    Raises
    ------
    ExportError
        for an estimator that cannot be exported exactly, naming those that can. A subclass is not its parent: what
        it changes is unknown.
    """
    kind = type(estimator)
    if isinstance(estimator, Pipeline):
        raise ExportError("return the estimator alone: features are imputed, scaled and encoded by the bundle")
    form = FORMS.get(kind)
    if form is None or _classifies(kind) != classification:
        task = "classification" if classification else "regression"
        raise ExportError(
            f"{kind.__name__} is not supported for {task}; supported are {', '.join(names(classification))}"
        )
    _check(estimator)
    return form


def _classifies(kind: type) -> bool:
    return hasattr(kind, "predict_proba")


def _check(estimator: Any) -> None:
    """Settings under which a supported estimator has no probabilities, or none that the exporter repeats."""
    parameters = estimator.get_params(deep=False)
    name = type(estimator).__name__
    if name == "SGDClassifier" and parameters["loss"] != "log_loss":
        raise ExportError("SGDClassifier gives probabilities with loss='log_loss' only")
    several = parameters.get("multi_class", "auto") in ("ovr", "multinomial")
    if name == "LogisticRegression" and (several or parameters["solver"] == "liblinear"):
        raise ExportError("LogisticRegression: use another solver than 'liblinear', and leave out 'multi_class'")
    if parameters.get("splitter", "best") != "best":
        raise ExportError(f"{name}: splitter='random' cannot take missing values in every version; use 'best'")
    if name.startswith("GradientBoosting") and parameters["init"] is not None:
        raise ExportError(f"{name} must start from a constant; leave out 'init'")
    if name == "GradientBoostingClassifier" and parameters["loss"] != "log_loss":
        raise ExportError("GradientBoostingClassifier: use loss='log_loss'")
    if name.startswith("HistGradientBoosting") and _has_categories(parameters.get("categorical_features")):
        raise ExportError(f"{name}: leave out 'categorical_features'; categories come one-hot")


def _has_categories(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and value in ("from_dtype", "warn"))
