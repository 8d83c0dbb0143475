"""Answers and captures written as text say exactly what those built as values say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.spec import Feature
from mlops.inference.answers import records_answer
from mlops.inference.application import Application
from mlops.inference.parsing import Parser
from mlops.inference.texts import answer_text, capture_text, record_texts
from tests.unit.inference.small_models import application, classifier, put_set, put_version, regressor

PLAIN = (
    Feature("height", "number", minimum=0.0, maximum=3.0),
    Feature("count", "integer"),
    Feature("colour", "category", categories=("red", "a}, {b", 'quo"te', "grün"), on_unknown="other"),
)
RECORD = st.fixed_dictionaries(
    {
        "height": st.floats(0.0, 3.0) | st.integers(0, 3),
        "count": st.integers(-(2**40), 2**40),
        "colour": st.sampled_from([*PLAIN[2].categories, "x{", "}", "\n", "blue"]),
    }
)
LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """Two classes with a threshold, three classes, and a value."""
    folder = tmp_path_factory.mktemp("texts")
    put_version(folder, classifier("two", features=PLAIN, threshold=0.4))
    put_version(folder, classifier("three", features=PLAIN, classes=("a", 'b"', "ü"), positive=None))
    put_version(folder, regressor("value", features=PLAIN, key=()))
    names = {"two": "aaaaaaaaaaaa", "three": "aaaaaaaaaaaa", "value": "bbbbbbbbbbbb"}
    put_set(folder, {name: (version, None) for name, version in names.items()})
    return application(folder)


@given(st.sampled_from(["two", "three", "value"]), st.lists(RECORD, min_size=1, max_size=5), LAYOUTS)
@settings(max_examples=200, deadline=None)
def test_text_and_values_give_the_same_json(
    app: Application, model: str, records: list[dict[str, Any]], layout: dict[str, Any]
) -> None:
    body = json.dumps({"model": model, "records": records}, **layout)
    outcome = app.scorer.score(model, orjson.loads(body)["records"])
    answer = answer_text(outcome)
    assert answer is not None
    assert answer.encode() == orjson.dumps(records_answer(outcome))
    (expected,) = app.capture.lines(outcome, "r", body=b"")
    (line,) = app.capture.lines(outcome, "r", body=body)
    assert "\n" not in line
    assert json.loads(line) == json.loads(expected)
    assert list(json.loads(line)) == list(json.loads(expected))


@pytest.mark.parametrize("separator", [", ", ","])
def test_plain_records_are_cut_from_the_body(app: Application, separator: str) -> None:
    records = [{"height": 1.50, "count": 3, "colour": "red"}] * 3
    body = json.dumps({"model": "two", "records": records}, separators=(separator, ":"))
    outcome = app.scorer.score("two", records)
    line = capture_text(outcome, body, "now", "r")
    assert line is not None
    assert [row["features"] for row in json.loads(line)["rows"]] == records


@pytest.mark.parametrize(
    "body",
    [
        '{"records": [{"a": "}, {"}, {"a": 1}]}',
        '{"records": [{"a": 1},\n{"a": 2}]}',
        '{"records": [{"a": 1}, {"a": {}}]}',
        '{"records": [{"a": 1} ,{"a": 2}]}',
        '{"records": [{"a": 1}]}',
    ],
)
def test_a_body_that_is_in_doubt_is_not_cut(body: str) -> None:
    assert record_texts(body, 2) is None


@given(st.lists(RECORD, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_record_alone_is_read_as_in_a_batch_and_as_by_the_careful_reading(records: list[dict[str, Any]]) -> None:
    parser = Parser(PLAIN)
    together = parser.parse(records)
    careful = parser.careful(records)
    np.testing.assert_array_equal(together.matrix, careful.matrix)
    for index, record in enumerate(records):
        alone = parser.parse([record])
        np.testing.assert_array_equal(alone.matrix[0], careful.matrix[index])
        assert alone.warnings == [{**w, "record": 0} for w in careful.warnings if w["record"] == index]


@pytest.mark.parametrize("value", [True, "1", None, [], {}, 1e39, float("nan"), float("inf"), -1e39, 10**400, 3.5])
@pytest.mark.parametrize("name", ["height", "count"])
def test_the_quick_readings_let_nothing_wrong_through(name: str, value: Any) -> None:
    good = {"height": 1.0, "count": 1, "colour": "red"}
    parser = Parser(PLAIN)
    for batch in ([{**good, name: value}], [good, {**good, name: value}]):
        quick, careful = parser.parse(batch), parser.careful(batch)
        assert quick.problems == careful.problems
        assert quick.warnings == careful.warnings
        np.testing.assert_array_equal(quick.matrix, careful.matrix)


def test_the_extension_alone_answers_as_the_public_session_does(app: Application) -> None:
    model = app.models.champion("two")
    public = onnxruntime.InferenceSession(str(Path(model.folder) / "model.onnx"), providers=["CPUExecutionProvider"])
    matrix = np.random.default_rng(3).normal(size=(50, model.parser.width)).astype(np.float32)
    np.testing.assert_array_equal(model.run(matrix), public.run(["probabilities"], {"input": matrix})[0])
