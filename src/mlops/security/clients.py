"""Clients with an API key: their names, and how much each may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from mlops.errors import MlopsError

Period = Literal["DAY", "WEEK", "MONTH"]
PERIODS: tuple[str, ...] = get_args(Period)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Attributes
    ----------
    rate : requests a second in the long run; ``burst``: requests at once.
    quota : requests in each ``period``; 0 for no quota.
    """

    rate: float = 10.0
    burst: int = 20
    quota: int = 0
    period: Period = "MONTH"

    def __post_init__(self) -> None:
        if not self.rate > 0 or self.burst < 1 or self.quota < 0:
            raise MlopsError(
                "a client's rate must be above 0, its burst at least 1, its quota 0 (none) or more", code="bad_limits"
            )
        if self.period not in PERIODS:
            raise MlopsError(f"a quota's period is one of {', '.join(PERIODS)}", code="bad_limits")


@dataclass(frozen=True)
class Client:
    """A client with an API key. ``created``: ISO 8601. The key itself is shown once, when it is made."""

    name: str
    limits: Limits
    created: str
    enabled: bool = True


def check_name(name: str) -> str:
    """``name``, when it can be a client's.

    Raises
    ------
    MlopsError
        ``bad_client`` otherwise.

    >>> check_name("web-shop.eu")
    'web-shop.eu'
    """
    if not _NAME.fullmatch(name):
        message = f"'{name[:80]}' is no name of a client: up to 64 letters, digits, dots, dashes and underscores"
        raise MlopsError(message, code="bad_client")
    return name
