"""The catalogue of what is charged for: one item a row, with the unit and where the Price List has it.

Keys are ours and stable; ``offer`` and ``usage`` are the AWS Price List's service code and usage type, the
latter without its region prefix. ``bill`` is the service's name in Cost Explorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Item:
    """One thing with a price.

    Attributes
    ----------
    unit : what one costs; a price is always for one unit (one request, not a million).
    kind : ``use`` (grows with use) or ``standing`` (charged while it exists).
    filters : further Price List attributes where the usage type alone is ambiguous.
    everywhere : the price is the same in every commercial region.
    """

    key: str
    service: str
    unit: str
    what: str
    offer: str = ""
    usage: str = ""
    bill: str = ""
    kind: str = "use"
    filters: Mapping[str, str] = field(default_factory=dict)
    everywhere: bool = False


_LAMBDA, _API, _DYNAMO, _S3 = "AWS Lambda", "Amazon API Gateway", "Amazon DynamoDB", "Amazon Simple Storage Service"
_WATCH, _STATES, _KMS = "AmazonCloudWatch", "AWS Step Functions", "AWS Key Management Service"
_SECRETS = "AWS Secrets Manager"
_MAKER, _FARGATE, _ELB = "Amazon SageMaker", "Amazon Elastic Container Service", "Amazon Elastic Load Balancing"

#: One of the many prices of an EC2 instance type: Linux without software, on shared machines.
_PLAIN_LINUX = {"operatingSystem": "Linux", "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used"}

# fmt: off
_ROWS = (
    Item("lambda.requests", "Lambda", "request", "invocations", "AWSLambda", "Request", _LAMBDA),
    Item("lambda.gb_seconds", "Lambda", "GB-second", "compute, x86_64", "AWSLambda", "Lambda-GB-Second", _LAMBDA),
    Item("lambda.gb_seconds_arm", "Lambda", "GB-second", "compute, arm64", "AWSLambda", "Lambda-GB-Second-ARM",
         _LAMBDA),
    Item("lambda.provisioned_gb_seconds", "Lambda", "GB-second", "provisioned concurrency, x86_64", "AWSLambda",
         "Lambda-Provisioned-Concurrency", _LAMBDA, "standing"),
    Item("lambda.ephemeral_gb_seconds", "Lambda", "GB-second", "temporary storage above 512 MB", "AWSLambda",
         "Lambda-Storage-GB-Second", _LAMBDA),
    Item("lambda.snapstart_gb_seconds", "Lambda", "GB-second", "SnapStart snapshots kept", "AWSLambda",
         "Lambda-SnapStart-Cached-GB-Second", _LAMBDA, "standing"),
    Item("apigateway.rest_requests", "API Gateway", "request", "REST API requests", "AmazonApiGateway",
         "ApiGatewayRequest", _API),
    Item("dynamodb.write_units", "DynamoDB", "write unit", "writes, on demand", "AmazonDynamoDB", "WriteRequestUnits",
         _DYNAMO),
    Item("dynamodb.read_units", "DynamoDB", "read unit", "reads, on demand", "AmazonDynamoDB", "ReadRequestUnits",
         _DYNAMO),
    Item("dynamodb.storage_gb_month", "DynamoDB", "GB-month", "table storage", "AmazonDynamoDB",
         "TimedStorage-ByteHrs", _DYNAMO, "standing"),
    Item("dynamodb.pitr_gb_month", "DynamoDB", "GB-month", "point-in-time recovery", "AmazonDynamoDB",
         "TimedPITRStorage-ByteHrs", _DYNAMO, "standing"),
    Item("s3.storage_gb_month", "S3", "GB-month", "storage, Standard", "AmazonS3", "TimedStorage-ByteHrs", _S3,
         "standing"),
    Item("s3.storage_ia_gb_month", "S3", "GB-month", "storage, Standard-IA", "AmazonS3", "TimedStorage-SIA-ByteHrs",
         _S3, "standing"),
    Item("s3.put_requests", "S3", "request", "PUT, COPY, POST, LIST", "AmazonS3", "Requests-Tier1", _S3),
    Item("s3.get_requests", "S3", "request", "GET and others", "AmazonS3", "Requests-Tier2", _S3),
    Item("logs.ingested_gb", "CloudWatch", "GB", "log ingestion, Standard class", "AmazonCloudWatch",
         "DataProcessing-Bytes", _WATCH),
    Item("logs.ingested_gb_ia", "CloudWatch", "GB", "log ingestion, Infrequent Access class", "AmazonCloudWatch",
         "DataProcessingIA-Bytes", _WATCH),
    Item("logs.stored_gb_month", "CloudWatch", "GB-month", "log storage", "AmazonCloudWatch", "TimedStorage-ByteHrs",
         _WATCH, "standing"),
    Item("cloudwatch.alarms", "CloudWatch", "alarm-month", "alarms, standard resolution", "AmazonCloudWatch",
         "CW:AlarmMonitorUsage", _WATCH, "standing"),
    Item("cloudwatch.composite_alarms", "CloudWatch", "alarm-month", "composite alarms", "AmazonCloudWatch",
         "CW:CompositeAlarmMonitorUsage", _WATCH, "standing"),
    Item("cloudwatch.metrics", "CloudWatch", "metric-month", "custom metrics", "AmazonCloudWatch",
         "CW:MetricMonitorUsage", _WATCH),
    Item("cloudwatch.dashboards", "CloudWatch", "dashboard-month", "dashboards", "AmazonCloudWatch",
         "DashboardsUsageHour", _WATCH, "standing"),
    Item("cloudwatch.get_metric_data", "CloudWatch", "metric", "metrics asked for by GetMetricData",
         "AmazonCloudWatch", "CW:GMD-Metrics", _WATCH),
    Item("stepfunctions.transitions", "Step Functions", "transition", "state transitions, Standard", "AmazonStates",
         "StateTransition", _STATES),
    Item("events.custom", "EventBridge", "event", "custom and opt-in events", "AWSEvents", "Event-64K-Chunks",
         "Amazon EventBridge"),
    Item("events.scheduler", "EventBridge", "invocation", "scheduler invocations", "AWSEvents",
         "ScheduledInvocation", "Amazon EventBridge"),
    Item("kms.keys", "KMS", "key-month", "customer-managed keys", "awskms", "KMS-Keys", _KMS, "standing",
         everywhere=True),
    Item("kms.requests", "KMS", "request", "key requests", "awskms", "KMS-Requests", _KMS, everywhere=True),
    Item("secrets.secrets", "Secrets Manager", "secret-month", "secrets", "AWSSecretsManager",
         "AWSSecretsManager-Secrets", _SECRETS, "standing", everywhere=True),
    Item("secrets.requests", "Secrets Manager", "request", "API requests", "AWSSecretsManager",
         "AWSSecretsManagerAPIRequest", _SECRETS, everywhere=True),
    Item("ssm.standard_parameters", "Systems Manager", "parameter-month", "standard parameters", kind="standing",
         bill="AWS Systems Manager", everywhere=True),
    Item("ssm.advanced_parameters", "Systems Manager", "parameter-month", "advanced parameters", kind="standing",
         bill="AWS Systems Manager", everywhere=True),
    Item("sns.requests", "SNS", "request", "publishes", "AmazonSNS", "Requests-Tier1",
         "Amazon Simple Notification Service"),
    Item("sqs.requests", "SQS", "request", "standard queue requests", "AWSQueueService", "Requests-Tier1",
         "Amazon Simple Queue Service"),
    Item("xray.traces", "X-Ray", "trace", "traces recorded", "AWSXRay", "XRay-TracesStored", "AWS X-Ray"),
    Item("transfer.out_gb", "Data transfer", "GB", "out to the internet", "AWSDataTransfer", "DataTransfer-Out-Bytes"),
    Item("costexplorer.requests", "Cost Explorer", "request", "API requests", bill="AWS Cost Explorer",
         everywhere=True),
    Item("waf.acls", "WAF", "ACL-month", "web ACLs", bill="AWS WAF", kind="standing", everywhere=True),
    Item("waf.rules", "WAF", "rule-month", "rules", bill="AWS WAF", kind="standing", everywhere=True),
    Item("waf.requests", "WAF", "request", "requests inspected", bill="AWS WAF", everywhere=True),
    Item("sagemaker.hosting.ml.m5.large", "SageMaker", "hour", "real-time endpoint, ml.m5.large", "AmazonSageMaker",
         "Host:ml.m5.large", _MAKER, "standing"),
    Item("sagemaker.training.ml.m5.large", "SageMaker", "hour", "training, ml.m5.large", "AmazonSageMaker",
         "Train:ml.m5.large", _MAKER),
    Item("sagemaker.training.ml.m5.xlarge", "SageMaker", "hour", "training, ml.m5.xlarge", "AmazonSageMaker",
         "Train:ml.m5.xlarge", _MAKER),
    Item("sagemaker.training.ml.m5.2xlarge", "SageMaker", "hour", "training, ml.m5.2xlarge", "AmazonSageMaker",
         "Train:ml.m5.2xlarge", _MAKER),
    Item("ec2.on_demand.m5.large", "EC2", "hour", "m5.large on demand, to compare spot with", "AmazonEC2",
         "BoxUsage:m5.large", "Amazon Elastic Compute Cloud - Compute", filters=_PLAIN_LINUX),
    Item("ec2.on_demand.m5.xlarge", "EC2", "hour", "m5.xlarge on demand, to compare spot with", "AmazonEC2",
         "BoxUsage:m5.xlarge", "Amazon Elastic Compute Cloud - Compute", filters=_PLAIN_LINUX),
    Item("ec2.on_demand.m5.2xlarge", "EC2", "hour", "m5.2xlarge on demand, to compare spot with", "AmazonEC2",
         "BoxUsage:m5.2xlarge", "Amazon Elastic Compute Cloud - Compute", filters=_PLAIN_LINUX),
    Item("sagemaker.serverless_gb_seconds", "SageMaker", "GB-second", "serverless inference", bill=_MAKER),
    Item("sagemaker.data_gb", "SageMaker", "GB", "data in and out of an endpoint", bill=_MAKER),
    Item("fargate.vcpu_hours", "Fargate", "vCPU-hour", "x86_64, Linux", "AmazonECS", "Fargate-vCPU-Hours:perCPU",
         _FARGATE, "standing"),
    Item("fargate.gb_hours", "Fargate", "GB-hour", "x86_64, Linux", "AmazonECS", "Fargate-GB-Hours", _FARGATE,
         "standing"),
    Item("alb.hours", "Load balancing", "hour", "Application Load Balancer", "AWSELB", "LoadBalancerUsage", _ELB,
         "standing", {"operation": "LoadBalancing:Application"}),
    Item("alb.lcu_hours", "Load balancing", "LCU-hour", "capacity units", "AWSELB", "LCUUsage", _ELB,
         filters={"operation": "LoadBalancing:Application"}),
    Item("vpc.public_ipv4_hours", "VPC", "hour", "public IPv4 address", "AmazonVPC", "PublicIPv4:InUseAddress",
         "Amazon Virtual Private Cloud", "standing", everywhere=True),
)
# fmt: on

#: By key.
ITEMS: Mapping[str, Item] = {item.key: item for item in _ROWS}


def compute_key(architecture: str) -> str:
    """The item for Lambda compute on ``x86_64`` or ``arm64``."""
    return "lambda.gb_seconds_arm" if architecture == "arm64" else "lambda.gb_seconds"
