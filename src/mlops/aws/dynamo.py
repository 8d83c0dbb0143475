"""Conditional writes and paged reads on one DynamoDB table, for the registry and the ledger.

Every write that carries a condition goes through ``TransactWriteItems``, also of a single item: its client
request token makes the SDK's own retry after a lost answer harmless, which a conditional ``PutItem`` is not
(the retry would fail on the item that the first try wrote).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code

Item = dict[str, Any]

#: Another transaction touched the same item, or the table was throttled: nothing was decided, try again.
_BUSY = {"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}
_ATTEMPTS = 12


class ConditionFailedError(Exception):
    """A condition did not hold; ``failed`` are the positions of those writes."""

    def __init__(self, failed: Sequence[int]) -> None:
        super().__init__(f"condition failed for write {', '.join(map(str, failed))}")
        self.failed = tuple(failed)


def backoff(attempt: int, *, base: float = 0.02, cap: float = 1.0) -> float:
    """Seconds to wait before try ``attempt + 1``: full jitter (M. Brooker, "Exponential backoff and jitter")."""
    return random.uniform(0, min(cap, base * 2**attempt))  # noqa: S311  (not for secrets)


class Table:
    """One table with the keys ``pk`` and ``sk``. Values are written as str, int (N) or left out when None."""

    def __init__(self, name: str, dynamodb: Any = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self._given = dynamodb
        self._sleep = sleep

    @property
    def _dynamodb(self) -> Any:
        return self._given or client("dynamodb")

    def get(self, pk: str, sk: str) -> Item | None:
        """One item as plain values, strongly consistent."""
        response = self._dynamodb.get_item(TableName=self.name, Key=encode({"pk": pk, "sk": sk}), ConsistentRead=True)
        return decode(response["Item"]) if "Item" in response else None

    def query(
        self, pk: str, prefix: str, *, newest_first: bool = False, limit: int | None = None, after: str | None = None
    ) -> Iterator[Item]:
        """Items of a partition whose sort key begins with ``prefix`` (empty: all), in its order, page by page.

        ``after``: a sort key with that prefix, whether it exists or not, to begin behind.
        """
        condition, values = "pk = :pk", {":pk": pk}
        if prefix:
            condition, values = f"{condition} AND begins_with(sk, :prefix)", {**values, ":prefix": prefix}
        start: Mapping[str, Any] | None = encode({"pk": pk, "sk": after}) if after else None
        left = limit
        while left is None or left > 0:
            response = self._dynamodb.query(
                TableName=self.name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=encode(values),
                ConsistentRead=True,
                ScanIndexForward=not newest_first,
                **({"ExclusiveStartKey": start} if start else {}),
                **({"Limit": left} if left is not None else {}),
            )
            for item in response["Items"]:
                yield decode(item)
            if left is not None:
                left -= len(response["Items"])
            start = response.get("LastEvaluatedKey")
            if not start:
                return

    def pause(self, attempt: int) -> None:
        """Wait before the next try, longer each time."""
        self._sleep(backoff(attempt))

    def write(self, *writes: Item) -> None:
        """Do all of ``writes`` or none.

        Raises
        ------
        ConditionFailedError
            when a condition did not hold. Conflicts with other transactions are tried again, for a few seconds.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._dynamodb.transact_write_items(TransactItems=list(writes))
                return
            except ClientError as error:
                reasons = [r.get("Code", "None") for r in error.response.get("CancellationReasons", [])]
                failed = [i for i, code in enumerate(reasons) if code == "ConditionalCheckFailed"]
                if failed:
                    raise ConditionFailedError(failed) from error
                busy = error_code(error) == "TransactionInProgressException" or bool(_BUSY & set(reasons))
                if not busy or attempt == _ATTEMPTS - 1:
                    raise
                self.pause(attempt)

    def put(self, item: Item, condition: str | None = None, values: Item | None = None) -> Item:
        """A write for :meth:`write`. Conditions name attributes as ``#name``; ``pk`` and ``sk`` go without."""
        return {"Put": {"TableName": self.name, "Item": encode(item), **_condition(condition, values)}}

    def update(self, pk: str, sk: str, changes: Item, condition: str, values: Item) -> Item:
        """Set attributes of an item, for :meth:`write`."""
        assignments = ", ".join(f"#{name} = :new_{name}" for name in changes)
        merged = {**values, **{f":new_{name}": value for name, value in changes.items()}}
        clause = _condition(condition, merged)
        names = {**clause.get("ExpressionAttributeNames", {}), **{f"#{name}": name for name in changes}}
        return {
            "Update": {
                "TableName": self.name,
                "Key": encode({"pk": pk, "sk": sk}),
                "UpdateExpression": f"SET {assignments}",
                **clause,
                "ExpressionAttributeNames": names,
            }
        }

    def delete(self, pk: str, sk: str, condition: str, values: Item) -> Item:
        """Delete an item, for :meth:`write`."""
        return {
            "Delete": {"TableName": self.name, "Key": encode({"pk": pk, "sk": sk}), **_condition(condition, values)}
        }


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values as DynamoDB's attribute values; only what the registry keeps: texts and whole numbers."""
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in item.items()
        if value is not None
    }


def decode(item: Mapping[str, Any]) -> Item:
    """A stored item as Python values: numbers are whole, the rest is text."""
    return {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}


def _condition(expression: str | None, values: Item | None) -> dict[str, Any]:
    if expression is None:
        return {}
    clause: dict[str, Any] = {"ConditionExpression": expression}
    names = {name: name[1:] for name in re.findall(r"#\w+", expression)}
    if names:
        clause["ExpressionAttributeNames"] = names
    if values:
        clause["ExpressionAttributeValues"] = encode(values)
    return clause
