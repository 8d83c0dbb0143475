"""A contract that somebody writes: every mistake is named by line and field; what is sound comes back unchanged."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlops.contract import (
    Capture,
    Checks,
    Contract,
    Drift,
    FileFormat,
    Gates,
    Release,
    Retrain,
    Target,
    Training,
)
from mlops.contract.rules import CLASSIFICATION_METRICS, REGRESSION_METRICS
from mlops.contract.source import InvalidContractError, check, dump, load, load_text, schema
from mlops.contract.writing import text
from mlops.errors import ContractError
from mlops.evaluation.metrics import METRICS
from mlops.features.spec import FEATURE_TYPES, Feature, OnUnknown, Pii, Severity

SECTIONS: dict[str, type] = {
    "target": Target,
    "file": FileFormat,
    "checks": Checks,
    "training": Training,
    "gates": Gates,
    "drift": Drift,
    "retrain": Retrain,
    "release": Release,
    "capture": Capture,
}

SMALL = """
name: small
task: classification
target: {name: bought, classes: [no, yes], positive: yes}
features:
  - {name: age, type: integer, minimum: 0, maximum: 120}
  - {name: size, type: category, categories: [small, large]}
"""


def problems(yaml_text: str) -> list[str]:
    with pytest.raises(InvalidContractError) as caught:
        load_text(yaml_text)
    return [str(p) for p in caught.value.problems]


# The schema and the dataclasses --------------------------------------------------------------------


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(schema())


def default_of(field: Any) -> Any:
    if field.default is not MISSING:
        return list(field.default) if isinstance(field.default, tuple) else field.default
    if field.default_factory is not MISSING:
        return dict(field.default_factory())
    return None


@pytest.mark.parametrize(("name", "kind"), [*SECTIONS.items(), ("features", Feature), ("attributes", Feature)])
def test_schema_and_dataclass_have_the_same_fields_and_defaults(name: str, kind: type) -> None:
    part = schema()["properties"][name]
    part = part["items"] if kind is Feature else part
    written = [
        f for f in fields(kind) if f.name != "pooled"
    ]  # what is rare in training is a version's, not a contract's
    assert list(part["properties"]) == [f.name for f in written]
    assert part["additionalProperties"] is False
    for field in written:
        described = part["properties"][field.name]
        assert described["description"], field.name
        if field.name in part.get("required", ()):
            continue
        if "default" in described:
            assert described["default"] == default_of(field), field.name
        else:
            assert default_of(field) == [], field.name


def test_schema_and_contract_have_the_same_top_level() -> None:
    assert set(schema()["properties"]) == {f.name for f in fields(Contract)}
    assert set(schema()["required"]) == {
        f.name for f in fields(Contract) if f.default is MISSING and f.default_factory is MISSING
    }


def test_the_schema_lists_what_the_code_knows() -> None:
    feature = schema()["properties"]["features"]["items"]["properties"]
    assert tuple(feature["type"]["enum"]) == FEATURE_TYPES
    assert tuple(feature["on_unknown"]["enum"]) == get_args(OnUnknown)
    assert tuple(feature["severity"]["enum"]) == get_args(Severity)
    assert tuple(feature["pii"]["enum"]) == get_args(Pii)
    assert {n for n, m in METRICS.items() if m.kind == "classification"} == set(CLASSIFICATION_METRICS)
    assert {n for n, m in METRICS.items() if m.kind == "regression"} == set(REGRESSION_METRICS)
    metrics = {*CLASSIFICATION_METRICS, *REGRESSION_METRICS}
    assert set(schema()["properties"]["training"]["properties"]["metric"]["enum"]) == {*metrics, None}
    assert set(schema()["properties"]["gates"]["properties"]["minimum"]["propertyNames"]["enum"]) == metrics


# Mistakes -------------------------------------------------------------------------------------------


def test_every_mistake_is_reported_with_its_line() -> None:
    found = problems(
        "name: Small Model\n"
        "task: clasification\n"
        "target: {name: y}\n"
        "features:\n"
        "  - {name: a, type: numeric}\n"
        "  - name: b\n"
        "    type: number\n"
        "    minimum: low\n"
        "checks:\n"
        "  max_bad_share: 2\n"
        "relaese: {}\n"
    )
    assert [p.split(":")[0] for p in found] == ["line 1", "line 2", "line 5", "line 8", "line 10", "line 11"]
    assert "did you mean 'classification'?" in found[1]
    assert "allowed are number, integer, boolean, category, date" in found[2]
    assert "features[1].minimum: expected a number or null, got 'low'" in found[3]
    assert "at most 1" in found[4]
    assert "did you mean 'release'?" in found[5]


RULES = [
    ("target: {name: y, classes: [a, b], positive: c}", "target.positive: 'c' is not one of target.classes (a, b)"),
    ("target: {name: y, classes: [a]}", "target.classes: classification needs at least two classes"),
    ("target: {name: y, classes: [a, b], minimum: 1}", "target.minimum: is for regression only"),
    ("target: {name: x1, classes: [a, b]}", "'x1' is the target; a model may not see what it predicts"),
    ("key: [x1]", "key[0]: 'x1' is a feature"),
    ("key: [y]", "key[0]: 'y' is the target"),
    ("timestamp: x1", "timestamp: 'x1' is a feature"),
    ("ignore: [x2]", "ignore[0]: 'x2' is used"),
    ("release: {steps: [0.5, 0.5]}", "release.steps[1]: 0.5 does not follow 0.5"),
    ("release: {steps: [0.5, 1]}", "release.steps[1]: 1 is too large; must be below 1"),
    ("release: {min_seconds: 10, max_seconds: 5}", "release.max_seconds: is below"),
    ("retrain: {quiet_hours: 22-24}", "retrain.quiet_hours: '22-24' has the wrong form"),
    ("retrain: {quiet_hours: 22-22}", "retrain.quiet_hours: '22-22' is empty"),
    ("gates: {minimum: {rmse: 1}}", "gates.minimum.rmse: 'rmse' is not a metric of classification"),
    ("training: {metric: r2}", "training.metric: 'r2' is not a metric of classification"),
    ("training: {split: time}", "training.split: time needs the contract's timestamp"),
    ("training: {split: group}", "training.split: group needs the contract's key"),
    ("training: {families: []}", "training.families: needs at least 1 entry"),
    ("drift: {methods: {age: magic}}", "drift.methods.age: "),
    ("drift: {methods: {zz: psi}}", "drift.methods.zz: 'zz' is not a feature"),
    ("drift: {confirmations: 3, windows: 2}", "drift.confirmations: cannot be more than"),
    ("file: {encoding: utf-9}", "file.encoding: 'utf-9' is unknown"),
    ("file: {encoding: base64}", "file.encoding: 'base64' is unknown"),
    ("file: {delimiter: ',', decimal: ','}", "file.decimal: is the delimiter too"),
    ("file: {delimiter: ';;'}", "file.delimiter: ';;' is too long"),
    ("checks: {min_rows: 1.5}", "checks.min_rows: expected a whole number, got 1.5"),
    ("checks: {min_rows: yes}", "checks.min_rows: expected a whole number, got 'yes'"),
    ("gates: {approval: yes}", "gates.approval: expected true or false, got 'yes'"),
    ("capture:", "capture: expected fields below it, got null"),
]


@pytest.mark.parametrize(("line", "message"), RULES)
def test_rules_over_several_fields(line: str, message: str) -> None:
    field = line.split(":", maxsplit=1)[0]
    given_fields = {
        "name": "name: m",
        "task": "task: classification",
        "target": "target: {name: y, classes: [a, b]}",
        "features": "features: [{name: x1, type: number}, {name: x2, type: date}]",
    }
    given_fields[field] = line
    found = problems("\n".join(given_fields.values()) + "\n")
    assert any(message in p for p in found), found
    assert any(f"line {list(given_fields).index(field) + 1}:" in p or "features" in p for p in found), found


FEATURES = [
    ("{name: a, type: number, minimum: 3, maximum: 2}", "features[0].minimum: 3 is above maximum (2)"),
    ("{name: a, type: category}", "features[0].categories: a category needs its list of levels"),
    ("{name: a, type: category, categories: [a, a]}", "features[0].categories: 'a' is listed twice"),
    ("{name: a, type: category, categories: [a, '']}", "an empty level is a missing value"),
    ("{name: a, type: boolean, minimum: 0}", "features[0].minimum: is for number and integer"),
    ("{name: a, type: date, categories: [x]}", "features[0].categories: is for type category"),
    ("{name: a, type: number, on_unknown: other}", "features[0].on_unknown: is for type category"),
    ("{name: a, type: number}, {name: a, type: date}", "features[1].name: 'a' is the name of features[0] already"),
    ("{name: a}", "features[0].type: is missing"),
    ("{name: a, type: number, minimum: .inf}", "features[0].minimum: expected a number or null"),
    ("{name: '', type: number}", "features[0].name: must not be empty"),
]


@pytest.mark.parametrize(("feature", "message"), FEATURES)
def test_rules_of_features(feature: str, message: str) -> None:
    found = problems(f"name: m\ntask: regression\ntarget: {{name: y}}\nfeatures: [{feature}]\n")
    assert any(message in p for p in found), found
    assert all(p.startswith("line 4:") for p in found)


@pytest.mark.parametrize(
    ("yaml_text", "message"),
    [
        ("\n", "the contract is empty"),
        ("- a\n- b\n", "expected fields such as 'name:'"),
        ("name: [a\n", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        (SMALL + "name: other\n", "is given twice (first in line 2)"),
    ],
)
def test_what_is_no_contract_at_all(yaml_text: str, message: str) -> None:
    assert any(message in p for p in problems(yaml_text))


def test_aliases_that_unfold_into_millions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("too large" in p for p in problems("\n".join(lines) + "\n"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ContractError, match="is a folder"):
        load(tmp_path)
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ContractError, match="not a text file"):
        load(binary)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ContractError, match="too large"):
        load(large)


# What is sound --------------------------------------------------------------------------------------


def test_texts_stay_as_written() -> None:
    contract = load_text(
        "name: m\ntask: classification\n"
        "target: {name: on, classes: [no, yes, 010, 1.0, null]}\n"
        "features: [{name: 2020, type: category, categories: [no, 1_0, 0x1, 2026-03-01, b]}]\n"
    )
    assert contract.target == Target("on", ("no", "yes", "010", "1.0", "null"))
    assert contract.features[0] == Feature("2020", "category", categories=("no", "1_0", "0x1", "2026-03-01", "b"))


def test_numbers_are_those_of_yaml_1_2_and_whole_numbers_make_no_other_contract() -> None:
    one = load_text(SMALL.replace("maximum: 120", "maximum: 1.2e2"))
    assert one == load_text(SMALL)
    assert one.digest() == load_text(SMALL).digest()
    assert load_text(SMALL.replace("120", "1e3")).feature("age").maximum == 1000.0


def test_a_path_and_a_text_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("\ufeff" + SMALL, encoding="utf-8")
    assert load(path) == load(str(path)) == load(SMALL)


def test_check_names_what_code_built_wrong() -> None:
    contract = load_text(SMALL)
    assert check(contract) == []
    wrong = Contract("m", "regression", Target("y", ("a", "b")), (Feature("x", "number"),))
    assert check(wrong) == ["target.classes: is for classification only; leave it out or set task: classification"]


def test_dump_teaches_and_reads_back() -> None:
    contract = load_text(SMALL + "release: {steps: [0.25]}\nkey: [customer]\n")
    written = dump(contract, {"age": "a\nguess"})
    assert written.startswith("# yaml-language-server: $schema=")
    assert "{name: age, type: integer, minimum: 0, maximum: 120}  # a guess\n" in written
    assert "\nrelease:\n  steps: [0.25]\n" in written
    assert "# gates:" in written
    assert load_text(written) == contract


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda t: t.strip() == t
)


@given(words)
def test_any_text_survives_writing(value: str) -> None:
    start = "name: m\ntask: regression\nfeatures: [{name: other column, type: date}]\n"
    contract = load_text(f"{start}target: {{name: {text(value)}}}\n")
    assert contract.target.name == value


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(st.lists(words, min_size=4, max_size=7, unique=True))
    features = [Feature(names[0], "number", draw(st.booleans()), draw(st.none() | st.floats(-1e9, 0)), 1.5)]
    levels = tuple(draw(st.lists(words, min_size=1, max_size=30, unique=True)))
    features.append(
        Feature(names[1], "category", categories=levels, on_unknown=draw(st.sampled_from(["other", "reject"])))
    )
    classes = tuple(draw(st.lists(words, min_size=2, max_size=5, unique=True)))
    return Contract(
        "m-1",
        "classification",
        Target(names[2], classes, classes[0] if len(classes) == 2 else None),
        tuple(features),
        description=draw(words),
        key=(names[3],),
        ignore=tuple(names[4:]),
        checks=Checks(max_bad_share=draw(st.floats(0, 1)), min_rows=draw(st.integers(1, 10**6))),
        drift=Drift(threshold=draw(st.floats(1e-6, 10)), methods={names[0]: "psi"}),
    )


@given(contracts())
@settings(max_examples=60, deadline=None)
def test_any_contract_survives_writing(contract: Contract) -> None:
    again = load_text(dump(contract))
    assert again == contract
    assert again.digest() == contract.digest()
    assert Contract.from_dict(contract.to_dict()) == contract
