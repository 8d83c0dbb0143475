"""score: plans a run of batch scoring, scores chunks, ends the run. Called by its machine; see docs/scoring.md."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.registry import DynamoRegistry
from mlops.aws.sources import LivePredict, S3Sources
from mlops.scoring.captured import Captures
from mlops.scoring.chunks import Chunks
from mlops.scoring.run import Runs
from mlops.scoring.tasks import Scoring
from mlops.settings import Settings


@functools.cache
def service() -> Scoring:
    """The domain services with their adapters; tests replace it."""
    settings = Settings.from_env().require("stack", "data_bucket", "artifact_bucket", "table", "predict_function")
    data, artifacts = S3Objects(settings.data_bucket), S3Objects(settings.artifact_bucket)
    runs = Runs(
        data=data,
        data_bucket=settings.data_bucket,
        score_bucket=settings.score_bucket,
        sources=S3Sources(),
        outputs=S3Objects,
        serving=LivePredict(settings.predict_function),
        registry=DynamoRegistry(settings.table),
        ledger=DynamoLedger(settings.table, settings.stack),
        clock=lambda: datetime.now(UTC),
    )
    captures = Captures(data, settings.pseudonym_key.encode()[:64])
    return Scoring(runs, Chunks(artifacts=artifacts, work=data, outputs=S3Objects, captures=captures))


@observed("score")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{task: plan | chunk | close | object_failed | finish | fail, …}`` → the task's result."""
    return service().run(event)
