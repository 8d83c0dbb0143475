"""Attacks on tokens. Each must be refused, for the reason that it was meant to hide."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from mlops.security.issuing import create_key_pair, issue
from mlops.security.keys import KeyRing
from mlops.security.tokens import Principal, Rules, TokenError, Verifier
from tests.attacks import EVIL_PRIVATE, EVIL_SET, b64, forged, handmade

ISSUER, AUDIENCE = "https://issuer.example", "predictions"
ED_PRIVATE, ED_SET = create_key_pair()
EC_PRIVATE, EC_SET = create_key_pair("ES256")
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_JWK = {**json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "rsa-1", "alg": "RS256", "use": "sig"}
RSA_JWK.pop("key_ops", None)
RSA_PEM = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
RSA_PRIVATE_PEM = RSA_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
KEYS = {"keys": [*ED_SET["keys"], *EC_SET["keys"], RSA_JWK]}


def verifier(key_set: Any = KEYS, **rules: Any) -> Verifier:
    values: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, **rules}
    first_use = values.pop("first_use", None)
    return Verifier(Rules(**values), KeyRing(lambda: json.dumps(key_set)), first_use=first_use)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    values = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user:ana", "iat": now, "nbf": now, "exp": now + 600}
    merged = {**values, "scope": "predict", "models": ["*"], **changes}
    return {k: v for k, v in merged.items() if v is not None}


def signed(header: dict[str, Any] | None = None, private: dict[str, Any] = ED_PRIVATE, **changes: Any) -> str:
    """A token signed with a real key, with any header and claims."""
    key = jwt.PyJWK(dict(private)).key
    headers = {"kid": private["kid"], **(header or {})}
    return jwt.encode(claims(**changes), key, algorithm=private["alg"], headers=headers)


def refused(token: str, **rules: Any) -> str:
    with pytest.raises(TokenError) as caught:
        verifier(**rules).verify(token)
    assert not token or token not in caught.value.message
    return caught.value.code


def test_a_good_token_of_each_kind_is_accepted() -> None:
    for private in (ED_PRIVATE, EC_PRIVATE):
        assert verifier().verify(signed(private=private)).subject == "user:ana"
    said = claims()
    token = jwt.encode(said, RSA_PRIVATE_PEM, algorithm="RS256", headers={"kid": "rsa-1"})
    assert verifier().verify(token) == Principal("user:ana", frozenset({"predict"}), ("*",), said["exp"])


@pytest.mark.parametrize("name", forged(ED_PRIVATE, ISSUER, AUDIENCE))
def test_the_list_that_the_deployed_door_gets_as_well(name: str) -> None:
    token, code = forged(ED_PRIVATE, ISSUER, AUDIENCE)[name]
    assert refused(token) == code


# The token chooses how it is verified ---------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 7, [], "EdDSA ", "HS256", "RS512", "PS256"])
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_alg_none_and_unknown_algorithms(alg: Any, signature: bytes) -> None:
    token = handmade({"alg": alg, "kid": ED_PRIVATE["kid"], "typ": "JWT"}, claims(), lambda _: signature)
    assert refused(token) in ("algorithm", "malformed")


@pytest.mark.parametrize("secret", [RSA_PEM, RSA_PEM.strip(), json.dumps(RSA_JWK).encode(), b""])
@pytest.mark.parametrize("algorithms", [("RS256",), ("RS256", "HS256")])
def test_key_confusion_of_a_public_key_as_a_shared_secret(secret: bytes, algorithms: tuple[str, ...]) -> None:
    header = {"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}
    token = handmade(header, claims(), lambda text: hmac.new(secret, text, hashlib.sha256).digest())
    assert refused(token, algorithms=algorithms) == "algorithm"


def test_a_downgrade_to_another_algorithm_of_the_same_issuer() -> None:
    token = signed({"kid": "rsa-1"})  # signed with Ed25519, naming the RSA key
    assert refused(token) == "algorithm"
    assert refused(signed(private=EC_PRIVATE), algorithms=("EdDSA",)) == "algorithm"


def test_hs256_only_when_asked_for() -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key_set = {"keys": [{"kty": "oct", "kid": "s", "k": b64(secret), "alg": "HS256"}]}
    token = jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": "s"})
    assert refused(token, key_set=key_set) == "algorithm"
    assert verifier(key_set, algorithms=("HS256",)).verify(token).subject == "user:ana"


# The token brings its own key -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"jwk": EVIL_SET["keys"][0]},
        {"x5c": ["MIIB"]},
        {"jku": ""},
    ],
)
def test_a_token_cannot_bring_or_point_to_its_key(header: dict[str, Any]) -> None:
    assert refused(signed({**header, "kid": ED_PRIVATE["kid"]}, EVIL_PRIVATE)) == "header"
    assert refused(signed(header)) == "header"


@pytest.mark.parametrize("kid", ["", "nobody", "../../etc/passwd", "' OR 1=1 --", "/dev/null", "x" * 256])
def test_a_key_id_is_only_ever_looked_up(kid: str) -> None:
    assert refused(signed({"kid": kid})) == "unknown_key"


@pytest.mark.parametrize("kid", [7, ["a"], {"a": 1}, "x" * 257, True])
def test_a_key_id_must_be_a_short_text(kid: Any) -> None:
    token = handmade({"alg": "EdDSA", "typ": "JWT", "kid": kid}, claims(), lambda _: b"x")
    assert refused(token) == "malformed"


def test_a_token_without_a_key_id_needs_a_set_of_one_key() -> None:
    key = jwt.PyJWK(dict(ED_PRIVATE)).key
    token = jwt.encode(claims(), key, algorithm="EdDSA")
    assert refused(token) == "unknown_key"
    assert verifier(ED_SET).verify(token).subject == "user:ana"


def test_the_right_key_id_with_the_wrong_key() -> None:
    assert refused(signed({"kid": ED_PRIVATE["kid"]}, EVIL_PRIVATE)) == "signature"


def test_a_changed_claim_or_signature() -> None:
    head, body, tail = signed().split(".")
    changed = b64(claims(scope="predict models:write"))
    assert refused(f"{head}.{changed}.{tail}") == "signature"
    assert refused(f"{head}.{body}.{tail[:-4]}AAAA") == "signature"
    assert refused(f"{head}.{body}.") == "malformed"


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}, {"enc": "A128GCM"}]
)
def test_critical_and_unknown_processing_headers(header: dict[str, Any]) -> None:
    token = handmade({"alg": "EdDSA", "kid": ED_PRIVATE["kid"], **header}, claims(), lambda _: b"x" * 64)
    assert refused(token) == "header"


@pytest.mark.parametrize("typ", ["dpop+jwt", "logout+jwt", "secevent+jwt", 7])
def test_a_token_of_another_purpose(typ: Any) -> None:
    token = handmade({"alg": "EdDSA", "kid": ED_PRIVATE["kid"], "typ": typ}, claims(), lambda _: b"x" * 64)
    assert refused(token) == "header"


# Claims ---------------------------------------------------------------------------------------------

NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": NOW - 100}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": None}, "claims"),
        ({"exp": "soon"}, "malformed"),
        ({"iat": None}, "claims"),
        ({"iat": NOW + 1000}, "not_yet_valid"),
        ({"nbf": NOW + 1000}, "not_yet_valid"),
        ({"iss": None}, "claims"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": ISSUER.upper()}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"aud": None}, "claims"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["other", "another"]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"aud": AUDIENCE + "2"}, "audience"),
        ({"sub": None}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": "x" * 257}, "claims"),
        ({"scope": 7}, "claims"),
        ({"scope": {"predict": True}}, "claims"),
        ({"scope": ["predict models:write"]}, "claims"),
        ({"models": 7}, "claims"),
        ({"models": ["tumour *"]}, "claims"),
        ({"models": [""]}, "claims"),
    ],
)
def test_claims_that_are_wrong(changes: dict[str, Any], code: str) -> None:
    try:
        token = signed(**changes)
    except TypeError:  # PyJWT does not write such a claim; somebody else can
        key = jwt.PyJWK(dict(ED_PRIVATE)).key
        header = {"alg": "EdDSA", "typ": "JWT", "kid": ED_PRIVATE["kid"]}
        token = handmade(header, claims(**changes), key.sign)
    assert refused(token) == code


def test_clock_skew_is_forgiven_up_to_the_leeway() -> None:
    now = int(time.time())
    assert verifier().verify(signed(exp=now - 20)).subject == "user:ana"
    assert verifier().verify(signed(nbf=now + 20, iat=now + 20)).subject == "user:ana"
    assert refused(signed(exp=now - 20), leeway=5) == "expired"


def test_a_lifetime_beyond_what_is_accepted() -> None:
    assert refused(signed(exp=NOW + 10 * 86400), max_lifetime=86400) == "lifetime"


def test_scopes_that_we_do_not_know_grant_nothing() -> None:
    principal = verifier().verify(signed(scope="admin * predict/all PREDICT evil/predict"))
    assert principal.scopes == frozenset()
    assert verifier().verify(signed(scope=f"{AUDIENCE}/predict")).scopes == {"predict"}


def test_a_client_stands_for_an_audience_only_when_it_is_named() -> None:
    token = signed(aud=None, client_id="machine-1")
    assert refused(token) == "claims"
    assert verifier(client_ids=("machine-1", "machine-2")).verify(token).subject == "user:ana"
    assert refused(token, client_ids=("machine-2",)) == "audience"
    assert refused(signed(aud="other", client_id="machine-1"), client_ids=("machine-1",)) == "audience"
    assert refused(signed(aud=None), client_ids=("machine-1",)) == "audience"
    assert refused(signed(aud=None, client_id=["machine-1"]), client_ids=("machine-1",)) == "audience"


def test_a_replay_where_token_ids_are_required() -> None:
    seen: set[str] = set()

    def first_use(jti: str, expires: int) -> bool:
        is_new = jti not in seen
        seen.add(jti)
        return is_new

    guarded = verifier(require_jti=True, first_use=first_use)
    token = signed(jti="one")
    assert guarded.verify(token).subject == "user:ana"
    with pytest.raises(TokenError, match="used before"):
        guarded.verify(token)
    with pytest.raises(TokenError) as caught:
        guarded.verify(signed())
    assert caught.value.code == "claims"
    with pytest.raises(ValueError, match="first_use"):
        verifier(require_jti=True)


# Shapes ---------------------------------------------------------------------------------------------


def test_a_huge_token_is_not_looked_at() -> None:
    assert refused("a." * 10 + "a" * 8193) == "too_large"
    assert refused(signed(padding="x" * 9000)) == "too_large"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "é.b.c",
        "a.b.c",
        f"{b64(b'[]')}.{b64({})}.x",
        f"{b64({'alg': 'EdDSA'})}.{b64(b'[]')}.x",
        f"{b64({'alg': 'EdDSA'})}.{b64(b'not json')}.x",
        f"{b64(b'[' * 2000)}.{b64({})}.x",
        f"{b64(b'{' + b'chr(255)' + b'}')}.{b64({})}.x",
        "eyJhbGciOiJFZERTQSJ9 .e30.x",
    ],
)
def test_malformed_tokens(token: str) -> None:
    assert refused(token) in ("malformed", "algorithm")


def test_names_that_come_twice() -> None:
    header = b'{"alg":"none","alg":"EdDSA","kid":"' + ED_PRIVATE["kid"].encode() + b'"}'
    assert refused(f"{b64(header)}.{b64(claims())}.eA") == "malformed"
    twice = json.dumps(claims())[:-1].encode() + b',"scope":"audit:read"}'
    assert refused(f"{b64({'alg': 'EdDSA', 'kid': ED_PRIVATE['kid']})}.{b64(twice)}.eA") == "malformed"


@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(lambda p: ".".join(map(b64, p)))
)
@settings(max_examples=300, deadline=None)
def test_no_text_whatever_is_a_token_or_a_crash(text: str) -> None:
    with pytest.raises(TokenError):
        verifier().verify(text)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_one_changed_bit_anywhere_refuses_the_token(position: int, change: int) -> None:
    token = issue(ED_PRIVATE, subject="user:ana", issuer=ISSUER, audience=AUDIENCE)
    parts = token.split(".")
    which = position % 3
    raw = bytearray(base64.urlsafe_b64decode(parts[which] + "=="))
    raw[position % len(raw)] ^= change
    parts[which] = b64(bytes(raw))
    with pytest.raises(TokenError):
        verifier().verify(".".join(parts))
