"""The monthly budget: where the stack stands, for people and for the retrain-launcher."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from mlops.cost.money import decimal, plain
from mlops.errors import ConfigurationError, MlopsError

State = Literal["none", "ok", "forecast_over", "over"]


@dataclass(frozen=True, slots=True)
class Budget:
    """A month's budget and what is known against it, USD. ``basis``: whether ``spent`` is the bill or list price."""

    limit: Decimal | None
    spent: Decimal
    expected: Decimal | None
    basis: str

    @property
    def state(self) -> State:
        """Where the month stands: spent goes before expected."""
        if self.limit is None:
            return "none"
        if self.spent > self.limit:
            return "over"
        return "forecast_over" if self.expected is not None and self.expected > self.limit else "ok"

    @property
    def left(self) -> Decimal | None:
        return None if self.limit is None else self.limit - self.spent

    def to_dict(self) -> dict[str, Any]:
        return {
            "limit_usd": plain(self.limit),
            "spent_usd": plain(self.spent),
            "expected_usd": plain(self.expected),
            "left_usd": plain(self.left),
            "state": self.state,
            "basis": self.basis,
        }


def limit(text: str) -> Decimal | None:
    """The setting MLOPS_MONTHLY_BUDGET_USD; empty or 0 means no budget.

    Raises
    ------
    ConfigurationError
        when it is no amount of at least zero.
    """
    if not text.strip():
        return None
    try:
        amount = decimal(text.strip(), "MLOPS_MONTHLY_BUDGET_USD")
    except MlopsError as error:
        raise ConfigurationError(error.message) from None
    if amount < 0:
        raise ConfigurationError(f"MLOPS_MONTHLY_BUDGET_USD: {text} is below zero")
    return amount or None
