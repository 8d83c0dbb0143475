"""Files in S3 that somebody names by a prefix, and the function that serves: adapters of :mod:`mlops.scoring` and
:mod:`mlops.bulk`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.data import intake
from mlops.data.intake import Upload
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.scoring.entities import SourceObject

_ABSENT = {"NoSuchKey", "NoSuchBucket", "NotFound", "404"}
_CHANGED = {"PreconditionFailed", "412"}
_BLOCK = 1024 * 1024


class S3Sources:
    """Any bucket that the function's role may read."""

    def __init__(self, s3: Any = None) -> None:
        self._given = s3

    @property
    def _s3(self) -> Any:
        return self._given or client("s3")

    def list(self, bucket: str, prefix: str) -> Iterator[SourceObject]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                yield SourceObject(item["Key"], item["Size"], item["ETag"].strip('"'))

    def fetch(self, bucket: str, source: SourceObject, path: str) -> None:
        try:
            body = self._s3.get_object(Bucket=bucket, Key=source.key, IfMatch=source.etag)["Body"]
        except ClientError as error:
            if error_code(error) in _ABSENT:
                raise NotFoundError(f"'{source.key}' is not there any more") from error
            if error_code(error) in _CHANGED:
                raise ConflictError(f"'{source.key}' was changed after the run began; run again") from error
            raise
        with open(path, "wb") as file:
            shutil.copyfileobj(body, file, _BLOCK)


class S3Listing:
    """A bucket's objects as they are now, with their versions where it keeps any."""

    def __init__(self, bucket: str, s3: Any = None) -> None:
        self.bucket = bucket
        self._given = s3

    def latest(self, prefix: str) -> Iterator[Upload]:
        s3 = self._given or client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Versions", []):
                if item["IsLatest"]:
                    yield intake.one(
                        {
                            "bucket": self.bucket,
                            "key": item["Key"],
                            "version_id": item["VersionId"],
                            "etag": item["ETag"].strip('"'),
                            "size": item["Size"],
                        }
                    )


class LivePredict:
    """The function ``predict`` behind its alias ``live``."""

    def __init__(self, function: str, lambda_client: Any = None) -> None:
        self.function = function
        self._given = lambda_client

    def champion(self, model: str) -> str | None:
        """What serves says so itself, so no registry can disagree with it.

        Raises
        ------
        MlopsError
            when the function fails.
        """
        answer = (self._given or client("lambda")).invoke(
            FunctionName=self.function, Qualifier="live", Payload=json.dumps({"task": "describe"}).encode()
        )
        body = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise MlopsError("predict does not say what serves; its log says why", code="invocation_failed")
        found = body["models"].get(model)
        return found["champion"] if found else None
