"""Key sets: what is read, when they are fetched, and how they rotate."""

from __future__ import annotations

import io
import json
import urllib.error
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from mlops.security.issuing import add_key, create_key_pair, issue, public_half, remove_key
from mlops.security.keys import MAX_SET_BYTES, KeyRing, KeySourceError, parse_key_set, url_source
from mlops.security.tokens import Rules, TokenError, Verifier

OLD, OLD_SET = create_key_pair()
NEW, _ = create_key_pair("ES256")


class Source:
    """A key set that a test changes, and a clock that it moves."""

    def __init__(self, key_set: Any) -> None:
        self.key_set = key_set
        self.calls = 0
        self.now = 1000.0
        self.down = False

    def __call__(self) -> str:
        self.calls += 1
        if self.down:
            raise KeySourceError("down")
        return json.dumps(self.key_set)

    def ring(self) -> KeyRing:
        return KeyRing(self, lifetime=300, patience=30, outage=5, clock=lambda: self.now)


def test_the_set_is_fetched_once_and_again_when_its_time_is_over() -> None:
    source = Source(OLD_SET)
    ring = source.ring()
    for _ in range(5):
        assert ring.find(OLD["kid"]) is not None
    assert source.calls == 1
    source.now += 301
    assert ring.find(OLD["kid"]) is not None
    assert source.calls == 2


def test_a_new_key_is_found_after_a_rotation() -> None:
    source = Source(OLD_SET)
    ring = source.ring()
    ring.find(OLD["kid"])
    source.key_set = add_key(OLD_SET, NEW)
    source.now += 31
    assert ring.find(NEW["kid"]) is not None
    assert ring.find(OLD["kid"]) is not None


def test_invented_key_ids_cannot_hammer_the_source() -> None:
    source = Source(OLD_SET)
    ring = source.ring()
    for i in range(1000):
        assert ring.find(f"invented-{i}") is None
        source.now += 0.1
    assert source.calls <= 5


def test_a_removed_key_is_gone_when_the_cache_is_renewed() -> None:
    source = Source(add_key(OLD_SET, NEW))
    ring = source.ring()
    assert ring.find(OLD["kid"]) is not None
    source.key_set = remove_key(source.key_set, OLD["kid"])
    source.now += 301
    assert ring.find(OLD["kid"]) is None
    assert ring.find(NEW["kid"]) is not None


def test_an_outage_keeps_the_known_keys() -> None:
    source = Source(OLD_SET)
    ring = source.ring()
    ring.find(OLD["kid"])
    source.down = True
    source.now += 10_000
    assert ring.find(OLD["kid"]) is not None


def test_an_outage_from_the_start_is_a_fault_and_not_a_wrong_token() -> None:
    source = Source(OLD_SET)
    source.down = True
    ring = source.ring()
    for _ in range(10):
        with pytest.raises(KeySourceError):
            ring.find(OLD["kid"])
    assert source.calls == 1
    source.down = False
    source.now += 6
    assert ring.find(OLD["kid"]) is not None


def rsa_jwk(bits: int) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "r"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a JSON Web Key set"),
        ("[]", "not a JSON Web Key set"),
        ("{}", "not a JSON Web Key set"),
        ('{"keys": 7}', "list"),
        ('{"keys": [7]}', "not a JSON Web Key set"),
        (json.dumps({"keys": [OLD]}), "private key"),
        (json.dumps({"keys": [*OLD_SET["keys"], *OLD_SET["keys"]]}), "twice"),
        (json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "x"}]}), "cannot be read"),
        (json.dumps({"keys": [{"kty": "oct", "k": "c2hvcnQ", "kid": "x"}]}), "32 bytes"),
        (json.dumps({"keys": [OLD_SET["keys"][0]] * 51}), "at most"),
    ],
)
def test_bad_key_sets_are_named(text: str, says: str) -> None:
    with pytest.raises(KeySourceError, match=says):
        parse_key_set(text)


