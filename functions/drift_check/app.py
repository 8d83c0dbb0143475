"""drift_check: is the data still like the data that the champion was trained on? See docs/drift.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.events import EventBus
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import metric, metric_of, observed
from mlops.aws.registry import DynamoRegistry
from mlops.drift.check import DriftCheck
from mlops.drift.request import Dataset, Failed, Past, Plan, Timeline, Window, parse
from mlops.settings import Settings


@functools.cache
def service() -> DriftCheck:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table")
    return DriftCheck(
        data=S3Objects(settings.data_bucket),
        artifacts=S3Objects(settings.artifact_bucket),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        events=EventBus(settings.stack),
        clock=lambda: datetime.now(UTC),
    )


@observed("drift_check")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: "dataset", model, part_id | parts}`` → one outcome; ``{task: "window", model?, hours?, until?}`` →
    ``{results: [...]}``; ``plan``, ``past``, ``timeline`` and ``fail`` are the steps of the machine ``backfill``."""
    match parse(event):
        case Dataset(model, parts):
            return service().dataset(model, *parts).to_dict()
        case Window(model_or_all, hours, until):
            results = service().windows(model_or_all, hours, until)
            metric("ModelsDrifted", sum(r.status == "drift" for r in results))
            for checked in results:
                if checked.status in ("ok", "drift"):  # a window with too few rows leaves a gap
                    metric_of(checked.model, "DriftShare", checked.share)
            return {"results": [r.to_dict() for r in results]}
        case Plan(model, since, last, every):
            return service().plan(model, since, last, every)
        case Past(model, since, before):
            return service().past(model, since, before)
        case Timeline(model, since, before, length, actor):
            return service().timeline(model, since, before, length, actor)
        case Failed(model, run_id, error):
            return service().failed(model, run_id, error)
