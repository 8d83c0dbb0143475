"""API keys and usage plans of API Gateway: one of each for a client, so that its limits are its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client
from mlops.errors import ConflictError, NotFoundError
from mlops.security.clients import Client, Limits, check_name

STAGE = "v1"


class ApiKeys:
    """The clients of one stack's API. Plans and keys are named ``<stack>/<client>`` and carry the stack's tag."""

    def __init__(self, stack: str, api_id: str) -> None:
        self._stack = stack
        self._api_id = api_id

    def required(self) -> bool:
        """Whether the stack demands a key: otherwise API Gateway counts nobody's requests."""
        (found,) = client("cloudformation").describe_stacks(StackName=self._stack)["Stacks"]
        values = {p["ParameterKey"]: p.get("ParameterValue", "") for p in found.get("Parameters", [])}
        return bool(values.get("RequireApiKey"))

    def create(self, name: str, limits: Limits) -> str:
        """Make a client and return its key.

        Raises
        ------
        ConflictError
            when there is such a client.
        """
        full = self._full(check_name(name))
        if any(plan["name"] == full for plan in self._plans()):
            raise ConflictError(f"there is a client '{name}' already; revoke its key first, or take another name")
        gateway, tags = client("apigateway"), {"mlops:stack": self._stack}
        quota = {"quota": {"limit": limits.quota, "period": limits.period}} if limits.quota else {}
        plan = gateway.create_usage_plan(
            name=full,
            throttle={"rateLimit": limits.rate, "burstLimit": limits.burst},
            apiStages=[{"apiId": self._api_id, "stage": STAGE}],
            tags=tags,
            **quota,
        )
        with self._undone(plan["id"]):
            made = gateway.create_api_key(name=full, enabled=True, tags=tags)
            try:
                gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=made["id"], keyType="API_KEY")
            except ClientError:
                gateway.delete_api_key(apiKey=made["id"])
                raise
        return str(made["value"])

    def all(self) -> list[Client]:
        """All clients, by name."""
        keys = {key["name"]: key for key in self._keys()}
        found = []
        for plan in self._plans():
            key = keys.get(plan["name"])
            if key is not None:
                found.append(_client(plan["name"].removeprefix(self._full("")), plan, key))
        return sorted(found, key=lambda each: each.name)

    def revoke(self, name: str) -> None:
        """Delete a client's key and plan. API Gateway forgets a key within a minute or so.

        Raises
        ------
        NotFoundError
            when there is no such client.
        """
        full = self._full(name)
        keys = [key["id"] for key in self._keys() if key["name"] == full]
        plans = [plan["id"] for plan in self._plans() if plan["name"] == full]
        if not keys and not plans:
            known = ", ".join(each.name for each in self.all()) or "none"
            raise NotFoundError(f"there is no client '{name}'; known: {known}")
        for key in keys:
            client("apigateway").delete_api_key(apiKey=key)
        for plan in plans:
            self._delete_plan(plan)

    def _full(self, name: str) -> str:
        return f"{self._stack}/{name}"

    def _plans(self) -> Iterator[dict[str, Any]]:
        for page in client("apigateway").get_paginator("get_usage_plans").paginate():
            yield from (p for p in page["items"] if p.get("name", "").startswith(self._full("")))

    def _keys(self) -> Iterator[dict[str, Any]]:
        pages = client("apigateway").get_paginator("get_api_keys")
        for page in pages.paginate(nameQuery=self._full(""), includeValues=False):
            yield from (k for k in page["items"] if k.get("name", "").startswith(self._full("")))

    @contextmanager
    def _undone(self, plan: str) -> Iterator[None]:
        """Leave no plan behind for a key that could not be made."""
        try:
            yield
        except ClientError:
            self._delete_plan(plan)
            raise

    def _delete_plan(self, plan: str) -> None:
        # A plan that still names a stage cannot be deleted.
        operation = {"op": "remove", "path": "/apiStages", "value": f"{self._api_id}:{STAGE}"}
        client("apigateway").update_usage_plan(usagePlanId=plan, patchOperations=[operation])
        client("apigateway").delete_usage_plan(usagePlanId=plan)


def _client(name: str, plan: dict[str, Any], key: dict[str, Any]) -> Client:
    throttle, quota = plan.get("throttle") or {}, plan.get("quota") or {}
    limits = Limits(
        rate=float(throttle.get("rateLimit", 0)) or Limits.rate,
        burst=int(throttle.get("burstLimit", 0)) or Limits.burst,
        quota=int(quota.get("limit", 0)),
        period=quota.get("period", "MONTH"),
    )
    return Client(name, limits, key["createdDate"].isoformat(), bool(key.get("enabled", True)))
