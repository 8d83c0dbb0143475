"""An asymmetric KMS key behind :class:`mlops.registry.export.Signer`. The private half never leaves KMS."""

from __future__ import annotations

from typing import Any

from mlops.aws.clients import client
from mlops.registry.export import ALGORITHM, Signed


class KmsSigner:
    """Signs digests with one key (id, ARN or alias) of usage SIGN_VERIFY and the curve P-256."""

    def __init__(self, key: str, kms: Any = None) -> None:
        self.key = key
        self._given = kms

    def sign(self, digest: bytes) -> Signed:
        kms = self._given or client("kms")
        made = kms.sign(KeyId=self.key, Message=digest, MessageType="DIGEST", SigningAlgorithm=ALGORITHM)
        return Signed(made["KeyId"], made["Signature"], kms.get_public_key(KeyId=self.key)["PublicKey"])
