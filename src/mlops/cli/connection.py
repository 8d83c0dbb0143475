"""Finds the stack that a command speaks to: one that runs on this machine, or one in an AWS account.

The command line is a program of its own, so it may read its environment and the files around it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlops.errors import ConfigurationError, NotFoundError

_LOCAL_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Connection:
    """A deployed stack: its name, its CloudFormation outputs, and where its API answers."""

    stack: str
    api_url: str
    local: bool
    outputs: dict[str, str] = field(default_factory=dict)

    def output(self, name: str) -> str:
        try:
            return self.outputs[name]
        except KeyError:
            raise NotFoundError(
                f"the stack '{self.stack}' has no output {name}: it was deployed by another version; deploy it again"
            ) from None


def local_stacks(start: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Names and notes of the stacks that run from this folder or one above it."""
    folder = (start or Path.cwd()).resolve()
    for parent in (folder, *folder.parents):
        state = parent / ".local"
        if state.is_dir():
            for notes in sorted(state.glob("*/stack.json")):
                yield notes.parent.name, notes
            return


def use_stack(stack: str | None, profile: str | None, region: str | None) -> str:
    """Point the process's AWS clients at ``stack`` and return its name.

    Without a name: ``MLOPS_STACK``, else the only local stack, else ``serverless-mlops``. A name that belongs to a
    local stack is taken as that one, unless a profile or ``AWS_ENDPOINT_URL`` says otherwise.

    Raises
    ------
    ConfigurationError
        when several local stacks run and none was named.
    """
    found = {} if profile or os.environ.get("AWS_ENDPOINT_URL") else dict(local_stacks())
    name = stack or os.environ.get("MLOPS_STACK")
    if name is None and len(found) > 1:
        raise ConfigurationError(f"several local stacks run: name one with --stack ({', '.join(found)})")
    if name is None:
        name = next(iter(found), "serverless-mlops")
    if name in found:
        port = json.loads(found[name].read_text())["port"]
        os.environ.update(_LOCAL_CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    if profile:
        os.environ["AWS_PROFILE"] = profile
    if region:
        os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
    return name


def connect(stack: str | None = None, profile: str | None = None, region: str | None = None) -> Connection:
    """Connect to a deployed stack.

    Raises
    ------
    NotFoundError
        when there is no such stack.
    ConfigurationError
        when there are no credentials, or the endpoint does not answer.
    """
    name = use_stack(stack, profile, region)
    # boto3 takes a third of a second to import: `mlops --help` does not wait for it.
    from botocore.exceptions import BotoCoreError, ClientError

    from mlops.aws.clients import client

    try:
        described = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            raise NotFoundError(
                f"no stack '{name}' here: deploy it (`make up` on this machine, `make deploy ENV=staging` to an "
                "account), or name another with --stack"
            ) from error
        raise ConfigurationError(f"AWS refused to describe the stack '{name}': {error}") from error
    except BotoCoreError as error:
        raise ConfigurationError(f"AWS cannot be reached: {error}") from error
    outputs = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    local = endpoint.startswith(("http://127.0.0.1", "http://localhost"))
    api_url = f"{endpoint}/restapis/{outputs.get('ApiId')}/v1/_user_request_" if local else outputs.get("ApiUrl", "")
    return Connection(name, api_url, local, outputs)
