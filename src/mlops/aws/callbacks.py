"""Step Functions' task tokens behind :class:`mlops.release.approval.Callbacks`."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code

#: The task has ended or was never there: nobody waits with this token (any more).
_GONE = {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"}


class TaskTokens:
    """Wakes tasks that wait with a token."""

    def __init__(self, stepfunctions: Any = None) -> None:
        self._given = stepfunctions

    def wake(self, token: str) -> bool:
        """Wake the task that waits with ``token``; False when none does (any more)."""
        try:
            (self._given or client("stepfunctions")).send_task_success(taskToken=token, output="{}")
        except ClientError as error:
            if error_code(error) in _GONE:
                return False
            raise
        return True
