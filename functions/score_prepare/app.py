"""score_prepare: turns one file into chunks of records for ``score``. Called by its machine; see docs/scoring.md."""

from __future__ import annotations

import functools
from typing import Any

from mlops.aws.objects import S3Objects
from mlops.aws.observe import observed
from mlops.aws.sources import S3Sources
from mlops.scoring.entities import Run, SourceObject
from mlops.scoring.preparing import Prepare
from mlops.settings import Settings


@functools.cache
def service() -> Prepare:
    """The domain service with its adapters; tests replace it."""
    settings = Settings.from_env().require("data_bucket", "artifact_bucket")
    return Prepare(
        sources=S3Sources(),
        artifacts=S3Objects(settings.artifact_bucket),
        work=S3Objects(settings.data_bucket),
        outputs=S3Objects,
    )


@observed("score_prepare")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """``{run, object, attempt}`` → ``{status: prepared, chunks, rows}`` or ``{status: failed, code, …}``."""
    return service().run(Run.from_dict(event["run"]), SourceObject(**event["object"]), event.get("attempt") or 0)
