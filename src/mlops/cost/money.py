"""Amounts of money: exact while calculating, rounded only when shown."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from mlops.errors import MlopsError

ZERO = Decimal(0)
_CENT = Decimal("0.01")


def decimal(value: str | int | Decimal, what: str) -> Decimal:
    """``value`` as a finite Decimal.

    Floats are not taken: 0.1 as a float is not ten cents.

    Raises
    ------
    MlopsError
        naming ``what``, when the value is no finite number.
    """
    try:
        result = Decimal(value)
    except (InvalidOperation, ValueError, TypeError):
        raise MlopsError(f"{what}: '{value}' is not a number", code="invalid_amount") from None
    if not result.is_finite():
        raise MlopsError(f"{what}: '{value}' is not a finite number", code="invalid_amount")
    return result


def cents(amount: Decimal) -> Decimal:
    """Rounded half up to whole cents, as an invoice does.

    >>> cents(Decimal("2.345"))
    Decimal('2.35')
    """
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def show(amount: Decimal | None) -> str:
    """For people: cents from ten cents on, four significant digits below, ``unknown`` for None.

    >>> show(Decimal("1234.5")), show(Decimal("0.00001234")), show(Decimal("-0.5")), show(None), show(Decimal(0))
    ('$1,234.50', '$0.00001234', '-$0.50', 'unknown', '$0.00')
    """
    if amount is None:
        return "unknown"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size == 0 or size >= Decimal("0.1"):
        return f"{sign}${cents(size):,.2f}"
    places = -size.adjusted() + 3
    text = format(size.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP), "f").rstrip("0")
    return f"{sign}${text}"


def plain(amount: Decimal | None) -> str | None:
    """For JSON and CSV: the exact value without an exponent, None for unknown.

    >>> plain(Decimal("2E-7"))
    '0.0000002'
    """
    return None if amount is None else format(amount.normalize() if amount else ZERO, "f")


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum; 0 for none."""
    return sum(amounts, ZERO)
