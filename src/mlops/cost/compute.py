"""What seconds in a function cost at list price, for the lineage of what they made."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from mlops.cost.catalogue import compute_key
from mlops.cost.money import plain
from mlops.cost.prices import Price, snapshot


def function_seconds(region: str, memory_mb: str, architecture: str = "x86_64") -> Callable[[float], str | None]:
    """US dollars of so many seconds in a function of that memory, as text; None where the snapshot has no price.
    ``architecture`` as Lambda or as the machine itself names it.

    >>> function_seconds("us-east-1", "1024")(60.0)
    '0.001'
    """

    def price(seconds: float) -> str | None:
        found = snapshot().price(compute_key("arm64" if architecture == "aarch64" else architecture), region)
        if not isinstance(found, Price) or not memory_mb:
            return None
        used = Decimal(str(seconds)) * Decimal(memory_mb) / 1024
        return plain((used * found.first).quantize(Decimal("0.000001")).normalize())

    return price
