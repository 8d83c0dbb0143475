"""From the body of a proxy event to parsed JSON, with limits before every step that could grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from mlops.inference.errors import ApiError

_GZIP_MAGIC = b"\x1f\x8b"


def raw_body(event: Mapping[str, Any], limit: int) -> bytes | str:
    """The body as text or bytes: base64 and gzip undone, at most ``limit`` bytes (characters for text).

    gzip is known by its first two bytes, which no JSON has, so a client's header cannot contradict the body.

    Raises
    ------
    ApiError
        ``empty_body``, ``body_too_large`` or ``invalid_encoding``.
    """
    body: bytes | str | None = event.get("body")
    if not body:
        raise ApiError("empty_body", "the request has no body; send a JSON object")
    if len(body) > limit * 2:
        raise _too_large(limit)
    if event.get("isBase64Encoded"):
        body = _decode(body, limit)
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _decode(body: bytes | str, limit: int) -> bytes:
    import binascii  # noqa: PLC0415 - only for binary bodies
    import zlib  # noqa: PLC0415

    try:
        data = binascii.a2b_base64(body, strict_mode=True)
    except ValueError as error:
        raise ApiError("invalid_encoding", "the body is marked as base64 but is not") from error
    if data[:2] != _GZIP_MAGIC:
        return data
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = inflate.decompress(data, limit + 1)
    except zlib.error as error:
        raise ApiError("invalid_encoding", "the body looks like gzip but cannot be decompressed") from error
    if len(data) > limit:
        raise _too_large(limit)
    if not inflate.eof or inflate.unused_data:
        raise ApiError("invalid_encoding", "the gzip body is truncated or has data after its end")
    return data


def _too_large(limit: int) -> ApiError:
    return ApiError("body_too_large", f"the body has more than {limit} bytes; send fewer records per request")


def parse_json(body: bytes | str) -> Any:
    """The body as Python values.

    Raises
    ------
    ApiError
        ``invalid_json``, ``invalid_utf8`` or ``too_deep``, saying where.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _explain(body, error) from None


def _explain(body: bytes | str, error: orjson.JSONDecodeError) -> ApiError:
    """Say what a person can do about it; only for bodies that failed."""
    try:
        text = body.decode() if isinstance(body, bytes) else body.encode().decode()
    except UnicodeError as wrong:
        return ApiError("invalid_utf8", f"the body is not valid UTF-8 (position {getattr(wrong, 'start', 0)})")
    if "depth" in error.msg or "recursion" in error.msg:
        return ApiError("too_deep", "the JSON is nested too deeply")
    where = f"at line {error.lineno}, column {error.colno}"
    if "infinity" in error.msg:
        return ApiError("invalid_json", f"a number is larger than any 64-bit float ({where})")
    if text.startswith("\ufeff"):
        return ApiError("invalid_json", "the body starts with a byte-order mark; send plain UTF-8")
    if text[error.pos : error.pos + 3] == "NaN" or text[error.pos : error.pos + 9].lstrip("-+").startswith("Inf"):
        return ApiError("invalid_json", f"NaN and Infinity are not JSON; send null for a missing value ({where})")
    return ApiError("invalid_json", f"the body is not JSON: wrong {where}")


def count_keys(value: Any) -> tuple[int, int]:
    """How many keys the objects in ``value`` have, and how many colons stand in its texts."""
    keys = colons = 0
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is dict:
            keys += len(item)
            stack.extend(item)
            stack.extend(item.values())
        elif type(item) is list:
            stack.extend(item)
        elif type(item) is str:
            colons += item.count(":")
    return keys, colons


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that comes a second time, in linear time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def refuse_duplicate_keys(body: bytes | str, value: Any, keys: int) -> None:
    """Refuse an object that names a field twice; the parser would silently keep the last one.

    In JSON every key has one colon, and only texts hold others. So ``keys`` (the number of keys of the parsed
    value) equal to the colons of the body proves that no key was lost, at the price of one byte count. Only
    when there are more is the body read again.

    Raises
    ------
    ApiError
        ``duplicate_key``, naming the field.
    """
    colons = body.count(b":") if isinstance(body, bytes) else body.count(":")
    if colons == keys:
        return
    escaped = b"\\u003" in body if isinstance(body, bytes) else "\\u003" in body
    if not escaped and colons == sum(count_keys(value)):
        return
    import json  # noqa: PLC0415 - slow, and only for suspicious bodies

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            twice = first_repeated(name for name, _ in items) or ""
            raise ApiError("duplicate_key", f"an object names '{twice[:80]}' more than once", [{"field": twice[:80]}])
        return result

    try:
        json.loads(body, object_pairs_hook=pairs)
    except RecursionError:
        raise ApiError("too_deep", "the JSON is nested too deeply") from None
