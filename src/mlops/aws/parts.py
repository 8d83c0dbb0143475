"""What a deployed stack is made of, behind the domain's ports; found by the stack's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property

from mlops.aws.callbacks import TaskTokens
from mlops.aws.kms import KmsSigner
from mlops.aws.ledger import DynamoLedger
from mlops.aws.objects import S3Objects
from mlops.aws.registry import DynamoRegistry
from mlops.aws.serving import LambdaServing
from mlops.errors import MlopsError, NotFoundError
from mlops.registry.naming import Naming
from mlops.release.approval import Approvals


class Parts:
    """Buckets, registry, ledger and serving function of one stack."""

    def __init__(self, stack: str, api_url: str, outputs: Mapping[str, str]) -> None:
        self.stack = stack
        self.api_url = api_url
        self.outputs = outputs

    @cached_property
    def data(self) -> S3Objects:
        """Uploads, data sets, captures, reports."""
        return S3Objects(self._output("DataBucket"))

    @cached_property
    def artifacts(self) -> S3Objects:
        """Models and layers."""
        return S3Objects(self._output("ArtifactBucket"))

    @cached_property
    def registry(self) -> DynamoRegistry:
        """Contracts, data sets, versions, records, locks."""
        return DynamoRegistry(self._output("Table"))

    @cached_property
    def ledger(self) -> DynamoLedger:
        """The audit trail."""
        return DynamoLedger(self._output("Table"), self.stack)

    @cached_property
    def serving(self) -> LambdaServing:
        """The function that answers predictions, and what it serves."""
        return LambdaServing(
            self._output("PredictFunction"),
            layer_name=f"{self.stack}-models",
            parameter_prefix=f"/{self.stack}",
            bucket=self.artifacts.bucket,
        )

    @cached_property
    def approvals(self) -> Approvals:
        """Releases that wait for a person."""
        return Approvals(self.registry, self.ledger, TaskTokens(), lambda: datetime.now(UTC))

    @cached_property
    def naming(self) -> Naming:
        """Aliases and tags."""
        return Naming(self.registry, self.ledger, lambda: datetime.now(UTC))

    @cached_property
    def anchorage(self) -> S3Objects:
        """Copies of the ledger's head."""
        return S3Objects(self._output("AnchorBucketName"))

    def signer(self, key: str | None = None) -> KmsSigner:
        """Signs exports of the ledger: the stack's key, unless another is named.

        Raises
        ------
        MlopsError
            ``no_key`` when the stack has none.
        """
        found = key or self.outputs.get("LedgerKeyArn")
        if not found:
            raise MlopsError(
                "the stack has no key that signs: deploy with LedgerSigning=on (1 USD a month), or name one with --key",
                code="no_key",
            )
        return KmsSigner(found)

    @property
    def api_id(self) -> str:
        """The API's identifier."""
        return self._output("ApiId")

    def _output(self, name: str) -> str:
        try:
            return self.outputs[name]
        except KeyError:
            raise NotFoundError(
                f"the stack '{self.stack}' has no output {name}: it is none of this bundle, or was deployed by another "
                "version; deploy it again, or name another with --stack"
            ) from None
