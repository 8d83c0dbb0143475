"""The only place that reads the environment of a function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from mlops.errors import ConfigurationError


@dataclass(frozen=True)
class Settings:
    """Environment variables of the bundle's functions; each function is given those that it needs.

    ``predict`` does not use this class: its settings are in :mod:`mlops.inference`.
    """

    stack: str = ""
    data_bucket: str = ""
    artifact_bucket: str = ""
    table: str = ""
    pipeline_arn: str = ""
    release_arn: str = ""
    predict_function: str = ""
    score_bucket: str = ""  # a bucket beside the stack's own that batch scoring may use
    pseudonym_key: str = ""  # that captures name entities with
    topic_arn: str = ""
    parameter_prefix: str = ""  # of SSM parameters, "/<stack>"
    inference_layer_arn: str = ""
    region: str = ""
    target: str = "aws"  # or "local"
    code_version: str = ""
    lock_digest: str = ""
    memory_mb: str = ""
    cors_origin: str = ""  # whose pages may read answers; empty: none
    training_image: str = ""  # of SageMaker training jobs; empty: none
    training_role_arn: str = ""
    train_memory_mb: str = ""  # of the train function
    architecture: str = ""
    kms_key_arn: str = ""
    alarms: str = ""  # names of those that stop a release, with commas between
    anchor_bucket: str = ""  # of copies of the ledger's head
    capture_days: str = ""  # for how long captured traffic is kept
    monthly_budget_usd: str = ""  # of the whole stack; empty: no budget

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """``MLOPS_<FIELD>`` for each field; region and memory from the Lambda runtime's own variables."""
        values = {f.name: environment.get(f"MLOPS_{f.name.upper()}", "") for f in fields(cls)}
        values["region"] = values["region"] or environment.get("AWS_REGION", "us-east-1")
        values["memory_mb"] = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        values["target"] = values["target"] or "aws"
        return cls(**values)

    def require(self, *names: str) -> Settings:
        """This object, or ConfigurationError naming the variables that are not set."""
        missing = [f"MLOPS_{n.upper()}" for n in names if not getattr(self, n)]
        if missing:
            raise ConfigurationError(f"environment variable {', '.join(missing)} is not set")
        return self


@dataclass(frozen=True)
class TokenSettings:
    """Environment of the authorizer: which tokens it accepts and where their keys are.

    Attributes
    ----------
    jwks_url : key set of an OpenID Connect issuer; goes before ``jwks_parameter``.
    jwks_parameter : SSM parameter with the stack's own key set.
    jwt_issuer, jwt_audience : what tokens must carry.
    jwt_client_ids : comma-separated; whose tokens are accepted without ``aud`` (Cognito's have none).
    jwt_algorithms : comma-separated; empty for EdDSA, ES256, RS256.
    jwt_leeway_seconds : clock skew that is forgiven; empty for 30.
    jwt_max_lifetime_seconds : longest life of a token; empty or 0 for any.
    jwt_require_jti : "true" accepts a token once, and writes its use to ``table``.
    """

    jwks_url: str = ""
    jwks_parameter: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_client_ids: str = ""
    jwt_algorithms: str = ""
    jwt_leeway_seconds: str = ""
    jwt_max_lifetime_seconds: str = ""
    jwt_require_jti: str = ""
    table: str = ""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> TokenSettings:
        """``MLOPS_<FIELD>`` for each field; ConfigurationError when a needed one is missing."""
        settings = cls(**{f.name: environment.get(f"MLOPS_{f.name.upper()}", "") for f in fields(cls)})
        missing = [name for name in ("jwt_issuer", "jwt_audience") if not getattr(settings, name)]
        if not settings.jwks_url and not settings.jwks_parameter:
            missing.append("jwks_parameter")
        if settings.is_once and not settings.table:
            missing.append("table")
        if missing:
            names = ", ".join(f"MLOPS_{name.upper()}" for name in missing)
            raise ConfigurationError(f"environment variable {names} is not set")
        return settings

    @property
    def is_once(self) -> bool:
        """Whether a token may be used once only."""
        return self.jwt_require_jti == "true"


def listed(text: str) -> tuple[str, ...]:
    """Words with commas between.

    >>> listed("a, b,")
    ('a', 'b')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())
