"""Finds versions by what is known of them: ``auc>0.9 state=champion tag.team=risk trained>=2026-10``.

A query is terms between blanks, all of which must hold. A term is a field, an operator and a value:

=====================================  ==============  =================================================
field                                  operators       value
=====================================  ==============  =================================================
``model version data parent contract``  ``= !=``        a text; with ``*`` at its end: its beginning
``state alias reason tag.KEY``          ``= !=``        the same
``trained changed``                     all six         a time, or an age (``30d``, ``12h``); see below
any other, or ``metric.NAME``           all six         a number
=====================================  ==============  =================================================

A time may be a year, a month, a day, an hour or less, in UTC, and means all of it: ``trained=2026-10`` is within
October, ``trained>2026-10`` after its end. What a version does not have equals nothing: only ``!=`` holds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.errors import MlopsError
from mlops.registry.entities import TRANSITIONS, ModelVersion
from mlops.registry.ports import Registry

MAX_QUERY = 500

#: Field of a query to field of a version.
TEXTS: Mapping[str, str] = {
    "model": "model", "version": "version", "state": "state", "data": "dataset_version", "parent": "parent_version",
    "contract": "contract_digest", "reason": "reason",
}  # fmt: skip
TIMES: Mapping[str, str] = {"trained": "created_at", "changed": "updated_at"}
_SHORT = {"auc": "roc_auc"}

_TERM = re.compile(
    r'\s*(?P<field>tag\."[^"]+"|[A-Za-z_][\w./@:-]*)\s*(?P<operator>>=|<=|!=|=|>|<)\s*(?P<value>"[^"]*"|[^\s"<>=!]+)(?=\s|$)'
)
_AGE = re.compile(r"(\d{1,5})([dh])")

Test = Callable[[ModelVersion], bool]


@dataclass(frozen=True)
class Query:
    """What :func:`parse` understood. ``metrics`` are the names of metrics that it asks about."""

    text: str
    tests: tuple[Test, ...]
    metrics: tuple[str, ...]

    def holds(self, version: ModelVersion) -> bool:
        """Whether every term holds for a version."""
        return all(test(version) for test in self.tests)


def find(registry: Registry, models: Sequence[str], text: str, now: datetime) -> list[ModelVersion]:
    """Versions of ``models`` for which a query holds, newest first; one query of the table a model.

    Raises
    ------
    MlopsError
        ``invalid_query``, which also says so of a metric that no version has: a typing error finds nothing otherwise.
    """
    query = parse(text, now)
    seen = [version for model in models for version in registry.versions(model)]
    known = sorted({name for version in seen for name in version.metrics})
    for name in query.metrics:
        if seen and name not in known:
            close = difflib.get_close_matches(name, [*known, *TEXTS, *TIMES, "alias"], n=3)
            told = f"did you mean {' or '.join(close)}?" if close else f"metrics are: {', '.join(known[:20]) or 'none'}"
            raise _invalid(f"no version has a metric '{name}'; {told}")
    found = [version for version in seen if query.holds(version)]
    return sorted(found, key=lambda v: (v.created_at, v.model, v.version), reverse=True)


def parse(text: str, now: datetime) -> Query:
    """Understand a query. ``now`` is what ages count from.

    Raises
    ------
    MlopsError
        ``invalid_query``, with the place.

    Examples
    --------
    >>> from mlops.registry.entities import ModelVersion
    >>> version = ModelVersion("credit", "3f9c", "champion", "2026-10-04T10:00:00+00:00", "d1", "c1", {"roc_auc": 0.93})
    >>> parse("auc>0.9 state=champion trained>=2026-10", datetime(2026, 11, 1, tzinfo=UTC)).holds(version)
    True
    """
    if len(text) > MAX_QUERY:
        raise _invalid(f"a query may have {MAX_QUERY} characters, not {len(text)}")
    tests: list[Test] = []
    metrics: list[str] = []
    at = 0
    while text[at:].strip():
        term = _TERM.match(text, at)
        if term is None:
            rest = text[at:].strip()[:40]
            raise _invalid(
                f"cannot read '{rest}'; a term is like auc>0.9, state=champion, tag.team=risk, trained>=2026-10"
            )
        test, metric = _test(term["field"], term["operator"], term["value"].strip('"'), now)
        tests.append(test)
        metrics += [metric] if metric else []
        at = term.end()
    return Query(text, tuple(tests), tuple(metrics))


def _test(field: str, operator: str, value: str, now: datetime) -> tuple[Test, str]:
    """The test of one term, and the metric that it is about, if it is."""
    if field in TIMES:
        return _time_test(TIMES[field], operator, value, now), ""
    if field in TEXTS or field == "alias" or field.startswith("tag."):
        if operator not in ("=", "!="):
            raise _invalid(f"{field} takes = and !=, not {operator}")
        if field == "state" and not value.endswith("*") and value not in TRANSITIONS:
            raise _invalid(f"there is no state '{value}'; states are {', '.join(TRANSITIONS)}")
        wanted = operator == "="
        texts = _texts(field)
        return lambda version: any(_fits(text, value) for text in texts(version)) is wanted, ""
    name = field.removeprefix("metric.")
    name = _SHORT.get(name, name)
    try:
        number = float(value)
    except ValueError:
        raise _invalid(f"{field} is compared with a number, not with '{value}'") from None
    return _metric_test(name, operator, number), name


def _texts(field: str) -> Callable[[ModelVersion], Iterable[str]]:
    if field == "alias":
        return lambda version: version.aliases
    if field.startswith("tag."):
        key = field.removeprefix("tag.").strip('"')
        return lambda version: [version.tags[key]] if key in version.tags else []
    attribute = TEXTS[field]
    return lambda version: [str(getattr(version, attribute) or "")]


def _fits(text: str, value: str) -> bool:
    return text.startswith(value[:-1]) if value.endswith("*") else text == value


def _metric_test(name: str, operator: str, number: float) -> Test:
    compare = _COMPARE[operator]

    def test(version: ModelVersion) -> bool:
        have = version.metrics.get(name)
        return operator == "!=" if have is None else compare(have, number, number)

    return test


def _time_test(attribute: str, operator: str, value: str, now: datetime) -> Test:
    start, end = period(value, now)
    compare = _COMPARE[operator]

    def test(version: ModelVersion) -> bool:
        have = getattr(version, attribute)
        return operator == "!=" if not have else compare(_moment(have), start, end)

    return test


#: Compares a value with what lies between ``low`` and ``high``, both included.
_COMPARE: Mapping[str, Callable[[Any, Any, Any], bool]] = {
    "=": lambda have, low, high: low <= have <= high,
    "!=": lambda have, low, high: not low <= have <= high,
    ">": lambda have, low, high: have > high,
    ">=": lambda have, low, high: have >= low,
    "<": lambda have, low, high: have < low,
    "<=": lambda have, low, high: have <= high,
}


def period(text: str, now: datetime) -> tuple[datetime, datetime]:
    """First and last microsecond of a time as it is written, or the moment so long ago as an age says.

    >>> [str(t) for t in period("2026-10", datetime(2026, 11, 1, tzinfo=UTC))]
    ['2026-10-01 00:00:00+00:00', '2026-10-31 23:59:59.999999+00:00']
    """
    age = _AGE.fullmatch(text)
    if age:
        moment = now - timedelta(**{{"d": "days", "h": "hours"}[age[2]]: int(age[1])})
        return moment, moment
    for form, more in _FORMS.items():
        try:
            start = datetime.strptime(text, form).replace(tzinfo=UTC)
            return start, more(start) - timedelta(microseconds=1)
        except (ValueError, OverflowError):
            continue
    try:
        moment = _moment(text)
    except ValueError:
        raise _invalid(f"'{text}' is no time such as 2026, 2026-10, 2026-10-04, 2026-10-04T12 or 30d") from None
    return moment, moment


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


#: How a time may be written, and when what it means ends.
_FORMS: Mapping[str, Callable[[datetime], datetime]] = {
    "%Y": lambda t: t.replace(year=t.year + 1),
    "%Y-%m": _next_month,
    "%Y-%m-%d": lambda t: t + timedelta(days=1),
    "%Y-%m-%dT%H": lambda t: t + timedelta(hours=1),
    "%Y-%m-%dT%H:%M": lambda t: t + timedelta(minutes=1),
    "%Y-%m-%dT%H:%M:%S": lambda t: t + timedelta(seconds=1),
}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _invalid(message: str) -> MlopsError:
    return MlopsError(message, code="invalid_query")
