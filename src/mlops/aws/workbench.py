"""What a person does with a deployed stack by hand: the operations behind the command line, the demo and the
end-to-end tests. Each goes the way that users' own programs go: S3, API Gateway, the functions."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.bootstrap import SIGNING_KEY
from mlops.aws.clients import client, error_code
from mlops.aws.parts import Parts
from mlops.aws.secrets import APPROVAL_KEY, secret
from mlops.contract import Contract
from mlops.contract.recipe import PREFIX
from mlops.data.intake import upload_id
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import incoming_key, recipe_key, version_prefix
from mlops.registry.entities import LedgerDraft
from mlops.release import doctor
from mlops.release.approval import Waiting
from mlops.release.approval_page import PATH
from mlops.release.state import LOCK
from mlops.security.issuing import issue
from mlops.security.links import sign
from mlops.security.tokens import ALL_MODELS

#: How late a log line may arrive while a log is followed, in milliseconds.
_LATE_MS = 10_000
#: A version's own recipe in its folder, where it has one.
RECIPE = "recipe.py"
_ENDED = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}


@dataclass(frozen=True)
class Sent:
    """An object as it was uploaded."""

    bucket: str
    key: str
    version_id: str
    etag: str


@dataclass(frozen=True)
class Execution:
    """A state machine's execution; ``state`` is the state it is in, ``output`` what it ended with."""

    name: str
    status: str
    state: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    started: str = ""

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed, timed out or was aborted."""
        return self.status in _ENDED


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the API."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Workbench(Parts):
    """One deployed stack, as its people use it."""

    # Contracts and data ---------------------------------------------------------------------------

    def push_contract(self, contract: Contract, *, actor: str, reason: str, recipe: bytes | None = None) -> bool:
        """Put a contract in force. False when it already was. ``recipe``: the source whose digest it names, which is
        stored first."""
        if recipe is not None:
            digest = str(contract.training.recipe).removeprefix(PREFIX)
            self.artifacts.put(recipe_key(contract.name, digest), recipe, content_type="text/x-python", if_absent=True)
        changed = self.registry.put_contract(contract)
        if changed:
            digest = contract.digest()
            self.ledger.append(
                LedgerDraft(
                    actor=actor,
                    action="contract.accepted",
                    subject=f"model/{contract.name}",
                    reason=reason,
                    outcome="in force",
                    inputs={
                        "contract_digest": digest,
                        **({"recipe": contract.training.recipe} if contract.training.recipe else {}),
                    },
                )
            )
        return changed

    def announce(self, *, actor: str, reason: str) -> Mapping[str, Any]:
        """Make exactly the registry's champions serve, and let the API know of models that have a contract but no
        version yet."""
        request = {"action": "refresh", "actor": actor, "reason": reason, "request_id": f"refresh-{uuid.uuid4().hex}"}
        answer: Mapping[str, Any] = self.invoke("release", request)
        return answer

    def examine(self) -> doctor.Seen:
        """Everything that says what serves, at one moment."""
        return doctor.examine(self.registry, self.ledger, self.serving, self.artifacts, self._under_way)

    def treatment(self) -> doctor.Treatment:
        """Repairs what :func:`mlops.release.doctor.diagnose` found."""

        def refresh(actor: str, reason: str) -> Mapping[str, Any]:
            return self.announce(actor=actor, reason=reason)

        return doctor.Treatment(self.registry, self.ledger, self.serving, refresh, lambda: datetime.now(UTC))

    def _under_way(self, purpose: str, owner: str) -> bool | None:
        found = self.execution(owner, "ReleaseArn" if purpose == LOCK else "PipelineArn")
        return None if found is None else not found.ended

    def decide(self, waiting: Waiting, verdict: str, *, actor: str, reason: str) -> Mapping[str, Any]:
        """Approve or decline a release that waits."""
        request = {"action": "decide", "model": waiting.model, "release_id": waiting.release_id}
        answer: Mapping[str, Any] = self.invoke(
            "release", {**request, "verdict": verdict, "actor": actor, "reason": reason}
        )
        return answer

    def approval_link(self, waiting: Waiting, *, name: str, issuer: str) -> str:
        """An address on which ``name`` decides, good until the deadline."""
        key = secret(f"/{self.stack}/{APPROVAL_KEY}")
        claims = {"model": waiting.model, "release_id": waiting.release_id, "name": name, "issuer": issuer}
        expires = int(datetime.fromisoformat(waiting.deadline).timestamp())
        return f"{self.api_url}{PATH}?link={sign(key, claims, expires=expires)}"

    def rollback(self, model: str, *, actor: str, reason: str, to: str | None = None) -> Mapping[str, Any]:
        """Make an earlier champion serve again, or end the release that is under way."""
        request = {
            "action": "manual_rollback", "model": model, "actor": actor, "reason": reason,
            "request_id": f"rollback-{uuid.uuid4().hex}",
        }  # fmt: skip
        answer: Mapping[str, Any] = self.invoke("release", request | ({"to": to} if to else {}))
        return answer

    def upload(self, model: str, path: Path, *, progress: Callable[[int], None] | None = None) -> Sent:
        """Upload a file for a model. ``progress`` is called with bytes sent since the last call."""
        # A name of its own for every upload: files that share a name must not overwrite each other.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        key = incoming_key(model, f"{stamp}-{uuid.uuid4().hex[:8]}-{path.name}")
        bucket = self._output("DataBucket")
        client("s3").upload_file(str(path), bucket, key, Callback=progress)
        head = client("s3").head_object(Bucket=bucket, Key=key)
        return Sent(bucket, key, head.get("VersionId") or "", head["ETag"].strip('"'))

    def pipeline_of(self, sent: Sent, *, seconds: float = 120) -> str:
        """Name of the pipeline's execution that an upload started.

        Raises
        ------
        MlopsError
            when none has started after ``seconds``.
        """
        # By version on AWS. The local engine's events carry no version, so there the ETag makes the identity.
        names = [f"up-{upload_id(sent.bucket, sent.key, version, sent.etag)}" for version in (sent.version_id, "")]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name in names:
                if self.execution(name):
                    return name
            time.sleep(0.3)
        raise MlopsError(f"the upload {sent.key} started no pipeline within {seconds:.0f} s; see: mlops logs intake")

    def upload_result(self, execution: str) -> Mapping[str, Any] | None:
        """What ingestion said of an upload, once it has."""
        for model in self.registry.models():
            for record in self.registry.records(model, "upload"):
                if f"up-{record.id}" == execution:
                    return record.body
        return None

    # Executions -----------------------------------------------------------------------------------

    def execution(self, name: str, machine: str = "PipelineArn") -> Execution | None:
        """An execution by name; None while it has not started."""
        arn = self._output(machine).replace(":stateMachine:", ":execution:") + f":{name}"
        try:
            found = client("stepfunctions").describe_execution(executionArn=arn)
        except ClientError as error:
            if error_code(error) == "ExecutionDoesNotExist":
                return None
            raise
        state = "" if found["status"] in _ENDED else self._current_state(arn)
        output = json.loads(found.get("output") or "{}")
        return Execution(name, found["status"], state, output, found.get("error", ""), started=_utc(found["startDate"]))

    def executions(self, machine: str = "PipelineArn", limit: int = 20) -> list[Execution]:
        """The latest executions, newest first."""
        found = client("stepfunctions").list_executions(stateMachineArn=self._output(machine), maxResults=limit)
        return [Execution(e["name"], e["status"], started=_utc(e["startDate"])) for e in found["executions"]]

    def wait(
        self,
        name: str,
        machine: str = "PipelineArn",
        *,
        seconds: float = 900,
        on_state: Callable[[str], None] | None = None,
        on_pause: Callable[[], None] | None = None,
    ) -> Execution:
        """Wait until an execution has ended; ``on_state`` hears of every state that it enters, ``on_pause`` is called
        between two looks.

        Raises
        ------
        MlopsError
            when it has not ended after ``seconds``.
        """
        deadline, seen = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            found = self.execution(name, machine)
            if found and found.ended:
                return found
            if found and found.state != seen:
                seen = found.state
                if on_state and seen:
                    on_state(seen)
            if on_pause:
                on_pause()
            time.sleep(0.3)
        raise MlopsError(f"execution {name} has not ended after {seconds:.0f} s (last state: {seen or 'not started'})")

    def _current_state(self, arn: str) -> str:
        history = client("stepfunctions").get_execution_history(executionArn=arn, reverseOrder=True, maxResults=20)
        for event in history["events"]:
            details = event.get("stateEnteredEventDetails")
            if details:
                return str(details["name"])
        return ""

    def release_state(self, release_id: str) -> Mapping[str, Any]:
        """What the last action of a release answered: its step, evidence, and what each rule found. Empty before the
        first, and for what is no release under way."""
        arn = self._output("ReleaseArn").replace(":stateMachine:", ":execution:") + f":{release_id}"
        try:
            history = client("stepfunctions").get_execution_history(
                executionArn=arn, reverseOrder=True, maxResults=60, includeExecutionData=True
            )
        except ClientError as error:
            if error_code(error) == "ExecutionDoesNotExist":
                return {}
            raise
        for event in history["events"]:
            details = event.get("lambdaFunctionSucceededEventDetails") or event.get("taskSucceededEventDetails") or {}
            output = json.loads(details.get("output") or "{}")
            if "evidence" in output:
                found: Mapping[str, Any] = output
                return found
        return {}

    # The API --------------------------------------------------------------------------------------

    def token(
        self,
        *,
        subject: str,
        scopes: Sequence[str] = ("predict", "models:read"),
        models: Sequence[str] = (ALL_MODELS,),
        minutes: float = 60,
        issued: float | None = None,
    ) -> str:
        """A token signed with the stack's own key, which only those who may read it can use.

        ``issued``: Unix seconds; now when not given.
        """
        stored = client("ssm").get_parameter(Name=f"/{self.stack}/{SIGNING_KEY}", WithDecryption=True)
        return issue(
            json.loads(stored["Parameter"]["Value"]),
            subject=subject,
            scopes=scopes,
            models=models,
            lifetime=minutes * 60,
            now=issued,
            issuer="serverless-mlops",
            audience="serverless-mlops",
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 30,
    ) -> Answer:
        """One HTTP request to the API; an error status is an answer, not an exception."""
        url, sent = self.api_url + path, {"Content-Type": "application/json", **(headers or {})}
        # The address is the stack's own output.
        request = urllib.request.Request(url, data=body, method=method, headers=sent)  # noqa: S310
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310 - see above
                return _answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), dict(error.headers))

    def predict(self, model: str, records: Sequence[Mapping[str, Any]], token: str, **options: Any) -> Answer:
        """``POST /predict``."""
        body = json.dumps({"model": model, "records": list(records), **options}).encode()
        return self.request("POST", "/predict", token=token, body=body)

    # Functions ------------------------------------------------------------------------------------

    def release(self, model: str, version: str, *, actor: str, reason: str) -> str:
        """Start a version's release; returns the name of the release machine's execution."""
        release_id = f"{model}-{version}-{uuid.uuid4().hex[:8]}"
        client("stepfunctions").start_execution(
            stateMachineArn=self._output("ReleaseArn"),
            name=release_id,
            input=json.dumps(
                {"model": model, "version": version, "release_id": release_id, "actor": actor, "reason": reason}
            ),
        )
        return release_id

    def backfill(self, request: Mapping[str, Any]) -> str:
        """Start checking a history for drift; ``request``: model, since, and until, every (hours), actor if wanted.
        Returns the name of the execution."""
        name = f"bf-{request['model']}-{uuid.uuid4().hex[:8]}"
        client("stepfunctions").start_execution(
            stateMachineArn=self._output("BackfillArn"), name=name, input=json.dumps(dict(request))
        )
        return name

    def invoke(self, function: str, payload: Mapping[str, Any]) -> Any:
        """Call a function of the stack and return its result.

        Raises
        ------
        MlopsError
            when the function raised; its log says why.
        """
        name = f"{self.stack}-{function.replace('_', '-')}"
        answer = client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload).encode())
        result = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError"):
            kind = result.get("errorType", "error") if isinstance(result, dict) else "error"
            raise MlopsError(f"{function} failed ({kind}); its log says why: mlops logs {function}")
        return result

    @property
    def region(self) -> str:
        """Where the stack is."""
        return str(client("lambda").meta.region_name)

    # Models ---------------------------------------------------------------------------------------

    def import_model(self, folder: Path, *, actor: str, reason: str) -> str:
        """Send a model that was trained elsewhere through the same gates; returns the pipeline execution's name.

        ``folder`` is what ``mlops train --out`` writes.

        Raises
        ------
        NotFoundError
            when a file is missing.
        MlopsError
            when the manifest is none.
        """
        try:
            manifest = json.loads(_read(folder / "manifest.json"))
            model, version = str(manifest["model"]), str(manifest["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise MlopsError(
                f"{folder / 'manifest.json'} is no manifest of a model version; `mlops train --out` writes one",
                code="bad_manifest",
            ) from error
        for name in ("model.onnx", "baseline.json", "parity.npz", "golden.json", "holdout.npz", "training.json"):
            self.artifacts.put(version_prefix(model, version) + name, _read(folder / name))
        for name in ("trained_on.npy", RECIPE):  # not every version has them
            if (folder / name).exists():
                self.artifacts.put(version_prefix(model, version) + name, _read(folder / name))
        # The manifest goes last: with it the version is complete.
        self.artifacts.put(version_prefix(model, version) + "manifest.json", _read(folder / "manifest.json"))
        run_id = f"im-{version}-{uuid.uuid4().hex[:8]}"
        client("stepfunctions").start_execution(
            stateMachineArn=self._output("PipelineArn"),
            name=run_id,
            input=json.dumps(
                {
                    "kind": "import", "model": model, "version": version, "run_id": run_id,
                    "actor": actor, "reason": reason, "correlation_id": run_id,
                }
            ),
        )  # fmt: skip
        return run_id

    # Logs -----------------------------------------------------------------------------------------

    def logs(
        self, function: str, *, since: datetime, pattern: str = "", follow: bool = False, pause: float = 2
    ) -> Iterator[tuple[datetime, str]]:
        """Lines of a function's log with their times.

        Parameters
        ----------
        pattern : a filter pattern of CloudWatch Logs.
        follow : go on for ever, and ask again after ``pause`` seconds.

        Raises
        ------
        NotFoundError
            when the stack has no such function.
        """
        group = f"/aws/lambda/{self.stack}-{function.replace('_', '-')}"
        start, seen = int(since.timestamp() * 1000), set[str]()
        while True:
            # Lines of one moment may arrive one after the other, and late: look back, and leave out what was told.
            for event in self._log_events(group, start, pattern):
                # The local engine gives some events no id.
                identity = event.get("eventId") or f"{event['timestamp']} {event['message']}"
                if identity not in seen:
                    yield datetime.fromtimestamp(event["timestamp"] / 1000, tz=UTC), event["message"].rstrip("\n")
                    start = max(start, event["timestamp"] - _LATE_MS)
                    seen.add(identity)
            if not follow:
                return
            time.sleep(pause)

    def _log_events(self, group: str, start: int, pattern: str) -> Iterator[dict[str, Any]]:
        pages = client("logs").get_paginator("filter_log_events")
        try:
            for page in pages.paginate(logGroupName=group, startTime=start, filterPattern=pattern):
                yield from page["events"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            prefix = f"/aws/lambda/{self.stack}-"
            groups = client("logs").describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]
            names = ", ".join(g["logGroupName"].removeprefix(prefix) for g in groups) or "none"
            raise NotFoundError(f"no log {group}; functions with a log: {names}") from error


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Answer:
    lower = {k.lower(): v for k, v in headers.items()}
    if lower.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    try:
        return Answer(status, json.loads(body), lower)
    except ValueError:
        return Answer(status, body.decode(errors="replace"), lower)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; `mlops train FILE --out {path.parent}` makes it") from None
