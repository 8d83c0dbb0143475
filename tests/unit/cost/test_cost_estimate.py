"""The estimate from a template; the default stack's idle cost is guarded here."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlops.cost.estimate import break_even, estimate, make, render_terminal
from mlops.cost.estimate_page import to_html, to_json
from mlops.cost.idle import Idle, idle, unknown_types
from mlops.cost.lines import add, price_lines
from mlops.cost.load import Load, load, seconds_with
from mlops.cost.money import cents
from mlops.cost.prices import snapshot
from mlops.cost.template import Opaque, Template, evaluate
from mlops.cost.template_file import read
from mlops.errors import MlopsError

D = Decimal
REAL = Path(__file__).parents[3] / "template.yaml"

SMALL: dict[str, Any] = {
    "Parameters": {"Memory": {"Type": "Number", "Default": 512}, "Target": {"Type": "String", "Default": "aws"}},
    "Conditions": {"OnAws": {"Fn::Equals": [{"Ref": "Target"}, "aws"]}},
    "Globals": {"Function": {"Tracing": "Active", "MemorySize": 256, "Environment": {"Variables": {"A": "1"}}}},
    "Resources": {
        "PredictFunction": {"Type": "AWS::Serverless::Function", "Properties": {
            "MemorySize": {"Ref": "Memory"}, "Environment": {"Variables": {"B": {"Ref": "AWS::StackName"}}}}},
        "Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {}},
        "Key": {"Type": "AWS::KMS::Key", "Condition": "OnAws", "Properties": {}},
        "Api": {"Type": "AWS::Serverless::Api", "Properties": {}},
    },
}  # fmt: skip


def small(**parameters: Any) -> Template:
    return evaluate(SMALL, parameters)


def test_the_default_stack_idle_costs_less_than_three_dollars_a_month_without_any_free_tier() -> None:
    template = read(str(REAL))
    lines = price_lines(idle(template, Idle()), snapshot(), "us-east-1")
    total = add(lines)
    assert total.complete, f"no price for {total.unknown}: a standing charge would go unseen"
    detail = ", ".join(f"{x.key} {x.amount:.4f}" for x in sorted(lines, key=lambda x: -(x.amount or 0))[:6])
    assert total.usd < 3, f"the default stack costs {total.usd:.2f} USD a month at rest: {detail}"


def test_every_resource_type_of_the_template_is_understood() -> None:
    assert unknown_types(read(str(REAL))) == []


@pytest.mark.parametrize(
    ("kind", "properties", "usd"),
    [
        ("AWS::KMS::Key", {}, "1.00"),
        ("AWS::SecretsManager::Secret", {}, "0.40"),
        ("AWS::CloudWatch::Dashboard", {}, "3.00"),
        ("AWS::WAFv2::WebACL", {"Rules": [{}, {}]}, "7.00"),
        (
            "AWS::CloudWatch::Alarm",
            {"Metrics": [{"MetricStat": {}}, {"MetricStat": {}}, {"Expression": "a/b"}]},
            "0.20",
        ),
    ],
)
def test_a_standing_charge_added_to_the_template_is_seen(kind: str, properties: dict[str, Any], usd: str) -> None:
    before = add(price_lines(idle(evaluate(SMALL, {}), Idle()), snapshot(), "us-east-1")).usd
    more = {**SMALL, "Resources": {**SMALL["Resources"], "New": {"Type": kind, "Properties": properties}}}
    after = add(price_lines(idle(evaluate(more, {}), Idle()), snapshot(), "us-east-1")).usd
    assert after - before == D(usd)


def test_keeping_predict_warm_is_a_standing_charge() -> None:
    for setting, key in (
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "lambda.snapstart_gb_seconds"),
        ({"ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 2}}, "lambda.provisioned_gb_seconds"),
    ):
        changed = {**SMALL, "Resources": {"PredictFunction": {
            "Type": "AWS::Serverless::Function", "Properties": {"MemorySize": 1024, **setting}}}}  # fmt: skip
        found = {q.key: q.amount for q in idle(evaluate(changed, {}), Idle())}
        assert found[key] == 730 * 3600 * (2 if "prov" in key else 1)


def test_a_resource_of_a_new_kind_is_reported_and_not_passed_over() -> None:
    more = {**SMALL, "Resources": {"X": {"Type": "AWS::Redshift::Cluster", "Properties": {}}}}
    found = make(evaluate(more, {}), Load(requests=1), "us-east-1")
    assert found.unknown_types == ("AWS::Redshift::Cluster",)
    assert "AWS::Redshift::Cluster" in render_terminal(found)


def test_schedules_cost_what_they_run_and_nothing_when_switched_off() -> None:
    def template(state: str) -> Template:
        event = {"Type": "ScheduleV2", "Properties": {"ScheduleExpression": "rate(1 hour)", "State": state}}
        properties = {"MemorySize": 1024, "Events": {"E": event}}
        return evaluate({"Resources": {"F": {"Type": "AWS::Serverless::Function", "Properties": properties}}}, {})

    assert idle(template("DISABLED"), Idle()) == []
    found = {q.key: q.amount for q in idle(template("ENABLED"), Idle(scheduled_seconds=D(2)))}
    assert found["lambda.requests"] == 730
    assert found["lambda.gb_seconds"] == 1460
    assert found["cloudwatch.metrics"] == 1


def test_parameters_conditions_globals_and_references_are_resolved() -> None:
    found = small()
    predict = found.resources[0].properties
    assert predict["MemorySize"] == 512
    assert predict["Tracing"] == "Active"
    assert predict["Environment"]["Variables"] == {"A": "1", "B": Opaque("AWS::StackName")}
    assert [r.name for r in small(Target="local").resources] == ["PredictFunction", "Alarm", "Api"]


def test_the_real_template_obeys_its_parameters() -> None:
    dear = estimate(str(REAL), 0, parameters={"PredictMemory": 2048, "PredictSnapStart": "PublishedVersions"})
    assert any(x.key == "lambda.snapstart_gb_seconds" for x in dear.idle_lines)
    assert any(r.kind == "AWS::Budgets::Budget" for r in read(str(REAL), {"MonthlyBudgetUsd": 10}).resources)
    off = {f"{name}ScheduleState": "DISABLED" for name in ("Drift", "Quality", "Cost", "Retrain", "Housekeeping")}
    quiet = estimate(str(REAL), 0, parameters=off)
    assert not any(x.key == "lambda.requests" for x in quiet.idle_lines)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "mapping 'Resources'"), ([], "mapping 'Resources'"), ({"Resources": []}, "mapping 'Resources'"),
        ({"Resources": {"A": {}}}, "'A' has no Type"),
        ({"Resources": {"A": {"Type": "T", "Condition": "C"}}}, "no condition 'C'"),
        ({"Conditions": {"C": {"Condition": "C"}}, "Resources": {"A": {"Type": "T", "Condition": "C"}}}, "itself"),
        ({"Conditions": {"C": "maybe"}, "Resources": {"A": {"Type": "T", "Condition": "C"}}}, "not true or false"),
        ({"Parameters": {"P": {"Type": "String"}}, "Resources": {}}, "'P' has no default"),
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused_by_name(document: Any, message: str) -> None:
    with pytest.raises(MlopsError, match=message):
        evaluate(document, {})


def test_files_that_are_no_template(tmp_path: Path) -> None:
    with pytest.raises(MlopsError, match="no template file"):
        read(str(tmp_path / "absent.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("Resources: [\n", encoding="utf-8")
    with pytest.raises(MlopsError, match="not YAML"):
        read(str(broken))
    with pytest.raises(MlopsError, match="no parameter 'Colour'"):
        read(str(REAL), {"Colour": "red"})


def test_yaml_tags_never_make_python_objects(tmp_path: Path) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text("Resources:\n  A:\n    Type: !!python/object/apply:os.system ['true']\n", encoding="utf-8")
    with pytest.raises(MlopsError, match="not YAML"):
        read(str(evil))


def test_a_million_requests_by_hand() -> None:
    """The largest parts of docs/cost.md's worksheet, calculated again without the code under test."""
    traced = {"Type": "AWS::Serverless::Api", "Properties": {"TracingEnabled": True}}
    functions = {
        f"{name}Function": {"Type": "AWS::Serverless::Function", "Properties": {"MemorySize": size}}
        for name, size in (("Predict", 1024), ("CaptureWriter", 256), ("Authorizer", 256))
    }
    found = make(evaluate({"Resources": {"Api": traced, **functions}}, {}), Load(requests=1_000_000), "us-east-1")
    by_key: dict[tuple[str, str], Decimal] = {}
    for x in found.load_lines:
        assert x.amount is not None
        by_key[x.key, x.resource] = by_key.get((x.key, x.resource), D(0)) + x.amount
    assert by_key["apigateway.rest_requests", "API"] == D("3.50")
    assert by_key["lambda.requests", "predict"] == D("0.20")
    # 3 ms warm and 0.5 % x 600 ms cold, 1 GB: 6 ms a request.
    assert by_key["lambda.gb_seconds", "predict"] == 6_000 * D("0.0000166667")
    seconds = 2_628_000 * (1 - (-D(1_000_000) / 2_628_000).exp())
    assert abs(by_key["xray.traces", "API"] - (seconds + (1_000_000 - seconds) * D("0.05")) * D("0.000005")) < D(
        "1e-12"
    )
    assert abs(by_key["s3.put_requests", "captures"] - seconds * D("0.000005")) < D("1e-12")


