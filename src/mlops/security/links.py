"""Signed links: what a person may do by opening an address, without a token or credentials.

A link is its claims as canonical JSON, base64url, a full stop, and their HMAC-SHA-256 (RFC 2104) under a key that the
stack alone has. Nobody can change or make one without the key; that it counts once is for whoever acts on it to see to.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from mlops.errors import MlopsError
from mlops.registry.chain import canonical

#: Said before what is signed, so that a signature for another purpose is none of this one.
_PURPOSE = b"mlops.link.v1\n"
_MIN_KEY_BYTES = 32
_MAX_CHARACTERS = 4096


class LinkError(MlopsError):
    """A link that does not count; the message is for the person who opened it."""

    code = "invalid_link"


def sign(key: bytes, claims: Mapping[str, Any], *, expires: int) -> str:
    """A link's text for ``claims``, good until ``expires`` (Unix seconds).

    Raises
    ------
    ValueError
        when the key is shorter than 32 bytes.

    Examples
    --------
    >>> text = sign(b"k" * 32, {"model": "iris"}, expires=100)
    >>> read(b"k" * 32, text, now=99)["model"]
    'iris'
    """
    if len(key) < _MIN_KEY_BYTES:
        raise ValueError(f"the key has {len(key)} bytes; {_MIN_KEY_BYTES} are needed")
    body = canonical({**claims, "expires": expires})
    return f"{_encode(body)}.{_encode(_mac(key, body))}"


def read(key: bytes, text: str, *, now: float) -> dict[str, Any]:
    """The claims of a link.

    Raises
    ------
    LinkError
        when it was not signed with ``key``, was changed, or has expired.
    """
    body, _, mac = text.partition(".")
    try:
        signed, given = _decode(body), _decode(mac)
    except (ValueError, binascii.Error):
        raise LinkError("This link is not complete. Copy the whole of it.") from None
    # Compared before anything in it is looked at, and in constant time.
    if len(text) > _MAX_CHARACTERS or not hmac.compare_digest(_mac(key, signed), given):
        raise LinkError("This link was not made by this stack, or it was changed on the way.")
    claims: dict[str, Any] = json.loads(signed)
    if now >= claims["expires"]:
        raise LinkError("This link has expired. Ask for a new one.")
    return claims


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + body, hashlib.sha256).digest()


def _encode(body: bytes) -> str:
    return urlsafe_b64encode(body).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if _encode(decoded) != text:
        raise ValueError("another spelling of the same bytes")
    return decoded
