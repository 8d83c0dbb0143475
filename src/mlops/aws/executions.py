"""Step Functions behind the domain's execution port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code


class StateMachine:
    """One state machine whose executions are named by what caused them, so that a cause counts once."""

    def __init__(self, arn: str, stepfunctions: Any = None) -> None:
        self.arn = arn
        self._given = stepfunctions

    def start(self, name: str, payload: Mapping[str, Any]) -> bool:
        """Start the execution ``name``; False when it was started before (running or ended)."""
        try:
            (self._given or client("stepfunctions")).start_execution(
                stateMachineArn=self.arn, name=name, input=json.dumps(payload, default=str)
            )
        except ClientError as error:
            # The same name with the same input while it runs is answered with success, hence idempotent too.
            if error_code(error) == "ExecutionAlreadyExists":
                return False
            raise
        return True


class TaskTokens:
    """Answers executions that wait on a token."""

    def __init__(self, stepfunctions: Any = None) -> None:
        self._given = stepfunctions

    def done(self, token: str, result: Mapping[str, Any]) -> None:
        """The task succeeded with this result."""
        self._answer("send_task_success", taskToken=token, output=json.dumps(result, default=str))

    def failed(self, token: str, error: str, cause: str) -> None:
        """The task failed."""
        self._answer("send_task_failure", taskToken=token, error=error[:256], cause=cause[:32_768])

    def _answer(self, operation: str, **arguments: Any) -> None:
        try:
            getattr(self._given or client("stepfunctions"), operation)(**arguments)
        except ClientError as error:
            # Answered before, or the execution has ended: nobody waits any more.
            if error_code(error) not in ("TaskDoesNotExist", "TaskTimedOut"):
                raise
