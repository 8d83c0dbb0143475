"""Lambda and SSM behind :class:`mlops.release.ports.Serving`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from mlops.aws.clients import client, error_code
from mlops.errors import ConflictError, MlopsError
from mlops.registry.chain import canonical
from mlops.release.ports import LATEST, Live, Published, Routes, Snapshot, StorageFullError

#: Conflicts by name: an update in progress, or a revision that is not the current one any more.
_CONFLICTS = {"ResourceConflictException", "PreconditionFailedException"}
#: Configuration that makes two versions differ beside what they serve.
_BASE = ("CodeSha256", "Handler", "Runtime", "Role", "MemorySize", "Timeout", "Architectures", "EphemeralStorage")
_ROUTES = "MLOPS_ROUTES"
_WAIT_SECONDS = 120.0


class LambdaServing:
    """The function ``predict`` behind its alias.

    Parameters
    ----------
    function : its name.
    layer_name : of the model-set layer; of a version's layers only the one of this name is ever replaced.
    parameter_prefix : of the SSM parameters ``<prefix>/model-layer-arn`` and ``<prefix>/routes``.
    bucket : where layer archives are.
    """

    def __init__(
        self,
        function: str,
        *,
        layer_name: str,
        parameter_prefix: str,
        bucket: str,
        alias: str = "live",
        lambda_client: Any = None,
        ssm: Any = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.function = function
        self.layer_name = layer_name
        self.prefix = parameter_prefix
        self.bucket = bucket
        self.alias = alias
        self._given_lambda, self._given_ssm = lambda_client, ssm
        self._sleep = sleep

    @property
    def _lambda(self) -> Any:
        return self._given_lambda or client("lambda")

    @property
    def _ssm(self) -> Any:
        return self._given_ssm or client("ssm")

    def live(self) -> Live:
        alias = self._lambda.get_alias(FunctionName=self.function, Name=self.alias)
        snapshot = self.published(alias["FunctionVersion"])
        if snapshot is None:
            raise ConflictError(f"alias {self.alias} names version {alias['FunctionVersion']}, which does not exist")
        return Live(snapshot, alias["RevisionId"], tuple(sorted(_weights(alias))))

    def published(self, version: str) -> Snapshot | None:
        try:
            return self._snapshot(self._configuration(version))
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise

    def configure(self, layer: str, routes: Routes) -> None:
        """Replace the model-set layer and the routes of ``$LATEST``; wait until that is done."""
        current = self._settled(LATEST)
        layers = [item["Arn"] for item in current.get("Layers", [])]
        ours = [i for i, arn in enumerate(layers) if self._is_model_layer(arn)]
        kept = [arn for arn in layers if not self._is_model_layer(arn)]
        if layer:
            kept.insert(ours[0] if ours else len(kept), layer)
        variables = {**current.get("Environment", {}).get("Variables", {}), _ROUTES: _text(routes)}
        self._call(
            "update_function_configuration",
            FunctionName=self.function,
            Layers=kept,
            Environment={"Variables": variables},
            RevisionId=current["RevisionId"],
        )
        self._settled(LATEST)

    def publish(self, latest: Snapshot, description: str) -> Snapshot:
        """Publish ``$LATEST`` if it still is ``latest``. Unchanged since its last version, it is that version."""
        answer = self._call(
            "publish_version", FunctionName=self.function, Description=description[:256], RevisionId=latest.revision
        )
        return self._snapshot(self._settled(answer["Version"]))

    def invoke(self, version: str, payload: Mapping[str, Any]) -> Any:
        answer = self._lambda.invoke(FunctionName=self.function, Qualifier=version, Payload=json.dumps(payload))
        body = answer["Payload"].read()
        if answer.get("FunctionError"):
            kind = _error_type(body)
            raise MlopsError(f"version {version} of {self.function} failed: {kind}", code="invocation_failed")
        return json.loads(body)

    def point(self, version: str, revision: str) -> None:
        self._call(
            "update_alias",
            FunctionName=self.function,
            Name=self.alias,
            FunctionVersion=version,
            RevisionId=revision,
            RoutingConfig={"AdditionalVersionWeights": {}},  # without it, weights that somebody set would stay
        )

    def find_layer(self, digest: str) -> str | None:
        """By the layer versions' description, newest first."""
        wanted = layer_description(digest)
        return next((str(i["LayerVersionArn"]) for i in self._layers() if i.get("Description") == wanted), None)

    def layers(self) -> dict[str, str]:
        """Every model-set layer version that exists: ARN to the digest of its model set, oldest first."""
        prefix = layer_description("")
        newest_first = [(i["LayerVersionArn"], i.get("Description", "").removeprefix(prefix)) for i in self._layers()]
        return dict(reversed(newest_first))

    def _layers(self) -> Iterator[dict[str, Any]]:
        for page in self._lambda.get_paginator("list_layer_versions").paginate(LayerName=self.layer_name):
            yield from page["LayerVersions"]

    def versions(self) -> list[Published]:
        """Every function version that exists, ``$LATEST`` first."""
        pages = self._lambda.get_paginator("list_versions_by_function").paginate(FunctionName=self.function)
        found = [item for page in pages for item in page["Versions"]]
        return [Published(item["Version"], self._model_layer(item)) for item in found]

    def aliased(self) -> set[str]:
        """Versions that an alias names, the second of a weighted one included."""
        found: set[str] = set()
        for page in self._lambda.get_paginator("list_aliases").paginate(FunctionName=self.function):
            for alias in page["Aliases"]:
                found |= {alias["FunctionVersion"], *_weights(alias)}
        return found

    def delete_version(self, version: str) -> None:
        """Delete a published version that no alias names; nothing happens when it is gone."""
        if not version.isdigit():  # without a number, the whole function would go
            raise ValueError(f"{version!r} is no published version")
        self._gone("delete_function", FunctionName=self.function, Qualifier=version)

    def delete_layer(self, arn: str) -> None:
        """Delete a version of the model layer; nothing happens when it is gone."""
        if not self._is_model_layer(arn):
            raise ValueError(f"{arn} is no version of the model layer")
        self._gone("delete_layer_version", LayerName=self.layer_name, VersionNumber=int(arn.rsplit(":", 1)[-1]))

    def _gone(self, operation: str, **arguments: Any) -> None:
        try:
            self._call(operation, **arguments)
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise

    def publish_layer(self, digest: str, key: str) -> str:
        answer = self._call(
            "publish_layer_version",
            LayerName=self.layer_name,
            Description=layer_description(digest),
            Content={"S3Bucket": self.bucket, "S3Key": key},
        )
        return str(answer["LayerVersionArn"])

    def remembered(self) -> tuple[str, dict[str, Any]]:
        layer = self._parameter("model-layer-arn")
        return layer, json.loads(self._parameter("routes"))

    def remember(self, layer: str, routes: Routes) -> None:
        for name, value in (("model-layer-arn", layer), ("routes", _text(routes))):
            self._ssm.put_parameter(Name=f"{self.prefix}/{name}", Value=value, Type="String", Overwrite=True)

    def _parameter(self, name: str) -> str:
        return str(self._ssm.get_parameter(Name=f"{self.prefix}/{name}")["Parameter"]["Value"])

    def _is_model_layer(self, arn: str) -> bool:
        return arn.split(":")[6:7] == [self.layer_name]

    def _configuration(self, version: str) -> dict[str, Any]:
        qualifier = {} if version == LATEST else {"Qualifier": version}
        found: dict[str, Any] = self._lambda.get_function_configuration(FunctionName=self.function, **qualifier)
        return found

    def _settled(self, version: str) -> dict[str, Any]:
        """The configuration once no update is in progress.

        Raises
        ------
        ConflictError
            when the last update failed or does not end within two minutes.
        """
        waited, pause = 0.0, 0.25
        while True:
            found = self._configuration(version)
            status, state = found.get("LastUpdateStatus", "Successful"), found.get("State", "Active")
            if status == "Failed" or state == "Failed":
                reason = found.get("LastUpdateStatusReasonCode") or found.get("StateReasonCode") or "no reason given"
                raise ConflictError(f"version {version} of {self.function} did not update: {reason}")
            if status == "Successful" and state in ("Active", "Inactive"):
                return found
            if waited >= _WAIT_SECONDS:
                raise ConflictError(f"version {version} of {self.function} is still being updated")
            self._sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, 5.0)

    def _snapshot(self, configuration: Mapping[str, Any]) -> Snapshot:
        layers = [item["Arn"] for item in configuration.get("Layers", [])]
        variables = dict(configuration.get("Environment", {}).get("Variables", {}))
        routes = json.loads(variables.pop(_ROUTES, "") or "{}")
        base = {name: configuration.get(name) for name in _BASE}
        base["Layers"] = [arn for arn in layers if not self._is_model_layer(arn)]
        base["Environment"] = variables
        return Snapshot(
            version=configuration["Version"],
            layer=self._model_layer(configuration),
            routes=routes,
            base=hashlib.sha256(canonical(base)).hexdigest(),
            revision=configuration.get("RevisionId", ""),
        )

    def _model_layer(self, configuration: Mapping[str, Any]) -> str:
        layers = [item["Arn"] for item in configuration.get("Layers") or []]
        return next((arn for arn in layers if self._is_model_layer(arn)), "")

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._lambda, operation)(**arguments)
        except ClientError as error:
            if error_code(error) == "CodeStorageExceededException":
                message = (
                    "the account's code storage is full: `mlops clean` frees what no rollback needs; then release again"
                )
                raise StorageFullError(message) from error
            if error_code(error) in _CONFLICTS:
                raise ConflictError(f"{operation}: {self.function} was changed by somebody else") from error
            raise
        return answer


def _weights(alias: Mapping[str, Any]) -> Mapping[str, float]:
    return (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}


def layer_description(digest: str) -> str:
    """Description of a model layer's version, by which :meth:`LambdaServing.find_layer` finds it."""
    return f"model set {digest}"


def _text(routes: Routes) -> str:
    return canonical({name: dict(value) for name, value in routes.items()}).decode()


def _error_type(body: bytes) -> str:
    """The exception's type; its message may hold what a caller sent."""
    try:
        return str(json.loads(body).get("errorType", "unknown error"))
    except (ValueError, AttributeError):
        return "unknown error"
