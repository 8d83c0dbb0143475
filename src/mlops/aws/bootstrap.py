"""What must exist before a stack's first deployment: three parameters that the template reads, and the key pair
that signs the stack's own tokens. Everything is made once; what exists is left alone."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.aws.objects import S3Objects
from mlops.release.modelset import ModelSet, build
from mlops.security.issuing import create_key_pair

SIGNING_KEY = "signing-key"


@dataclass(frozen=True)
class Made:
    """One thing that a stack needs, and whether it was made now."""

    name: str
    purpose: str
    made: bool


def bootstrap(stack: str) -> list[Made]:
    """Make what is missing for ``stack``, with the process's AWS credentials."""
    done = []
    routes = _ensure(f"/{stack}/routes", lambda: "{}", "routes of releases in progress")
    if _read(f"/{stack}/model-layer-arn") is None:
        arn = _publish_empty_model_set(stack)
        done.append(_ensure(f"/{stack}/model-layer-arn", lambda: arn, "the model layer that serves"))
    else:
        done.append(Made(f"/{stack}/model-layer-arn", "the model layer that serves", False))
    done.append(routes)
    done.append(
        _ensure(f"/{stack}/pseudonym-key", lambda: secrets.token_hex(32), "key of pseudonyms in captured traffic")
    )
    done.extend(_ensure_keys(stack))
    return done


def _ensure_keys(stack: str) -> list[Made]:
    private_name, public_name = f"/{stack}/{SIGNING_KEY}", f"/{stack}/jwks"
    purposes = ("private key that `mlops token` signs with", "public keys that the authorizer trusts")
    if _read(private_name) is not None and _read(public_name) is not None:
        return [Made(private_name, purposes[0], False), Made(public_name, purposes[1], False)]
    private_jwk, jwks = create_key_pair()
    # The pair belongs together: a half that was left by an interrupted run is replaced.
    _write(private_name, json.dumps(private_jwk), secure=True)
    _write(public_name, json.dumps(jwks))
    return [Made(private_name, purposes[0], True), Made(public_name, purposes[1], True)]


def _publish_empty_model_set(stack: str) -> str:
    published = client("lambda").publish_layer_version(
        LayerName=f"{stack}-models",
        Description="No model yet",
        # An empty set reads no artifact, so no bucket is needed, and none exists yet.
        Content={"ZipFile": build(ModelSet(), S3Objects(""))},
        CompatibleRuntimes=["python3.13"],
    )
    return str(published["LayerVersionArn"])


def _ensure(name: str, value: Any, purpose: str) -> Made:
    if _read(name) is not None:
        return Made(name, purpose, False)
    _write(name, value())
    return Made(name, purpose, True)


def _read(name: str) -> str | None:
    try:
        return str(client("ssm").get_parameter(Name=name)["Parameter"]["Value"])
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return None
        raise


def _write(name: str, value: str, *, secure: bool = False) -> None:
    client("ssm").put_parameter(Name=name, Value=value, Type="SecureString" if secure else "String", Overwrite=True)
