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
