"""The template is code: what every function, role, store and schedule must have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloudformation import ROOT, resources, template

FUNCTIONS = resources("AWS::Serverless::Function")
#: Actions on which AWS knows no resource to name.
NO_RESOURCE = {
    "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets",
    "cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ce:GetCostAndUsage", "ce:ListCostAllocationTags",
    "pricing:GetProducts", "ec2:DescribeSpotPriceHistory", "ecr:GetAuthorizationToken",
    "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
}  # fmt: skip
#: The local engine's false denials: allowed on every resource there, and only there.
EXCUSED = {"lambda:ListAliases", "lambda:ListLayers", "lambda:ListLayerVersions", "states:SendTaskSuccess",
            "cloudwatch:DescribeAlarms"}  # fmt: skip


def snake(logical_id: str) -> str:
    name = logical_id.removesuffix("Function")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for policy in role["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                found += [s for s in statement["Fn::If"][1:] if "Action" in s]
            else:
                found.append(statement)
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_functions_are_the_folders() -> None:
    folders = {p.name for p in (ROOT / "functions").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert {snake(f) for f in FUNCTIONS} == folders


@pytest.mark.parametrize("logical_id", FUNCTIONS)
def test_every_function_is_complete(logical_id: str) -> None:
    name, function = snake(logical_id), FUNCTIONS[logical_id]["Properties"]
    stem = logical_id.removesuffix("Function")
    everything = template()["Resources"]
    assert function["Handler"] == f"functions.{name}.app.handler"
    assert (ROOT / "functions" / name / "app.py").is_file()
    assert function["Role"] == {"Fn::GetAtt": [f"{stem}Role", "Arn"]}
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": f"{stem}Logs"}}
    assert function["Tags"] == {"mlops:function": name}, "the bill by function"
    assert everything[f"{stem}Logs"]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    alarm = everything[f"{stem}Errors"]["Properties"]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": logical_id}}]
    assert alarm["AlarmActions"] == [{"Ref": "Alerts"}]
    assert template()["Globals"]["Function"]["Tracing"] == "Active"


def test_what_predict_answers_with_5xx_rings_an_alarm() -> None:
    everything = template()["Resources"]
    alarm = everything["ApiFaults"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/ApiGateway", "5XXError")
    assert alarm["Dimensions"] == [{"Name": "ApiName", "Value": everything["Api"]["Properties"]["Name"]}]
    assert alarm["AlarmActions"] == [{"Ref": "Alerts"}]


def api() -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"]["Api"]["Properties"]
    return found


def routes() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and own authorisation of every route."""
    events = [e for f in FUNCTIONS.values() for e in f["Properties"].get("Events", {}).values() if e["Type"] == "Api"]
    return [(e["Properties"]["Method"], e["Properties"]["Path"], e["Properties"].get("Auth", {})) for e in events]


def test_nothing_but_health_docs_preflights_and_signed_links_is_open() -> None:
    is_open = {(method, path) for method, path, auth in routes() if auth}
    assert {path for method, path in is_open if method != "OPTIONS"} == {
        "/v2/health/live", "/v2/health/ready", "/docs",
        "/approvals",  # the signed link is the right: tests/unit/release/test_approval_page.py
    }  # fmt: skip
    assert api()["Auth"]["DefaultAuthorizer"] == "Token"


def test_a_browser_may_ask_before_every_route_that_wants_a_token() -> None:
    asked = {path for method, path, _ in routes() if method == "OPTIONS"}
    assert {path for method, path, auth in routes() if not auth} == asked
    assert api()["Auth"]["AddApiKeyRequiredToCorsPreflight"] is False


