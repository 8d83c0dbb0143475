"""What one prediction and one training cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.cost.catalogue import compute_key
from mlops.cost.lines import Line, Sum, add
from mlops.cost.money import ZERO, plain
from mlops.cost.predictions import Predictions
from mlops.cost.prices import Price, PriceSource
from mlops.cost.usage import Usage

#: Functions that work for a request, and those that work for a training.
SERVING = ("predict", "authorizer", "capture_writer")
TRAINING = ("train",)


@dataclass(frozen=True, slots=True)
class VersionCost:
    """Serving cost of one model version. ``per_1000``: USD for 1,000 answered rows, None when it answered none."""

    model: str
    version: str
    rows: int
    shadow_rows: int
    usd: Decimal
    per_1000: Decimal | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "rows": self.rows,
            "shadow_rows": self.shadow_rows,
            "usd": plain(self.usd),
            "usd_per_1000": plain(self.per_1000),
        }


@dataclass(frozen=True)
class UnitCosts:
    """``serving``: all that serving cost in the window; ``per_1000_requests`` by predict's invocations."""

    serving: Sum
    requests: int
    per_1000_requests: Decimal | None
    versions: tuple[VersionCost, ...]
    trainings: int
    training: Sum
    per_training: Decimal | None
    basis: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "serving": self.serving.to_dict(),
            "requests": self.requests,
            "usd_per_1000_requests": plain(self.per_1000_requests),
            "versions": [v.to_dict() for v in self.versions],
            "trainings": self.trainings,
            "training": self.training.to_dict(),
            "usd_per_training": plain(self.per_training),
            "basis": self.basis,
        }


def unit_costs(usage: Usage, lines: Sequence[Line], predictions: Predictions, prices: PriceSource) -> UnitCosts:
    """Divide the window's serving and training cost.

    A version is charged the compute of its own scoring time (from captured traffic); the rest of the serving cost,
    which is the same whichever version answers, is shared by answered rows.
    """
    serving = add(x for x in lines if x.resource in SERVING or x.key == "apigateway.rest_requests")
    training = add(x for x in lines if x.resource in TRAINING or x.key.startswith("sagemaker.training."))
    predict, train = usage.function("predict"), usage.function("train")
    requests = predict.invocations if predict else 0
    trainings = train.invocations if train else 0
    own = _scoring(usage, predictions, prices)
    shared = max(ZERO, serving.usd - sum(own, ZERO))
    rows = predictions.rows
    versions = []
    for answered, scoring in zip(predictions.answered, own, strict=True):
        usd = scoring + (shared * answered.rows / rows if rows else ZERO)
        per_1000 = usd / answered.rows * 1000 if answered.rows else None
        versions.append(
            VersionCost(answered.model, answered.version, answered.rows, answered.shadow_rows, usd, per_1000)
        )
    return UnitCosts(
        serving=serving,
        requests=requests,
        per_1000_requests=serving.usd / requests * 1000 if requests else None,
        versions=tuple(versions),
        trainings=trainings,
        training=training,
        per_training=training.usd / trainings if trainings else None,
        basis=f"{', '.join(SERVING)} and API requests; {predictions.basis or 'no captured traffic read'}",
    )


def _scoring(usage: Usage, predictions: Predictions, prices: PriceSource) -> list[Decimal]:
    predict = usage.function("predict")
    if predict is None:
        return [ZERO for _ in predictions.answered]
    price = prices.price(compute_key(predict.architecture), usage.region)
    rate = price.first if isinstance(price, Price) else ZERO
    size = Decimal(predict.memory_mb) / 1024
    return [Decimal(a.scored_us) / 1_000_000 * size * rate for a in predictions.answered]
