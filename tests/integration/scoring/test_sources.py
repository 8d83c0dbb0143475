"""Files to score on S3 as moto has it: listed, fetched as they were listed, or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mlops.aws.sources import LivePredict, S3Sources
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.scoring.entities import SourceObject


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t")
        client.create_bucket(Bucket="files")
        yield client


def test_an_object_is_fetched_as_it_was_listed(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="files", Key="in/a.csv", Body=b"a\n1\n")
    s3.put_object(Bucket="files", Key="other/b.csv", Body=b"b")
    sources = S3Sources(s3)
    (found,) = sources.list("files", "in/")
    assert (found.key, found.size, len(found.etag)) == ("in/a.csv", 4, 32)
    sources.fetch("files", found, str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"a\n1\n"
    s3.put_object(Bucket="files", Key="in/a.csv", Body=b"a\n2\n")
    with pytest.raises(ConflictError, match="changed after the run began"):
        sources.fetch("files", found, str(tmp_path / "a"))
    s3.delete_object(Bucket="files", Key="in/a.csv")
    with pytest.raises(NotFoundError, match="not there any more"):
        sources.fetch("files", found, str(tmp_path / "a"))
    with pytest.raises(NotFoundError):
        sources.fetch("no-such-bucket", SourceObject("x", 1, "0"), str(tmp_path / "a"))


class Lambda:
    """Answers as the service does; moto runs functions in containers only."""

    def __init__(self, body: Any, error: str | None = None) -> None:
        self.body, self.error, self.asked = body, error, {}

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        answer = {"Payload": io.BytesIO(json.dumps(self.body).encode())}
        return {**answer, "FunctionError": self.error} if self.error else answer


def test_what_serves_is_asked_of_the_alias() -> None:
    service = Lambda({"models": {"churn": {"champion": "aaaaaaaaaaaa"}, "new": {"champion": None}}})
    predict = LivePredict("x-predict", service)
    assert [predict.champion(name) for name in ("churn", "new", "unknown")] == ["aaaaaaaaaaaa", None, None]
    assert (service.asked["FunctionName"], service.asked["Qualifier"]) == ("x-predict", "live")
    assert json.loads(service.asked["Payload"]) == {"task": "describe"}
    with pytest.raises(MlopsError, match="does not say what serves"):
        LivePredict("x-predict", Lambda({"errorType": "E"}, "Unhandled")).champion("churn")
