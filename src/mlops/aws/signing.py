"""The stack's own signing keys in Parameter Store: looked at, rotated, retired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.bootstrap import SIGNING_KEY
from mlops.aws.clients import client, error_code
from mlops.errors import ConflictError, NotFoundError
from mlops.security.issuing import Algorithm, add_key, create_key_pair, remove_key


@dataclass(frozen=True)
class SigningKey:
    """A public key that the authorizer trusts; ``signs``: new tokens are signed with its private half."""

    kid: str
    algorithm: str
    signs: bool


class SigningKeys:
    """The keys of one stack. The authorizer learns of a change within five minutes, of a new key within 30 seconds."""

    def __init__(self, stack: str) -> None:
        self._private = f"/{stack}/{SIGNING_KEY}"
        self._public = f"/{stack}/jwks"
        self._stack = stack

    def all(self) -> list[SigningKey]:
        """The keys that are trusted, in the order in which they came."""
        signs = self._signing_kid()
        return [SigningKey(k["kid"], k.get("alg", ""), k["kid"] == signs) for k in self._key_set()["keys"]]

    def rotate(self, algorithm: Algorithm = "EdDSA", *, leaked: bool = False) -> SigningKey:
        """Make a new pair and sign with it from now on. The old key stays trusted, unless it has ``leaked``."""
        private, public = create_key_pair(algorithm)
        # First trusted, then used: no token may be signed with a key that the authorizer cannot find.
        self._write(self._public, public if leaked else add_key(self._key_set(), private), "String")
        self._write(self._private, private, "SecureString")
        return SigningKey(private["kid"], private["alg"], signs=True)

    def retire(self, kid: str) -> None:
        """Trust a key no longer; its tokens are refused.

        Raises
        ------
        NotFoundError
            when it is not trusted anyway.
        ConflictError
            when new tokens are signed with it.
        """
        key_set = self._key_set()
        known = [k["kid"] for k in key_set["keys"]]
        if kid not in known:
            raise NotFoundError(f"there is no key '{kid[:80]}'; trusted are: {', '.join(known)}")
        if kid == self._signing_kid():
            raise ConflictError("new tokens are signed with this key; `mlops signing rotate` makes another one first")
        self._write(self._public, remove_key(key_set, kid), "String")

    def _signing_kid(self) -> str:
        return str(self._read(self._private)["kid"])

    def _key_set(self) -> dict[str, Any]:
        return self._read(self._public)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = client("ssm").get_parameter(Name=name, WithDecryption=True)
        except ClientError as error:
            if error_code(error) == "ParameterNotFound":
                raise NotFoundError(
                    f"the stack '{self._stack}' has no keys of its own; `mlops bootstrap` makes them"
                ) from error
            raise
        value: dict[str, Any] = json.loads(found["Parameter"]["Value"])
        return value

    def _write(self, name: str, value: Mapping[str, Any], kind: str) -> None:
        client("ssm").put_parameter(Name=name, Value=json.dumps(value), Type=kind, Overwrite=True)