@pytest.mark.filterwarnings("ignore:The RSA key is")
def test_a_short_rsa_key_is_refused() -> None:
    with pytest.raises(KeySourceError, match="2048"):
        parse_key_set(json.dumps({"keys": [rsa_jwk(1024)]}))


def test_keys_for_other_purposes_are_left_out() -> None:
    public = OLD_SET["keys"][0]
    others = [
        {**public, "kid": "1", "use": "enc"},
        {**public, "kid": "2", "alg": "ES256"},
        {**public, "kid": "3", "key_ops": ["sign"]},
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "4"},
        {"kty": "EC", "crv": "P-521", "kid": "5"},
    ]
    assert [key.kid for key in parse_key_set(json.dumps({"keys": [*others, public]}))] == [OLD["kid"]]


@pytest.mark.parametrize("url", ["http://issuer.example/jwks", "file:///etc/passwd", "ftp://x/y", "jwks.json"])
def test_only_https_addresses_are_fetched(url: str) -> None:
    with pytest.raises(KeySourceError, match="https"):
        url_source(url)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (urllib.error.URLError("no route"), "URLError"),
        (TimeoutError(), "TimeoutError"),
        (io.BytesIO(b"x" * (MAX_SET_BYTES + 1)), "more than"),
    ],
)
def test_a_set_that_cannot_be_fetched_is_a_fault(monkeypatch: pytest.MonkeyPatch, answer: Any, says: str) -> None:
    def respond(self: Any, url: str, timeout: float) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("urllib.request.OpenerDirector.open", respond)
    with pytest.raises(KeySourceError, match=says):
        url_source("https://issuer.example/jwks")()


def test_a_server_that_sends_its_set_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            now[0] += 1.0
            return b" "

    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: Slow())
    with pytest.raises(KeySourceError, match="within 3 s"):
        url_source("https://issuer.example/jwks", clock=lambda: now[0])()
    assert now[0] == 4.0


def test_a_set_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(OLD_SET).encode()
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: io.BytesIO(body))
    assert url_source("https://issuer.example/jwks")() == body


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_an_issued_token_is_accepted(algorithm: Any) -> None:
    private, key_set = create_key_pair(algorithm)
    token = issue(
        private,
        subject="ci",
        scopes=["predict", "models:read"],
        models=["b", "a"],
        lifetime=60,
        issuer="i",
        audience="a",
    )
    principal = Verifier(Rules("i", "a"), KeyRing(lambda: json.dumps(key_set))).verify(token)
    assert (principal.subject, principal.scopes, principal.models) == ("ci", {"predict", "models:read"}, ("a", "b"))


def test_an_issued_token_expires() -> None:
    token = issue(OLD, subject="ci", lifetime=60, now=1_000_000)
    rules = Rules("serverless-mlops", "serverless-mlops")
    with pytest.raises(TokenError) as caught:
        Verifier(rules, KeyRing(lambda: json.dumps(OLD_SET))).verify(token)
    assert caught.value.code == "expired"


@pytest.mark.parametrize("wrong", [{"scopes": ["admin"]}, {"subject": ""}, {"lifetime": 0}])
def test_tokens_that_must_not_be_issued(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"scope|subject"):
        issue(OLD, **{"subject": "ci", **wrong})


def test_a_key_set_never_holds_the_private_half() -> None:
    assert "d" in OLD
    assert "d" not in public_half(OLD)
    assert all("d" not in key for key in OLD_SET["keys"])
    with pytest.raises(ValueError, match="EdDSA or ES256"):
        create_key_pair("RS256")  # type: ignore[arg-type]


def test_rules_must_make_sense() -> None:
    for wrong in ({"algorithms": ("none",)}, {"algorithms": ()}, {"issuer": ""}, {"audience": ""}):
        with pytest.raises(ValueError, match="must be"):
            Rules(**{"issuer": "i", "audience": "a", **wrong})  # type: ignore[arg-type]
