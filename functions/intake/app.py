"""intake: an uploaded object starts one execution of the pipeline; see docs/bring-your-own-data.md."""

from __future__ import annotations

import functools
from typing import Any

from mlops.aws.executions import StateMachine
from mlops.aws.observe import observed
from mlops.data import intake
from mlops.settings import Settings


@functools.cache
def pipeline() -> intake.Starter:
    """The pipeline's state machine; tests replace it."""
    return StateMachine(Settings.from_env().require("pipeline_arn").pipeline_arn)


@observed("intake")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """An S3 event → ``{status: started | known | ignored, uploads: [{upload_id, model, key, started}]}``."""
    return intake.start(event, pipeline())
