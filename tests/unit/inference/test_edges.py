"""The table "What is sent and what is answered" of docs/predict.md, row by row."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlops.inference.application import Application
from tests.unit.inference.small_models import MIXED_RECORD, TUMOUR_RECORD, application, proxy_event

GOOD = json.dumps({"model": "tumour", "records": [TUMOUR_RECORD]}).encode()
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models, max_rows=3, max_body_bytes=20_000)


def ask(app: Application, body: str | bytes | None) -> tuple[int, dict[str, Any]]:
    text = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    answer = app.handle(proxy_event("POST", "/predict", text, isBase64Encoded=isinstance(body, bytes)), None)
    return answer["statusCode"], json.loads(answer["body"])


def text(record: str, model: str = "tumour") -> str:
    return f'{{"model": "{model}", "records": [{record}]}}'


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (None, 400, "empty_body", ""),
        ("", 400, "empty_body", ""),
        ("{", 400, "invalid_json", "line 1"),
        (text('{"radius": NaN, "texture": 1, "cells": 1}'), 400, "invalid_json", "null for a missing value"),
        (text('{"radius": Infinity, "texture": 1, "cells": 1}'), 400, "invalid_json", "null for a missing value"),
        (text('{"radius": -Infinity, "texture": 1, "cells": 1}'), 400, "invalid_json", "null for a missing value"),
        (text('{"radius": 1e999, "texture": 1, "cells": 1}'), 400, "invalid_json", "64-bit"),
        (text('{"radius": "\\ud800", "texture": 1, "cells": 1}'), 400, "invalid_json", "line 1"),
        ("\ufeff" + GOOD.decode(), 400, "invalid_json", "byte-order mark"),
        (b'{"model": "\xff"}', 400, "invalid_utf8", "position 11"),
        (text('{"radius": "\ud800", "texture": 1, "cells": 1}'), 400, "invalid_utf8", ""),
        (ZIPPED[:-9], 400, "invalid_encoding", "truncated"),
        (ZIPPED + b"x", 400, "invalid_encoding", "after its end"),
        (ZIPPED[:4] + b"\x00" * 30, 400, "invalid_encoding", "gzip"),
        (text("[" * 5000 + "]" * 5000), 400, "too_deep", ""),
        (text('{"radius": 1, "radius": 2, "texture": 1, "cells": 1}'), 400, "duplicate_key", "'radius'"),
        ('{"model": "tumour", "records": []}', 400, "empty_batch", ""),
        ('{"model": "tumour", "records": [{},{},{},{}]}', 413, "batch_too_large", "3"),
        (" " * 20_001, 413, "body_too_large", "20000 bytes"),
        (gzip.compress(b" " * 30_000, mtime=0), 413, "body_too_large", "20000 bytes"),
    ],
)
def test_what_is_no_request(app: Application, body: str | bytes | None, status: int, code: str, says: str) -> None:
    found, answer = ask(app, body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert says in answer["error"]["message"]


def test_a_body_that_is_marked_as_base64_and_is_not(app: Application) -> None:
    answer = app.handle(proxy_event("POST", "/predict", "not base64!", isBase64Encoded=True), None)
    assert json.loads(answer["body"])["error"]["code"] == "invalid_encoding"


@pytest.mark.parametrize(
    ("model", "changes", "field", "code"),
    [
        ("tumour", {"cells": ...}, "cells", "missing_field"),
        ("tumour", {"cells": None}, "cells", "null_not_allowed"),
        ("tumour", {"raduis": 1}, "raduis", "unknown_field"),
        ("tumour", {"": 1}, "", "unknown_field"),
        ("tumour", {"radius": "14"}, "radius", "wrong_type"),
        ("tumour", {"radius": True}, "radius", "wrong_type"),
        ("tumour", {"radius": [1]}, "radius", "wrong_type"),
        ("tumour", {"radius": {}}, "radius", "wrong_type"),
        ("tumour", {"radius": 1e300}, "radius", "out_of_range"),
        ("tumour", {"cells": 10**300}, "cells", "out_of_range"),
        ("tumour", {"cells": 1.5}, "cells", "not_integer"),
        ("price", {"size": "XXL"}, "size", "unknown_category"),
        ("price", {"size": ["S"]}, "size", "wrong_type"),
        ("price", {"since": "2026-02-30"}, "since", "invalid_date"),
        ("price", {"since": 20260130}, "since", "wrong_type"),
        ("price", {"active": "yes"}, "active", "wrong_type"),
        ("price", {"active": 2}, "active", "wrong_type"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    app: Application, model: str, changes: dict[str, Any], field: str, code: str
) -> None:
    record = {**(TUMOUR_RECORD if model == "tumour" else MIXED_RECORD), **changes}
    record = {name: value for name, value in record.items() if value is not ...}
    status, answer = ask(app, json.dumps({"model": model, "records": [record]}))
    assert (status, answer["error"]["code"]) == (422, "invalid_records")
    details = {(d["record"], d["field"], d["code"]) for d in answer["error"]["details"]}
    assert (0, field, code) in details
    assert repr(field) in answer["error"]["message"] or field in answer["error"]["message"]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("tumour", {"texture": None}),  # nullable
        ("tumour", {"texture": ...}),
        ("tumour", {"radius": 10**30}),  # large, but a 32-bit float holds it, rounded
        ("tumour", {"cells": 12.0}),
        ("price", {"colour": "never seen"}),  # the contract says: other
        ("price", {"colour": 1}),  # a level by its JSON text
        ("price", {"active": 1}),
        ("price", {"customer": "c-1"}),  # part of the key, no feature
    ],
)
def test_what_looks_wrong_and_is_scored(app: Application, model: str, changes: dict[str, Any]) -> None:
    record = {**(TUMOUR_RECORD if model == "tumour" else MIXED_RECORD), **changes}
    record = {name: value for name, value in record.items() if value is not ...}
    status, answer = ask(app, json.dumps({"model": model, "records": [record]}))
    assert (status, len(answer.get("predictions", []))) == (200, 1)


def test_gzip_is_known_by_its_first_bytes(app: Application) -> None:
    assert ask(app, ZIPPED)[0] == ask(app, GOOD)[0] == 200
