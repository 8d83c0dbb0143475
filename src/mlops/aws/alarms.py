"""CloudWatch's alarms behind :class:`mlops.release.ports.Alarms`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.aws.clients import client
from mlops.release.ports import Firing


class CloudWatchAlarms:
    """The alarms of these names; none when there is no name."""

    def __init__(self, names: Sequence[str], cloudwatch: Any = None) -> None:
        self.names = tuple(names)
        self._given = cloudwatch

    def firing(self) -> list[Firing]:
        """Those in state ALARM, and since when."""
        if not self.names:  # without a name, CloudWatch would tell of the whole account
            return []
        answer = (self._given or client("cloudwatch")).describe_alarms(
            AlarmNames=list(self.names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        found = [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())]
        return [Firing(a["AlarmName"], a["StateUpdatedTimestamp"]) for a in found if a["StateValue"] == "ALARM"]
