"""The stack's own keys and tokens, for those who have no identity provider.

A key pair is made once per stack: the private key stays where only operators can read it (an SSM SecureString),
the public key set is what the authorizer trusts. To rotate, publish the new public key beside the old one, sign
with the new one, and take the old one out when its last token has expired.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mlops.security.tokens import ALL_MODELS, SCOPES

Algorithm = Literal["EdDSA", "ES256"]
Jwk = dict[str, Any]


def create_key_pair(algorithm: Algorithm = "EdDSA") -> tuple[Jwk, dict[str, list[Jwk]]]:
    """A new private key (JWK, keep it secret) and the key set with its public half.

    Raises
    ------
    ValueError
        for another algorithm than EdDSA (Ed25519) and ES256 (P-256).
    """
    if algorithm == "EdDSA":
        text = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate())
    elif algorithm == "ES256":
        text = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()))
    else:
        raise ValueError("algorithm must be EdDSA or ES256")
    private: Jwk = {k: v for k, v in json.loads(text).items() if k != "key_ops"}
    private |= {"alg": algorithm, "use": "sig"}
    private["kid"] = thumbprint(private)
    return private, {"keys": [public_half(private)]}


def public_half(private: Mapping[str, Any]) -> Jwk:
    """The public key of a private JWK."""
    return {name: private[name] for name in ("kty", "crv", "x", "y", "alg", "use", "kid") if name in private}


def add_key(key_set: Mapping[str, Any], private: Mapping[str, Any]) -> dict[str, list[Jwk]]:
    """A key set with one more public key, for a rotation."""
    public = public_half(private)
    return {"keys": [*(k for k in key_set["keys"] if k.get("kid") != public["kid"]), public]}


def remove_key(key_set: Mapping[str, Any], kid: str) -> dict[str, list[Jwk]]:
    """A key set without a key, at the end of a rotation or when a key leaked."""
    return {"keys": [k for k in key_set["keys"] if k.get("kid") != kid]}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The key's id: its JWK thumbprint (RFC 7638)."""
    from base64 import urlsafe_b64encode  # noqa: PLC0415
    from hashlib import sha256  # noqa: PLC0415

    members = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()


def issue(
    private: Mapping[str, Any],
    *,
    subject: str,
    scopes: Sequence[str] = ("predict",),
    models: Sequence[str] = (ALL_MODELS,),
    lifetime: float = 3600.0,
    issuer: str = "serverless-mlops",
    audience: str = "serverless-mlops",
    now: float | None = None,
) -> str:
    """A signed token.

    Parameters
    ----------
    private : private JWK of :func:`create_key_pair`.
    scopes : among ``predict``, ``models:read``, ``models:write``, ``audit:read``.
    models : names, or ``*`` for all.
    lifetime : seconds until it expires.
    now : Unix seconds of issue.

    Raises
    ------
    ValueError
        for an unknown scope, no subject, or a lifetime that is not positive.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise ValueError(f"unknown scope '{unknown[0]}'; scopes are {', '.join(SCOPES)}")
    if not subject or lifetime <= 0:
        raise ValueError("a token needs a subject and a positive lifetime")
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(lifetime),
        "jti": uuid.uuid4().hex,
        "scope": " ".join(scopes),
        "models": list(models),
    }
    key = jwt.PyJWK(dict(private))
    return jwt.encode(claims, key.key, algorithm=str(private["alg"]), headers={"kid": private["kid"]})