def test_more_requests_never_cost_less() -> None:
    template = read(str(REAL))
    totals = [
        add(price_lines(load(template, Load(requests=n)), snapshot(), "us-east-1")).usd
        for n in (0, 1, 1000, 10**6, 10**8, 10**9)
    ]
    assert totals == sorted(totals)
    assert totals[0] > 0, "four retrainings a month cost something without a request"


@given(
    requests=st.integers(0, 10**9), rows=st.integers(1, 5000), tokens=st.integers(1, 10_000),
    memory=st.integers(128, 10_240), rate=st.decimals(0, 1, places=2),
)  # fmt: skip
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_load_gives_amounts_that_are_not_negative(
    requests: int, rows: int, tokens: int, memory: int, rate: Decimal
) -> None:
    wanted = Load(requests=requests, rows=rows, tokens=tokens, memory_mb=memory, capture_rate=rate)
    for q in load(small(), wanted):
        assert q.amount >= 0, q
    assert seconds_with(D(requests)) <= min(D(requests), 730 * 3600) + D("1e-9")


@pytest.mark.parametrize(
    "bad", [{"requests": -1}, {"rows": 0}, {"memory_mb": 64}, {"architecture": "riscv"}, {"capture_rate": D(2)}]
)
def test_loads_out_of_range_are_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(MlopsError, match=next(iter(bad))):
        Load(**{"requests": 1, **bad})


