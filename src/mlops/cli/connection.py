"""Finds the stack that a command speaks to: one that runs on this machine, or one in an AWS account.

The command line is a program of its own, so it may read its environment and the files around it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

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
        os.environ.update(_LOCAL_CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{_port(found[name])}")
    if profile:
        # As with the AWS CLI, a profile that was named goes before keys in the environment.
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            os.environ.pop(variable, None)
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
        when a local stack does not answer, or there are neither local stacks nor AWS credentials.
    """
    name = use_stack(stack, profile, region)
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    local = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost")
    if local and not _answers(endpoint):
        raise ConfigurationError(
            f"the local stack '{name}' does not answer at {endpoint}: `make up` starts one, "
            f"`make down STACK={name}` removes what is left of it"
        )
    # boto3 takes a third of a second to import: `mlops --help` does not wait for it.
    from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError

    from mlops.aws.clients import client

    try:
        described = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise NotFoundError(
            f"no stack '{name}' here: deploy it (`make up` on this machine, `make deploy ENV=staging` to an "
            "account), or name another with --stack"
        ) from error
    except (NoCredentialsError, NoRegionError) as error:
        running = ", ".join(known for known, _ in local_stacks())
        raise ConfigurationError(
            f"no stack '{name}' on this machine (`make up` starts one; running: {running or 'none'}), and for an AWS "
            f"account: {error}"
        ) from error
    outputs = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}
    api_url = f"{endpoint}/restapis/{outputs.get('ApiId')}/v1/_user_request_" if local else outputs.get("ApiUrl", "")
    return Connection(name, api_url, local, outputs)


def _port(notes: Path) -> int:
    try:
        port: int = json.loads(notes.read_text(encoding="utf-8"))["port"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{notes} is damaged: `make down STACK={notes.parent.name}` and `make up` make it anew"
        ) from error
    return port


def _answers(endpoint: str) -> bool:
    """Whether something listens there. An AWS client would try again for ten seconds before it says no."""
    found = urlsplit(endpoint)
    try:
        with socket.create_connection((found.hostname or "", found.port or 80), timeout=5):
            return True
    except OSError:
        return False
