"""Remembers tokens that were used, for stacks that accept each only once."""

from __future__ import annotations

from hashlib import sha256

from mlops.aws.dynamo import ConditionFailedError, Table

#: The authorizer's role may write items of these partitions and no others.
PREFIX = "TOKEN#"


class UsedTokens:
    """Token ids in DynamoDB. Items go by themselves (``expires``, the table's time to live)."""

    def __init__(self, table: str) -> None:
        self._table = Table(table)

    def first_use(self, jti: str, until: int) -> bool:
        """Note a use; False when that id was used before. Of several at one moment one is the first.

        ``until``: Unix seconds to remember it for. The table may keep it longer; that token has expired by then.
        """
        item = {"pk": PREFIX + sha256(jti.encode()).hexdigest(), "sk": "USED", "expires": until}
        try:
            self._table.write(self._table.put(item, "attribute_not_exists(pk)"))
        except ConditionFailedError:
            return False
        return True