def test_what_the_gateway_answers_itself_has_predict_s_form() -> None:
    answers = api()["GatewayResponses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(answers)
    for kind, answer in answers.items():
        body = json.loads(answer["ResponseTemplates"]["application/json"])
        headers = answer["ResponseParameters"]["Headers"]
        assert set(body["error"]) == {"code", "message", "details", "request_id"}, kind
        assert headers["X-Error-Code"] == f"'{body['error']['code']}'"
        origin = {"Fn::Sub": "'${CorsOrigin}'"}
        assert headers["Access-Control-Allow-Origin"] == {"Fn::If": ["HasCors", origin, {"Ref": "AWS::NoValue"}]}
    for kind in ("THROTTLED", "QUOTA_EXCEEDED"):
        assert int(answers[kind]["ResponseParameters"]["Headers"]["Retry-After"].strip("'")) > 0


def test_a_token_that_is_good_once_is_never_answered_from_a_cache() -> None:
    every = api()["Auth"]["Authorizers"]["Token"]["Identity"]["ReauthorizeEvery"]
    assert every == {"Fn::If": ["OneTimeTokens", 0, 300]}
    variables = FUNCTIONS["AuthorizerFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["MLOPS_JWT_REQUIRE_JTI"] == {"Ref": "RequireJti"}
    assert template()["Conditions"]["OneTimeTokens"] == {"Fn::Equals": [{"Ref": "RequireJti"}, "true"]}


def test_what_costs_money_or_is_unknown_locally_is_off_by_default() -> None:
    everything, parameters = template()["Resources"], template()["Parameters"]
    for logical_id in ("WebAcl", "WebAclOfApi"):
        assert everything[logical_id]["Condition"] == "HasWaf"
    for logical_id in ("UserPool", "UserPoolDomain", "UserPoolScopes", "UserPoolClient"):
        assert everything[logical_id]["Condition"] == "HasUserPool"
    assert template()["Conditions"]["HasWaf"]["Fn::And"][0] == {"Condition": "OnAws"}
    assert (parameters["WafRateLimit"]["Default"], parameters["CreateUserPool"]["Default"]) == (0, "false")


def test_the_user_pool_grants_the_scopes_that_the_authorizer_knows() -> None:
    from mlops.security.tokens import SCOPES

    pool = template()["Resources"]["UserPoolScopes"]["Properties"]
    assert {s["ScopeName"] for s in pool["Scopes"]} == set(SCOPES)
    assert pool["Identifier"] == {"Ref": "JwtAudience"}, "the prefix that the authorizer takes off a scope"


def asynchronous_events(logical_id: str) -> list[dict[str, Any]]:
    events = FUNCTIONS[logical_id]["Properties"].get("Events", {}).values()
    return [e for e in events if e["Type"] in ("EventBridgeRule", "ScheduleV2")]


@pytest.mark.parametrize("logical_id", [f for f in FUNCTIONS if asynchronous_events(f)] + ["CaptureWriterFunction"])
def test_asynchronous_functions_have_a_dead_letter_target(logical_id: str) -> None:
    function, asynchronous = FUNCTIONS[logical_id]["Properties"], asynchronous_events(logical_id)
    assert function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
    for event in asynchronous:
        assert event["Properties"]["DeadLetterConfig"]
        assert event["Properties"]["RetryPolicy"]


@pytest.mark.parametrize("logical_id", FUNCTIONS)
def test_every_function_has_event_files(logical_id: str) -> None:
    folder = ROOT / "events" / snake(logical_id)
    files = sorted(folder.glob("*.json"))
    assert files, f"no event files in events/{snake(logical_id)}/"
    for file in files:
        json.loads(file.read_text())


@pytest.mark.parametrize("logical_id", resources("AWS::IAM::Role"))
def test_roles_are_least_privilege(logical_id: str) -> None:
    for statement in statements(resources("AWS::IAM::Role")[logical_id]):
        actions = listed(statement["Action"])
        assert not [a for a in actions if "*" in a], f"{logical_id}: {actions}"
        if "*" in listed(statement["Resource"]):
            # The local engine's false denials are excused on the local engine only.
            assert set(actions) <= NO_RESOURCE | EXCUSED, f"{logical_id}: {actions} on *"


def test_the_engine_s_excuses_exist_on_the_engine_only() -> None:
    for logical_id, role in resources("AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                inner = statement.get("Fn::If", [None, statement])[1]
                if EXCUSED & set(listed(inner.get("Action", []))) and "*" in listed(inner["Resource"]):
                    assert statement["Fn::If"][0] == "IsLocal", logical_id


def test_everything_that_can_be_tagged_carries_the_cost_tag() -> None:
    untagged = []
    no_tags = {
        "AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::SNS::Subscription",
        "AWS::Serverless::LayerVersion", "AWS::Logs::SubscriptionFilter", "AWS::Lambda::Permission",
        "AWS::Events::Rule", "AWS::Budgets::Budget", "AWS::WAFv2::WebACLAssociation", "AWS::Cognito::UserPoolDomain",
        "AWS::Cognito::UserPoolResourceServer", "AWS::Cognito::UserPoolClient",
    }  # fmt: skip
    for logical_id, resource in template()["Resources"].items():
        if resource["Type"] in no_tags or resource["Type"] == "AWS::Serverless::Function":
            continue  # functions get theirs from Globals
        properties = resource["Properties"]
        tags = properties.get("Tags", []) or properties.get("UserPoolTags", [])
        keys = list(tags) if isinstance(tags, dict) else [t["Key"] for t in tags]
        if "mlops:stack" not in keys:
            untagged.append(logical_id)
    assert not untagged
    assert "mlops:stack" in template()["Globals"]["Function"]["Tags"]


def test_stores_are_encrypted_versioned_and_private() -> None:
    for bucket in resources("AWS::S3::Bucket").values():
        properties = bucket["Properties"]
        assert properties["BucketEncryption"]
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert all(properties["PublicAccessBlockConfiguration"].values())
        assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"


def test_every_parameter_is_described_and_has_a_default() -> None:
    for name, parameter in template()["Parameters"].items():
        assert parameter.get("Description"), name
        assert "Default" in parameter, name


def test_schedules_can_be_switched_off() -> None:
    for function in FUNCTIONS.values():
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "ScheduleV2":
                switch = event["Properties"]["State"]["Ref"]
                assert template()["Parameters"][switch]["AllowedValues"] == ["ENABLED", "DISABLED"]


@pytest.mark.parametrize("logical_id", resources("AWS::Serverless::StateMachine"))
def test_state_machine_tokens_equal_the_substitutions(logical_id: str) -> None:
    properties = resources("AWS::Serverless::StateMachine")[logical_id]["Properties"]
    text = (ROOT / properties["DefinitionUri"]).read_text()
    yaml.safe_load(text)
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(properties["DefinitionSubstitutions"])


def test_layers_of_every_function_exist() -> None:
    for logical_id, function in FUNCTIONS.items():
        for layer in function["Properties"]["Layers"]:
            name = layer["Ref"]
            if name == "ModelLayerArn":
                assert logical_id == "PredictFunction"
                continue
            assert (ROOT / template()["Resources"][name]["Properties"]["ContentUri"] / "layer.toml").is_file()


def test_samconfig_names_the_three_environments() -> None:
    import tomllib

    config = tomllib.loads(Path(ROOT / "samconfig.toml").read_text())
    assert {"local", "staging", "prod"} <= set(config)
