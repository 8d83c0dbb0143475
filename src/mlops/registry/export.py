"""The ledger as a file for an auditor: JSON or CSV, both of which hold every field, so that the chain can be verified
again from the file alone; and the signature beside it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mlops.errors import MlopsError
from mlops.registry import chain
from mlops.registry.entities import LedgerEntry

SCHEMA, SIGNATURE_SCHEMA = "mlops.ledger-export.v1", "mlops.ledger-signature.v1"
ALGORITHM = "ECDSA_SHA_256"

_COLUMNS = tuple(f.name for f in fields(LedgerEntry))
#: A spreadsheet takes a cell that begins so for a formula, or would lose what stands in front.
_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Signed:
    """A signature over the SHA-256 digest of a file. ``public_key``: DER (SubjectPublicKeyInfo)."""

    key: str
    signature: bytes
    public_key: bytes


class Signer(Protocol):
    """A key that never leaves where it is."""

    def sign(self, digest: bytes) -> Signed: ...


def to_json(stack: str, entries: Sequence[LedgerEntry], head: tuple[int, str]) -> bytes:
    """Canonical JSON: ``{schema, stack, head: {sequence, hash}, entries}``."""
    document = {"schema": SCHEMA, "stack": stack, "head": {"sequence": head[0], "hash": head[1]}}
    return chain.canonical({**document, "entries": [chain.plain(asdict(e)) for e in entries]})


def to_csv(entries: Sequence[LedgerEntry]) -> bytes:
    """A row for every entry; ``inputs`` is canonical JSON. A cell that a spreadsheet would run gets a ``'`` first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for entry in entries:
        values = {**asdict(entry), "inputs": chain.canonical(chain.plain(entry.inputs)).decode()}
        writer.writerow([_quiet(str(values[name])) for name in _COLUMNS])
    return text.getvalue().encode()


def read(body: bytes) -> tuple[list[LedgerEntry], tuple[int, str] | None]:
    """Entries and head of an exported file; a CSV file names no head.

    Raises
    ------
    MlopsError
        ``not_an_export`` when it is none.
    """
    try:
        if body.lstrip()[:1] == b"{":
            document = json.loads(body)
            if document["schema"] != SCHEMA:
                raise ValueError(document["schema"])
            head = (int(document["head"]["sequence"]), str(document["head"]["hash"]))
            return [LedgerEntry(**e) for e in document["entries"]], head
        return list(_rows(body.decode())), None
    except (ValueError, KeyError, TypeError) as error:
        raise MlopsError(f"this is no exported ledger ({type(error).__name__})", code="not_an_export") from error


def _rows(text: str) -> Iterator[LedgerEntry]:
    rows = csv.reader(io.StringIO(text, newline=""))
    if tuple(next(rows, ())) != _COLUMNS:
        raise ValueError("other columns")
    for row in rows:
        values: dict[str, Any] = dict(zip(_COLUMNS, map(_loud, row), strict=True))
        yield LedgerEntry(**{**values, "sequence": int(values["sequence"]), "inputs": json.loads(values["inputs"])})


def _quiet(text: str) -> str:
    return f"'{text}" if text.startswith(_ACTIVE) else text


def _loud(text: str) -> str:
    return text.removeprefix("'")


def signature(body: bytes, signer: Signer, *, signed_at: str, signed_by: str) -> bytes:
    """The document that goes beside an exported file."""
    digest = hashlib.sha256(body).digest()
    made = signer.sign(digest)
    document = {
        "schema": SIGNATURE_SCHEMA,
        "sha256": digest.hex(),
        "algorithm": ALGORITHM,
        "key": made.key,
        "signature": base64.b64encode(made.signature).decode(),
        "public_key": base64.b64encode(made.public_key).decode(),
        "signed_at": signed_at,
        "signed_by": signed_by,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def check_signature(body: bytes, document: bytes, *, trusted: bytes | None = None) -> Mapping[str, str]:
    """Who signed what; needs neither the stack nor AWS.

    Parameters
    ----------
    trusted : the public key (DER) that must have signed; without it, the one in the document, of which the reader has
        to compare the fingerprint.

    Returns
    -------
    ``{key, signed_at, signed_by, fingerprint}``.

    Raises
    ------
    MlopsError
        ``bad_signature``, saying what does not fit.
    """
    try:
        found = json.loads(document)
        named, given = base64.b64decode(found["public_key"]), base64.b64decode(found["signature"])
        key = serialization.load_der_public_key(trusted or named)
    except (ValueError, KeyError, TypeError) as error:
        raise MlopsError("the signature file is none of an exported ledger", code="bad_signature") from error
    digest = hashlib.sha256(body).digest()
    if digest.hex() != found.get("sha256"):
        raise MlopsError("the file is not the one that was signed: its digest differs", code="bad_signature")
    if not isinstance(key, ec.EllipticCurvePublicKey) or found.get("algorithm") != ALGORITHM:
        raise MlopsError(f"the signature is not {ALGORITHM}", code="bad_signature")
    try:
        key.verify(given, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        whose = "the trusted key" if trusted else "the key that it names"
        raise MlopsError(f"the signature was not made by {whose}", code="bad_signature") from None
    told = {name: str(found.get(name, "")) for name in ("key", "signed_at", "signed_by")}
    return {**told, "fingerprint": hashlib.sha256(trusted or named).hexdigest()}
