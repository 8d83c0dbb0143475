"""Attacks on tokens, each as a text to send: for the verifier alone and for the deployed door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlops.security.issuing import create_key_pair, public_half

EVIL_PRIVATE, EVIL_SET = create_key_pair()


def b64(data: Any) -> str:
    """JSON or bytes in the form of a token's parts."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def handmade(header: Mapping[str, Any], payload: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token of any header and claims, signed by any means."""
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(sign(text.encode()))}"


def forged(private: Mapping[str, Any], issuer: str, audience: str) -> dict[str, tuple[str, str]]:
    """Name of each attack, ``kind`` or ``kind: variant`` -> token, and the code with which the verifier refuses it.

    ``private``: the issuer's own signing key (Ed25519), to which an attacker's own pair and tricks are compared.
    """
    key, kid, now = jwt.PyJWK(dict(private)).key, private["kid"], int(time.time())
    usual = {"alg": "EdDSA", "typ": "JWT", "kid": kid}
    good = {"iss": issuer, "aud": audience, "sub": "user:eve", "iat": now, "nbf": now, "exp": now + 600}
    good |= {"scope": "predict models:read models:write audit:read", "models": ["*"], "jti": "eve-1"}

    def signed(header: Mapping[str, Any] | None = None, by: Any = key, **changes: Any) -> str:
        claims = {k: v for k, v in {**good, **changes}.items() if v is not None}
        return handmade({**usual, **(header or {})}, claims, by.sign)

    def hmac_of(secret: bytes) -> str:
        sign = lambda text: hmac.new(secret, text, hashlib.sha256).digest()  # noqa: E731
        return handmade({**usual, "alg": "HS256"}, good, sign)

    evil = jwt.PyJWK(dict(EVIL_PRIVATE)).key
    public = key.public_key()
    head, body, tail = signed().split(".")
    twice = json.dumps(good)[:-1].encode() + b',"scope":"audit:read"}'
    return {
        "alg none": (handmade({**usual, "alg": "none"}, good, lambda _: b""), "malformed"),
        "alg none: with a signature": (handmade({**usual, "alg": "none"}, good, lambda _: b"x"), "algorithm"),
        "alg none: nOnE": (handmade({**usual, "alg": "nOnE"}, good, lambda _: b"x"), "algorithm"),
        "alg none: absent": (handmade({"typ": "JWT", "kid": kid}, good, lambda _: b"x"), "algorithm"),
        "confusion: public PEM as secret": (
            hmac_of(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
            "algorithm",
        ),
        "confusion: public bytes as secret": (
            hmac_of(public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
            "algorithm",
        ),
        "confusion: public JWK as secret": (hmac_of(json.dumps(public_half(private)).encode()), "algorithm"),
        "confusion: empty secret": (hmac_of(b""), "algorithm"),
        "downgrade: RS512": (signed({"alg": "RS512"}), "algorithm"),
        "downgrade: ES256 of an Ed25519 key": (signed({"alg": "ES256"}), "algorithm"),
        "kid: nobody's": (signed({"kid": "nobody"}), "unknown_key"),
        "kid: a path": (signed({"kid": "../../../../dev/null"}), "unknown_key"),
        "kid: SQL": (signed({"kid": "' UNION SELECT 'x' --"}), "unknown_key"),
        "kid: no text": (signed({"kid": ["a"]}), "malformed"),
        "kid: right, key: another": (signed(by=evil), "signature"),
        "jku": (signed({"jku": "https://evil.example/jwks.json"}, evil), "header"),
        "x5u": (signed({"x5u": "https://evil.example/cert.pem"}, evil), "header"),
        "jwk": (signed({"jwk": EVIL_SET["keys"][0]}, evil), "header"),
        "jwk: x5c": (signed({"x5c": ["MIIB"]}, evil), "header"),
        "crit": (signed({"crit": ["exp"]}), "header"),
        "crit: b64": (signed({"b64": False, "crit": ["b64"]}), "header"),
        "crit: zip": (signed({"zip": "DEF"}), "header"),
        "type": (signed({"typ": "logout+jwt"}), "header"),
        "expired": (signed(exp=now - 120), "expired"),
        "expired: never": (signed(exp=None), "claims"),
        "future": (signed(nbf=now + 600), "not_yet_valid"),
        "future: issued": (signed(iat=now + 600), "not_yet_valid"),
        "audience": (signed(aud="another"), "audience"),
        "audience: none": (signed(aud=None), "claims"),
        "issuer": (signed(iss="https://evil.example"), "issuer"),
        "issuer: in capitals": (signed(iss=issuer.upper()), "issuer"),
        "subject: none": (signed(sub=None), "claims"),
        "changed: claims": (f"{head}.{b64({**good, 'sub': 'admin'})}.{tail}", "signature"),
        "changed: signature": (f"{head}.{body}.{tail[:-4]}AAAA", "signature"),
        "changed: no signature": (f"{head}.{body}.", "malformed"),
        "malformed: a claim twice": (f"{head}.{b64(twice)}.{tail}", "malformed"),
        "huge": (signed(padding="x" * 7000), "too_large"),
        "malformed: two parts": (f"{head}.{body}", "malformed"),
        "malformed: four parts": (f"{head}.{body}.{tail}.{tail}", "malformed"),
        "malformed: no JSON": (f"{b64(b'nonsense')}.{body}.{tail}", "malformed"),
        "malformed: nested deeply": (f"{b64(b'[' * 2000)}.{body}.{tail}", "malformed"),
        "malformed: a character outside the alphabet": (f"{head}.{body}.{tail[:-1]}*", "malformed"),
    }
