"""Hashes of entities and of personal data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson


def identity(record: Mapping[str, Any], key: Sequence[str]) -> bytes:
    """What a record is recognised by: its entity key, else all it says.

    The values of ``key`` as JSON when the record holds the whole key, with a value for each column; otherwise
    the record as JSON with its fields in the order of their names.
    """
    values = [record.get(name) for name in key]
    if values and None not in values:
        return orjson.dumps(values)
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def position(model: str, release: str, subject: bytes) -> float:
    """Where in [0, 1) a subject stands; the same for every step of one release of one model.

    The challenger answers those below its share. So a caller who has seen the challenger keeps it while the
    share grows, and another release picks other callers.
    """
    digest = blake2b(subject, digest_size=8, key=blake2b(f"{model}\0{release}".encode(), digest_size=32).digest())
    return int.from_bytes(digest.digest()) / 2.0**64


def entity_name(key: bytes, values: Sequence[Any]) -> str:
    """What captures call the entity with these values of its key; empty without a pseudonym key."""
    return pseudonym(key, "entity", list(values)) if key else ""


def pseudonym(key: bytes, purpose: str, value: Any) -> str:
    """A keyed hash (BLAKE2b, 128 bits, hex) of a JSON value; equal values give equal pseudonyms under one key."""
    return blake2b(orjson.dumps([purpose, value]), digest_size=16, key=key).hexdigest()
