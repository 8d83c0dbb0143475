"""What is charged because it exists: CloudFormation resource types and their catalogue items.

A type is charged, free of standing charges, or unknown. Unknown types are reported, so that a new kind of
resource cannot add a standing charge unseen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: One catalogue unit a month for each resource of the type.
CHARGED: Mapping[str, str] = {
    "AWS::CloudWatch::Alarm": "cloudwatch.alarms",
    "AWS::CloudWatch::CompositeAlarm": "cloudwatch.composite_alarms",
    "AWS::CloudWatch::Dashboard": "cloudwatch.dashboards",
    "AWS::KMS::Key": "kms.keys",
    "AWS::SecretsManager::Secret": "secrets.secrets",
    "AWS::SSM::Parameter": "ssm.standard_parameters",
    "AWS::WAFv2::WebACL": "waf.acls",
}

#: Charged by what they hold or do, not for being there.
BY_USE = frozenset({
    "AWS::ApiGateway::RestApi", "AWS::Cognito::UserPool", "AWS::DynamoDB::Table", "AWS::Events::EventBus",
    "AWS::Events::Rule", "AWS::Lambda::Function", "AWS::Lambda::LayerVersion", "AWS::Lambda::Version",
    "AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::Scheduler::Schedule",
    "AWS::StepFunctions::StateMachine", "AWS::Serverless::Api", "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion", "AWS::Serverless::SimpleTable", "AWS::Serverless::StateMachine",
    "AWS::XRay::SamplingRule",
})  # fmt: skip

#: Never charged.
FREE = frozenset({
    "AWS::ApiGateway::Account", "AWS::ApiGateway::ApiKey", "AWS::ApiGateway::Authorizer",
    "AWS::ApiGateway::Deployment", "AWS::ApiGateway::DocumentationPart", "AWS::ApiGateway::DocumentationVersion",
    "AWS::ApiGateway::GatewayResponse", "AWS::ApiGateway::Method", "AWS::ApiGateway::Model",
    "AWS::ApiGateway::RequestValidator", "AWS::ApiGateway::Resource", "AWS::ApiGateway::Stage",
    "AWS::ApiGateway::UsagePlan", "AWS::ApiGateway::UsagePlanKey", "AWS::Budgets::Budget",
    "AWS::Cognito::UserPoolClient", "AWS::Cognito::UserPoolDomain", "AWS::Cognito::UserPoolResourceServer",
    "AWS::Events::EventBusPolicy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role",
    "AWS::KMS::Alias", "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::LayerVersionPermission", "AWS::Lambda::Permission", "AWS::Logs::LogStream",
    "AWS::Logs::MetricFilter", "AWS::Logs::QueryDefinition", "AWS::Logs::ResourcePolicy",
    "AWS::Logs::SubscriptionFilter", "AWS::ResourceGroups::Group", "AWS::S3::BucketPolicy",
    "AWS::SageMaker::Model", "AWS::SageMaker::ModelPackageGroup", "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy", "AWS::Scheduler::ScheduleGroup",
    "AWS::SecretsManager::RotationSchedule", "AWS::WAFv2::WebACLAssociation",
    "AWS::CloudFormation::WaitCondition", "AWS::CloudFormation::WaitConditionHandle",
})  # fmt: skip


def known(kind: str) -> bool:
    """Whether the cost of a CloudFormation type is understood here. Custom resources are Lambda invocations."""
    return kind in CHARGED or kind in BY_USE or kind in FREE or kind.startswith("Custom::")


def function_name(logical_id: str) -> str:
    """The folder name of a function from its logical id.

    >>> function_name("IngestValidateFunction"), function_name("Predict"), function_name("cost_report")
    ('ingest_validate', 'predict', 'cost_report')
    """
    base = logical_id.removesuffix("Function") or logical_id
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", base).lower()
