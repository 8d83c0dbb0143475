"""What CloudFormation says that a stack is made of."""

from __future__ import annotations

from typing import Any

from mlops.aws.clients import client


def function_versions(stack: str, cloudformation: Any = None) -> set[str]:
    """Numbers of the function versions that belong to the stack itself: what its last deployment published."""
    pages = (cloudformation or client("cloudformation")).get_paginator("list_stack_resources").paginate(StackName=stack)
    found = [r for page in pages for r in page["StackResourceSummaries"] if r["ResourceType"] == "AWS::Lambda::Version"]
    return {str(r["PhysicalResourceId"]).rsplit(":", 1)[-1] for r in found}
