"""State transitions of a Standard workflow, counted from its history."""

from __future__ import annotations

from collections.abc import Iterable

_SCHEDULED = frozenset({"LambdaFunctionScheduled", "TaskScheduled", "ActivityScheduled"})


def transitions(event_types: Iterable[str]) -> int:
    """Transitions that an execution with these history events is charged for.

    AWS counts one each time a step is executed, retries included (Step Functions pricing page). A step entered
    is an event ``<Kind>StateEntered``; a retry shows as a task scheduled again without being entered again.
    A ``Map``'s or ``Parallel``'s inner steps are entered, and so counted, one by one.

    >>> transitions(["ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskFailed", "TaskScheduled",
    ...              "TaskSucceeded", "TaskStateExited", "SucceedStateEntered", "ExecutionSucceeded"])
    3
    """
    entered = tasks = scheduled = 0
    for kind in event_types:
        if kind.endswith("StateEntered"):
            entered += 1
            tasks += kind == "TaskStateEntered"
        elif kind in _SCHEDULED:
            scheduled += 1
    return entered + max(0, scheduled - tasks)
