"""What must exist before a stack's first deployment: three parameters that the template reads, the key pair that
signs the stack's own tokens, and the key of links for approvals. Everything is made once; what exists is left alone."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.aws.objects import S3Objects
from mlops.aws.secrets import APPROVAL_KEY
from mlops.aws.serving import LambdaServing, layer_description
from mlops.errors import MlopsError
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
    layer = f"/{stack}/model-layer-arn"
    # Looked at first, because publishing an archive for nothing would leave a layer version behind.
    arn = "" if _exists(layer) else _empty_model_set(stack)
    return [
        _once(stack, layer, arn, "the model layer that serves"),
        _once(stack, f"/{stack}/routes", "{}", "routes of releases in progress"),
        _once(stack, f"/{stack}/pseudonym-key", secrets.token_hex(32), "key of pseudonyms in captured traffic"),
        _once(stack, f"/{stack}/{APPROVAL_KEY}", secrets.token_hex(32), "key of links for approvals", "SecureString"),
        *_key_pair(stack),
    ]


def _key_pair(stack: str) -> list[Made]:
    private_name, public_name = f"/{stack}/{SIGNING_KEY}", f"/{stack}/jwks"
    purposes = ("private key that `mlops token` signs with", "public keys that the authorizer trusts")
    if _exists(private_name) and _exists(public_name):
        return [Made(private_name, purposes[0], False), Made(public_name, purposes[1], False)]
    private_jwk, jwks = create_key_pair()
    # The pair belongs together: a half that was left by an interrupted run is replaced.
    _replace(stack, private_name, json.dumps(private_jwk), "SecureString")
    _replace(stack, public_name, json.dumps(jwks), "String")
    return [Made(private_name, purposes[0], True), Made(public_name, purposes[1], True)]


def _empty_model_set(stack: str) -> str:
    """The layer version with no model; a release that needs it later finds it by its description."""
    empty, name = ModelSet(), f"{stack}-models"
    serving = LambdaServing("", layer_name=name, parameter_prefix=f"/{stack}", bucket="")
    known = serving.find_layer(empty.digest)
    if known:
        return known
    published = client("lambda").publish_layer_version(
        LayerName=name,
        Description=layer_description(empty.digest),
        # An empty set reads no artifact, so no bucket is needed, and none exists yet.
        Content={"ZipFile": build(empty, S3Objects(""))},
    )
    return str(published["LayerVersionArn"])


def _once(stack: str, name: str, value: str, purpose: str, kind: str = "String") -> Made:
    """Make a parameter; one that exists is left alone, also when somebody else makes it at the same moment."""
    if _exists(name):
        return Made(name, purpose, False)
    try:
        client("ssm").put_parameter(Name=name, Value=value, Type=kind, Overwrite=False, Tags=_tags(stack))
    except ClientError as error:
        if error_code(error) == "ParameterAlreadyExists":
            return Made(name, purpose, False)
        raise
    return Made(name, purpose, True)


def _replace(stack: str, name: str, value: str, kind: str) -> None:
    client("ssm").put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)
    # Parameter Store takes tags with a new parameter only, or afterwards.
    client("ssm").add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=_tags(stack))


def _exists(name: str) -> bool:
    try:
        client("ssm").get_parameter(Name=name)
    except ClientError as error:
        if error_code(error) == "ParameterNotFound":
            return False
        raise
    return True


def _tags(stack: str) -> list[dict[str, str]]:
    return [{"Key": "mlops:stack", "Value": stack}]


def anchor_bucket(name: str, days: int) -> Made:
    """A versioned bucket whose objects nobody can change or delete for ``days`` without a right of its own
    (``s3:BypassGovernanceRetention``). One that exists is left alone.

    Raises
    ------
    MlopsError
        ``no_lock`` when it exists without Object Lock.
    """
    s3, region = client("s3"), client("s3").meta.region_name
    purpose = "copies of the ledger's head, under Object Lock"
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error_code(error) not in ("404", "NoSuchBucket"):
            raise
    else:
        try:
            s3.get_object_lock_configuration(Bucket=name)
        except ClientError as error:
            if error_code(error) != "ObjectLockConfigurationNotFoundError":
                raise
            raise MlopsError(f"the bucket {name} has no Object Lock; name a new one", code="no_lock") from error
        return Made(name, purpose, False)
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True, **where)
    s3.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}},
        },
    )
    s3.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "BlockPublicPolicy": True, "IgnorePublicAcls": True, "RestrictPublicBuckets": True,
        },
    )  # fmt: skip
    return Made(name, purpose, True)
