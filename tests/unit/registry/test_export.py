"""The exported ledger: whole in both formats, harmless in a spreadsheet, and signed so that any change shows."""

from __future__ import annotations

import csv
import io
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.registry import chain, export
from mlops.registry.entities import LedgerDraft
from tests.unit.registry.test_chain import build, drafts

HEAD = (0, chain.GENESIS)


@given(st.lists(drafts, max_size=5))
def test_both_formats_hold_the_whole_chain(items: list[LedgerDraft]) -> None:
    entries, head = build(items)
    read, found = export.read(export.to_json("stack", entries, head))
    assert found == head
    assert chain.verify(read, head).intact
    read, none = export.read(export.to_csv(entries))
    assert none is None
    assert len(read) == len(entries)
    assert chain.verify(read, head).intact


def test_no_cell_of_a_csv_is_a_formula() -> None:
    draft = LedgerDraft("user:x", "a.b", "=1+1", "@SUM(A1)", "-2", {"a": 1}, "'quoted")
    entries, head = build([draft])
    rows = list(csv.reader(io.StringIO(export.to_csv(entries).decode(), newline="")))
    assert not [cell for cell in rows[1] if cell.startswith(("=", "+", "-", "@"))]
    assert chain.verify(export.read(export.to_csv(entries))[0], head).intact


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"a,b\r\n1,2\r\n", b'{"schema": "x"}', b"\xff\xfe"])
def test_another_file_is_no_export(body: bytes) -> None:
    with pytest.raises(MlopsError, match="no exported ledger"):
        export.read(body)


class Key:
    """A key as KMS has it."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public = self.private.public_key().public_bytes(*form)

    def sign(self, digest: bytes) -> export.Signed:
        signature = self.private.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return export.Signed("key/1", signature, self.public)


KEY = Key()


def test_a_signature_tells_who_signed_what() -> None:
    body = export.to_json("stack", [], HEAD)
    document = export.signature(body, KEY, signed_at="2026-03-02T12:00:00+00:00", signed_by="user:ann")
    told = export.check_signature(body, document, trusted=KEY.public)
    assert (told["key"], told["signed_by"]) == ("key/1", "user:ann")
    assert told == export.check_signature(body, document)
    with pytest.raises(MlopsError, match="not made by the trusted key"):
        export.check_signature(body, document, trusted=Key().public)


@given(st.data())
def test_any_change_of_the_file_or_of_the_signature_shows(data: st.DataObject) -> None:
    body = export.to_json("stack", *build([LedgerDraft("user:x", "a.b", "s", "r", "done")]))
    document = json.loads(export.signature(body, KEY, signed_at="t", signed_by="user:ann"))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        body = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    else:
        text = document["signature"]
        at = data.draw(st.integers(0, len(text) - 5))
        letter = data.draw(st.sampled_from("ABCabc019"))
        if text[at] == letter:
            return
        document["signature"] = text[:at] + letter + text[at + 1 :]
    with pytest.raises(MlopsError):
        export.check_signature(body, json.dumps(document).encode(), trusted=KEY.public)
