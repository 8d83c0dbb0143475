"""The OpenAPI document of the models in force, and the page that shows it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from mlops.features.spec import Feature
from mlops.inference.application import Application
from mlops.inference.errors import ERRORS
from mlops.inference.openapi import feature_schema
from mlops.inference.parsing import Parser
from tests.unit.inference.small_models import MIXED, MIXED_RECORD, TUMOUR_RECORD, application, proxy_event


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models)


def document(app: Application, models: str = "*") -> dict[str, Any]:
    event = proxy_event("GET", "/openapi.json")
    event["requestContext"]["authorizer"]["models"] = models
    response = app.handle(event, None)
    assert response["statusCode"] == 200
    result: dict[str, Any] = json.loads(response["body"])
    return result


def test_the_document_is_valid_openapi(app: Application) -> None:
    assert list(OpenAPIV31SpecValidator(document(app)).iter_errors()) == []


def test_it_says_which_routes_need_no_token_and_where_they_are(app: Application) -> None:
    found = document(app)
    is_open = {path for path, methods in found["paths"].items() if methods.get("get", {}).get("security") == []}
    assert is_open == {"/docs", "/v2/health/live", "/v2/health/ready"}
    assert found["servers"][0]["url"] == ".", "below the stage's name, whatever it is"
    assert "429" in found["paths"]["/predict"]["post"]["responses"]


def test_it_is_valid_without_any_model(tmp_path: Path) -> None:
    assert list(OpenAPIV31SpecValidator(document(application(tmp_path))).iter_errors()) == []


def test_it_describes_the_models_that_the_token_permits(app: Application) -> None:
    def titles(models: str) -> list[str]:
        return [m["title"] for m in document(app, models)["components"]["schemas"]["PredictRequest"]["oneOf"]]

    assert titles("*") == ["tumour", "price"]
    assert titles("price") == ["price"]


def test_requests_that_the_document_describes_are_accepted(app: Application) -> None:
    schema = document(app)["components"]["schemas"]["PredictRequest"]
    for model, record in (("tumour", TUMOUR_RECORD), ("price", {**MIXED_RECORD, "customer": "c"})):
        request = {"model": model, "records": [record]}
        assert Draft202012Validator(schema).is_valid(request)
        assert app.handle(proxy_event("POST", "/predict", request), None)["statusCode"] == 200
        wrong = {"model": model, "records": [{**record, "extra": 1}]}
        assert not Draft202012Validator(schema).is_valid(wrong)


def test_answers_are_as_the_document_describes(app: Application) -> None:
    schemas = document(app)["components"]["schemas"]
    root = {"components": {"schemas": schemas}}
    body = {"model": "tumour", "records": [{**TUMOUR_RECORD, "radius": 99}]}
    answer = json.loads(app.handle(proxy_event("POST", "/predict", body), None)["body"])
    Draft202012Validator({**root, "$ref": "#/components/schemas/Prediction"}).validate(answer)
    error = json.loads(app.handle(proxy_event("POST", "/predict", {}), None)["body"])
    Draft202012Validator({**root, "$ref": "#/components/schemas/PlainError"}).validate(error)


VALUES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9) | st.text(max_size=4)


@pytest.mark.parametrize("feature", [f for f in MIXED if f.type != "date"], ids=lambda f: f.name)
@given(value=VALUES)
@settings(deadline=None, max_examples=80)
def test_a_feature_schema_refuses_nothing_that_is_accepted(feature: Feature, value: Any) -> None:
    is_accepted = Parser([feature]).parse([{feature.name: value}]).problem_count == 0
    if is_accepted:
        assert Draft202012Validator(feature_schema(feature)).is_valid(value)


def test_examples_are_accepted() -> None:
    for feature in MIXED:
        for example in feature_schema(feature)["examples"]:
            assert Parser([feature]).parse([{feature.name: example}]).problem_count == 0


def test_every_status_of_the_error_table_has_a_response(app: Application) -> None:
    responses = document(app)["components"]["responses"]
    for code, (status, _) in ERRORS.items():
        assert f"`{code}`" in responses[f"Plain{status}"]["description"]


class Tags(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_page_works_offline_and_can_reach_nothing_else(app: Application) -> None:
    response = app.handle(proxy_event("GET", "/docs"), None)
    assert response["statusCode"] == 200
    assert response["headers"]["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in response["headers"]["Content-Security-Policy"]
    tags = Tags()
    tags.feed(response["body"])
    assert tags.loads == []
    assert not re.search(r"https?://|innerHTML|document\.write|eval\(", response["body"])
