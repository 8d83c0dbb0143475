"""capture_writer: store the capture lines that ``predict`` printed. Called by a CloudWatch Logs subscription."""

from __future__ import annotations

import functools
from typing import Any

from mlops.aws.objects import S3Objects
from mlops.aws.observe import logger, observed
from mlops.capture.writing import decode, write
from mlops.objects import ObjectStore
from mlops.settings import Settings


@functools.cache
def objects() -> ObjectStore:
    """The data bucket; tests replace it."""
    return S3Objects(Settings.from_env().require("data_bucket").data_bucket)


@observed("capture_writer")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A CloudWatch Logs delivery gives the counts of what was stored."""
    written = write(objects(), decode(event))
    if written.malformed:
        logger().warning("malformed capture lines were put aside", extra={"malformed": written.malformed})
    return written.to_dict()
