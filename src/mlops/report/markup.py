"""Text that is markup already, told apart from text that has yet to be escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable


class Markup(str):
    """A piece of HTML or SVG that is safe to put on a page as it is.

    Every helper of :mod:`mlops.report` returns ``Markup`` and escapes each argument that is not. So a plain
    string, wherever it comes from, can never become a tag.
    """

    __slots__ = ()


def escape(value: object) -> Markup:
    """``value`` as markup: ``Markup`` unchanged, ``None`` as a dash, numbers by :func:`number`, text escaped."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("-")
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if isinstance(value, int | float):
        return Markup(html.escape(number(value)))
    return Markup(html.escape(str(value), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """The parts one after another, each escaped as needed; ``separator`` is markup."""
    return Markup(separator.join(escape(part) for part in parts))


def number(value: float, digits: int = 4) -> str:
    """A number for people: thousands apart, ``digits`` significant digits, a dash for what is not finite.

    >>> number(1234567), number(0.123456), number(2.5e-9), number(float("nan"))
    ('1,234,567', '0.1235', '2.5e-09', '-')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.1f}" if abs(value) < 1e9 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"
