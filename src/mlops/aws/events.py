"""EventBridge behind the domain's event port."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlops.aws.clients import client
from mlops.errors import MlopsError

SOURCE = "mlops"


class EventBus:
    """Puts the stack's own events on the default bus."""

    def __init__(self, stack: str, events: Any = None) -> None:
        self.stack = stack
        self._given = events

    def put(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Put one event; ``detail.stack`` is added.

        Raises
        ------
        MlopsError
            when the bus refused it: an event is never dropped in silence.
        """
        entry = {
            "Source": SOURCE,
            "DetailType": detail_type,
            "Detail": json.dumps({**detail, "stack": self.stack}, default=str),
        }
        response = (self._given or client("events")).put_events(Entries=[entry])
        if response["FailedEntryCount"]:
            failed = response["Entries"][0]
            raise MlopsError(f"event {detail_type} was refused: {failed.get('ErrorCode')}", code="event_refused")
