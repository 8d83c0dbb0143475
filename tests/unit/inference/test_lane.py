"""The short way of plain requests answers, prints and refuses as the general way does."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.spec import Feature
from mlops.inference import scoring
from mlops.inference.application import Application
from mlops.inference.lane import MAX_BODY, build, reader
from mlops.inference.parsing import Parser
from tests.unit.inference.small_models import (
    TUMOUR_RECORD,
    application,
    classifier,
    failing,
    linear,
    proxy_event,
    put_set,
    put_version,
    regressor,
    routes,
)

FEATURES = (
    Feature("height", "number", minimum=0.0, maximum=3.0),
    Feature("weight", "number", nullable=True),
    Feature("count", "integer", minimum=-5),
    Feature("steps", "integer", nullable=True),
    Feature("active", "boolean"),
    Feature("known", "boolean", nullable=True),
    Feature("colour", "category", categories=("red", "a}, {b", 'quo"te', "grün"), on_unknown="other"),
    Feature("size", "category", categories=("S", "1"), nullable=True),
)
PLAIN = st.fixed_dictionaries(
    {
        "height": st.floats(0.0, 3.0) | st.integers(0, 3),
        "weight": st.floats(-1e30, 1e30) | st.integers(-(2**60), 2**60) | st.none(),
        "count": st.integers(-5, 2**40),
        "steps": st.integers(-(2**40), 2**40) | st.none(),
        "active": st.booleans(),
        "known": st.booleans() | st.none(),
        "colour": st.sampled_from(["red", 'quo"te', "grün"]),
        "size": st.sampled_from(["S", "1", None]),
    }
)
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING |= st.sampled_from(["red", "a}, {b", "x:y", "\n", "S", "1", [], {}, [1], {"a": 1}, 1e39, -1e39, 2**70])
ODD = st.dictionaries(st.sampled_from([*(f.name for f in FEATURES), "extra"]), ANYTHING)
NAMES = ("two", "three", "value", "sampled")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """Two classes with a threshold, three classes, a value, and one that captures half of its requests."""
    folder = tmp_path_factory.mktemp("lane")
    put_version(folder, classifier("two", features=FEATURES, threshold=0.4))
    put_version(folder, classifier("three", features=FEATURES, classes=("a", 'b"', "ü"), positive=None))
    put_version(folder, regressor("value", features=FEATURES, version="aaaaaaaaaaaa", key=("person",)))
    put_version(folder, classifier("sampled", features=FEATURES, capture_rate=0.5))
    put_set(folder, dict.fromkeys(NAMES, ("aaaaaaaaaaaa", None)))
    return application(folder)


@contextmanager
def captured(monkeypatch: pytest.MonkeyPatch, identity: bytes) -> Iterator[io.StringIO]:
    """What is printed, with one inference id for all requests."""
    with monkeypatch.context() as patch:
        patch.setattr("os.urandom", lambda size: identity[:size])
        stream = io.StringIO()
        patch.setattr(sys, "stdout", stream)
        yield stream


def timeless(text: str) -> str:
    text = re.sub(r'"time":"[^"]*"', '"time":""', text)
    return re.sub(r'"(us|Latency|Timestamp)":\d+', r'"\1":0', text)


def both_ways(app: Application, event: Any, identity: bytes = b"\x11" * 16) -> tuple[Any, str, Any, str]:
    """Answer and lines of the short way, and of the general way of a process that has not seen a request."""
    monkeypatch = pytest.MonkeyPatch()
    with captured(monkeypatch, identity) as stream:
        short = build(app)(event)
        short_lines = timeless(stream.getvalue())
    app._quick, app._is_first = None, True
    with captured(monkeypatch, identity) as stream:
        general = app.handle(event, None)
        general_lines = timeless(stream.getvalue())
    return short, short_lines, general, general_lines


@given(
    st.sampled_from(NAMES),
    PLAIN,
    st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}]),
    st.binary(min_size=16, max_size=16),
)
@settings(max_examples=150, deadline=None)
def test_plain_requests_go_it_and_are_answered_alike(
    app: Application, name: str, record: dict[str, Any], layout: Any, identity: bytes
) -> None:
    event = proxy_event("POST", "/predict", json.dumps({"model": name, "records": [record]}, **layout))
    short, short_lines, general, general_lines = both_ways(app, event, identity)
    assert short is not None
    assert short == general
    assert short_lines == general_lines


@given(st.sampled_from(NAMES), ODD | st.tuples(PLAIN, ODD).map(lambda pair: {**pair[0], **pair[1]}))
@settings(max_examples=250, deadline=None)
def test_what_it_answers_is_what_the_general_way_answers(app: Application, name: str, record: dict[str, Any]) -> None:
    event = proxy_event("POST", "/predict", json.dumps({"model": name, "records": [record]}))
    short, short_lines, general, general_lines = both_ways(app, event)
    if short is None:
        assert short_lines == ""
    else:
        assert (short, short_lines) == (general, general_lines)


GOOD = {
    "height": 1.5,
    "weight": 70,
    "count": 3,
    "steps": None,
    "active": True,
    "known": None,
    "colour": "red",
    "size": "S",
}
BODY = json.dumps({"model": "two", "records": [GOOD]})


def with_context(**changes: Any) -> dict[str, Any]:
    event = proxy_event("POST", "/predict", BODY)
    event["requestContext"]["authorizer"] |= changes
    return event


@pytest.mark.parametrize(
    "event",
    [
        proxy_event("GET", "/predict", BODY),
        proxy_event("POST", "/docs", BODY),
        proxy_event("POST", "/predict", BODY, isBase64Encoded=True),
        proxy_event("POST", "/predict", None),
        proxy_event("POST", "/predict", BODY[:-1]),
        proxy_event("POST", "/predict", BODY.replace('"count": 3', '"count": 3, "count": 3')),
        proxy_event("POST", "/predict", BODY.replace('"model"', '"partial": true, "model"')),
        proxy_event("POST", "/predict", BODY.replace('"two"', '"unknown"')),
        proxy_event("POST", "/predict", BODY.replace('"two"', "[]")),
        proxy_event("POST", "/predict", BODY.replace("1.5", "3.5")),
        proxy_event("POST", "/predict", BODY.replace(", ", ",\n")),
        proxy_event("POST", "/predict", BODY + " " * MAX_BODY),
        proxy_event("POST", "/predict", {"model": "two", "records": [GOOD, GOOD]}),
        proxy_event("POST", "/predict", {"model": "two", "records": []}),
        with_context(scopes="models:read"),
        with_context(scopes=None),
        with_context(models="three"),
        {"task": "describe"},
        {},
        [],
    ],
    ids=range(20),
)
def test_what_is_not_plain_goes_the_general_way(app: Application, event: Any) -> None:
    short, short_lines, _, _ = both_ways(app, event)
    assert short is None
    assert short_lines == ""


def test_scopes_and_models_of_a_token_are_looked_at(app: Application) -> None:
    short, short_lines, general, general_lines = both_ways(
        app, with_context(scopes="models:read predict", models="three two")
    )
    assert short is not None
    assert (short, short_lines) == (general, general_lines)


def test_the_second_request_goes_it(app: Application) -> None:
    app._quick, app._is_first = None, True
    event = proxy_event("POST", "/predict", BODY)
    assert app.handle(event, None)["statusCode"] == 200
    assert app._quick is None
    assert app.handle(event, None)["statusCode"] == 200
    assert app._quick is not None
    assert app._quick(event) is not None


def nan(columns: int, outputs: int) -> Any:
    return linear(columns, outputs, 1, bias=float("nan"))


@pytest.mark.parametrize("graph", [nan, failing], ids=["nan", "raises"])
def test_a_model_that_gives_nothing_fails_the_general_way(tmp_path: Path, graph: Any) -> None:
    put_version(tmp_path, classifier(), graph=graph)
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", None)})
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [TUMOUR_RECORD]})
    short, _, general, _ = both_ways(application(tmp_path), event)
    assert short is None
    assert json.loads(general["body"])["error"]["code"] == "model_failed"


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"features": (Feature("since", "date"),)}, {}),
        ({"features": (Feature("radius", "number", pii="drop"),)}, {}),
        ({"features": (Feature("radius", "number"),), "key": ("radius",)}, {}),
        ({"features": (Feature("radius", "number"),)}, {"routes": routes(0.0)}),
    ],
    ids=["dates", "personal", "key", "release"],
)
def test_models_that_need_more_than_it_does_have_none(tmp_path: Path, changes: Any, setting: Any) -> None:
    for version in ("aaaaaaaaaaaa", "cccccccccccc"):
        put_version(tmp_path, classifier(version=version, **changes))
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", "cccccccccccc")})
    record = {f.name: "2026-01-31" if f.type == "date" else 1.5 for f in changes["features"]}
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [record]})
    short, _, general, _ = both_ways(application(tmp_path, **setting), event)
    assert short is None
    assert general["statusCode"] == 200


def test_a_request_that_comes_while_the_buffers_are_used_goes_the_general_way(app: Application) -> None:
    event = proxy_event("POST", "/predict", BODY)
    quick = build(app)
    assert quick(event) is not None
    cells = dict(zip(quick.__code__.co_freevars, quick.__closure__, strict=True))  # type: ignore[attr-defined]
    lane = cells["lanes"].cell_contents["two"]
    with lane.lock:
        assert quick(event) is None
    assert quick(event) is not None


@given(PLAIN | ODD)
@settings(max_examples=200, deadline=None)
def test_a_compiled_reader_reads_as_the_careful_reading_or_refuses(record: dict[str, Any]) -> None:
    matrix = np.zeros((1, len(FEATURES)), np.float32)
    try:
        is_plain = len(record) == len(FEATURES) and reader(FEATURES, matrix)(record)
    except (KeyError, TypeError):
        is_plain = False
    if is_plain:
        careful = Parser(FEATURES).careful([orjson.loads(orjson.dumps(record))])
        assert (careful.problem_count, careful.warnings) == (0, [])
        np.testing.assert_array_equal(matrix, careful.matrix)


def test_names_of_a_model_are_no_part_of_the_source() -> None:
    hostile = '"]; raise SystemExit #'
    feature = Feature(hostile, "category", categories=(hostile, "x"))
    matrix = np.zeros((1, 1), np.float32)
    assert reader([feature], matrix)({hostile: "x"})
    assert matrix.tolist() == [[1.0]]


def test_ids_are_random(app: Application) -> None:
    quick = build(app)
    event = proxy_event("POST", "/predict", BODY)
    ids = {(quick(event) or {})["headers"]["X-Inference-Id"] for _ in range(50)}
    assert len(ids) == 50
    assert all(len(i) == len(scoring.new_inference_id()) for i in ids)
