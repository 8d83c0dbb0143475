"""Drift over a history by the deployed state machine, and the notice that people get."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops.aws.clients import client
from tests.e2e.conftest import Deployed
from tests.e2e.models import MODEL, serving


def test_a_history_is_checked_window_by_window_and_launches_nothing(deployed: Deployed, tmp_path: Path) -> None:
    bench, version = deployed.bench, serving(deployed, tmp_path)
    until = datetime.now(UTC).replace(microsecond=0)
    since = until - timedelta(hours=3)
    request = {"model": MODEL, "since": since.isoformat(), "until": until.isoformat(), "every": 1}
    ended = bench.wait(bench.backfill(request), "BackfillArn", seconds=120)
    assert ended.status == "SUCCEEDED", ended
    assert (ended.output["windows"], ended.output["version"]) == (3, version)
    assert ended.output["status"] in ("ok", "drift", "insufficient")
    key = str(ended.output["report_key"])
    assert b"Every window" in bench.data.get(key)
    assert len(json.loads(bench.data.get(key.replace(".html", ".json")))["checks"]) == 3
    assert "drift.backfilled" in {e.action for e in bench.ledger.entries(subject=f"model/{MODEL}/{version}")}
    ids = [record.id for record in bench.registry.records(MODEL, "drift", 200)]
    assert not [i for i in ids if f"{since:%Y%m%dT%H%M%SZ}" in i], "a history is no check of the present"

    refused = bench.wait(bench.backfill(request | {"every": 24}), "BackfillArn", seconds=120)
    assert (refused.status, refused.output["status"]) == ("SUCCEEDED", "invalid")


def test_people_get_what_was_found_the_columns_that_matter_and_a_link(deployed: Deployed) -> None:
    """The rule on the bus, the topic and its policy, as deployed; a queue takes the place of a mailbox."""
    sqs, stack = client("sqs"), deployed.bench.stack
    queue = sqs.create_queue(QueueName=f"{stack}-mailbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = deployed.bench.outputs["AlertsTopic"]
    allowed = {
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    subscription = client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    try:
        detail = {
            "stack": stack, "model": MODEL, "status": "drift", "task": "dataset", "news": True,
            "explanation": 'Drift over 300 rows: "mean radius" differs.', "features": ["mean radius", "mean area"],
            "report_key": f"reports/drift/{MODEL}/x.html",
        }  # fmt: skip
        entries = [
            {"Source": "mlops", "DetailType": "DriftChecked", "Detail": json.dumps(detail | change)}
            for change in ({"news": False, "features": ["old news"]}, {})
        ]
        client("events").put_events(Entries=entries)
        message = _message(queue, "features that matter first")
        assert (message["drift"], message["features that matter first"]) == (MODEL, detail["features"])
        assert message["what"] == detail["explanation"]
        assert message["report"].endswith(f"prefix={detail['report_key']}")
        assert "/s3/object/" in message["report"]
    finally:
        client("sns").unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=queue)


def _message(queue: str, field: str) -> dict:
    """The first message with this field; others of the topic are passed over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        got = client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=1, MaxNumberOfMessages=10)
        for message in got.get("Messages", []):
            text = json.loads(json.loads(message["Body"])["Message"])
            if isinstance(text, dict) and field in text:
                assert text[field] != ["old news"]
                return text
    raise TimeoutError("no notice")