def test_arm_memory_and_duration_are_taken_over() -> None:
    found = make(
        small(),
        Load(requests=1000, duration_ms=D(20), cold_share=D(0), memory_mb=2048, architecture="arm64"),
        "us-east-1",
    )
    (line,) = [x for x in found.load_lines if x.key == "lambda.gb_seconds_arm"]
    assert line.quantity == 1000 * D("0.020") * 2


def test_break_even_is_where_the_curves_cross() -> None:
    assert break_even(D, lambda n: D(1_000_000)) == pytest.approx(1_000_000, rel=0.002)
    assert break_even(lambda n: D(5), lambda n: D(5) + n) == 0
    assert break_even(lambda n: D(0), lambda n: D(1)) is None


def test_a_break_even_is_one() -> None:
    found = estimate(str(REAL), 1_000_000)
    for i, offer in enumerate(found.offers):
        if offer.break_even:
            at = estimate(str(REAL), offer.break_even)
            before = estimate(str(REAL), offer.break_even * 99 // 100)
            assert at.offers[i].total.usd <= at.serving.usd
            assert before.offers[i].total.usd > before.serving.usd


def test_without_prices_totals_are_lower_bounds_and_break_evens_unknown() -> None:
    found = estimate(str(REAL), 1_000_000, region="mars-north-1")
    assert not found.total.complete
    assert all(o.break_even is None for o in found.offers)
    text = render_terminal(found)
    assert "at least" in text
    assert "break-even unknown" in text
    assert "No price known in mars-north-1" in text


def test_the_page_and_json_hold_the_estimate() -> None:
    found = estimate(str(REAL), 10_000_000)
    page = to_html(found).decode()
    assert "<svg" in page
    assert "SageMaker serverless" in page
    assert b'"schema": "mlops.cost-estimate.v1"' in to_json(found)
    assert len(found.to_dict()["curve"]) == len(found.curve)


def test_no_requests_have_no_price_per_thousand() -> None:
    found = make(small(), Load(requests=0), "us-east-1")
    assert found.per_1000_requests is None
    assert "unknown" in render_terminal(found)


SCALES = (1_000_000, 10_000_000, 100_000_000)


def test_the_worksheet_in_the_docs_is_true() -> None:
    """docs/cost.md states the cost by service for three loads; the template decides whether that still holds."""
    found = [estimate(str(REAL), n) for n in SCALES]
    services: dict[str, list[str]] = {name: [] for name in found[-1].by_service()}
    for each in found:
        for name, amount in each.by_service().items():
            services[name].append(f"{cents(amount.usd):,.2f}")
    services["Total"] = [f"{cents(each.total.usd):,.2f}" for each in found]
    services["Idle"] = [f"{cents(each.idle.usd):,.2f}" for each in found]
    page = (REAL.parent / "docs" / "cost.md").read_text("utf-8")
    rows = {}
    for line in page.splitlines():
        cells = [c.strip().strip("*") for c in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0] in services:
            rows[cells[0]] = cells[1:]
    wrong = {name: " | ".join(values) for name, values in services.items() if rows.get(name) != values}
    assert not wrong, f"docs/cost.md, table 'What a load costs', should say: {wrong}"
