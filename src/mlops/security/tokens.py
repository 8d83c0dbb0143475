"""Verification of JSON Web Tokens, after RFC 7519 and the best current practice of RFC 8725.

The key decides the algorithm, never the token. Everything that a token could use to point elsewhere (``jku``,
``x5u``, ``jwk``, …) or that we do not understand (``crit``) is refused before a signature is looked at.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from mlops.errors import MlopsError
from mlops.security.keys import KeyRing

SCOPES = ("predict", "models:read", "models:write", "audit:read")
ALGORITHMS = ("EdDSA", "ES256", "RS256")
ALL_MODELS = "*"

_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"})
_PART = re.compile(r"[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class TokenError(MlopsError):
    """A token that is not accepted. ``code`` says why, for our log; callers learn only that it was refused."""

    code = "invalid_token"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be.

    Attributes
    ----------
    issuer, audience : exact ``iss``; one of the token's ``aud``.
    algorithms : accepted JWS algorithms; HS256 is accepted only when it is named here.
    leeway : seconds of clock skew for ``exp``, ``nbf`` and ``iat``.
    max_bytes : longer tokens are not looked at.
    max_lifetime : seconds from ``iat`` to ``exp``; ``None`` for no bound.
    require_jti : every token has an id and is used once, which ``Verifier``'s ``first_use`` decides.
    client_ids : whose tokens are accepted without ``aud``, which Cognito's access tokens lack.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ALGORITHMS
    leeway: float = 30.0
    max_bytes: int = 8192
    max_lifetime: float | None = None
    require_jti: bool = False
    client_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = set(self.algorithms) - {*ALGORITHMS, "HS256"}
        if unknown or not self.algorithms:
            raise ValueError(f"algorithms must be among {', '.join(ALGORITHMS)}, HS256")
        if not self.issuer or not self.audience:
            raise ValueError("issuer and audience must be given")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. ``models``: names, or ``("*",)`` for all. ``expires``: Unix seconds."""

    subject: str
    scopes: frozenset[str]
    models: tuple[str, ...]
    expires: int

    def has(self, *scopes: str) -> bool:
        """Whether at least one of ``scopes`` is granted."""
        return not self.scopes.isdisjoint(scopes)


class Verifier:
    """Verifies tokens against rules and a key ring.

    ``first_use(jti, until)`` returns False when a token id was seen before; needed with ``require_jti``. ``until``:
    Unix seconds after which a token of that id is refused for its age, so that it need not be remembered longer.
    """

    def __init__(self, rules: Rules, ring: KeyRing, *, first_use: Callable[[str, int], bool] | None = None) -> None:
        if rules.require_jti and first_use is None:
            raise ValueError("require_jti needs first_use")
        self.rules = rules
        self._ring = ring
        self._first_use = first_use

    def verify(self, token: str) -> Principal:
        """Who the bearer is.

        Raises
        ------
        TokenError
            whatever is wrong with the token; ``code`` says what.
        KeySourceError
            when the keys cannot be had.
        """
        header = self._header(token)
        algorithm = header.get("alg")
        if algorithm not in self.rules.algorithms:
            raise TokenError("the token's algorithm is not accepted", code="algorithm")
        kid = header.get("kid")
        if kid is not None and (not isinstance(kid, str) or len(kid) > 256):
            raise TokenError("the token's key id is not a text", code="malformed")
        key = self._ring.find(kid)
        if key is None:
            raise TokenError("the token's key is not known", code="unknown_key")
        if key.algorithm != algorithm:
            raise TokenError("the token's algorithm is not the one of its key", code="algorithm")
        return self._principal(self._claims(token, key.material, algorithm))

    def _header(self, token: str) -> dict[str, Any]:
        if len(token) > self.rules.max_bytes:
            raise TokenError("the token is too long", code="too_large")
        parts = token.split(".")
        # decoders skip characters outside the alphabet; two spellings of one token must not both be good
        if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
            raise TokenError("the token does not have three parts of base64url", code="malformed")
        header = _decode_part(parts[0])
        refused = _REFUSED_HEADERS & header.keys()
        if refused:
            raise TokenError(f"the token's header has '{min(refused)}'", code="header")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenError("the token is of another type", code="header")
        _decode_part(parts[1])
        return header

    def _claims(self, token: str, material: Any, algorithm: str) -> dict[str, Any]:
        rules = self.rules
        required = ["exp", "iat", "iss", "sub"]
        if not rules.client_ids:
            required.append("aud")
        if rules.require_jti:
            required.append("jti")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                material,
                algorithms=[algorithm],
                issuer=rules.issuer,
                leeway=rules.leeway,
                options={"require": required, "verify_aud": False},
            )
        except jwt.InvalidTokenError as error:
            raise TokenError(f"the token was refused ({type(error).__name__})", code=_reason(error)) from error
        self._check_audience(claims)
        lifetime = rules.max_lifetime
        if lifetime is not None and float(claims["exp"]) - float(claims["iat"]) > lifetime:
            raise TokenError("the token lives longer than is accepted", code="lifetime")
        return claims

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        if audience is None and claims.get("client_id") in self.rules.client_ids:
            return
        given = [audience] if isinstance(audience, str) else audience
        if not isinstance(given, list) or self.rules.audience not in given:
            raise TokenError("the token is for another audience", code="audience")

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 256:
            raise TokenError("the token's subject is not a text of 1 to 256 characters", code="claims")
        expires = int(claims["exp"])
        principal = Principal(subject, self._scopes(claims), _models(claims), expires)
        if self.rules.require_jti:
            jti = claims["jti"]
            if not isinstance(jti, str) or not 0 < len(jti) <= 256:
                raise TokenError("the token's id is not a text of 1 to 256 characters", code="claims")
            if self._first_use is None or not self._first_use(jti, expires + math.ceil(self.rules.leeway)):
                raise TokenError("the token was used before", code="replayed")
        return principal

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Our scopes among those granted; resource servers prefix theirs with the audience."""
        granted = _words(claims.get("scope", claims.get("scp", "")), "scope")
        prefix = self.rules.audience + "/"
        return frozenset(s.removeprefix(prefix) for s in granted) & frozenset(SCOPES)


def _models(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Permitted models; a token without the claim ``models`` permits all of them."""
    if "models" not in claims:
        return (ALL_MODELS,)
    names = _words(claims["models"], "models")
    return (ALL_MODELS,) if ALL_MODELS in names else tuple(sorted(names))


def _words(value: Any, claim: str) -> set[str]:
    words: Iterable[Any] = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(w, str) and w and not set(w) & set(" \t\r\n,") for w in words):
        raise TokenError(f"the token's claim '{claim}' is not a list of names", code="claims")
    return set(words)


def _decode_part(part: str) -> dict[str, Any]:
    try:
        data = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_unique)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise TokenError("the token is not readable", code="malformed") from error
    if not isinstance(data, dict):
        raise TokenError("the token is not readable", code="malformed")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: two readers of such a token could see two different tokens."""
    data = dict(pairs)
    if len(data) != len(pairs):
        raise TokenError("the token names something twice", code="malformed")
    return data


def _reason(error: jwt.InvalidTokenError) -> str:
    table: list[tuple[type[Exception], str]] = [
        (jwt.ExpiredSignatureError, "expired"),
        (jwt.ImmatureSignatureError, "not_yet_valid"),
        (jwt.InvalidIssuerError, "issuer"),
        (jwt.MissingRequiredClaimError, "claims"),
        (jwt.InvalidSignatureError, "signature"),
        (jwt.InvalidIssuedAtError, "claims"),
    ]
    return next((code for kind, code in table if isinstance(error, kind)), "malformed")
