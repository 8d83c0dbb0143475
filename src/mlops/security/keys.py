"""Public keys that tokens are verified with: JSON Web Key sets (RFC 7517), cached, rotated, bounded."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from mlops.errors import MlopsError

#: JWS algorithm (RFC 7518, RFC 8037) by what a key is: ``kty`` and ``crv``.
_ALGORITHMS: Mapping[tuple[str, str], str] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("EC", "P-256"): "ES256",
    ("RSA", ""): "RS256",
    ("oct", ""): "HS256",
}
MIN_RSA_BITS = 2048
MIN_SECRET_BYTES = 32
MAX_KEYS = 50
MAX_SET_BYTES = 200_000


class KeySourceError(MlopsError):
    """The key set cannot be had or read: a fault on our side, not of a token."""

    code = "key_source"


@dataclass(frozen=True, slots=True)
class Key:
    """One verification key. ``algorithm`` is the only one that it may be used with, whatever a token says."""

    kid: str
    algorithm: str
    material: Any


def parse_key_set(text: str | bytes) -> tuple[Key, ...]:
    """Keys of a JSON Web Key set. Keys for other purposes or of unknown kinds are left out.

    Raises
    ------
    KeySourceError
        when it is no key set, a key is too weak, or a key id comes twice.
    """
    try:
        data = json.loads(text)
        items = data["keys"]
        if not isinstance(items, list) or len(items) > MAX_KEYS:
            raise KeySourceError(f"a key set has a list 'keys' of at most {MAX_KEYS}")
        keys = [key for key in map(_key, items) if key is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeySourceError(f"the key set is not a JSON Web Key set ({type(error).__name__})") from error
    names = [key.kid for key in keys]
    if len(set(names)) != len(names):
        raise KeySourceError("the key set names a key id twice")
    return tuple(keys)


def _key(item: Mapping[str, Any]) -> Key | None:
    kind = (str(item.get("kty")), str(item.get("crv", "")))
    algorithm = _ALGORITHMS.get(kind)
    if algorithm is None or item.get("use", "sig") != "sig" or item.get("alg", algorithm) != algorithm:
        return None
    if "verify" not in item.get("key_ops", ["verify"]):
        return None
    if "d" in item:
        raise KeySourceError("the key set holds a private key; publish public keys only")
    try:
        material = jwt.PyJWK(dict(item), algorithm=algorithm).key
    except jwt.PyJWTError as error:
        raise KeySourceError(f"a key of the key set cannot be read ({type(error).__name__})") from error
    if algorithm == "RS256" and material.key_size < MIN_RSA_BITS:
        raise KeySourceError(f"an RSA key has fewer than {MIN_RSA_BITS} bits")
    if algorithm == "HS256" and len(material) < MIN_SECRET_BYTES:
        raise KeySourceError(f"a shared secret has fewer than {MIN_SECRET_BYTES} bytes")
    return Key(str(item.get("kid", "")), algorithm, material)


class KeyRing:
    """A cached key set.

    Parameters
    ----------
    fetch : gives the key set's JSON; KeySourceError when it cannot.
    lifetime : seconds until the set is fetched again.
    patience : seconds between fetches for an unknown key id, so that invented ids cannot make us hammer the
        source.
    outage : seconds between attempts as long as no key set could be had at all.
    clock : monotonic seconds.

    A set that cannot be fetched again stays in use: an outage of the issuer must not lock everybody out.
    """

    def __init__(
        self,
        fetch: Callable[[], str | bytes],
        *,
        lifetime: float = 300.0,
        patience: float = 30.0,
        outage: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._lifetime = lifetime
        self._patience = patience
        self._outage = outage
        self._clock = clock
        self._keys: tuple[Key, ...] | None = None
        self._attempted: float | None = None

    def find(self, kid: str | None) -> Key | None:
        """The key of that id; without an id the only key of a set of one. ``None`` when there is none.

        Raises
        ------
        KeySourceError
            when no key set could be had yet.
        """
        if self._age() >= (self._outage if self._keys is None else self._lifetime):
            self._refresh()
        key = self._select(kid)
        if key is None and self._age() >= self._patience:
            self._refresh()
            key = self._select(kid)
        return key

    def _age(self) -> float:
        """Seconds since the last attempt to fetch the set."""
        return math.inf if self._attempted is None else self._clock() - self._attempted

    def _select(self, kid: str | None) -> Key | None:
        if self._keys is None:
            raise KeySourceError("the key set could not be had; it is tried again in some seconds")
        keys = self._keys
        if kid is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == kid), None)

    def _refresh(self) -> None:
        self._attempted = self._clock()  # whatever happens now, the next attempt waits for its time
        try:
            self._keys = parse_key_set(self._fetch())
        except KeySourceError:
            if self._keys is None:
                raise


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def url_source(url: str, *, timeout: float = 3.0, clock: Callable[[], float] = time.monotonic) -> Callable[[], bytes]:
    """Fetch a key set over HTTPS. Redirects are refused: they could lead to another host's keys.

    ``timeout``: seconds for the whole answer, also of a server that sends it byte by byte.

    Raises
    ------
    KeySourceError
        for another scheme than ``https`` (now), or when fetching fails (later).
    """
    if not url.startswith("https://"):
        raise KeySourceError("the address of a key set must start with https://")
    opener = urllib.request.build_opener(_NoRedirect)

    def fetch() -> bytes:
        deadline = clock() + timeout
        body = b""
        try:
            with opener.open(url, timeout=timeout) as response:
                while len(body) <= MAX_SET_BYTES:
                    piece: bytes = response.read1(MAX_SET_BYTES)
                    if not piece:
                        return body
                    body += piece
                    if clock() > deadline:
                        raise KeySourceError(f"the key set did not arrive within {timeout:g} s")
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise KeySourceError(f"the key set cannot be fetched ({type(error).__name__})") from error
        raise KeySourceError(f"the key set has more than {MAX_SET_BYTES} bytes")

    return fetch
