"""How a function ends in a fault: nothing that the runtime prints or returns holds a message, a trace or a path."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from botocore.exceptions import ClientError

from functions.authorizer import app as authorizer
from functions.predict import app as predict
from mlops.aws import observe
from mlops.errors import Fault, NotFoundError, fault, where
from mlops.security.keys import KeyRing
from mlops.security.tokens import Rules, Verifier

SECRET = "ana@example.com"


class Runtime:
    """The end of Lambda's runtime API that the real client talks to, and its log."""

    def __init__(self) -> None:
        self.marshaller = LambdaMarshaller()
        self.answers: list[Any] = []
        self.log: list[str] = []

    def post_invocation_error(self, invoke_id: str, error: str, xray: str, *_: Any) -> None:
        self.answers.append((json.loads(error), json.loads(xray)))

    def post_invocation_result(self, *_: Any) -> None:
        raise AssertionError("the handler raised nothing")

    def log_error(self, lines: list[str]) -> None:
        self.log += lines


def run(handler: Any, event: Any) -> tuple[dict[str, Any], Runtime]:
    """What Lambda gets and logs when ``handler`` is run by AWS's own runtime client."""
    runtime = Runtime()
    sink: Any = runtime
    bootstrap.handle_event_request(
        runtime, handler, "request-1", json.dumps(event), "application/json", None, None, "arn", "0", None, sink
    )
    ((error, xray),) = runtime.answers
    assert xray["exceptions"][0]["stack"] == []
    assert error["stackTrace"] == []
    return error, runtime


def raising(error: Exception) -> Any:
    @observe.observed("test")
    def handler(event: Any, context: Any) -> Any:
        raise error

    return handler


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": SECRET}}, "GetItem")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (KeyError(SECRET), "KeyError", ""),
        (refused("ThrottlingException"), "ClientError", "ThrottlingException"),
        (FileNotFoundError(2, SECRET, f"/home/{SECRET}"), "FileNotFoundError", ""),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError", ""),
    ],
)
def test_a_fault_keeps_its_name_and_place_and_nothing_else(
    error: Exception, kind: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, runtime = run(raising(error), {"who": SECRET})
    assert answer["errorType"] == kind  # what a state machine matches in Retry and Catch
    assert answer["errorMessage"].startswith(f"{code}; test_faults.py:" if code else "test_faults.py:")
    (record,) = caplog.records
    line = vars(record)
    assert (record.levelname, record.getMessage(), line["type"], line["code"]) == ("ERROR", "fault", kind, code)
    assert line["place"] in answer["errorMessage"]
    everything = json.dumps([answer, runtime.log, caplog.text])
    assert SECRET not in everything
    assert "/" not in everything
    assert 'File "' not in everything


def test_an_error_of_ours_says_what_to_do_and_has_no_trace() -> None:
    answer, runtime = run(raising(NotFoundError("model 'x' has no contract")), {})
    assert (answer["errorType"], answer["errorMessage"]) == ("NotFoundError", "model 'x' has no contract")
    # the second line is the runtime's own headline, with nothing below it
    assert runtime.log == ["[ERROR] NotFoundError: model 'x' has no contract", "Traceback (most recent call last):"]


def test_debugging_shows_everything(caplog: pytest.LogCaptureFixture) -> None:
    logger = observe.logger()
    before = logger.log_level
    logger.setLevel("DEBUG")
    try:
        with pytest.raises(KeyError, match=SECRET):
            raising(KeyError(SECRET))({}, None)
    finally:
        logger.setLevel(before)
    assert "Traceback" in caplog.text
    assert not hasattr(sys, "tracebacklimit")


def test_a_request_without_a_token_leaves_one_line() -> None:
    answer, _ = run(authorizer.handler, {"headers": {"Authorization": "Basic YTpi"}})
    assert (answer["errorType"], answer["errorMessage"]) == ("UnauthorizedError", "Unauthorized")


def test_an_authorizer_without_keys_tells_its_log_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down() -> str:
        raise OSError(SECRET)

    checker = Verifier(Rules("i", "a"), KeyRing(down))
    monkeypatch.setattr(authorizer, "verifier", lambda: checker)
    answer, runtime = run(authorizer.handler, {"headers": {"Authorization": "Bearer eyJhbGciOiJFZERTQSJ9.e30.eA"}})
    assert answer["errorType"] == "OSError"
    out = capsys.readouterr().out
    assert json.loads(out)["place"].startswith("test_faults.py:")
    assert SECRET not in json.dumps([answer, runtime.log, out])


def test_a_task_of_predict_that_breaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mlops.inference import tasks
    from mlops.inference.application import Application
    from mlops.inference.settings import InferenceSettings

    def broken(*_: Any) -> Any:
        raise ValueError(SECRET)

    application = Application(InferenceSettings())
    monkeypatch.setattr(predict, "application", lambda: application)
    monkeypatch.setitem(tasks.TASKS, "describe", broken)
    answer, runtime = run(predict.handler, {"task": "describe"})
    assert answer["errorType"] == "ValueError"
    assert SECRET not in json.dumps([answer, runtime.log, capsys.readouterr().out])


def test_the_place_is_the_innermost_and_without_its_folder() -> None:
    with pytest.raises(ValueError) as caught:
        json.loads("{")
    assert where(caught.value).startswith("decoder.py:")
    assert isinstance(fault(caught.value), Fault)


def test_no_trace_at_all_where_they_are_hidden() -> None:
    program = "import sys; from mlops.errors import hide_traces; hide_traces(); raise KeyError('x')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "KeyError: 'x'"
