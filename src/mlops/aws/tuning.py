"""Trial versions of a Lambda function behind :class:`mlops.cost.tuning.Trials`.

``$LATEST`` gets another memory size, a version of it is published and invoked by its number; at the end ``$LATEST``
has its own size again and the versions are gone. Aliases stay where they are. Every change carries the revision of the
one before, so a deployment or a release in between is a conflict and never overwritten.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.aws.workbench import Workbench
from mlops.cost.lambda_logs import Invocation, parse
from mlops.cost.tuning import Subject
from mlops.errors import ConflictError, MlopsError
from mlops.objects import report_prefix
from mlops.registry.entities import LedgerDraft, Record

_CONFLICTS = {"ResourceConflictException", "PreconditionFailedException"}
_WAIT_SECONDS = 120.0
DESCRIPTION = "memory trial, deleted afterwards"


class LambdaTrials:
    """Trials of one function. Use :func:`trials`."""

    def __init__(self, function: str, lambda_client: Any, sleep: Callable[[float], None], logs: Any = None) -> None:
        self.function = function
        self._logs = logs
        self._client = lambda_client
        self._sleep = sleep
        self._revision = ""
        self.before: dict[str, Any] = {}
        self.aliases: dict[str, str] = {}
        self._known: set[str] = set()
        self.made: list[str] = []
        self._seen: set[str] = set()

    def begin(self) -> Subject:
        """Remember how everything is."""
        self.before = self._settled("$LATEST")
        self._revision = self.before["RevisionId"]
        self.aliases = self._aliases()
        self._known = set(self._versions())
        architecture = (self.before.get("Architectures") or ["x86_64"])[0]
        return Subject(self.function, int(self.before["MemorySize"]), architecture)

    def publish(self, memory_mb: int) -> str:
        self._resize(memory_mb)
        answer = self._call("publish_version", Description=DESCRIPTION, RevisionId=self._revision)
        version = str(answer["Version"])
        if version not in self._known and version not in self.made:
            self.made.append(version)
        self._settled(version)
        self._revision = self._settled("$LATEST")["RevisionId"]
        return version

    def invoke(self, version: str, payload: Mapping[str, Any]) -> Invocation:
        started = int(time.time() * 1000)
        answer = self._client.invoke(
            FunctionName=self.function, Qualifier=version, LogType="Tail", Payload=json.dumps(payload).encode()
        )
        body = answer["Payload"].read()
        if answer.get("FunctionError"):
            try:
                kind = json.loads(body).get("errorType", "error")
            except (ValueError, AttributeError):
                kind = "error"
            raise MlopsError(f"{self.function} failed on this event ({kind}); nothing can be measured with it")
        lines = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines()
        found = [report for report in map(parse, lines) if report is not None]
        return found[-1] if found else self._from_log(started)

    def _from_log(self, started: int) -> Invocation:
        """The local engine gives no tail: there the line is in the log, where nobody else's calls come in between."""
        group = str(self.before.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{self.function}")
        for _ in range(40):
            events = (self._logs or client("logs")).filter_log_events(logGroupName=group, startTime=started)["events"]
            found = [(e["message"], report) for e in events if (report := parse(e["message"])) is not None]
            fresh = [report for message, report in found if message not in self._seen]
            if fresh:
                self._seen.update(message for message, _ in found)
                return fresh[-1]
            self._sleep(0.1)
        raise MlopsError(f"{self.function} gave no REPORT line in the tail of its log, nor in the log")

    def end(self) -> None:
        """Put the size back and delete the trial versions.

        Raises
        ------
        ConflictError
            when the function is not as it was left: then it is somebody else's now, and its size stays.
        """
        try:
            self._resize(int(self.before["MemorySize"]))
        finally:
            named = set(self._aliases().values())
            for version in self.made:
                if version not in named:  # somebody has put it to use: not ours to delete
                    self._client.delete_function(FunctionName=self.function, Qualifier=version)
        moved = {name: to for name, to in self._aliases().items() if self.aliases.get(name, to) != to}
        if moved:
            raise ConflictError(f"alias {', '.join(moved)} of {self.function} was moved by somebody else meanwhile")

    def _resize(self, memory_mb: int) -> None:
        current = self._settled("$LATEST")
        if current["RevisionId"] != self._revision:
            raise ConflictError(
                f"{self.function} was changed by somebody else: its memory stays at {current['MemorySize']} MB, it had "
                f"{self.before['MemorySize']} MB before"
            )
        if int(current["MemorySize"]) != memory_mb:
            self._call("update_function_configuration", MemorySize=memory_mb, RevisionId=self._revision)
            self._revision = self._settled("$LATEST")["RevisionId"]

    def _aliases(self) -> dict[str, str]:
        pages = self._client.get_paginator("list_aliases").paginate(FunctionName=self.function)
        return {alias["Name"]: alias["FunctionVersion"] for page in pages for alias in page["Aliases"]}

    def _versions(self) -> list[str]:
        pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=self.function)
        return [str(version["Version"]) for page in pages for version in page["Versions"]]

    def _settled(self, version: str) -> dict[str, Any]:
        waited, pause = 0.0, 0.25
        while True:
            qualifier = {} if version == "$LATEST" else {"Qualifier": version}
            found: dict[str, Any] = self._client.get_function_configuration(FunctionName=self.function, **qualifier)
            status, state = found.get("LastUpdateStatus", "Successful"), found.get("State", "Active")
            if "Failed" in (status, state):
                raise ConflictError(f"version {version} of {self.function} did not update")
            if status == "Successful" and state in ("Active", "Inactive"):
                return found
            if waited >= _WAIT_SECONDS:
                raise ConflictError(f"version {version} of {self.function} is still being updated")
            self._sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, 5.0)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(FunctionName=self.function, **arguments)
        except ClientError as error:
            if error_code(error) in _CONFLICTS:
                raise ConflictError(f"{operation}: {self.function} was changed by somebody else") from error
            raise
        return answer


def keep(bench: Workbench, function: str, found: Mapping[str, Any], page: bytes, *, actor: str) -> dict[str, str]:
    """Keep a tuning for people (files), for the cost report's advice (a record), and in the ledger."""
    made = str(found["made_at"])
    prefix = f"{report_prefix('cost')}tuning/{function}-{made[:19].replace(':', '')}"
    keys = {"report_key": f"{prefix}.json", "html_key": f"{prefix}.html"}
    bench.data.put(keys["report_key"], json.dumps(found, indent=1).encode(), content_type="application/json")
    bench.data.put(keys["html_key"], page, content_type="text/html; charset=utf-8")
    bench.registry.put_record(Record("_stack", "tuning", f"{function}-{made}", made, {**found, "name": function}))
    bench.ledger.append(
        LedgerDraft(
            actor=actor,
            action="function.tuned",
            subject=f"function/{found['function']}",
            reason=f"{sum(p['invocations'] for p in found['points'])} invocations at {len(found['points'])} sizes",
            outcome=f"cheapest {found['cheapest_mb']} MB, fastest {found['fastest_mb']} MB",
            inputs=keys,
        )
    )
    return keys


@contextmanager
def trials(
    function: str, lambda_client: Any = None, sleep: Callable[[float], None] = time.sleep, logs: Any = None
) -> Iterator[tuple[Subject, LambdaTrials]]:
    """Trials of a function; whatever happens inside, everything is put back."""
    made = LambdaTrials(function, lambda_client or client("lambda"), sleep, logs)
    subject = made.begin()
    try:
        yield subject, made
    finally:
        made.end()
